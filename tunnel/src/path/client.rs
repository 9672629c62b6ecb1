//! The verifier at the beginning of a path: `shelter`, or any program that wants a verified stream.

use std::sync::Arc;

use inclavared_attest::Reason;
use inclavared_attest::path::{Close, Counters, Nonce, Open, Path, VERSION};
use inclavared_attest::policy::{Binding, Policy, TerminalKind};
use inclavared_config::Target;
use inclavared_wire::frame::{Admits, FrameKind};

use crate::error::{Error, PeerMisbehaved};
use crate::leg::dial::{dial, server_name};
use crate::leg::handshake::{self, Speaks};
use crate::leg::{DialledLeg, Leg, out_of_order};
use crate::path::behind::{self, Behind};
use crate::path::live;
use crate::path::opening::{OpenedPath, open_path, start_path};
use crate::path::quoting::Quoter;
use crate::path::side::Side;
use crate::trust::appraise::{Due, PathCheck};
use crate::trust::identity::HopIdentity;

/// How many hops a path may have if its policy does not say less.
const TTL: u8 = 16;

/// A path that was verified and is not started: nothing has been sent over it.
#[derive(Debug)]
pub struct VerifiedPath {
    leg: DialledLeg,
    opened: OpenedPath,
    quoter: Option<Quoter>,
}

/// Connects to the first hop and verifies the whole path behind it under `policy`. Every wait has its deadline.
///
/// `identity` is what this process shows of itself, if anything.
pub async fn verify(
    side: &Side,
    target: &Target,
    policy: &Arc<Policy>,
    identity: Option<Arc<HopIdentity>>,
) -> Result<VerifiedPath, Error> {
    let socket = dial(target, side.deadlines.dial).await?;
    let connected = handshake::connect(socket, &side.provider, identity, server_name(target), side.deadlines.handshake);
    let (mut leg, speaks) = connected.await?;
    if speaks == Speaks::Bytes {
        let what = "the server speaks no `inclavared/1`: it cannot show the path behind it".to_owned();
        let error = PeerMisbehaved::Protocol(what).into();
        leg.fail(&error, false).await;
        return Err(error);
    }
    let open = Open {
        versions: vec![VERSION],
        nonce: Nonce::generate().map_err(|error| Error::Internal(format!("randomness: {error}")))?,
        binding: policy.binding,
        route: None,
        policy: Some(policy.digest()),
        // The first hop is there already: so many may follow it.
        ttl: policy.shape.max_hops.min(TTL).saturating_sub(1),
        visited: Vec::new(),
        have: Vec::new(),
        no_warm_legs: policy.refuse_warm_legs,
        stranger: false,
    };
    match open_path(side, &mut leg, policy, &open, side.deadlines.open_to_preview).await {
        Ok(opened) => Ok(VerifiedPath { leg, opened, quoter: None }),
        Err(error) => {
            leg.abort(error.reason(), "the path was refused").await;
            Err(error)
        }
    }
}

impl VerifiedPath {
    pub fn path(&self) -> &Arc<Path> {
        &self.opened.path
    }

    /// Has this process show a fresh quote of its own at level `quote`, where it shows evidence.
    pub fn quoting(self, quoter: Option<Quoter>) -> Self {
        Self { quoter, ..self }
    }

    /// Lets the path go: what was to be learnt is learnt.
    pub async fn leave(self) {
        self.leg.abort(Reason::Cancelled, "attestation only").await;
    }

    /// Starts the path: from now on bytes may pass.
    ///
    /// At `key+audit` the fresh quotes are waited for: nothing else asks for them while the caller moves its bytes.
    pub async fn start(mut self, side: &Side) -> Result<(Leg, OpenedPath), Error> {
        if let Err(error) = self.show_and_start().await {
            self.leg.abort(error.reason(), "the path was not started").await;
            return Err(error);
        }
        if self.opened.context.policy.binding != Binding::KeyAudit {
            return Ok((self.leg.leg, self.opened));
        }
        match live::audit(side, &mut self.leg, &mut self.opened).await {
            Ok(()) => Ok((self.leg.leg, self.opened)),
            Err(error) => {
                self.leg.fail(&error, true).await;
                Err(error)
            }
        }
    }

    /// Starts the path with an empty stream, and ends it: by then the workload has judged who asks, and every hop has
    /// signed. Gives the path with its receipts, and what was counted here.
    pub async fn probe(self, side: &Side) -> Result<(Arc<Path>, Counters), Error> {
        let (mut leg, opened) = self.start(side).await?;
        match empty_stream(side, &mut leg, &opened).await {
            Ok(receipted) => {
                leg.close().await;
                Ok(receipted)
            }
            Err(error) => {
                leg.fail(&error, true).await;
                Err(error)
            }
        }
    }

    /// The server may judge who asks: the path begins in this process.
    async fn show_and_start(&mut self) -> Result<(), Error> {
        let fresh = behind::quoted(behind::quote(self.quoter.as_ref(), &self.leg, &self.opened)?).await?;
        let shown = Behind::begins(TerminalKind::Workload).shown(&self.leg, &self.opened, fresh)?;
        start_path(&mut self.leg, &self.opened, shown).await
    }
}

/// What the server sends of itself is counted and forgotten.
async fn empty_stream(side: &Side, leg: &mut Leg, opened: &OpenedPath) -> Result<(Arc<Path>, Counters), Error> {
    leg.send(FrameKind::End, &[]).await?;
    leg.source.admit(Admits::of(&[FrameKind::Data, FrameKind::End, FrameKind::Trailer, FrameKind::Fault]));
    let limit = side.deadlines.half_close;
    let (mut counters, mut ended) = (Counters::default(), false);
    let trailer = loop {
        let late = |_| Error::Deadline { what: "the end of the stream", limit };
        let frame = tokio::time::timeout(limit, leg.source.frame()).await.map_err(late)?;
        let frame = frame.map_err(|error| match error {
            Error::Peer(PeerMisbehaved::Truncated | PeerMisbehaved::Closed) if ended => {
                PeerMisbehaved::Unreceipted.into()
            }
            other => other,
        })?;
        match frame.kind {
            FrameKind::Data if !ended => counters.down += frame.payload.len() as u64,
            FrameKind::End if !ended => ended = true,
            FrameKind::Trailer => break frame.payload,
            _ => return Err(out_of_order(&frame, "DATA, END or TRAILER", false)),
        }
    };
    let due = Due::Final { path: Arc::clone(&opened.path), counters };
    let path = side.verifier.path(PathCheck { context: opened.context.clone(), trailer, due }).await?;
    if matches!(path.close, Some(Close::Complete { .. })) && !ended {
        return Err(PeerMisbehaved::Protocol("a receipt for the whole stream before its END".to_owned()).into());
    }
    Ok((Arc::new(path), counters))
}
