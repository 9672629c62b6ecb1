//! Peers written by hand over the library: a client and a server that speak the protocol and can break it anywhere.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use inclavared_attest::path::{Challenge, CloseReason, Counters, Nonce, Open, Receipt, Start, VERSION};
use inclavared_attest::policy::{Policy, TerminalKind};
use inclavared_attest::{ConfigDigest, PolicyDigest, Timestamp};
use inclavared_config::{Limits, Target, TlsSettings};
use inclavared_tunnel::error::Error;
use inclavared_tunnel::leg::dial::{dial, server_name};
use inclavared_tunnel::leg::handshake::{self, ClientCertificate, Turns};
use inclavared_tunnel::leg::socket::Socket;
use inclavared_tunnel::leg::{AcceptedLeg, DialledLeg, Leg};
use inclavared_tunnel::path::client;
use inclavared_tunnel::path::close::{Below, Ending};
use inclavared_tunnel::path::opening::{Asked, receive_open, receive_start};
use inclavared_tunnel::path::quoting::Quoter;
use inclavared_tunnel::path::statement::Statement;
use inclavared_tunnel::server::node::Node;
use inclavared_tunnel::trust::blocking::BlockingPool;
use inclavared_tunnel::trust::identity::{IdentityService, Role};
use inclavared_tunnel::trust::select;
use inclavared_wire::frame::{Admits, Frame, FrameKind};
use tokio::net::TcpListener;

use crate::world::{PATIENCE, World, route};

/// What a hand-written client has: it verifies as any client does, and then does as it likes.
pub(crate) struct Client {
    pub(crate) node: Node,
    policy: Arc<Policy>,
    _blocking: tokio::runtime::Runtime,
}

impl Client {
    /// Runs a test's story on one thread: legs never leave their worker.
    pub(crate) fn run(world: &World, story: impl AsyncFnOnce(&Self)) {
        let (node, policy, blocking) = world.node();
        let client = Self { node, policy, _blocking: blocking };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            tokio::time::timeout(3 * PATIENCE, story(&client)).await.expect("the story did not end");
        });
    }

    /// A path that is verified and started.
    pub(crate) async fn open(&self, to: SocketAddr) -> Leg {
        let verified = client::verify(&self.node.side, &target(to), &self.policy, None).await.unwrap();
        verified.start(&self.node.side).await.unwrap().0
    }

    /// A leg whose handshake is done, and nothing else.
    pub(crate) async fn shake_hands(&self, to: SocketAddr) -> DialledLeg {
        let socket = dial(&target(to), PATIENCE).await.unwrap();
        let name = server_name(&target(to));
        handshake::connect(socket, &self.node.side.provider, None, name, PATIENCE).await.unwrap().0
    }

    pub(crate) fn ask(&self) -> Vec<u8> {
        let open = Open {
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
        };
        open.encode()
    }

    /// A START for the first record of a PREVIEW.
    pub(crate) fn start_for(preview: &[u8]) -> Vec<u8> {
        use inclavared_attest::path::{Trailer, TrailerLimits, no_known_blobs};
        let trailer = Trailer::decode(preview, &TrailerLimits::MOST, &no_known_blobs).unwrap();
        Start { record: trailer.records()[0].digest(), client_proof: None, forward: None }.encode()
    }
}

/// A hand-written hop with a genuine identity of the platform.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    listener: std::net::TcpListener,
    identity: IdentityService,
    quoter: Quoter,
    blocking: Option<tokio::runtime::Runtime>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // A test may drop it in the middle of its story.
        self.blocking.take().unwrap().shutdown_background();
    }
}

/// One connection to it.
pub(crate) struct Accepted {
    pub(crate) leg: AcceptedLeg,
    asked: Option<Asked>,
    statement: Option<Statement>,
    below: Below,
    quoter: Quoter,
}

