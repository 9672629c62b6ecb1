//! A hop that lies in its REFRESH, made of the library's own parts: each lie is refused by its own check.

use std::sync::Arc;
use std::time::Duration;

use inclavared_attest::attester::{Attester, UserData};
use inclavared_attest::evidence::{FreshClaims, FreshEvidence};
use inclavared_attest::path::{
    Challenge, Check, Downstream, FreshQuote, Kind, MerkleTree, Own, Record, Side, Stage, TlsParameters, Trailer,
    Upstream, binder, leaf,
};
use inclavared_attest::policy::TerminalKind;
use inclavared_attest::sim::SimAttester;
use inclavared_attest::{ConfigDigest, Digest, KeyId, LegId, PolicyDigest, Reason, Timestamp};
use inclavared_tunnel::error::{Error, Refused};
use inclavared_tunnel::leg::handshake::{self, ClientCertificate};
use inclavared_tunnel::leg::socket::Socket;
use inclavared_tunnel::path::client;
use inclavared_tunnel::path::close::Below;
use inclavared_tunnel::path::opening::{receive_open, receive_start};
use inclavared_tunnel::path::statement::Statement;
use inclavared_tunnel::server::node::Node;
use inclavared_tunnel::trust::identity::{IdentityService, Role};
use inclavared_wire::frame::FrameKind;
use tokio::net::TcpListener;

use crate::world::World;

const LIMIT: Duration = Duration::from_secs(10);

/// What the hop may lie about.
#[derive(Clone)]
struct Story {
    seq: u64,
    /// What its record says, and what its quote covers.
    stated: Challenge,
    covered: Option<(LegId, Kind, u64, Challenge)>,
    /// For which key, and under which configuration, it covers it.
    key: Option<KeyId>,
    config: ConfigDigest,
    attester: Arc<SimAttester>,
}

type Lie = Box<dyn Fn(&mut Story, LegId)>;

#[test]
fn each_lie_in_a_refresh_is_refused_by_its_check() {
    let world = World::new();
    let here = Arc::new(world.attester(|_| {}));
    let other_machine = Arc::new(world.attester(|spec| spec.machine = "another".to_owned()));
    let other_code = Arc::new(world.attester(|spec| spec.mrenclave = [7; 32]));
    let other = Challenge::from_bytes([7; 32]);
    let lies: Vec<(&str, Lie, Option<Check>)> = vec![
        ("the truth", Box::new(|_, _| {}), None),
        (
            "a foreign challenge",
            Box::new(move |story, leg| {
                story.stated = other;
                story.covered = Some((leg, Kind::Refresh, 1, other));
            }),
            Some(Check::Challenge),
        ),
        (
            "an old sequence number",
            Box::new(|story, leg| {
                story.seq = 0;
                story.covered = Some((leg, Kind::Refresh, 0, story.stated));
            }),
            Some(Check::Seq),
        ),
        (
            "the quote for another challenge",
            Box::new(move |story, leg| story.covered = Some((leg, Kind::Refresh, 1, other))),
            Some(Check::FreshRoot),
        ),
        (
            "the quote for another sequence number",
            Box::new(|story, leg| story.covered = Some((leg, Kind::Refresh, 2, story.stated))),
            Some(Check::FreshRoot),
        ),
        (
            "the quote for another kind",
            Box::new(|story, leg| story.covered = Some((leg, Kind::Preview, 1, story.stated))),
            Some(Check::FreshRoot),
        ),
        (
            "the quote for another leg",
            Box::new(|story, _| {
                story.covered = Some((LegId::from_bytes([9; 32]), Kind::Refresh, 1, story.stated));
            }),
            Some(Check::FreshRoot),
        ),
        ("no quote", Box::new(|story, _| story.covered = None), Some(Check::BindingLevel)),
        (
            "the quote for another key",
            Box::new(|story, _| story.key = Some(KeyId::from_bytes([8; 32]))),
            Some(Check::FreshRoot),
        ),
        (
            "the quote of before a reload",
            Box::new(|story, _| story.config = ConfigDigest::of(b"before")),
            Some(Check::FreshConfig),
        ),
        (
            "the quote of another machine",
            Box::new(move |story, _| story.attester = Arc::clone(&other_machine)),
            Some(Check::FreshIdentity),
        ),
        (
            "the quote of other code",
            Box::new(move |story, _| story.attester = Arc::clone(&other_code)),
            Some(Check::FreshIdentity),
        ),
    ];
    let verifier = world.verifier("binding = \"key+audit\"");
    for (what, lie, check) in &lies {
        verifier.runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let target = listener.local_addr().unwrap().to_string().parse().unwrap();
            let verify = async {
                let verified = client::verify(&verifier.node.side, &target, &verifier.policy, None).await.unwrap();
                verified.start(&verifier.node.side).await
            };
            let (told, started) = tokio::join!(hop(&verifier.node, &listener, &here, lie), verify);
            match (check, started) {
                (None, Ok((leg, opened))) => {
                    assert!(opened.path.hops[0].fresh_at.is_some(), "{what}");
                    leg.close().await;
                }
                (Some(check), Err(Error::Refused(Refused::Path(error)))) => {
                    assert_eq!((error.hop, error.check), (Some(1), *check), "{what}: {error}");
                    assert_eq!(told, Some(error.reason()), "{what}");
                }
                (check, found) => panic!("{what}: expected {check:?}, found {found:?}"),
            }
        });
    }
}

