//! What `shelter` and `inclavared --connect` have in common: a verifier that is told on the command line what to verify.

use std::sync::Arc;
use std::time::Duration;

use inclavared_attest::{ConfigDigest, Timestamp};
use inclavared_config::{Config, Deadlines, Downstream, FlagConfig, Limits, Listen, TlsSettings, Upstream};
use inclavared_tunnel::error::Error;
use inclavared_tunnel::path::client::{self, VerifiedPath};
use inclavared_tunnel::path::quoting::{OneAtATime, Quoter};
use inclavared_tunnel::server::node::Node;
use inclavared_tunnel::server::process::{self, StartError};
use inclavared_tunnel::trust::identity::{HopIdentity, IdentityService, Role};
use inclavared_tunnel::trust::select;
use tokio::runtime::{Builder, Runtime};

use crate::cli::Verification;

/// The role in the evidence of a verifier that has some.
const ROLE: &str = "verifier";

/// A verifier, ready to verify.
pub struct RelyingParty {
    path: Verification,
    node: Node,
    identity: Option<(Arc<HopIdentity>, Quoter)>,
    runtime: Runtime,
    /// Owns the threads of the blocking pool.
    _blocking: Runtime,
}

impl RelyingParty {
    /// Reads what the verification rests on. With `mutual`, blocks for a quote.
    pub fn new(path: Verification) -> Result<Self, StartError> {
        let (node, blocking) = process::node(
            &path.attestation,
            &TlsSettings::default(),
            &Limits::default(),
            &Deadlines::default(),
            Box::new(|_| {}),
        )?;
        let identity = match path.mutual {
            false => None,
            true => Some(identity(&path, &node)?),
        };
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| StartError::Thread { what: "runtime", source })?;
        Ok(Self { path, node, identity, runtime, _blocking: blocking })
    }

    /// Verifies the path once, all within the time that the command line gives, and does `then` with it.
    pub fn verify<T>(&self, then: impl AsyncFnOnce(&Node, VerifiedPath) -> Result<T, Error>) -> Result<T, Error> {
        let limit: Duration = self.path.timeout;
        self.runtime.block_on(async {
            let work = async {
                let (identity, quoter) = self.identity.clone().unzip();
                let verified = client::verify(&self.node.side, &self.path.target, &self.path.policy, identity).await?;
                then(&self.node, verified.quoting(quoter)).await
            };
            let late = Error::Deadline { what: "the verification of the path", limit };
            tokio::time::timeout(limit, Box::pin(work)).await.unwrap_or(Err(late))
        })
    }

    pub fn path(&self) -> &Verification {
        &self.path
    }
}

fn identity(path: &Verification, node: &Node) -> Result<(Arc<HopIdentity>, Quoter), StartError> {
    let limit = node.side.deadlines.quote;
    let attester = Arc::new(OneAtATime::new(select::attester(&path.attestation, limit)?));
    let quoter = Quoter::new(Arc::clone(&attester) as _, node.side.verifier.pool.clone(), limit);
    let role = Role {
        chain_role: ROLE.to_owned(),
        policy_digest: path.policy.digest(),
        // A verifier has no routes: the digest of nothing.
        config_digest: ConfigDigest::of(b""),
    };
    let now = Timestamp::now();
    let made = IdentityService::start(attester, role, now).and_then(|service| service.current(now));
    let identity = made.map_err(|source| StartError::Identity { route: ROLE.to_owned(), source: Box::new(source) });
    Ok((identity?, quoter))
}

/// A route that carries plain local streams over the path: each is verified before its first byte.
pub fn forwarding(path: &Verification, listen: Listen) -> Result<Config, inclavared_config::Errors> {
    let policy = Arc::clone(&path.policy);
    let mut config = Config::from_flags(FlagConfig {
        attester: path.attestation.attester,
        verifier: path.attestation.verifier,
        mutual: path.mutual,
        platform: path.attestation.platform.clone(),
        sim: path.attestation.sim.clone(),
        collateral: path.attestation.collateral.clone(),
        policy: Some((*policy).clone()),
        role: Some(ROLE.to_owned()),
        ..FlagConfig::new(listen, path.target.clone())
    })?;
    for route in &mut config.routes {
        route.name = "forward".to_owned();
        route.upstream = Upstream::Plain;
        route.downstream = match path.mutual {
            true => Downstream::Mutual { policy: Arc::clone(&policy) },
            false => Downstream::Attested { policy: Arc::clone(&policy) },
        };
    }
    Ok(config)
}
