//! What lies below this process on one connection: the leg to the target with the verified path behind it, or what ends
//! the path here. A plain target is dialled later, by `join`.

use std::sync::Arc;
use std::time::Duration;

use inclavared_attest::Timestamp;
use inclavared_attest::evidence::Tee;
use inclavared_attest::path::{AttestedPeer, Downstream, Nonce, Onward, Open, PeerVerdict, VERSION};
use inclavared_attest::policy::{Policy, TerminalKind};
use inclavared_config::Downstream as Side;
use tokio::sync::oneshot;

use crate::error::{Error, PeerMisbehaved};
use crate::leg::DialledLeg;
use crate::leg::dial::{dial, server_name, terminal_kind};
use crate::leg::handshake::{self, Speaks};
use crate::path::behind;
use crate::path::close::{Below, Ending};
use crate::path::opening::{Asked, open_path_and_tell};
use crate::path::quoting::Leaf;
use crate::server::node::{Node, RouteState, Service};
use crate::server::warm::open_warm;
use crate::trust::identity::HopIdentity;

/// For whom a path is opened.
pub(super) enum Verifier<'a> {
    /// For the one further up, which asked over a leg on which we showed `own`. `told` hears what a fresh quote over our
    /// side of the leg below has to cover, as soon as it is known.
    Client { asked: &'a Asked, own: &'a Arc<HopIdentity>, told: oneshot::Sender<Leaf> },
    /// For this process itself: its client speaks no frames. `own` is what that client was shown.
    Ourselves { own: Option<&'a Arc<HopIdentity>> },
}

/// What lies below: its leg, unless it is dialled at START, and what our record says of it. `stranger`: nobody has admitted
/// the client that began the path.
pub(super) async fn below(
    node: &Node,
    route: &RouteState,
    verifier: Verifier<'_>,
    stranger: bool,
) -> Result<(Option<DialledLeg>, Below), Error> {
    let (policy, show) = match (&route.serves, &route.route.downstream) {
        (Service::InProcess(_), _) => return Ok((None, Below::End(TerminalKind::Workload.into()))),
        (Service::Target, Side::Plain) => {
            let tee = verifier.own().map_or(Tee::None, |own| own.certificate.evidence().tee());
            let kind = terminal_kind(&route.route.target, tee);
            return Ok((None, Below::End(kind.into())));
        }
        // TLS, but nothing attested at its other end: to a verifier that is the end of what is confidential.
        (Service::Target, Side::Pki(_)) => return Ok((None, Below::End(TerminalKind::Plain.into()))),
        (Service::Target, Side::Attested { policy }) => (policy, false),
        (Service::Target, Side::Mutual { policy }) => (policy, true),
    };
    let (leg, below) = attested(node, route, policy, show, verifier, stranger).await?;
    Ok((Some(leg), below))
}

impl Verifier<'_> {
    fn own(&self) -> Option<&Arc<HopIdentity>> {
        match self {
            Self::Client { own, .. } => Some(own),
            Self::Ourselves { own } => *own,
        }
    }

    /// What we show below. The key of the leg above is the key of the leg below: the records of a path are joined by it.
    fn shows(&self, route: &RouteState, show: bool) -> Result<Option<Arc<HopIdentity>>, Error> {
        match self {
            Self::Client { own, .. } => Ok(Some(Arc::clone(own))),
            Self::Ourselves { own: Some(own) } if show => Ok(Some(Arc::clone(own))),
            Self::Ourselves { .. } => show.then(|| route.identity()).transpose(),
        }
    }

    fn open(&self, route: &RouteState, policy: &Policy, stranger: bool) -> Result<Open, Error> {
        match self {
            Self::Client { asked, own, .. } => onward(route, &asked.open, policy, stranger, own),
            Self::Ourselves { .. } => first(route, policy, stranger),
        }
    }
}

