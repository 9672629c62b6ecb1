//! Trailers, their verification, and appraisal: `cargo bench -p inclavared-bench --bench paths`.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has nothing better to do than to stop")]

#[allow(dead_code, reason = "the builders of the tests, which use all of them")]
#[path = "../../attest/tests/path/chain.rs"]
mod chain;
#[allow(dead_code, reason = "the builders of the tests, which use all of them")]
#[path = "../../attest/tests/path/world.rs"]
mod world;

use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use inclavared_attest::Timestamp;
use inclavared_attest::appraise::snp::AmdSet;
use inclavared_attest::appraise::{AppraisalError, Appraise, Appraised, Appraiser, CollateralBook, Root, TrustRoots};
use inclavared_attest::attester::Attester;
use inclavared_attest::evidence::{Quoted, Tee};
use inclavared_attest::path::{Expects, verify_path};
use inclavared_attest::sim::{SimPlatform, SimSnpAttester, SimSnpSpec};
use inclavared_tunnel::trust::appraise::RememberingAppraiser;

use chain::Chain;
use world::{NOW, World, policy};

/// The appraiser of all, so that it can be remembered or not.
struct Same<'a>(&'a Appraiser);

impl Appraise for Same<'_> {
    fn appraise(&self, evidence: &Quoted, now: Timestamp) -> Result<Arc<Appraised>, AppraisalError> {
        self.0.appraise(evidence, now)
    }
}

fn trailers(c: &mut Criterion) {
    let world = World::new(SimPlatform::generate(NOW).unwrap());
    let (cold, policy) = (&world.appraiser, policy());
    let remembering = RememberingAppraiser::new(Same(&world.appraiser), Arc::clone(world.appraiser.book()));
    let mut group = c.benchmark_group("trailer");
    for hops in [1, 2, 3, 8] {
        let chain = Chain::new(NOW, &world.attesters(hops));
        let preview = chain.preview().encode();
        let input = || chain.input(&preview, Expects::Preview);
        // All records are signed anew: of a real trailer each hop signs one.
        group.bench_with_input(BenchmarkId::new("build", hops), &hops, |b, _| b.iter(|| chain.preview().encode()));
        group.bench_with_input(BenchmarkId::new("verify-cold", hops), &hops, |b, _| {
            b.iter(|| verify_path(&input(), &policy, cold).unwrap());
        });
        group.bench_with_input(BenchmarkId::new("verify-remembered", hops), &hops, |b, _| {
            b.iter(|| verify_path(&input(), &policy, &remembering).unwrap());
        });
    }
    group.finish();
}

fn appraisal(c: &mut Criterion) {
    let world = World::new(SimPlatform::generate(NOW).unwrap());
    let remembering = RememberingAppraiser::new(Same(&world.appraiser), Arc::clone(world.appraiser.book()));
    let mut group = c.benchmark_group("appraisal");
    // One at a time on one thread: the reciprocal of a time is what a core does in a second.
    group.throughput(Throughput::Elements(1));
    let chain = Chain::new(NOW, &world.attesters(2));
    for (hop, tee) in chain.hops.iter().zip([Tee::Sgx, Tee::Tdx]) {
        group.bench_function(format!("cold/{tee:?}"), |b| {
            b.iter(|| world.appraiser.appraise(&hop.evidence, NOW).unwrap());
        });
        group.bench_function(format!("remembered/{tee:?}"), |b| {
            b.iter(|| remembering.appraise(&hop.evidence, NOW).unwrap());
        });
    }
    // A report of AMD's, its chain at hand and a list of revoked certificates checked.
    let platform = Arc::new(SimPlatform::generate(NOW).unwrap().with_amd(NOW).unwrap());
    let amd = platform.amd().unwrap();
    let roots = TrustRoots::intel().with_simulated_amd([amd.root().clone()]);
    let appraiser = Appraiser::new(roots, Arc::new(CollateralBook::new()));
    let snp: Arc<dyn Attester> = Arc::new(SimSnpAttester::new(&platform, SimSnpSpec::new("hop"), NOW).unwrap());
    let vcek = amd.vcek(&platform.chip_id("machine"), [3, 0, 0, 0, 0, 0, 8, 115], NOW).unwrap();
    let set = AmdSet { certificates: vec![vcek], ..amd.set().clone() };
    let book = appraiser.book().amd(Root::Simulated);
    book.insert_set(&set, appraiser.roots().amd(Root::Simulated), NOW).unwrap();
    let remembering = RememberingAppraiser::new(Same(&appraiser), Arc::clone(appraiser.book()));
    let evidence = &Chain::new(NOW, &[snp]).hops[0].evidence;
    group.bench_function("cold/SevSnp", |b| b.iter(|| appraiser.appraise(evidence, NOW).unwrap()));
    group.bench_function("remembered/SevSnp", |b| b.iter(|| remembering.appraise(evidence, NOW).unwrap()));
    group.finish();
}

criterion_group!(benches, trailers, appraisal);
criterion_main!(benches);
