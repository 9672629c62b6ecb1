//! Theft of a hop key ends with the key's service: what the hop quotes for its legs afterwards makes no certificate.
//!
//! An anonymous client keeps its leg past the rotation and sends CHALLENGE: the REFRESH has a quote of that moment. With it
//! and the stolen key somebody else's server would be the hop for another half an hour, as often as it asks.

use std::sync::Arc;
use std::time::Duration;

use inclavared_attest::attester::Attester;
use inclavared_attest::evidence::FreshEvidence;
use inclavared_attest::path::{Challenge, Downstream, Trailer, TrailerLimits};
use inclavared_attest::policy::TerminalKind;
use inclavared_attest::{ConfigDigest, PolicyDigest, Reason, Timestamp};
use inclavared_config::Target;
use inclavared_tunnel::error::{Error, Refused};
use inclavared_tunnel::leg::handshake::{self, ClientCertificate};
use inclavared_tunnel::leg::socket::Socket;
use inclavared_tunnel::path::client;
use inclavared_tunnel::path::close::Below;
use inclavared_tunnel::path::opening::{receive_open, receive_start};
use inclavared_tunnel::path::quoting::Quoter;
use inclavared_tunnel::path::statement::Statement;
use inclavared_tunnel::trust::blocking::BlockingPool;
use inclavared_tunnel::trust::identity::{HopIdentity, IdentityService, Role};
use inclavared_wire::frame::FrameKind;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::world::{Verifier, World};

const LIMIT: Duration = Duration::from_secs(10);
const TAGGED_EVIDENCE: &[u64] = &[2, 23, 133, 5, 4, 9];

#[test]
fn with_a_stolen_key_it_opens_no_session() {
    let world = World::new();
    let verifier = world.verifier("");
    let role = Role {
        chain_role: "workload".to_owned(),
        policy_digest: PolicyDigest::of(b""),
        config_digest: ConfigDigest::of(b""),
    };
    let attester: Arc<dyn Attester> = world.device(Duration::ZERO);
    let now = Timestamp::now();
    let service = IdentityService::start(Arc::clone(&attester), role, now).unwrap();
    let stolen = service.current(now).unwrap();
    verifier.runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap().to_string().parse().unwrap();
        let (fresh, ()) = tokio::join!(keep_a_leg(&verifier, &target), hop(&verifier, &listener, &attester, &service));
        assert_ne!(service.current(now).unwrap().key.kid(), stolen.key.kid(), "the key is not in service any more");

        // The server of the attack is one that is let in, while the key's own evidence lasts.
        let true_evidence = stolen.certificate.evidence().blob();
        let error = meet(&verifier, &stolen, true_evidence).await;
        assert!(matches!(error, Error::Peer(_)), "the handshake is through, and the server knows no more: {error:?}");

        let error = meet(&verifier, &stolen, fresh.blob()).await;
        assert!(matches!(error, Error::Refused(Refused::Certificate(_))), "{error:?}");
        assert_eq!(error.reason(), Reason::EvidenceForm, "{error:?}");
        assert!(error.one_line().contains("a fresh quote over legs"), "{}", error.one_line());
    });
}

/// An anonymous client: what the REFRESH of its leg has in it.
async fn keep_a_leg(verifier: &Verifier, target: &Target) -> FreshEvidence {
    let side = &verifier.node.side;
    let verified = client::verify(side, target, &verifier.policy, None).await.unwrap();
    let (mut leg, opened) = verified.start(side).await.unwrap();
    leg.send(FrameKind::Challenge, &Challenge::generate().unwrap().encode()).await.unwrap();
    let refresh = leg.expect(FrameKind::Refresh, "the REFRESH", LIMIT).await.unwrap().payload;
    let evidence = &opened.path.hops[0].evidence;
    let known = |_: &_| Some(Arc::from(evidence.blob()));
    let trailer = Trailer::decode(&refresh, &TrailerLimits::DEFAULT, &known).unwrap();
    let fresh = trailer.records()[0].record().own.fresh.clone().unwrap();
    let blob = trailer.blob(&fresh.evidence).unwrap();
    leg.close().await;
    FreshEvidence::decode(blob).unwrap()
}

/// The hop, whose key goes out of service while the leg stands.
async fn hop(verifier: &Verifier, listener: &TcpListener, attester: &Arc<dyn Attester>, service: &IdentityService) {
    let identity = service.current(Timestamp::now()).unwrap();
    let socket = Socket::tcp(listener.accept().await.unwrap().0);
    let (provider, turns) = (&verifier.node.side.provider, &verifier.node.gates.handshakes);
    let (own, certificate) = (Arc::clone(&identity), ClientCertificate::Optional);
    let accepted = handshake::accept(socket, provider, own, certificate, false, turns, LIMIT).await;
    let (mut leg, _) = accepted.unwrap();
    let asked = receive_open(&mut leg, LIMIT, |_| false).await.unwrap();
    let facts = leg.facts.leg.clone();
    let mut statement = Statement::new(identity, "workload", &asked.open, asked.digest, &facts);
    let preview = statement.preview(&Below::End(TerminalKind::Workload.into()), None).unwrap();
    leg.send(FrameKind::Preview, &preview).await.unwrap();
    receive_start(&mut leg, &asked, statement.preview_digest(), LIMIT).await.unwrap();

    service.rotate(Timestamp::now()).unwrap();
    let frame = leg.expect(FrameKind::Challenge, "the CHALLENGE", LIMIT).await.unwrap();
    let refreshing = statement.begin_refresh(Challenge::decode(&frame.payload).unwrap());
    let (pool, threads) = BlockingPool::new(1, 1).unwrap();
    let quoter = Quoter::new(Arc::clone(attester), pool, LIMIT);
    let fresh = quoter.ask(refreshing.leaf.clone()).unwrap().done().await.unwrap();
    threads.shutdown_background();
    let end = Downstream::Terminal(TerminalKind::Workload);
    let refresh = statement.refresh(&refreshing, fresh, end, None).unwrap();
    leg.send(FrameKind::Refresh, &refresh).await.unwrap();
    leg.close().await;
}

/// What a verifier says to a server with the stolen key and this as its certificate's evidence.
async fn meet(verifier: &Verifier, stolen: &HopIdentity, evidence: &[u8]) -> Error {
    let key = PrivatePkcs8KeyDer::from(stolen.key.pkcs8_der().to_vec());
    let pair = KeyPair::try_from(&key).unwrap();
    let mut params = CertificateParams::default();
    let end = Timestamp::now().plus(Duration::from_secs(60));
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(end.0);
    params.is_ca = rcgen::IsCa::ExplicitNoCa;
    params.custom_extensions.push(CustomExtension::from_oid_content(TAGGED_EVIDENCE, evidence.to_vec()));
    let certificate = params.self_signed(&pair).unwrap().der().clone();
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&verifier.node.side.provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivateKeyDer::Pkcs8(key))
        .unwrap();
    config.alpn_protocols = vec![b"inclavared/1".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap().to_string().parse().unwrap();
    let serve = async {
        let socket = listener.accept().await.unwrap().0;
        // Whether the handshake is through is the verifier's to say.
        drop(TlsAcceptor::from(Arc::new(config)).accept(socket).await);
    };
    let (verified, ()) = tokio::join!(client::verify(&verifier.node.side, &target, &verifier.policy, None), serve);
    verified.unwrap_err()
}
