//! 200 streams at once through three hops, both ways: every byte arrives, and every stream has its receipt.
//!
//! <https://github.com/inclavare-containers/inclavare-containers/issues/1195>: only one connection worked.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Barrier};
use std::thread;

use crate::harness::World;
use crate::stream::{Backend, Random, connect, read_all, send_all, sha256};

const STREAMS: usize = 200;

/// How many paths are opened at a time: a chain of processes refuses more than 128 from one address.
const OPENERS: usize = 50;

/// So long that every stream is cut into many records, and no two have the same length.
fn length(seed: u64) -> usize {
    150_000 + Random::new(seed).next() as usize % 100_000
}

fn back(seed: u64) -> u64 {
    seed ^ 0xffff_ffff
}

/// Says which stream it is, is answered, then sends and receives at the same time.
fn serve(mut stream: TcpStream) -> String {
    let mut seed = [0; 8];
    stream.read_exact(&mut seed).unwrap();
    stream.write_all(&seed).unwrap();
    let seed = back(u64::from_le_bytes(seed));
    let sending = send_all(&stream, Random::bytes(seed, length(seed)));
    let came = read_all(&mut stream).unwrap();
    sending.join().unwrap().unwrap();
    sha256(&came)
}

fn open(to: SocketAddr, seed: u64) -> TcpStream {
    let mut stream = connect(to);
    stream.write_all(&seed.to_le_bytes()).unwrap();
    let mut echoed = [0; 8];
    stream.read_exact(&mut echoed).unwrap();
    assert_eq!(u64::from_le_bytes(echoed), seed);
    stream
}

#[test]
fn both_ways_with_receipts() {
    let world = World::new();
    let backend = Backend::new(serve);
    let chain = world.chain_to(3, &format!("--sim-tee tdx --xfer {}", backend.address));
    let forward = world.forward(chain.address(), "");
    let to = forward.address;
    let all_open = Arc::new(Barrier::new(OPENERS));
    let openers: Vec<_> = (0..OPENERS)
        .map(|opener| {
            let all_open = Arc::clone(&all_open);
            thread::spawn(move || {
                let seeds = (opener..STREAMS).step_by(OPENERS).map(|n| n as u64 + 1);
                let streams: Vec<_> = seeds.map(|seed| (seed, open(to, seed))).collect();
                all_open.wait();
                let streams: Vec<_> = streams
                    .into_iter()
                    .map(|(seed, stream)| {
                        let sending = send_all(&stream, Random::bytes(seed, length(seed)));
                        (seed, stream, sending)
                    })
                    .collect();
                for (seed, mut stream, sending) in streams {
                    let came = read_all(&mut stream).unwrap();
                    sending.join().unwrap().unwrap();
                    let expected = Random::bytes(back(seed), length(back(seed)));
                    assert_eq!(sha256(&came), sha256(&expected), "stream {seed}, {} bytes", came.len());
                }
            })
        })
        .collect();
    openers.into_iter().for_each(|opener| opener.join().unwrap());

    let seeds = || (1..).take(STREAMS);
    let mut expected: Vec<_> = seeds().map(|seed| sha256(&Random::bytes(seed, length(seed)))).collect();
    let mut arrived: Vec<_> = seeds().map(|_| backend.result()).collect();
    expected.sort();
    arrived.sort();
    assert!(arrived == expected, "what arrived at the workload is not what was sent");

    let mut counted = Vec::new();
    for receipt in forward.receipts(STREAMS) {
        assert_eq!(receipt["close"], "complete", "{receipt:#}");
        let count = |of: &serde_json::Value| (of["bytes_up"].as_u64().unwrap(), of["bytes_down"].as_u64().unwrap());
        let hops = receipt["hops"].as_array().unwrap();
        assert_eq!(hops.len(), 3, "{receipt:#}");
        for hop in hops {
            assert_eq!((count(hop), &hop["close"]), (count(&receipt), &"complete".into()), "{receipt:#}");
        }
        counted.push(count(&receipt));
    }
    // The eight bytes of the seed go each way, too.
    let mut expected: Vec<_> = seeds().map(|seed| (length(seed) as u64 + 8, length(back(seed)) as u64 + 8)).collect();
    counted.sort_unstable();
    expected.sort_unstable();
    assert_eq!(counted, expected);
}
