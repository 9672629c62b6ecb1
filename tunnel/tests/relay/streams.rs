//! Thousands of seeded streams through three hops, both ways at once, in random pieces, with stalls, either end first,
//! while every leg changes its keys every few records. Each side knows by the seed what has to come.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256};
use inclavared_tunnel::leg::handshake;
use rustls::crypto::{CipherSuiteCommon, CryptoProvider};
use rustls::{SupportedCipherSuite, Tls13CipherSuite};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, LocalSet};

use crate::world::{PATIENCE, Random, World, route};

const STREAMS: u64 = 2000;
const AT_ONCE: usize = 24;

/// Records that one key may protect: half of it, and the key changes.
const KEY_LIMIT: u64 = 12;

/// What the seed of a stream says of it.
struct Plan {
    seed: u64,
    up: usize,
    down: usize,
    order: Order,
}

#[derive(Clone, Copy, PartialEq)]
enum Order {
    Together,
    /// The workload begins when the client has ended.
    ClientFirst,
    WorkloadFirst,
}

impl Plan {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed.wrapping_mul(77));
        let mut len = || match random.below(100) {
            0 => 1_500_000 + random.below(1_500_000),
            1..10 => random.below(200_000),
            10..20 => 0,
            20..60 => random.below(40),
            _ => random.below(20_000),
        };
        let (up, down) = (len(), len());
        let order = [Order::Together, Order::Together, Order::ClientFirst, Order::WorkloadFirst][random.below(4)];
        Self { seed, up, down, order }
    }
}

fn digest(bytes: &[u8]) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    context.update(bytes);
    context.finish().as_ref().to_vec()
}

async fn pause(random: &mut Random) {
    match random.below(400) {
        0 => tokio::time::sleep(Duration::from_millis(random.next() % 60)).await,
        1..100 => tokio::task::yield_now().await,
        _ => {}
    }
}

/// Sends the bytes of `seed` in random pieces, and ends.
async fn send(mut to: WriteHalf<'_>, seed: u64, len: usize) {
    let bytes = Random::bytes(seed, len);
    let mut random = Random::new(seed ^ 0x5eed);
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let most = [7, 900, 16_376, 70_000, 300_000][random.below(5)];
        let (piece, more) = rest.split_at((1 + random.below(most)).min(rest.len()));
        to.write_all(piece).await.unwrap();
        rest = more;
        pause(&mut random).await;
    }
    to.shutdown().await.unwrap();
}

/// Reads to the end in random pieces, and compares digests.
async fn receive(mut from: ReadHalf<'_>, seed: u64, len: usize) {
    let mut random = Random::new(seed ^ 0x4ead);
    let mut context = Context::new(&SHA256);
    let (mut some, mut came) = (vec![0; 100_000], 0);
    loop {
        let most = [3, 1000, 100_000, 100_000][random.below(4)];
        let most = 1 + random.below(most);
        let read = from.read(&mut some[..most]).await.unwrap();
        if read == 0 {
            break;
        }
        context.update(&some[..read]);
        came += read;
        pause(&mut random).await;
    }
    assert_eq!(came, len, "stream {seed}");
    assert!(context.finish().as_ref() == digest(&Random::bytes(seed, len)), "stream {seed}: other bytes");
}

async fn workload(mut stream: TcpStream) {
    let plan = Plan::new(stream.read_u64().await.unwrap());
    let (reader, writer) = stream.split();
    let (up, down) = (plan.seed * 2, plan.seed * 2 + 1);
    if plan.order == Order::ClientFirst {
        receive(reader, up, plan.up).await;
        send(writer, down, plan.down).await;
    } else {
        tokio::join!(receive(reader, up, plan.up), send(writer, down, plan.down));
    }
}

async fn client(egress: SocketAddr, seed: u64) {
    let plan = Plan::new(seed);
    let mut stream = TcpStream::connect(egress).await.unwrap();
    let (reader, mut writer) = stream.split();
    writer.write_u64(seed).await.unwrap();
    let (up, down) = (seed * 2, seed * 2 + 1);
    if plan.order == Order::WorkloadFirst {
        receive(reader, down, plan.down).await;
        send(writer, up, plan.up).await;
    } else {
        tokio::join!(receive(reader, down, plan.down), send(writer, up, plan.up));
    }
}

/// The usual suites, whose keys are used up after a few records.
fn short_lived_keys() -> Arc<CryptoProvider> {
    let mut provider = CryptoProvider::clone(&handshake::provider(&inclavared_config::TlsSettings::default()));
    for suite in &mut provider.cipher_suites {
        let usual = suite.tls13().unwrap();
        let short = Tls13CipherSuite {
            common: CipherSuiteCommon { confidentiality_limit: KEY_LIMIT, ..usual.common },
            ..*usual
        };
        *suite = SupportedCipherSuite::Tls13(Box::leak(Box::new(short)));
    }
    Arc::new(provider)
}

#[test]
fn two_thousand_streams_arrive_as_they_were_sent() {
    let begun = Instant::now();
    let world = World::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let provider = short_lived_keys();
    let start = |upstream, target, downstream| {
        world.start_with(&route(upstream, target, downstream), "", Arc::clone(&provider))
    };
    let last = start("attested", listener.local_addr().unwrap(), "plain");
    let middle = start("attested", last.address, "attested");
    let first = start("attested", middle.address, "attested");
    let egress = start("plain", first.address, "attested");
    let next = Rc::new(Cell::new(0));
    LocalSet::new().block_on(&runtime, async {
        tokio::task::spawn_local(async move {
            loop {
                tokio::task::spawn_local(workload(listener.accept().await.unwrap().0));
            }
        });
        let mut clients = JoinSet::new();
        for _ in 0..AT_ONCE {
            let (next, egress) = (Rc::clone(&next), egress.address);
            clients.spawn_local(async move {
                while next.get() < STREAMS {
                    let seed = next.replace(next.get() + 1);
                    let stream = tokio::time::timeout(3 * PATIENCE, client(egress, seed)).await;
                    stream.unwrap_or_else(|_| panic!("stream {seed} hangs"));
                }
            });
        }
        while let Some(client) = clients.join_next().await {
            client.unwrap();
        }
    });
    let streams = usize::try_from(STREAMS).unwrap();
    let mut expected: Vec<_> = (0..STREAMS).map(Plan::new).map(|plan| (plan.up as u64 + 8, plan.down as u64)).collect();
    expected.sort_unstable();
    for hop in [&egress, &first, &middle, &last] {
        let mut counted = Vec::new();
        while counted.len() < streams {
            assert!(begun.elapsed() < 6 * PATIENCE, "{} connections have ended", counted.len());
            for ended in hop.all_ended() {
                ended.assert_complete(ended.counters.up.try_into().unwrap(), ended.counters.down.try_into().unwrap());
                counted.push((ended.counters.up, ended.counters.down));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        counted.sort_unstable();
        assert!(counted == expected, "a hop has counted other bytes");
    }
    println!("{STREAMS} streams in {:?}", begun.elapsed());
}
