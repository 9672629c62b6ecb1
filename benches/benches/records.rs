//! The record layer and the frames, without sockets: `cargo bench -p inclavared-bench --bench records`.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has nothing better to do than to stop")]

use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use inclavared_config::{Suite, TlsSettings};
use inclavared_tunnel::frame::{self, Assembler, FrameKind, MAX_DATA};
use inclavared_tunnel::handshake::provider;
use inclavared_tunnel::tls::{self, Content, Established, MAX_PLAINTEXT, Opened, Sealer};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

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
        let mut assembler = Assembler::default();
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

/// A bench that only seals may use up a key: nobody reads the update.
fn seal(near: &mut Established, slot: &mut [u8], payload: Range<usize>) -> Range<usize> {
    if near.sealer.key_update_due() {
        near.sealer.key_update(&mut BytesMut::new(), false).unwrap();
    }
    near.sealer.seal(slot, payload).unwrap()
}

fn open(far: &mut Established, record: &mut [u8]) -> Range<usize> {
    match far.opener.open(record).unwrap() {
        Opened::Record { what: Content::Data(range), .. } => range,
        other => unreachable!("one record of data was sealed, not {other:?}"),
    }
}

/// Both ends of one session.
fn session(suite: Suite) -> (Established, Established) {
    let settings = TlsSettings { suites: vec![suite], ..TlsSettings::default() };
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let mut server = ServerConfig::builder_with_provider(provider(&settings))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    server.enable_secret_extraction = true;
    let mut client = ClientConfig::builder_with_provider(provider(&settings))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.enable_secret_extraction = true;
    let name = ServerName::try_from("localhost").unwrap();
    let (mut near, mut far) = tokio::io::duplex(64 * 1024);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (near, far) = runtime.block_on(async {
        tokio::join!(
            tls::connect(&mut near, Arc::new(client), name),
            tls::accept(&mut far, Arc::new(server), BytesMut::new())
        )
    });
    (near.unwrap(), far.unwrap())
}

criterion_group!(benches, records, frames);
criterion_main!(benches);
