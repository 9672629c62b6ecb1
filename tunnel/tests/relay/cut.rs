//! A hop dies in mid-stream: both ends must see the stream cut, after nothing but right bytes.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use inclavared_attest::Reason;
use inclavared_attest::path::{CloseReason, Fault};
use inclavared_tunnel::error::{Error, PeerMisbehaved};
use inclavared_wire::frame::{self, FrameKind};

use crate::peers::{Client, Server, next};
use crate::world::{QUICK, Random, World, connect, workload};

const LEN: usize = 256 << 20;

/// Writes a seeded stream as long as it is let. `true`: the write failed, and has taken the socket's error, so that a
/// read beside it finds an end of file in its place.
fn pour(stream: &mut TcpStream, seed: u64) -> bool {
    let mut random = Random::new(seed);
    let mut block = Vec::new();
    for _ in 0..LEN / 65_536 {
        block.clear();
        while block.len() < 65_536 {
            block.extend_from_slice(&random.next().to_le_bytes());
        }
        if stream.write_all(&block).is_err() {
            return true;
        }
    }
    false
}

/// Reads a seeded stream up to its end, byte for byte. Gives its length, and whether it was reset.
fn check(stream: &mut TcpStream, seed: u64) -> (usize, bool) {
    let mut random = Random::new(seed);
    let (mut some, mut len) = (vec![0; 65_536], 0);
    let mut expected = [0; 8];
    loop {
        match stream.read(&mut some) {
            Ok(0) => return (len, false),
            Ok(read) => {
                for byte in &some[..read] {
                    if len % 8 == 0 {
                        expected = random.next().to_le_bytes();
                    }
                    assert!(*byte == expected[len % 8], "a wrong byte at {len}");
                    len += 1;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                return (len, true);
            }
            Err(error) => panic!("{error} after {len} bytes"),
        }
    }
}

#[test]
fn a_hop_that_dies_cuts_the_stream_for_both_ends() {
    let mut random = Random::new(21);
    let world = World::new();
    for round in 0..6 {
        let (begun, begins) = std::sync::mpsc::channel();
        let (target, served) = workload(move |mut stream| {
            begun.send(()).unwrap();
            let mut writer = stream.try_clone().unwrap();
            let pouring = thread::spawn(move || pour(&mut writer, 2 * round));
            let (len, reset) = check(&mut stream, 2 * round + 1);
            drop(stream);
            assert!(pouring.join().unwrap() | reset, "an end of file after {len} bytes");
            len
        });
        let last = world.last(target, QUICK);
        let middle = world.relay(last.address, QUICK);
        let first = world.relay(middle.address, QUICK);
        let egress = world.egress(first.address, QUICK);
        let mut client = connect(egress.address);
        let mut writer = client.try_clone().unwrap();
        let pouring = thread::spawn(move || pour(&mut writer, 2 * round + 1));
        let killing = thread::spawn({
            let pause = Duration::from_millis(30 + random.next() % 400);
            let victim = match round % 3 {
                0 => middle,
                1 => first,
                _ => last,
            };
            move || {
                begins.recv().unwrap();
                thread::sleep(pause);
                victim.kill();
            }
        });
        let (down, reset) = check(&mut client, 2 * round);
        drop(client);
        assert!(pouring.join().unwrap() | reset, "an end of file after {down} bytes");
        let up = served.join().unwrap();
        killing.join().unwrap();
        println!("round {round}: {up} bytes up, {down} bytes down");
        match egress.ended().result {
            // The hop that lost the one below it says so; whoever loses the first finds it out by itself.
            Ok(close) => assert!(close == CloseReason::Severed && round % 3 != 1, "{close:?}"),
            Err(error) => {
                assert!(matches!(error.reason(), Reason::Truncated | Reason::Reset), "{error:?}");
            }
        }
    }
}

/// A leg dies inside a frame: the next hop gets whole frames, and then a FAULT.
#[test]
fn half_a_frame_is_passed_to_nobody() {
    let world = World::new();
    let mut random = Random::new(22);
    let server = Server::new(&world);
    let hop = world.relay(server.address, QUICK);
    Client::run(&world, async |client| {
        for _ in 0..20 {
            let (mut leg, mut below) = tokio::join!(client.open(hop.address), async {
                let mut below = server.accept().await;
                below.open().await;
                below
            });
            let whole = Random::bytes(1, 1 + random.below(16_000));
            leg.send(FrameKind::Data, &whole).await.unwrap();
            assert!(next(&mut below.leg).await.unwrap().payload == whole);
            let kind = if random.below(2) == 0 { FrameKind::Data } else { FrameKind::Fault };
            let mut frame = frame::header(kind, 900).to_vec();
            frame.extend(Random::bytes(2, 900));
            leg.sink.queue_record(&frame[..1 + random.below(frame.len() - 1)]).unwrap();
            leg.sink.flush().await.unwrap();
            if random.below(2) == 0 {
                leg.sink.socket().reset_on_close();
            }
            drop(leg);
            let fault = next(&mut below.leg).await.unwrap();
            assert_eq!(fault.kind, FrameKind::Fault);
            let fault = Fault::decode(&fault.payload).unwrap();
            assert!(matches!(fault.code, Reason::Truncated | Reason::Reset), "{fault:?}");
            assert!(matches!(next(&mut below.leg).await, Err(Error::Peer(PeerMisbehaved::Closed))));
        }
    });
}
