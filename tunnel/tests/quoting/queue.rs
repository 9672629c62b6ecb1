//! The queue of the quotes by itself.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use inclavared_attest::attester::{Attester, AttesterError, UserData};
use inclavared_attest::evidence::{EvidenceTag, FreshEvidence};
use inclavared_attest::path::{Kind, Nonce, Open, Side, VERSION, binder, leaf};
use inclavared_attest::policy::Binding;
use inclavared_attest::{ConfigDigest, Digest, LegId, PolicyDigest, Reason, Timestamp};
use inclavared_tunnel::error::Error;
use inclavared_tunnel::leg::LegFacts;
use inclavared_tunnel::path::quoting::{Leaf, Quoter};
use inclavared_tunnel::path::statement::Statement;
use inclavared_tunnel::trust::blocking::BlockingPool;
use inclavared_tunnel::trust::identity::{HopIdentity, IdentityService, Role};

use crate::world::{Device, World};

const LIMIT: Duration = Duration::from_secs(10);

fn identity(device: &Arc<Device>) -> Arc<HopIdentity> {
    identity_under(device, b"")
}

fn identity_under(device: &Arc<Device>, config: &[u8]) -> Arc<HopIdentity> {
    let role = Role {
        chain_role: "workload".to_owned(),
        policy_digest: PolicyDigest::of(b""),
        config_digest: ConfigDigest::of(config),
    };
    let now = Timestamp::now();
    IdentityService::start(Arc::clone(device) as Arc<dyn Attester>, role, now).unwrap().current(now).unwrap()
}

/// Quotes nothing.
#[derive(Debug)]
struct NullAttester;

impl Attester for NullAttester {
    fn name(&self) -> &'static str {
        "null"
    }

    fn tag(&self) -> EvidenceTag {
        EvidenceTag::Null
    }

    fn quote(&self, _: &UserData) -> Result<Vec<u8>, AttesterError> {
        Ok(Vec::new())
    }
}

/// A leg with that number, and what a quote for its preview has to cover.
fn leg(identity: &Arc<HopIdentity>, number: u8) -> (Leaf, Digest) {
    let open = Open {
        versions: vec![VERSION],
        nonce: Nonce::from_bytes([1; 32]),
        binding: Binding::Quote,
        route: None,
        policy: None,
        ttl: 1,
        visited: Vec::new(),
        have: Vec::new(),
        no_warm_legs: false,
        stranger: false,
    };
    let digest = Open::digest(&open.encode());
    let (id, server) = (LegId::from_bytes([number; 32]), identity.key.kid());
    let facts = LegFacts { id, server, client: None, suite: 0x1301, group: 29, alpn: None, sni: None };
    let statement = Statement::new(Arc::clone(identity), "workload", &open, digest, &facts);
    (statement.preview_leaf(), leaf(binder(Side::Server, id, digest, server), Kind::Preview, 0, None))
}

/// A hundred keys that are not in service any more, each with a leg that is challenged: one quote a round.
#[test]
fn retired_keys_cost_no_more_than_one() {
    const KEYS: u8 = 100;
    let world = World::new();
    let device = world.device(Duration::from_millis(20));
    let keys: Vec<_> = (0..KEYS).map(|_| identity(&device)).collect();
    let (pool, _threads) = BlockingPool::new(1, 8).unwrap();
    let quoter = Quoter::new(Arc::clone(&device) as Arc<dyn Attester>, pool, LIMIT);
    for round in 0..3 {
        let before = device.begun.load(Ordering::SeqCst);
        block_on(async {
            let first = quoter.ask(leg(&keys[0], 255).0).unwrap();
            device.is_busy(before + 1).await;
            let all: Vec<_> =
                (0..KEYS).map(|number| quoter.ask(leg(&keys[usize::from(number)], number).0).unwrap()).collect();
            first.done().await.unwrap();
            for pending in all {
                pending.done().await.unwrap();
            }
        });
        assert_eq!(device.begun.load(Ordering::SeqCst) - before, 2, "round {round}");
    }
}

