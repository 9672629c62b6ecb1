//! The path behind a client, shown with START (docs/PROTOCOL.md section 6): what came is verified, and on the way down
//! this hop's own record goes in front of it.

use std::sync::Arc;

use bytes::Bytes;
use inclavared_attest::evidence::Tee;
use inclavared_attest::path::{AttestedPeer, Downstream, Own, Path, PeerVerdict, Record, Stage, Upstream};
use inclavared_attest::policy::{Binding, Policy, TerminalKind};
use inclavared_attest::{Digest, OpenDigest, SessionId, Timestamp};
use inclavared_config::Target;

use crate::error::{Error, PeerMisbehaved, Refused};
use crate::leg::dial::terminal_kind;
use crate::leg::socket::Socket;
use crate::leg::{AcceptedLeg, DialledLeg};
use crate::path::opening::{Asked, OpenedPath};
use crate::path::quoting::{Fresh, Leaf, Pending, Quoter};
use crate::path::side::Side;
use crate::path::statement::{apart, decode, depth, on_top};
use crate::trust::appraise::{Admitted, Due, PathCheck, PathContext};
use crate::trust::known_evidence::Held;

/// What stands above this process on one connection: its client, and the path behind it.
#[derive(Debug)]
pub struct Behind {
    /// What our own record says of it.
    downstream: Downstream,
    /// The trailer that came, as it was verified.
    trailer: Option<Bytes>,
    /// Of a client that sent no records.
    evidence: Option<Arc<[u8]>>,
    pub judged: Judged,
    /// Of a client that speaks frames.
    pub session: Option<SessionId>,
}

/// What this process itself has found out.
#[derive(Debug)]
pub enum Judged {
    /// The route demands nothing of its clients.
    Nothing,
    /// The client alone: it speaks no frames, so nothing is known of what is behind it.
    Client(Box<Admitted>),
    /// The whole path, under the route's policy.
    Path(Arc<Path>),
}

impl Behind {
    /// Nothing attested is above this process.
    pub fn begins(kind: TerminalKind) -> Self {
        Self {
            downstream: Downstream::Terminal(kind),
            trailer: None,
            evidence: None,
            judged: Judged::Nothing,
            session: None,
        }
    }

    /// A plain client: where it is, is what it is worth.
    pub fn plain(socket: &Socket, tee: Tee) -> Self {
        let from = match socket {
            Socket::Unix(_) => Some(Target::Unix("/".into())),
            Socket::Tcp(stream) => stream.peer_addr().ok().map(Target::from),
        };
        Self::begins(from.map_or(TerminalKind::Plain, |from| terminal_kind(&from, tee)))
    }

    /// A client that speaks no frames. `admitted` is what the route's policy made of its evidence, if it has one.
    pub fn without_frames(leg: &AcceptedLeg, admitted: Option<Box<Admitted>>, policy: Option<&Arc<Policy>>) -> Self {
        let shown = leg.facts.peer.as_ref().and_then(|peer| Some((peer, peer.evidence.as_ref()?)));
        let Some((peer, evidence)) = shown else { return Self::begins(TerminalKind::Plain) };
        let unjudged = AttestedPeer::unjudged(leg.facts.leg.id, peer.kid, evidence, Timestamp::now());
        let (downstream, judged) = match (admitted, policy) {
            (Some(admitted), Some(policy)) => {
                let downstream = AttestedPeer {
                    verdict: PeerVerdict::from(&admitted.verdict),
                    policy: policy.digest(),
                    collateral: admitted.appraised.collateral,
                    ..unjudged
                };
                (downstream, Judged::Client(admitted))
            }
            _ => (unjudged, Judged::Nothing),
        };
        Self {
            downstream: Downstream::Legacy(downstream),
            trailer: None,
            evidence: Some(evidence.blob().into()),
            judged,
            session: None,
        }
    }

