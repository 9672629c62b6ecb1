//! The verifier at the beginning of a path: `shelter`, or any program that wants a verified stream.

use std::sync::Arc;

use inclavared_attest::Reason;
use inclavared_attest::path::{Nonce, Open, Path, VERSION};
use inclavared_attest::policy::Policy;
use inclavared_config::Target;

use crate::connect::{dial, server_name};
use crate::error::{Error, PeerMisbehaved};
use crate::handshake::{self, Speaks};
use crate::identity::HopIdentity;
use crate::leg::Leg;
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
        ttl: policy.shape.max_hops.min(TTL),
        visited: Vec::new(),
        have: Vec::new(),
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
    pub async fn start(mut self) -> Result<(Leg, OpenedPath), Error> {
        match start_path(&mut self.leg, &self.opened).await {
            Ok(()) => Ok((self.leg, self.opened)),
            Err(error) => {
                self.leg.abort(error.reason(), "the path was not started").await;
                Err(error)
            }
        }
    }
}
