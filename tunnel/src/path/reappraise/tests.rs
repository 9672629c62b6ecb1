use inclavared_attest::appraise::{Appraiser, Root, TrustRoots};
use inclavared_attest::attester::{Attester as _, UserData};
use inclavared_attest::evidence::{Claims, HopClaims, Tee};
use inclavared_attest::policy::TerminalKind;
use inclavared_attest::sim::{CollateralSpec, SimAttester, SimPlatform, SimSpec};
use inclavared_attest::{ConfigDigest, Digest, KeyId, PolicyDigest};
use inclavared_collateral::{CollateralService, CollateralSettings};
use inclavared_config::VerifierKind;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::*;
use crate::trust::appraise::{AcceptedTags, NamedVerifier, RememberingAppraiser};
use crate::trust::blocking::BlockingPool;

const LIMIT: Duration = Duration::from_secs(20);

struct World {
    platform: Arc<SimPlatform>,
    now: Timestamp,
    service: Arc<CollateralService>,
    verifier: Verifier,
    _threads: tokio::runtime::Runtime,
}

impl World {
    fn new() -> Self {
        let now = Timestamp::now();
        let platform = Arc::new(SimPlatform::generate(now).unwrap());
        let roots = TrustRoots::intel().with_simulated(platform.root_der());
        let service = Arc::new(CollateralService::new(CollateralSettings::default(), roots.clone()).unwrap());
        let appraiser = Appraiser::new(roots, service.book());
        let accepts = AcceptedTags(vec![EvidenceTag::Simulated]);
        let named = NamedVerifier { appraiser, name: "sim", accepts };
        let (pool, threads) = BlockingPool::new(1, 8).unwrap();
        let appraiser = RememberingAppraiser::new(named, service.book());
        let verifier = Verifier {
            counters: appraiser.counters(),
            appraiser: Arc::new(appraiser),
            collateral: Arc::clone(&service),
            pool,
            limit: LIMIT,
            turns: Arc::new(Semaphore::new(1)),
            seen: Arc::default(),
        };
        Self { platform, now, service, verifier, _threads: threads }
    }

    /// A set that is so many seconds newer than the platform's own, and revokes what it is told to.
    fn newer(&self, seconds: u64, revoked_pcks: Vec<Vec<u8>>) {
        let at = Timestamp(self.now.0 + seconds);
        let spec = CollateralSpec { revoked_pcks, ..CollateralSpec::at(Tee::Sgx, at) };
        let set = self.platform.collateral_with(&spec).unwrap();
        self.service.insert(Root::Simulated, Arc::new(set)).unwrap();
    }

    /// Of a hop whose certificate has ended by now.
    fn evidence(&self) -> Evidence {
        let hop = HopClaims {
            version: 1,
            chain_role: "relay".into(),
            policy_digest: PolicyDigest::of(b""),
            not_after: Timestamp(self.now.0 - 1),
            config_digest: ConfigDigest::of(b""),
        };
        let claims = Claims::new(KeyId(Digest::of(b"key")), Some(hop));
        let attester = SimAttester::new(&self.platform, SimSpec::of(Tee::Sgx, "a").unwrap()).unwrap();
        let quote = attester.quote(&UserData::of(&claims)).unwrap();
        Evidence::new(EvidenceTag::Simulated, quote, claims).unwrap()
    }
}

/// The world's threads end outside.
fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

fn pck_serial(evidence: &Evidence) -> Vec<u8> {
    let quote = evidence.quote();
    let begin = quote.windows(10).position(|bytes| bytes == b"-----BEGIN").unwrap();
    let der = CertificateDer::from_pem_slice(&quote[begin..]).unwrap();
    x509_parser::parse_x509_certificate(&der).unwrap().1.raw_serial().to_vec()
}

#[test]
fn a_revocation_ends_what_newer_collateral_alone_does_not() {
    let world = World::new();
    run(async {
        world.newer(0, Vec::new());
        let evidence = world.evidence();
        let policy = Arc::new(VerifierKind::Sim.default_policy());
        let standing = Standing(vec![alone("the client", evidence.clone(), &policy)]);
        let refused = standing.until_refused(&world.verifier, world.verifier.changes());
        tokio::pin!(refused);

        // Warm, and then taken back by what came later: the remembered verdict must not stand.
        world.verifier.appraiser.appraise(&evidence, Timestamp::now()).unwrap();
        world.newer(1, Vec::new());
        assert!(timeout(Duration::from_millis(500), &mut refused).await.is_err(), "it ended under good collateral");

        world.newer(2, vec![pck_serial(&evidence)]);
        let error = timeout(LIMIT, refused).await.unwrap();
        let Error::Reappraised { who, source } = &error else { panic!("{error}") };
        assert_eq!(who, "the client");
        assert_eq!(source.reason(), inclavared_attest::Reason::QuoteSignature, "{}", error.one_line());
        assert_eq!(error.to_fault(false).code, source.reason());
        assert!(world.verifier.appraiser.appraise(&evidence, Timestamp::now()).is_err());
    });
}

#[test]
fn who_was_not_appraised_is_not_asked() {
    let world = World::new();
    run(async {
        world.newer(0, Vec::new());
        let below = Below::End(TerminalKind::Plain.into());
        let standing = Standing::new((Judged::Nothing, None), (&below, None));
        let refused = standing.until_refused(&world.verifier, world.verifier.changes());
        world.newer(1, Vec::new());
        assert!(timeout(Duration::from_millis(200), refused).await.is_err());
    });
}