    /// A client that sent START, with what it shows in it. Under a policy the whole path is judged; without one it is
    /// only checked that its records join, so that no forgery goes on under our name.
    pub async fn of_client(
        side: &Side,
        policy: Option<&Arc<Policy>>,
        leg: &AcceptedLeg,
        asked: &Asked,
        forward: Option<Bytes>,
    ) -> Result<Self, Error> {
        let session = Some(asked.open.nonce.session());
        let shown = leg.facts.peer.as_ref().and_then(|peer| Some((peer, peer.evidence.clone()?)));
        let (peer, evidence) = match shown {
            Some(shown) => shown,
            None if forward.is_none() => return Ok(Self { session, ..Self::begins(TerminalKind::Plain) }),
            None => {
                let what = "START shows a path behind a client that showed no evidence";
                return Err(PeerMisbehaved::Protocol(what.to_owned()).into());
            }
        };
        let Some(trailer) = forward else {
            return match policy {
                Some(_) => Err(PeerMisbehaved::NoForward.into()),
                None => Ok(Self { session, ..Self::without_frames(leg, None, None) }),
            };
        };
        let context = PathContext {
            policy: policy.cloned().unwrap_or_else(|| Arc::new(Policy::genuine_callers())),
            nonce: asked.open.nonce,
            leg: leg.facts.leg.id,
            spki: peer.spki.clone(),
            evidence,
            own: Some(leg.facts.own.key.kid()),
            open: asked.digest,
            // Nothing is left out of a chain that goes forward.
            held: Held::default(),
        };
        let check = PathCheck { context, trailer: trailer.clone(), due: Due::Forward };
        let binding = asked.open.binding;
        let (downstream, judged) = match policy {
            Some(policy) => {
                let path = Arc::new(side.verifier.path(check).await.map_err(behind_the_client)?);
                (path.as_downstream(policy.digest(), binding), Judged::Path(path))
            }
            None => {
                let path = check.join().map_err(|error| Refused::Behind(Box::new(error)))?;
                (path.as_unjudged_downstream(binding), Judged::Nothing)
            }
        };
        Ok(Self { downstream, trailer: Some(trailer), evidence: None, judged, session })
    }

    /// What START shows to the server of `leg`: our record in front of those behind us. None where we showed no key.
    pub fn shown(&self, leg: &DialledLeg, opened: &OpenedPath, fresh: Option<Fresh>) -> Result<Option<Vec<u8>>, Error> {
        let facts = &*leg.facts;
        let Some(own) = &facts.own else { return Ok(None) };
        let evidence = own.certificate.evidence();
        let behind = self.trailer.as_ref().map(|bytes| decode(bytes, None)).transpose()?;
        let (quote, quoted) = apart(fresh);
        let record = Record {
            stage: Stage::Forward,
            role: evidence.claims().hop().map_or("", |hop| &hop.chain_role).to_owned(),
            session: opened.context.nonce.session(),
            depth: depth(behind.as_ref()),
            seq: 0,
            iat_ms: Timestamp::now_ms(),
            own: Own {
                spki: own.key.spki().to_vec(),
                evidence: evidence.digest(),
                fresh: quote,
                endorsements: own.certificate.snp_endorsements().map(|sent| Digest::of(sent)),
            },
            upstream: Upstream {
                leg: facts.leg.id,
                peer: Some(facts.leg.server),
                open: opened.context.open,
                tls: facts.leg.parameters(),
            },
            downstream: self.downstream.clone(),
        };
        let record =
            record.sign(&own.key).map_err(|error| Error::Internal(format!("signing a forward record: {error}")))?;
        let endorsements = own.certificate.snp_endorsements().cloned();
        let blobs = self.evidence.iter().cloned().chain(quoted).chain([evidence.blob().into()]).chain(endorsements);
        Ok(Some(on_top(record, behind, blobs).encode()))
    }

    /// What is left of it once the stream begins: the trailer has kilobytes.
    pub fn into_judged(self) -> Judged {
        self.judged
    }
}

/// What a fresh quote over our own side of the leg below has to cover.
pub fn leaf(leg: &DialledLeg, open: OpenDigest) -> Option<Leaf> {
    Some(Leaf::of_client(leg.facts.own.as_ref()?, leg.facts.leg.id, open))
}

/// At level `quote`, that quote. It is made while the client looks at the PREVIEW.
pub fn quote(quoter: Option<&Quoter>, leg: &DialledLeg, opened: &OpenedPath) -> Result<Option<Pending>, Error> {
    match (leaf(leg, opened.context.open), quoter, opened.binding) {
        // Where nothing quotes, the server that demands it says so.
        (Some(leaf), Some(quoter), Binding::Quote) if quoter.can_quote() => quoter.ask(leaf).map(Some),
        _ => Ok(None),
    }
}

/// Waits for it.
pub async fn quoted(pending: Option<Pending>) -> Result<Option<Fresh>, Error> {
    match pending {
        Some(pending) => pending.done().await.map(Some),
        None => Ok(None),
    }
}

fn behind_the_client(error: Error) -> Error {
    match error {
        Error::Refused(Refused::Path(error)) => Refused::Behind(error).into(),
        other => other,
    }
}