/// A target that shows evidence.
async fn attested(
    node: &Node,
    route: &RouteState,
    policy: &Arc<Policy>,
    show: bool,
    verifier: Verifier<'_>,
    stranger: bool,
) -> Result<(DialledLeg, Below), Error> {
    let identity = verifier.shows(route, show)?;
    // Before the dial: where no hop may follow, none is called.
    let mut open = verifier.open(route, policy, stranger)?;
    if route.warm.is_some() {
        let limit = opening_limit(node, &open);
        if let Some((leg, opened)) = open_warm(node, route, identity.as_ref(), policy, &open, limit).await? {
            return Ok((leg, Below::Path(opened)));
        }
        open = verifier.open(route, policy, stranger)?;
    }
    let deadlines = &node.side.deadlines;
    let socket = dial(&route.route.target, deadlines.dial).await?;
    let name = server_name(&route.route.target);
    let met = handshake::connect(socket, &node.side.provider, identity, name, deadlines.handshake).await?;
    let mut leg = match met {
        (leg, Speaks::Frames) => leg,
        (leg, Speaks::Bytes) => {
            let end = legacy_end(node, &leg, policy).await?;
            return Ok((leg, Below::End(end)));
        }
    };
    let limit = opening_limit(node, &open);
    let tell = |leg: &DialledLeg, open| {
        // A leg that stands ready might have taken this path, and only then would it be known which: nobody waits for that.
        if let (Verifier::Client { told, .. }, None) = (verifier, &route.warm)
            && let Some(leaf) = behind::leaf(leg, open)
        {
            // Who is not at level `quote` does not listen.
            let _ = told.send(leaf);
        }
    };
    match open_path_and_tell(&node.side, &mut leg, policy, &open, limit, tell).await {
        Ok(opened) => Ok((leg, Below::Path(opened))),
        Err(error) => {
            leg.abort(error.reason(), "the path was refused").await;
            Err(error)
        }
    }
}

/// How long the PREVIEW may take: less with every hop that the path has passed.
fn opening_limit(node: &Node, open: &Open) -> Duration {
    let passed = node.side.deadlines.open_to_preview_per_hop * u32::try_from(open.visited.len()).unwrap_or(u32::MAX);
    node.side.deadlines.open_to_preview.saturating_sub(passed)
}

/// The OPEN that goes on, for the verifier further up.
fn onward(route: &RouteState, open: &Open, policy: &Policy, stranger: bool, own: &HopIdentity) -> Result<Open, Error> {
    let onward = Onward {
        kid: own.key.kid(),
        binding: policy.binding,
        max_hops: route.route.ttl,
        route: None,
        policy: Some(policy.digest()),
        have: Vec::new(),
        no_warm_legs: policy.refuse_warm_legs,
        stranger,
    };
    Ok(open.onward(onward).map_err(PeerMisbehaved::Open)?)
}

/// The OPEN of a path that begins here: this process is its verifier, and the server is the first hop of those that may
/// follow.
fn first(route: &RouteState, policy: &Policy, stranger: bool) -> Result<Open, Error> {
    let nonce = Nonce::generate().map_err(|error| Error::Internal(format!("randomness: {error}")))?;
    Ok(Open {
        versions: vec![VERSION],
        nonce,
        binding: policy.binding,
        route: None,
        policy: Some(policy.digest()),
        ttl: route.route.ttl.min(policy.shape.max_hops).saturating_sub(1),
        visited: Vec::new(),
        have: Vec::new(),
        no_warm_legs: policy.refuse_warm_legs,
        stranger,
    })
}

/// An attested peer that speaks no frames: appraised here, and named in our record for the verifier to appraise.
async fn legacy_end(node: &Node, leg: &DialledLeg, policy: &Arc<Policy>) -> Result<Ending, Error> {
    let facts = &leg.facts;
    let admitted = node.side.verifier.admit(&facts.peer, policy, true).await?;
    let evidence = admitted.evidence.blob().into();
    let downstream = Downstream::Legacy(AttestedPeer {
        leg: facts.leg.id,
        key: facts.peer.kid,
        evidence: admitted.evidence.digest(),
        verdict: PeerVerdict::from(&admitted.verdict),
        policy: policy.digest(),
        collateral: admitted.appraised.collateral,
        appraised_at: Timestamp::now(),
    });
    Ok(Ending { downstream, evidence: Some(evidence) })
}
