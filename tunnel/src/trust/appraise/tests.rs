use std::sync::atomic::{AtomicUsize, Ordering};

use inclavared_attest::appraise::{Appraiser, CollateralBook, Root, TrustRoots};
use inclavared_attest::evidence::{HopClaims, SnpEndorsements, Tee};
use inclavared_attest::hop_key::HopKey;
use inclavared_attest::sim::{CollateralSpec, SimAttester, SimPlatform, SimSpec};
use inclavared_attest::{ConfigDigest, PolicyDigest, certificate};

use super::*;

const NOW: Timestamp = Timestamp(1_800_000_000);

/// Appraises once it has learnt something, and counts.
struct Learns {
    appraiser: Appraiser,
    refuses: Reason,
    useful: bool,
    appraised: AtomicUsize,
    learnt: AtomicUsize,
}

impl Appraise for Learns {
    fn appraise(&self, evidence: &Quoted, now: Timestamp) -> Result<Arc<Appraised>, AppraisalError> {
        self.appraised.fetch_add(1, Ordering::Relaxed);
        match self.learnt.load(Ordering::Relaxed) {
            0 => Err(error(self.refuses, "appraisal")),
            _ => self.appraiser.appraise(evidence, now),
        }
    }

    fn learn_endorsements(&self, _: &Quoted, _: &Endorsements, _: Timestamp) -> Result<(), AppraisalError> {
        if !self.useful {
            return Err(error(Reason::QuoteSignature, "certificates"));
        }
        self.learnt.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

fn error(reason: Reason, what: &str) -> AppraisalError {
    AppraisalError { reason, what: what.into(), expected: String::new(), found: String::new() }
}

fn evidence(platform: &Arc<SimPlatform>) -> Evidence {
    let hop = HopClaims {
        version: 1,
        chain_role: "workload".into(),
        policy_digest: PolicyDigest::of(b""),
        not_after: NOW.plus(Duration::from_secs(60)),
        config_digest: ConfigDigest::of(b""),
    };
    let attester = SimAttester::new(platform, SimSpec::of(Tee::Sgx, "a").unwrap()).unwrap();
    certificate::issue(&HopKey::generate().unwrap(), &attester, hop, NOW).unwrap().evidence().clone()
}

fn sent() -> Endorsements {
    Endorsements::SevSnp(SnpEndorsements { vcek: vec![1], ask: vec![2] })
}

#[test]
fn what_a_peer_sends_is_learnt_where_it_is_needed() {
    let platform = Arc::new(SimPlatform::generate(NOW).unwrap());
    let evidence = evidence(&platform);
    let wrapped = |refuses, useful, tag| {
        let book = Arc::new(CollateralBook::new());
        book.insert(Root::Simulated, Arc::new(platform.collateral(Tee::Sgx).unwrap().clone())).unwrap();
        let roots = TrustRoots::vendors().with_simulated(platform.root_der());
        let (appraised, learnt) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let appraiser =
            Learns { appraiser: Appraiser::new(roots, Arc::clone(&book)), refuses, useful, appraised, learnt };
        RememberingAppraiser::new(NamedVerifier { appraiser, name: "sim", accepts: AcceptedTags(vec![tag]) }, book)
    };
    let counts = |appraiser: &RememberingAppraiser<NamedVerifier<Learns>>| {
        let inner = &appraiser.appraiser.appraiser;
        (inner.appraised.load(Ordering::Relaxed), inner.learnt.load(Ordering::Relaxed))
    };
    for refuses in [Reason::Collateral, Reason::Expired] {
        let appraiser = wrapped(refuses, true, EvidenceTag::Simulated);
        // Nothing came along.
        assert_eq!(appraise_with(&appraiser, &evidence, None, NOW).unwrap_err().reason, refuses);
        appraise_with(&appraiser, &evidence, Some(&sent()), NOW).unwrap();
        assert_eq!(counts(&appraiser), (3, 1));
        // And then it is known, whoever shows it.
        appraise_with(&appraiser, &evidence, Some(&sent()), NOW).unwrap();
        appraise_with(&appraiser, &evidence, None, NOW).unwrap();
        assert_eq!(counts(&appraiser), (3, 1));
    }
    // What is refused for itself is not helped by certificates.
    let appraiser = wrapped(Reason::QuoteSignature, true, EvidenceTag::Simulated);
    let refused = appraise_with(&appraiser, &evidence, Some(&sent()), NOW).unwrap_err();
    assert_eq!((refused.what.as_str(), counts(&appraiser)), ("appraisal", (1, 0)));
    // Certificates that do not do are told of.
    let appraiser = wrapped(Reason::Collateral, false, EvidenceTag::Simulated);
    let refused = appraise_with(&appraiser, &evidence, Some(&sent()), NOW).unwrap_err();
    assert_eq!((refused.reason, refused.what.as_str()), (Reason::QuoteSignature, "certificates"));
    // A kind that the verifier is not for teaches nothing.
    let appraiser = wrapped(Reason::Collateral, true, EvidenceTag::SevSnp);
    assert_eq!(appraise_with(&appraiser, &evidence, Some(&sent()), NOW).unwrap_err().reason, Reason::Simulated);
    assert_eq!(appraiser.learn_endorsements(&evidence, &sent(), NOW).unwrap_err().reason, Reason::Simulated);
    assert_eq!(counts(&appraiser), (0, 0));
}

/// Takes its time, says what it is told to, and counts.
struct Slow {
    appraiser: Appraiser,
    refuses: Option<Reason>,
    appraised: AtomicUsize,
}

impl Appraise for Slow {
    fn appraise(&self, evidence: &Quoted, now: Timestamp) -> Result<Arc<Appraised>, AppraisalError> {
        self.appraised.fetch_add(1, Ordering::SeqCst);
        std::thread::park_timeout(Duration::from_millis(50));
        match self.refuses {
            Some(reason) => Err(error(reason, "appraisal")),
            None => self.appraiser.appraise(evidence, now),
        }
    }
}

fn slow(platform: &SimPlatform, refuses: Option<Reason>) -> RememberingAppraiser<Slow> {
    let book = Arc::new(CollateralBook::new());
    book.insert(Root::Simulated, Arc::new(platform.collateral(Tee::Sgx).unwrap().clone())).unwrap();
    let roots = TrustRoots::intel().with_simulated(platform.root_der());
    let appraiser = Appraiser::new(roots, Arc::clone(&book));
    RememberingAppraiser::new(Slow { appraiser, refuses, appraised: AtomicUsize::new(0) }, book)
}

fn appraised(appraiser: &RememberingAppraiser<Slow>) -> usize {
    appraiser.appraiser.appraised.load(Ordering::SeqCst)
}

#[test]
fn many_who_ask_at_once_are_one_appraisal() {
    let platform = Arc::new(SimPlatform::generate(NOW).unwrap());
    let (appraiser, evidence) = (slow(&platform, None), evidence(&platform));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| appraiser.appraise(&evidence, NOW).unwrap());
        }
    });
    let counters = appraiser.counters();
    assert_eq!((appraised(&appraiser), counters.misses.get(), counters.hits.get()), (1, 1, 7));
    assert_eq!((counters.size(), counters.evictions.get()), (1, 0));

    // Other collateral for the same model: what rested on the old is let go of.
    let later = CollateralSpec::at(Tee::Sgx, NOW.plus(Duration::from_secs(5)));
    let newer = Arc::new(platform.collateral_with(&later).unwrap());
    appraiser.book().insert(Root::Simulated, newer).unwrap();
    appraiser.appraise(&evidence, NOW).unwrap();
    assert_eq!((appraised(&appraiser), counters.evictions.get(), counters.size()), (2, 1, 1));
    // And it ends by itself.
    let end = NOW.plus(Duration::from_secs(601));
    appraiser.appraise(&evidence, end).unwrap();
    assert_eq!((appraised(&appraiser), counters.evictions.get()), (3, 2));
}

