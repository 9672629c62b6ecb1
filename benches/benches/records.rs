//! The record layer and the frames, without sockets: `cargo bench -p inclavared-bench --bench records`.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has nothing better to do than to stop")]

#[path = "../src/guard/session.rs"]
mod session;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use inclavared_config::Suite;
use inclavared_wire::frame::{self, Admits, Assembler, FrameKind, MAX_DATA};
use inclavared_wire::tls::{MAX_PLAINTEXT, Sealer};
use session::{open, seal, session};

/// A small message, what fits in one Ethernet frame, a full record.
const SIZES: [usize; 3] = [256, 1400, MAX_PLAINTEXT];

fn records(c: &mut Criterion) {
    for (suite, name) in [(Suite::Aes128Gcm, "aes128"), (Suite::Aes256Gcm, "aes256")] {
        let mut group = c.benchmark_group(name);
        // In this time no key is used up: the openers are shown no KeyUpdate.
        group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(50);
        for size in SIZES {
            group.throughput(Throughput::Bytes(size as u64));
            let range = Sealer::HEAD..Sealer::HEAD + size;
            let room = range.end + Sealer::TAIL;

            let (mut near, _) = session(suite);
            let mut slot = vec![0; room];
            group.bench_with_input(BenchmarkId::new("seal", size), &size, |b, _| {
                b.iter(|| seal(&mut near, &mut slot, range.clone()));
            });

            // Criterion takes the inputs in the order in which they were made: sequence numbers hold.
            let (mut near, mut far) = session(suite);
            let mut sealed = || {
                let mut slot = vec![0; room];
                seal(&mut near, &mut slot, range.clone());
                slot
            };
            group.bench_with_input(BenchmarkId::new("open", size), &size, |b, _| {
                b.iter_batched_ref(&mut sealed, |record| open(&mut far, record), BatchSize::SmallInput);
            });

            let (mut near, mut far) = session(suite);
            let (mut onward, _) = session(suite);
            let mut sealed = || {
                let mut slot = vec![0; room];
                seal(&mut near, &mut slot, range.clone());
                slot
            };
            let mut reseal = |record: &mut Vec<u8>| {
                let payload = open(&mut far, record);
                seal(&mut onward, record, payload)
            };
            group.bench_with_input(BenchmarkId::new("re-seal", size), &size, |b, _| {
                b.iter_batched_ref(&mut sealed, &mut reseal, BatchSize::SmallInput);
            });
        }
        group.finish();
    }
}

fn frames(c: &mut Criterion) {
    let whole = [&frame::header(FrameKind::Data, MAX_DATA)[..], &[0; MAX_DATA]].concat();
    c.bench_function("frame/whole", |b| b.iter(|| frame::is_whole_data(black_box(&whole))));
    let mut group = c.benchmark_group("frame/assembled");
    group.throughput(Throughput::Bytes(MAX_DATA as u64));
    group.bench_function("two-records", |b| {
        let mut assembler = Assembler::new(Admits::ALL);
        let (first, second) = whole.split_at(whole.len() / 2);
        b.iter(|| {
            assembler.push(first);
            assert!(assembler.take().unwrap().is_none());
            assembler.push(second);
            assembler.take().unwrap().unwrap()
        });
    });
    group.finish();
}

criterion_group!(benches, records, frames);
criterion_main!(benches);
