//! The simulated platform of these tests, the appraiser that trusts it, and the policy that lets it in.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use inclavared_attest::Timestamp;
use inclavared_attest::appraise::{Appraiser, CollateralBook, Root, TrustRoots};
use inclavared_attest::attester::Attester;
use inclavared_attest::evidence::Tee;
use inclavared_attest::policy::{Policy, TerminalKind};
use inclavared_attest::sim::{SimAttester, SimPlatform, SimSpec};

pub(crate) const NOW: Timestamp = Timestamp(1_800_000_000);

pub(crate) struct World {
    pub(crate) platform: Arc<SimPlatform>,
    pub(crate) appraiser: Appraiser,
}

/// One platform for all tests: its keys take a while to make.
pub(crate) static WORLD: LazyLock<World> = LazyLock::new(|| World::new(SimPlatform::generate(NOW).unwrap()));

impl World {
    pub(crate) fn new(platform: SimPlatform) -> Self {
        let book = CollateralBook::new();
        for tee in [Tee::Sgx, Tee::Tdx] {
            book.insert(Root::Simulated, Arc::new(platform.collateral(tee).unwrap().clone())).unwrap();
        }
        let roots = TrustRoots::intel().with_simulated(platform.root_der());
        Self { platform: Arc::new(platform), appraiser: Appraiser::new(roots, Arc::new(book)) }
    }

    pub(crate) fn attester(&self, spec: SimSpec) -> Arc<dyn Attester> {
        Arc::new(SimAttester::new(&self.platform, spec).unwrap())
    }

    /// SGX and TDX in turn.
    pub(crate) fn attesters(&self, count: usize) -> Vec<Arc<dyn Attester>> {
        let spec = |i: usize| if i.is_multiple_of(2) { SimSpec::sgx("hop") } else { SimSpec::tdx("hop") };
        (0..count).map(|i| self.attester(spec(i))).collect()
    }
}

/// Lets every simulated hop in, and any path that does not end in the open.
pub(crate) fn policy() -> Policy {
    let mut policy = Policy { name: "test".to_owned(), allow_simulated: true, ..Policy::genuine_only() };
    policy.shape.terminals = BTreeSet::from([TerminalKind::Workload, TerminalKind::TeeLocal]);
    policy.shape.allow_legacy_end = false;
    policy
}