/// The hop above refuses the lie by its own policy, before its client hears of it.
#[test]
fn a_relay_passes_no_lie_on() {
    let world = World::new();
    let here = Arc::new(world.attester(|_| {}));
    let device = world.device(Duration::ZERO);
    let verifier = world.verifier("");
    let listener = verifier.runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let relay = world.hop("relay", &address, "binding = \"key+audit\"", &device);
    verifier.runtime.block_on(async {
        let target = relay.target();
        let verify = async {
            let verified = client::verify(&verifier.node.side, &target, &verifier.policy, None).await.unwrap();
            let (mut leg, _) = verified.start(&verifier.node.side).await.unwrap();
            leg.expect(FrameKind::Refresh, "the FAULT", LIMIT).await.unwrap_err()
        };
        let lie: Lie = Box::new(|story, _| story.seq = 0);
        let (told, error) = tokio::join!(hop(&verifier.node, &listener, &here, &lie), verify);
        assert_eq!(told, Some(Reason::Freshness));
        assert!(matches!(&error, Error::Fault(fault) if fault.code == Reason::Freshness), "{error:?}");
    });
    let (reason, line) = world.ended("relay").error.unwrap();
    assert_eq!(reason, Reason::Freshness);
    assert!(line.contains("sequence number"), "{line}");
    relay.stop();
}

/// Serves one path, and answers its CHALLENGE with what `lie` makes of the truth. Gives what the client says to that.
async fn hop(node: &Node, listener: &TcpListener, attester: &Arc<SimAttester>, lie: &Lie) -> Option<Reason> {
    let role = Role {
        chain_role: "workload".to_owned(),
        policy_digest: PolicyDigest::of(b""),
        config_digest: ConfigDigest::of(b""),
    };
    let now = Timestamp::now();
    let service = IdentityService::start(Arc::clone(attester) as Arc<dyn Attester>, role, now).unwrap();
    let identity = service.current(now).unwrap();
    let socket = Socket::tcp(listener.accept().await.unwrap().0);
    let certificate = ClientCertificate::Optional;
    let accept = handshake::accept(
        socket,
        &node.side.provider,
        Arc::clone(&identity),
        certificate,
        false,
        &node.gates.handshakes,
        LIMIT,
    );
    let (mut leg, _) = accept.await.unwrap();
    let asked = receive_open(&mut leg, LIMIT, |_| false).await.unwrap();
    let facts = leg.facts.leg.clone();
    let mut statement = Statement::new(Arc::clone(&identity), "workload", &asked.open, asked.digest, &facts);
    let preview = statement.preview(&Below::End(TerminalKind::Workload.into()), None).unwrap();
    leg.send(FrameKind::Preview, &preview).await.unwrap();
    receive_start(&mut leg, &asked, statement.preview_digest(), LIMIT).await.unwrap();
    let frame = leg.expect(FrameKind::Challenge, "the CHALLENGE", LIMIT).await.unwrap();
    let challenge = Challenge::decode(&frame.payload).unwrap();
    let mut story = Story {
        seq: 1,
        stated: challenge,
        covered: Some((facts.id, Kind::Refresh, 1, challenge)),
        key: None,
        config: ConfigDigest::of(b""),
        attester: Arc::clone(attester),
    };
    lie(&mut story, facts.id);
    let fresh = story.covered.map(|(leg, kind, seq, challenge)| {
        let binder = binder(Side::Server, leg, asked.digest, story.key.unwrap_or(identity.key.kid()));
        quote(&story, leaf(binder, kind, seq, Some(&challenge)))
    });
    let record = Record {
        stage: Stage::Refresh { preview: statement.preview_digest().unwrap(), challenge: Some(story.stated) },
        role: "workload".to_owned(),
        session: asked.open.nonce.session(),
        depth: 0,
        seq: story.seq,
        iat_ms: 0,
        own: Own {
            spki: identity.key.spki().to_vec(),
            evidence: identity.certificate.evidence().digest(),
            fresh: fresh.as_ref().map(|(fresh, _)| fresh.clone()),
            endorsements: None,
        },
        upstream: Upstream {
            leg: facts.id,
            peer: facts.client,
            open: asked.digest,
            tls: TlsParameters { suite: facts.suite, group: facts.group, alpn: facts.alpn.clone().unwrap_or_default() },
        },
        downstream: Downstream::Terminal(TerminalKind::Workload),
    };
    let signed = record.sign(&identity.key).unwrap();
    let blobs = fresh.map(|(_, evidence)| Arc::from(evidence.blob()));
    leg.send(FrameKind::Refresh, &Trailer::new(signed, blobs).encode()).await.unwrap();
    match leg.expect(FrameKind::Data, "what the client says", LIMIT).await {
        Err(Error::Fault(fault)) => Some(fault.code),
        _ => None,
    }
}

fn quote(story: &Story, leaf: Digest) -> (FreshQuote, FreshEvidence) {
    let tree = MerkleTree::new(&[leaf]).unwrap();
    let not_after = Timestamp::now().plus(Duration::from_secs(600));
    let (config_digest, iat_ms) = (story.config, Timestamp::now_ms());
    let claims = FreshClaims { config_digest, not_after, root: tree.root(), iat_ms };
    let quote = story.attester.quote(&UserData::of_fresh(&claims)).unwrap();
    let evidence = FreshEvidence::new(story.attester.tag(), quote, claims).unwrap();
    (FreshQuote { evidence: evidence.digest(), path: tree.path(0).unwrap() }, evidence)
}