/// Who asks what nothing can answer is told so, and does not wait for it.
#[test]
fn nothing_quotes_where_there_is_no_attester() {
    let world = World::new();
    let key = identity(&world.device(Duration::ZERO));
    let (pool, _threads) = BlockingPool::new(1, 8).unwrap();
    let quoter = Quoter::new(Arc::new(NullAttester) as Arc<dyn Attester>, pool, LIMIT);
    assert!(!quoter.can_quote());
    let error = quoter.ask(leg(&key, 1).0).unwrap_err();
    assert!(matches!(error, Error::NeverQuotes) && error.reason() == Reason::BindingLevel, "{error:?}");
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// One tree serves all keys, as many as there are; legs from before a reload have another.
#[test]
fn legs_share_a_quote_whatever_their_keys() {
    let world = World::new();
    let device = world.device(Duration::from_millis(100));
    let keys = [identity(&device), identity(&device), identity_under(&device, b"before a reload")];
    let (pool, _threads) = BlockingPool::new(1, 8).unwrap();
    let quoter = Quoter::new(Arc::clone(&device) as Arc<dyn Attester>, pool, LIMIT);
    let before = device.begun.load(Ordering::SeqCst);
    block_on(async {
        // The first has a quote of its own; the others come while it is made.
        let first = quoter.ask(leg(&keys[0], 0).0).unwrap();
        device.is_busy(before + 1).await;
        let others: Vec<_> = (1..=40)
            .map(|number| {
                let key = &keys[usize::from(number % 3)];
                let (leaf, digest) = leg(key, number);
                (key, digest, quoter.ask(leaf).unwrap())
            })
            .collect();
        // Who has gone is not quoted for.
        drop(quoter.ask(leg(&keys[0], 99).0).unwrap());
        first.done().await.unwrap();
        let mut quotes = HashSet::new();
        for (key, digest, pending) in others {
            let fresh = pending.done().await.unwrap();
            let evidence = FreshEvidence::decode(&fresh.blob).unwrap();
            assert_eq!(fresh.quote.evidence, evidence.digest());
            assert_eq!(evidence.claims().root, fresh.quote.path.root(&digest));
            let certified = key.certificate.evidence().claims();
            assert_eq!(evidence.claims().config_digest, certified.hop().unwrap().config_digest);
            quotes.insert(evidence.digest());
            // A tree of 13 or 27 leaves has four or five levels; an odd node passes some of them over.
            assert!((2..=5).contains(&fresh.quote.path.siblings.len()), "{:?}", fresh.quote.path);
        }
        assert_eq!(quotes.len(), 2, "one a configuration");
    });
    assert_eq!(device.begun.load(Ordering::SeqCst) - before, 3);
    assert_eq!(device.overlaps.load(Ordering::SeqCst), 0);
}

#[test]
fn a_slow_and_a_broken_device_are_errors_and_the_next_quote_is_made() {
    let world = World::new();
    let device = world.device(Duration::from_millis(200));
    let key = identity(&device);
    let (pool, _threads) = BlockingPool::new(1, 8).unwrap();
    let quoter = |limit| Quoter::new(Arc::clone(&device) as Arc<dyn Attester>, pool.clone(), limit);
    block_on(async {
        let hasty = quoter(Duration::from_millis(20));
        let late = hasty.ask(leg(&key, 1).0).unwrap().done().await.unwrap_err();
        assert!(matches!(late, Error::Deadline { what: "a fresh quote", .. }), "{late:?}");

        let quoter = quoter(LIMIT);
        device.broken.store(true, Ordering::SeqCst);
        let (one, two) = (quoter.ask(leg(&key, 1).0).unwrap(), quoter.ask(leg(&key, 2).0).unwrap());
        for pending in [one, two] {
            let failed = pending.done().await.unwrap_err();
            assert!(matches!(&failed, Error::Quote(_)) && failed.reason() == Reason::BindingLevel, "{failed:?}");
        }
        device.broken.store(false, Ordering::SeqCst);
        quoter.ask(leg(&key, 3).0).unwrap().done().await.unwrap();
    });
}

#[test]
fn a_full_queue_refuses_and_the_pool_is_not_waited_for() {
    let world = World::new();
    let device = world.device(Duration::from_secs(1));
    let key = identity(&device);
    let before = device.begun.load(Ordering::SeqCst);
    let (pool, _threads) = BlockingPool::new(1, 0).unwrap();
    let quoter = Quoter::new(Arc::clone(&device) as Arc<dyn Attester>, pool.clone(), LIMIT);
    block_on(async {
        // While the pool is full nobody can make the quote.
        let (release, held) = std::sync::mpsc::channel::<()>();
        pool.spawn(move || held.recv().unwrap_or_default()).unwrap();
        assert!(matches!(quoter.ask(leg(&key, 1).0), Err(Error::Overload { .. })));
        release.send(()).unwrap();
        let first = loop {
            match quoter.ask(leg(&key, 1).0) {
                Ok(pending) => break pending,
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        };
        device.is_busy(before + 1).await;
        let (another, _) = leg(&key, 2);
        let waiting: Vec<_> = (0..1 << 16).map(|_| quoter.ask(another.clone()).unwrap()).collect();
        let error = quoter.ask(leg(&key, 3).0).unwrap_err();
        assert!(matches!(error, Error::Overload { limit: 65_536, .. }), "{error:?}");
        drop(waiting);
        // Those have gone: there is room again.
        let last = quoter.ask(leg(&key, 3).0).unwrap();
        first.done().await.unwrap();
        last.done().await.unwrap();
    });
}
