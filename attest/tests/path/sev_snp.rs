//! Hops on SEV-SNP: what their hosts hand out travels with their records, so that a verifier far up can appraise them.

use std::sync::Arc;

use inclavared_attest::appraise::snp::AmdSet;
use inclavared_attest::appraise::{Appraiser, CollateralBook, Root, TrustRoots};
use inclavared_attest::attester::Attester;
use inclavared_attest::evidence::{Endorsements, SnpEndorsements, Tee};
use inclavared_attest::path::{Check, Expects, TrailerLimits, verify_path};
use inclavared_attest::sim::{SimAttester, SimPlatform, SimSnpAttester, SimSnpSpec, SimSpec};
use inclavared_attest::{Digest, Reason};

use crate::chain::Chain;
use crate::world::{NOW, policy};

struct World {
    platform: Arc<SimPlatform>,
}

impl World {
    fn new() -> Self {
        Self { platform: Arc::new(SimPlatform::generate(NOW).unwrap().with_amd(NOW).unwrap()) }
    }

    /// One that has met no hop yet, and no service of AMD's.
    fn appraiser(&self) -> Appraiser {
        let roots = TrustRoots::intel().with_simulated(self.platform.root_der());
        let roots = roots.with_simulated_amd([self.platform.amd().unwrap().root().clone()]);
        let book = CollateralBook::new();
        book.insert(Root::Simulated, Arc::new(self.platform.collateral(Tee::Sgx).unwrap().clone())).unwrap();
        Appraiser::new(roots, Arc::new(book))
    }

    fn snp(&self, machine: &str, certificates: bool) -> Arc<dyn Attester> {
        let spec = SimSnpSpec { machine: machine.to_owned(), certificates, ..SimSnpSpec::new("hop") };
        Arc::new(SimSnpAttester::new(&self.platform, spec, NOW).unwrap())
    }

    /// SGX, then two machines of AMD's.
    fn chain(&self, certificates: bool) -> Chain {
        let sgx = Arc::new(SimAttester::new(&self.platform, SimSpec::sgx("hop")).unwrap());
        Chain::new(NOW, &[sgx, self.snp("a", certificates), self.snp("b", certificates)])
    }
}

#[test]
fn certificates_travel_to_the_verifier() {
    let world = World::new();
    let chain = world.chain(true);
    let preview = chain.preview().encode();
    let path = verify_path(&chain.input(&preview, Expects::Preview), &policy(), &world.appraiser()).unwrap();
    let tees: Vec<_> = path.hops.iter().map(|hop| (hop.appraised.tee, hop.appraised.root)).collect();
    let simulated = |tee| (tee, Root::Simulated);
    assert_eq!(tees, [simulated(Tee::Sgx), simulated(Tee::SevSnp), simulated(Tee::SevSnp)]);
    assert_eq!(path.hops[1].appraised.platform.ids, [world.platform.chip_id("a").to_vec()]);
}

#[test]
fn without_them_the_verifier_has_to_have_its_own() {
    let world = World::new();
    let chain = world.chain(false);
    let preview = chain.preview().encode();
    let input = chain.input(&preview, Expects::Preview);
    let appraiser = world.appraiser();
    let refused = verify_path(&input, &policy(), &appraiser).unwrap_err();
    assert_eq!((refused.hop, refused.check, refused.reason()), (Some(2), Check::Appraisal, Reason::Collateral));

    // As a service hands them out.
    let amd = world.platform.amd().unwrap();
    let tcb = [3, 0, 0, 0, 0, 0, 8, 115];
    let certificates = ["a", "b"].map(|machine| amd.vcek(&world.platform.chip_id(machine), tcb, NOW).unwrap()).into();
    let set = AmdSet { certificates, ..amd.set().clone() };
    appraiser.book().amd(Root::Simulated).insert_set(&set, appraiser.roots().amd(Root::Simulated), NOW).unwrap();
    let path = verify_path(&input, &policy(), &appraiser).unwrap();
    assert!(path.hops[1].appraised.revocation_checked);
}

#[test]
fn wrong_ones_help_nobody() {
    let world = World::new();
    let good = world.chain(true);
    let others = World::new().chain(true);
    let Ok(Endorsements::SimulatedSnp(sent)) = Endorsements::decode(good.hops[1].endorsements.as_ref().unwrap()) else {
        panic!()
    };
    let of = |endorsements: Endorsements| Some(Arc::from(endorsements.encode()));
    for (what, endorsements, reason) in [
        ("another machine's", good.hops[2].endorsements.clone(), Reason::Collateral),
        ("another platform's", others.hops[1].endorsements.clone(), Reason::QuoteSignature),
        ("not readable", Some(Arc::from(&b"\xa0"[..])), Reason::Collateral),
        ("of another kind", of(Endorsements::SevSnp(sent.clone())), Reason::Collateral),
        (
            "without the CA, which nobody here has",
            of(Endorsements::SimulatedSnp(SnpEndorsements { ask: Vec::new(), ..sent })),
            Reason::Collateral,
        ),
    ] {
        let mut chain = world.chain(true);
        chain.hops[1] = good.hops[1].clone();
        chain.hops[1].endorsements = endorsements;
        // The hop above saw this evidence.
        let preview = chain.preview().encode();
        let refused = verify_path(&chain.input(&preview, Expects::Preview), &policy(), &world.appraiser()).unwrap_err();
        assert_eq!((refused.hop, refused.reason()), (Some(2), reason), "{what}: {refused}");
    }
}

#[test]
fn they_are_counted_and_named_like_every_blob() {
    let world = World::new();
    let chain = world.chain(true);
    // Named and not there: as if there were none.
    let trailer = chain.preview();
    let name = Digest::of(chain.hops[1].endorsements.as_ref().unwrap());
    let without = trailer.encode_without(&|blob| *blob == name);
    let refused = verify_path(&chain.input(&without, Expects::Preview), &policy(), &world.appraiser()).unwrap_err();
    assert_eq!((refused.hop, refused.reason()), (Some(2), Reason::Collateral), "{refused}");

    // There and not named.
    let unnamed = chain.preview_with(&|position, record| {
        if position == 2 {
            record.own.endorsements = None;
        }
    });
    let mut smuggled = unnamed.clone();
    smuggled.prepend(unnamed.records()[0].clone(), [Arc::clone(chain.hops[1].endorsements.as_ref().unwrap())]);
    let limits = TrailerLimits { hops: 8, ..TrailerLimits::DEFAULT };
    let refused = inclavared_attest::path::Trailer::decode(&smuggled.encode(), &limits, &|_| None).unwrap_err();
    assert_eq!(refused.reason(), Reason::PathChain, "{refused}");

    // Larger than two certificates can be.
    let mut chain = world.chain(true);
    chain.hops[2].endorsements = Some(Arc::from(vec![0; 8 * 1024 + 1]));
    let preview = chain.preview().encode();
    let refused = verify_path(&chain.input(&preview, Expects::Preview), &policy(), &world.appraiser()).unwrap_err();
    assert_eq!(refused.reason(), Reason::PathForm, "{refused}");
}