impl Server {
    pub(crate) fn new(world: &World) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let config = world.config(&route("attested", "127.0.0.1:9".parse().unwrap(), "plain"), "");
        let role = Role {
            chain_role: "relay".into(),
            policy_digest: PolicyDigest::of(b""),
            config_digest: ConfigDigest::of(b""),
        };
        let attester = select::attester(&config.attestation, config.deadlines.quote).unwrap();
        let identity = IdentityService::start(Arc::clone(&attester), role, Timestamp::now()).unwrap();
        let (pool, blocking) = BlockingPool::new(1, 8).unwrap();
        let quoter = Quoter::new(attester, pool, PATIENCE);
        Self { address: listener.local_addr().unwrap(), listener, identity, quoter, blocking: Some(blocking) }
    }

    pub(crate) async fn accept(&self) -> Accepted {
        let listener = TcpListener::from_std(self.listener.try_clone().unwrap()).unwrap();
        let socket = Socket::tcp(listener.accept().await.unwrap().0);
        let identity = self.identity.current(Timestamp::now()).unwrap();
        let optional = ClientCertificate::Optional;
        let accepted = handshake::accept(
            socket,
            &handshake::provider(&TlsSettings::default()),
            identity,
            optional,
            false,
            &Turns::new(&Limits::default()),
            PATIENCE,
        )
        .await;
        let ending = Ending::from(TerminalKind::Workload);
        let quoter = self.quoter.clone();
        Accepted { leg: accepted.unwrap().0, asked: None, statement: None, below: Below::End(ending), quoter }
    }
}

impl Accepted {
    pub(crate) async fn receive_open(&mut self) {
        self.asked = Some(receive_open(&mut self.leg, PATIENCE, |_| false).await.unwrap());
    }

    pub(crate) fn preview(&mut self) -> Vec<u8> {
        let facts = &self.leg.facts;
        let asked = self.asked.as_ref().unwrap();
        let mut statement = Statement::new(Arc::clone(&facts.own), "relay", &asked.open, asked.digest, &facts.leg);
        let preview = statement.preview(&self.below, None).unwrap();
        self.statement = Some(statement);
        preview
    }

    pub(crate) async fn receive_start(&mut self) {
        let shown = self.statement.as_ref().unwrap().preview_digest();
        receive_start(&mut self.leg, self.asked.as_ref().unwrap(), shown, PATIENCE).await.unwrap();
    }

    /// The answer to a CHALLENGE.
    pub(crate) async fn refresh(&mut self, challenge: &[u8]) -> Vec<u8> {
        let Below::End(ending) = &self.below else { unreachable!() };
        let statement = self.statement.as_mut().unwrap();
        let refreshing = statement.begin_refresh(Challenge::decode(challenge).unwrap());
        let fresh = self.quoter.ask(refreshing.leaf.clone()).unwrap().done().await.unwrap();
        statement.refresh(&refreshing, fresh, ending.downstream.clone(), None).unwrap()
    }

    /// A receipt for the whole stream, signed as it must be.
    pub(crate) fn trailer(&mut self, counters: Counters) -> Vec<u8> {
        let Below::End(ending) = &self.below else { unreachable!() };
        let receipt = Receipt { counters, close: CloseReason::Complete };
        self.statement.as_mut().unwrap().close(ending.downstream.clone(), None, receipt).unwrap()
    }

    /// All of the opening.
    pub(crate) async fn open(&mut self) {
        self.receive_open().await;
        let preview = self.preview();
        self.leg.send(FrameKind::Preview, &preview).await.unwrap();
        self.receive_start().await;
    }
}

/// The next frame of a leg; what breaks it is told as an error.
pub(crate) async fn next(leg: &mut Leg) -> Result<Frame, Error> {
    // Whatever the protocol knows, in any state: the test looks at what comes.
    leg.source.admit(Admits::ALL);
    tokio::time::timeout(PATIENCE, leg.source.frame()).await.expect("no frame came")
}

/// Nothing comes for a moment.
pub(crate) async fn assert_quiet(leg: &mut Leg) {
    let quiet = tokio::time::timeout(Duration::from_millis(50), leg.source.frame()).await;
    assert!(quiet.is_err(), "{quiet:?}");
}

fn target(address: SocketAddr) -> Target {
    address.to_string().parse().unwrap()
}
