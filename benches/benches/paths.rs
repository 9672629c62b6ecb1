//! Trailers, their verification, and appraisal: `cargo bench -p inclavared-bench --bench paths`.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has nothing better to do than to stop")]

#[allow(dead_code, reason = "the builders of the tests, which use all of them")]
#[path = "../../attest/tests/path/chain.rs"]
mod chain;
#[allow(dead_code, reason = "the builders of the tests, which use all of them")]
#[path = "../../attest/tests/path/world.rs"]
mod world;

use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use inclavared_attest::Timestamp;
use inclavared_attest::appraise::{AppraisalError, Appraise, Appraised, Appraiser};
use inclavared_attest::evidence::{Evidence, Tee};
use inclavared_attest::path::{Expects, verify_path};
use inclavared_attest::sim::SimPlatform;
use inclavared_tunnel::appraise::RememberingAppraiser;

use chain::Chain;
use world::{NOW, World, policy};

/// The appraiser of all, so that it can be remembered or not.
struct Same<'a>(&'a Appraiser);

impl Appraise for Same<'_> {
    fn appraise(&self, evidence: &Evidence, now: Timestamp) -> Result<Arc<Appraised>, AppraisalError> {
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
    let chain = Chain::new(NOW, &world.attesters(2));
    for (hop, tee) in chain.hops.iter().zip([Tee::Sgx, Tee::Tdx]) {
        group.bench_function(format!("cold/{tee:?}"), |b| {
            b.iter(|| world.appraiser.appraise(&hop.evidence, NOW).unwrap());
        });
        group.bench_function(format!("remembered/{tee:?}"), |b| {
            b.iter(|| remembering.appraise(&hop.evidence, NOW).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, trailers, appraisal);
criterion_main!(benches);
