use std::net::SocketAddr;

use inclavared_attest::appraise::Root;
use inclavared_attest::attester::Attester;
use inclavared_attest::evidence::{Evidence, Tee};
use inclavared_attest::sim::{CollateralSpec, SimAttester, SimPlatform, SimSpec};
use inclavared_attest::{ConfigDigest, PolicyDigest, Timestamp};
use inclavared_config::Config;
use inclavared_wire::frame::ALPN;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::*;
use crate::server::node::{Pki, Service};
use crate::server::process;
use crate::trust::identity::{IdentityService, Role};

/// A route to a stock TLS server with the evidence of a hop, so that it can send what no hop of ours sends.
struct World {
    platform: Arc<SimPlatform>,
    now: Timestamp,
    node: Arc<Node>,
    route: Arc<RouteState>,
    server: Arc<HopIdentity>,
    _folder: tempfile::TempDir,
    _blocking: tokio::runtime::Runtime,
}

impl World {
    fn new(address: SocketAddr) -> Self {
        let now = Timestamp::now();
        let folder = tempfile::tempdir().unwrap();
        let platform = Arc::new(SimPlatform::generate(now).unwrap());
        platform.save(&folder.path().join("platform")).unwrap();
        let text = format!(
            r#"
            [attestation]
            attester = "sim"
            verifier = "sim"
            platform = "platform"
            [[route]]
            name = "r"
            listen = "127.0.0.1:0"
            xfer = "{address}"
            upstream = "attested"
            downstream = {{ tls = "mutual", policy = "genuine-only" }}
            warm = {{ size = 2, max_age = "5m" }}
            "#
        );
        let config: Config = inclavared_config::parse(folder.path().join("here.toml"), &text).unwrap();
        let (node, blocking) =
            process::node(&config.attestation, &config.tls, &config.limits, &config.deadlines, Box::new(|_| {}))
                .unwrap();
        let identity = || {
            let attester = SimAttester::new(&platform, SimSpec::sgx("hop")).unwrap();
            let role = Role {
                chain_role: "relay".to_owned(),
                policy_digest: PolicyDigest::of(b""),
                config_digest: ConfigDigest::of(b""),
            };
            IdentityService::start(Arc::new(attester) as Arc<dyn Attester>, role, now).unwrap()
        };
        let route = config.routes[0].clone();
        let warm = route.warm.map(Pool::new);
        let server = identity().current(now).unwrap();
        let route = RouteState {
            route,
            place: 0,
            identity: Some(Arc::new(identity())),
            quoter: None,
            warm,
            pki: Pki::default(),
            serves: Service::Target,
        };
        let (node, route) = (Arc::new(node), Arc::new(route));
        Self { platform, now, node, route, server, _folder: folder, _blocking: blocking }
    }

    fn pool(&self) -> &Pool {
        self.route.warm.as_ref().unwrap()
    }

    fn own(&self) -> Option<KeyId> {
        identity(&self.route).unwrap().map(|own| own.key.kid())
    }

    /// A leg in the pool, and its other end.
    async fn leg(&self, listener: &TcpListener, tickets: usize) -> TlsStream<TcpStream> {
        let serve = async {
            let own = CertifiedKey::clone(&self.server.certified());
            let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&self.node.side.provider))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .unwrap()
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(SingleCertAndKey::from(own)));
            config.alpn_protocols = vec![ALPN.to_vec()];
            config.send_tls13_tickets = tickets;
            config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
            let (socket, _) = listener.accept().await.unwrap();
            TlsAcceptor::from(Arc::new(config)).accept(socket).await.unwrap()
        };
        let (server, made) = tokio::join!(serve, make(&self.node, &self.route, identity(&self.route).unwrap()));
        self.pool().put(made.unwrap());
        server
    }

    /// Until a look at the pool finds one lost.
    async fn loses_one(&self) {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let weeded = self.pool().weed(self.own());
            assert!(weeded.retired.is_empty());
            if weeded.lost > 0 {
                break assert_eq!(weeded.lost, 1);
            }
            assert!(Instant::now() < end, "nothing was lost");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn run(test: impl AsyncFnOnce(TcpListener)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(LocalSet::new().run_until(async {
        test(TcpListener::bind("127.0.0.1:0").await.unwrap()).await;
    }));
}

#[test]
fn a_leg_is_looked_at_before_it_is_used() {
    let world = std::cell::OnceCell::new();
    run(async |listener| {
        let world = world.get_or_init(|| World::new(listener.local_addr().unwrap()));
        let pool = world.pool();

        // Tickets are nothing; whatever the application's records hold is too much.
        let with_tickets = world.leg(&listener, 2).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(pool.weed(world.own()).lost, 0, "tickets end a leg");
        let (leg, _) = pool.take(world.own()).expect("the leg with tickets");
        drop((leg, with_tickets));
        assert!(pool.take(world.own()).is_none(), "a leg is taken twice");

        let mut server = world.leg(&listener, 0).await;
        server.write_all(&[0; 8]).await.unwrap();
        server.flush().await.unwrap();
        world.loses_one().await;
        assert!(pool.take(world.own()).is_none());

        server = world.leg(&listener, 0).await;
        server.shutdown().await.unwrap();
        world.loses_one().await;

        drop(world.leg(&listener, 0).await);
        world.loses_one().await;

        // It has gone since the last look.
        drop(world.leg(&listener, 0).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(pool.take(world.own()).is_none(), "a closed leg is used");
        assert_eq!(pool.weed(world.own()).lost, 1);
    });
}

#[test]
fn a_leg_of_another_key_is_taken_by_nobody_and_let_go() {
    let world = std::cell::OnceCell::new();
    run(async |listener| {
        let world = world.get_or_init(|| World::new(listener.local_addr().unwrap()));
        let _server = world.leg(&listener, 0).await;
        let old = world.own();
        world.route.identity.as_ref().unwrap().rotate(world.now).unwrap();
        assert!(world.pool().take(world.own()).is_none());
        assert!(world.pool().take(None).is_none());
        assert_ne!(old, world.own());
        let weeded = world.pool().weed(world.own());
        assert_eq!((weeded.retired.len(), weeded.lost, world.pool().lacking()), (1, 0, 2));
    });
}

#[test]
fn newer_collateral_takes_away_those_that_it_refuses() {
    let world = std::cell::OnceCell::new();
    run(async |listener| {
        let world = world.get_or_init(|| World::new(listener.local_addr().unwrap()));
        let newer = |seconds, revoked_pcks| {
            let at = Timestamp(world.now.0 + seconds);
            let spec = CollateralSpec { revoked_pcks, ..CollateralSpec::at(Tee::Sgx, at) };
            let set = world.platform.collateral_with(&spec).unwrap();
            world.node.side.verifier.collateral.insert(Root::Simulated, Arc::new(set)).unwrap();
        };
        let _server = world.leg(&listener, 0).await;
        newer(1, Vec::new());
        world.pool().judge_again(&world.node).await;
        assert_eq!(world.pool().lacking(), 1, "good collateral has cost a leg");
        newer(2, vec![pck_serial(world.server.certificate.evidence())]);
        world.pool().judge_again(&world.node).await;
        assert_eq!(world.pool().lacking(), 2, "a revoked platform's leg stands ready");
    });
}

fn pck_serial(evidence: &Evidence) -> Vec<u8> {
    let quote = evidence.quote();
    let begin = quote.windows(10).position(|bytes| bytes == b"-----BEGIN").unwrap();
    let der = CertificateDer::from_pem_slice(&quote[begin..]).unwrap();
    x509_parser::parse_x509_certificate(&der).unwrap().1.raw_serial().to_vec()
}
