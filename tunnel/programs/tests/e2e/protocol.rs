//! A client that speaks the protocol by the library, as far as a scenario wants it to.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use inclavared_attest::path::{Fault, Nonce, Open, VERSION};
use inclavared_attest::policy::Policy;
use inclavared_attest::{ConfigDigest, PolicyDigest, Reason, Timestamp};
use inclavared_config::{
    Attestation, AttesterKind, CollateralOptions, Deadlines, Limits, SimSettings, Target, VerifierKind,
};
use inclavared_tunnel::error::{Error, PeerMisbehaved};
use inclavared_tunnel::leg::dial::{dial, server_name};
use inclavared_tunnel::leg::handshake;
use inclavared_tunnel::leg::{DialledLeg, Leg};
use inclavared_tunnel::path::opening::{OpenedPath, open_path, start_path};
use inclavared_tunnel::server::node::Node;
use inclavared_tunnel::server::process;
use inclavared_tunnel::trust::identity::{HopIdentity, IdentityService, Role};
use inclavared_tunnel::trust::select;
use inclavared_wire::frame::{Admits, FrameKind};
use tokio::runtime::{Builder, Runtime};

use crate::harness::World;
use crate::program::PATIENCE;

/// A verifier of simulated evidence, in this process.
pub(crate) struct Client {
    pub(crate) node: Node,
    attestation: Attestation,
    pub(crate) policy: Arc<Policy>,
    runtime: Runtime,
    _blocking: Runtime,
}

impl Client {
    pub(crate) fn new(world: &World) -> Self {
        let attestation = Attestation {
            attester: AttesterKind::Sim,
            verifier: VerifierKind::Sim,
            platform: Some(PathBuf::from(world.platform())),
            sim: SimSettings::default(),
            collateral: CollateralOptions::default(),
        };
        let (node, _blocking) = process::node(
            &attestation,
            &inclavared_config::TlsSettings::default(),
            &Limits::default(),
            &Deadlines::default(),
            Box::new(|_| {}),
        )
        .unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        Self { node, attestation, policy: Arc::new(VerifierKind::Sim.default_policy()), runtime, _blocking }
    }

    /// A leg whose handshake has ended, and nothing more.
    pub(crate) fn leg(&self, to: SocketAddr) -> DialledLeg {
        self.leg_as(to, None)
    }

    /// The same, showing evidence of its own.
    pub(crate) fn leg_as(&self, to: SocketAddr, identity: Option<Arc<HopIdentity>>) -> DialledLeg {
        let target = Target::from(to);
        self.run(async {
            let socket = dial(&target, PATIENCE).await.unwrap();
            let (provider, name) = (&self.node.side.provider, server_name(&target));
            handshake::connect(socket, provider, identity, name, PATIENCE).await.unwrap().0
        })
    }

    /// Evidence of this process, on the simulated platform.
    pub(crate) fn identity(&self) -> Arc<HopIdentity> {
        let attester = select::attester(&self.attestation, PATIENCE).unwrap();
        let role = Role {
            chain_role: "client".to_owned(),
            policy_digest: PolicyDigest::of(b""),
            config_digest: ConfigDigest::of(b""),
        };
        let now = Timestamp::now();
        IdentityService::start(attester, role, now).unwrap().current(now).unwrap()
    }

    /// Opens a path and verifies its PREVIEW.
    pub(crate) fn open(&self, leg: &mut DialledLeg) -> Result<OpenedPath, Error> {
        self.run(open_path(&self.node.side, leg, &self.policy, &self.asking(), PATIENCE))
    }

    /// What an OPEN asks for if nothing is said about it.
    pub(crate) fn asking(&self) -> Open {
        Open {
            versions: vec![VERSION],
            nonce: Nonce::generate().unwrap(),
            binding: self.policy.binding,
            route: None,
            policy: None,
            ttl: 8,
            visited: Vec::new(),
            have: Vec::new(),
            no_warm_legs: false,
            stranger: false,
        }
    }

    pub(crate) fn start(&self, leg: &mut DialledLeg, path: &OpenedPath) {
        self.start_showing(leg, path, None);
    }

    pub(crate) fn start_showing(&self, leg: &mut DialledLeg, path: &OpenedPath, forward: Option<Vec<u8>>) {
        self.run(start_path(leg, path, forward)).unwrap();
    }

    pub(crate) fn send(&self, leg: &mut Leg, kind: FrameKind, payload: &[u8]) {
        self.run(leg.send(kind, payload)).unwrap();
    }

    pub(crate) fn receive(&self, leg: &mut Leg) -> (FrameKind, Vec<u8>) {
        // Whatever a server may send, in any state: the test looks at what comes.
        leg.source.admit(Admits::OF_SERVER);
        let frame = self.run(leg.source.frame()).unwrap();
        (frame.kind, frame.payload.to_vec())
    }

    /// The FAULT that comes next, and that the leg is closed after it.
    pub(crate) fn fault(&self, leg: &mut Leg) -> Fault {
        let (kind, payload) = self.receive(leg);
        assert_eq!(kind, FrameKind::Fault);
        let end = self.run(leg.source.frame());
        assert!(matches!(end, Err(Error::Peer(PeerMisbehaved::Closed | PeerMisbehaved::Truncated))), "{end:?}");
        Fault::decode(&payload).unwrap()
    }

    /// Nothing here waits longer than [`PATIENCE`].
    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, Box::pin(work)).await.expect("in time") })
    }
}

/// The reason of a FAULT that stands in place of what was to come.
pub(crate) fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> Reason {
    match result {
        Err(Error::Fault(fault)) => fault.code,
        other => panic!("no FAULT: {other:?}"),
    }
}

/// Well under what an unconfigured deadline would take, and well over the configured ones.
pub(crate) const SOON: Duration = Duration::from_secs(4);
