//! The verifier at the beginning of a path: `shelter`, or any program that wants a verified stream.

use std::sync::Arc;

use inclavared_attest::Reason;
use inclavared_attest::path::{Nonce, Open, Path, VERSION};
use inclavared_attest::policy::{Binding, Policy};
use inclavared_config::Target;

use crate::connect::{dial, server_name};
use crate::error::{Error, PeerMisbehaved};
use crate::handshake::{self, Speaks};
use crate::identity::HopIdentity;
use crate::leg::Leg;
use crate::live;
use crate::node::Node;
use crate::open::{OpenedPath, open_path, start_path};

/// How many hops a path may have if its policy does not say less.
const TTL: u8 = 16;

/// A path that was verified and is not started: nothing has been sent over it.
#[derive(Debug)]
pub struct VerifiedPath {
    leg: Leg,
    opened: OpenedPath,
}

/// Connects to the first hop and verifies the whole path behind it under `policy`. Every wait has its deadline.
///
/// `identity` is what this process shows of itself, if anything.
pub async fn verify(
    node: &Node,
    target: &Target,
    policy: &Arc<Policy>,
    identity: Option<Arc<HopIdentity>>,
) -> Result<VerifiedPath, Error> {
    let socket = dial(target, node.deadlines.dial).await?;
    let connected = handshake::connect(socket, &node.provider, identity, server_name(target), node.deadlines.handshake);
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
    };
    match open_path(node, &mut leg, policy, &open, node.deadlines.open_to_preview).await {
        Ok(opened) => Ok(VerifiedPath { leg, opened }),
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

    /// Lets the path go: what was to be learnt is learnt.
    pub async fn leave(self) {
        self.leg.abort(Reason::Cancelled, "attestation only").await;
    }

    /// Starts the path: from now on bytes may pass.
    ///
    /// At `key+audit` the fresh quotes are waited for: nothing else asks for them while the caller moves its bytes.
    pub async fn start(mut self, node: &Node) -> Result<(Leg, OpenedPath), Error> {
        if let Err(error) = start_path(&mut self.leg, &self.opened).await {
            self.leg.abort(error.reason(), "the path was not started").await;
            return Err(error);
        }
        if self.opened.context.policy.binding != Binding::KeyAudit {
            return Ok((self.leg, self.opened));
        }
        match live::audit(node, &mut self.leg, &mut self.opened).await {
            Ok(()) => Ok((self.leg, self.opened)),
            Err(error) => {
                self.leg.fail(&error, true).await;
                Err(error)
            }
        }
    }
}