/// The wall clock of a TEE is its host's, who may stop it or set it back.
#[test]
fn an_acceptance_ends_though_the_wall_clock_stands_still() {
    let platform = Arc::new(SimPlatform::generate(NOW).unwrap());
    let (appraiser, evidence) = (slow(&platform, None), evidence(&platform));
    let expires = appraiser.appraise(&evidence, NOW).unwrap().expires;
    // A second before its end it is appraised anew, and is remembered for that second.
    let late = Timestamp(expires.0 - 1);
    let appraiser = slow(&platform, None);
    appraiser.appraise(&evidence, late).unwrap();
    assert!(appraiser.recall(&evidence.digest(), late).is_some());
    std::thread::park_timeout(Duration::from_millis(1500));
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(10) && appraiser.recall(&evidence.digest(), late).is_some() {
        std::thread::park_timeout(Duration::from_millis(100));
    }
    assert!(appraiser.recall(&evidence.digest(), late).is_none(), "it is remembered for as long as the clock stands");
}

#[test]
fn refusals_are_remembered_for_a_moment_and_never_for_want_of_collateral() {
    let platform = Arc::new(SimPlatform::generate(NOW).unwrap());
    let evidence = evidence(&platform);
    for (reason, asked) in
        [(Reason::QuoteSignature, 1), (Reason::Debug, 1), (Reason::Collateral, 3), (Reason::Expired, 3)]
    {
        let appraiser = slow(&platform, Some(reason));
        for _ in 0..3 {
            assert_eq!(appraiser.appraise(&evidence, NOW).unwrap_err().reason, reason);
        }
        assert_eq!(appraised(&appraiser), asked, "{reason:?}");
        assert_eq!(appraiser.counters().refused(reason), asked as u64);
        assert!(appraiser.recall(&evidence.digest(), NOW).is_none());
        // Under other collateral it may be another verdict.
        let later = CollateralSpec::at(Tee::Sgx, NOW.plus(Duration::from_secs(5)));
        appraiser.book().insert(Root::Simulated, Arc::new(platform.collateral_with(&later).unwrap())).unwrap();
        appraiser.appraise(&evidence, NOW).unwrap_err();
        assert_eq!(appraised(&appraiser), asked + 1, "{reason:?}");
    }
}
