//! Frames as other stacks may send them, and control frames between DATA at full load.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use inclavared_attest::Reason;
use inclavared_attest::policy::TerminalKind;
use inclavared_tunnel::error::{Error, PeerMisbehaved};
use inclavared_tunnel::leg::Leg;
use inclavared_tunnel::leg::socket::Socket;
use inclavared_tunnel::path::close::{Below, Closing};
use inclavared_tunnel::path::live::Live;
use inclavared_tunnel::relay::{self, Times};
use inclavared_wire::frame::{self, Frame, FrameError, FrameKind, MAX_DATA};

use crate::peers::{Client, Server, next};
use crate::world::{QUICK, Random, World, read_all, read_until_reset, workload};

fn data(payload: &[u8]) -> Vec<u8> {
    [&frame::header(FrameKind::Data, payload.len())[..], payload].concat()
}

/// RFC 8446 lets a TLS stack cut application data into records as it likes.
#[test]
fn frames_may_be_cut_into_records_in_any_way() {
    let (target, served) = workload(|mut stream| read_all(&mut stream));
    let world = World::new();
    let hop = world.last(target, "");
    let mut random = Random::new(31);
    let mut sent = Vec::new();
    let mut wire = Vec::new();
    for seed in 0..120 {
        let len = match random.below(4) {
            0 => 1 + random.below(20),
            1 => MAX_DATA,
            _ => 1 + random.below(MAX_DATA),
        };
        let payload = Random::bytes(seed, len);
        wire.extend(data(&payload));
        sent.extend(payload);
    }
    wire.extend(frame::header(FrameKind::End, 0));
    let up = sent.len();
    Client::run(&world, async |client| {
        let mut leg = client.open(hop.address).await;
        let mut rest = &wire[..];
        while !rest.is_empty() {
            // One byte, a part of a header, a few frames at once, a full record.
            let len = [1, 3, 8, 9, 500, 16_384][random.below(6)].min(rest.len());
            let (record, more) = rest.split_at(len);
            leg.sink.queue_record(record).unwrap();
            if random.below(3) == 0 {
                leg.sink.flush().await.unwrap();
            }
            rest = more;
        }
        leg.sink.flush().await.unwrap();
        assert_eq!(next(&mut leg).await.unwrap().kind, FrameKind::End);
        assert_eq!(next(&mut leg).await.unwrap().kind, FrameKind::Trailer);
        leg.close().await;
    });
    assert!(served.join().unwrap() == sent);
    hop.ended().assert_complete(up, 0);
}

/// "Sent on as one record": whatever shape a frame comes in, the next hop gets it whole.
#[test]
fn a_relay_sends_each_frame_on_in_one_record() {
    let world = World::new();
    let server = Server::new(&world);
    let hop = world.relay(server.address, "");
    Client::run(&world, async |client| {
        let (mut leg, mut below) = tokio::join!(client.open(hop.address), async {
            let mut below = server.accept().await;
            below.open().await;
            below
        });
        let big = data(&Random::bytes(1, MAX_DATA));
        let (first, second) = big.split_at(5000);
        leg.sink.queue_record(first).unwrap();
        leg.sink.queue_record(&[second, &data(b"small"), &data(b"smaller")].concat()).unwrap();
        leg.sink.flush().await.unwrap();
        for payload in [&big[frame::HEADER..], b"small", b"smaller"] {
            let came = next(&mut below.leg).await.unwrap();
            assert_eq!(came.kind, FrameKind::Data);
            assert!(came.payload == payload);
        }
        leg.sink.queue_record(&[1, 2]).unwrap();
        leg.sink.flush().await.unwrap();
    });
}

#[test]
fn a_frame_that_no_state_allows_ends_the_session() {
    let world = World::new();
    let header = |kind: FrameKind, len: usize| frame::header(kind, len).to_vec();
    let mut flags = header(FrameKind::End, 0);
    flags[1] = 1;
    let cases = [
        (header(FrameKind::Data, 0), FrameError::EmptyData),
        (vec![99, 0, 0, 0, 0, 0, 0, 0], FrameError::Kind(99)),
        (flags, FrameError::Flags(FrameKind::End)),
        (
            header(FrameKind::Data, MAX_DATA + 1),
            FrameError::TooLong { kind: FrameKind::Data, found: MAX_DATA + 1, limit: MAX_DATA },
        ),
        (header(FrameKind::End, 1), FrameError::TooLong { kind: FrameKind::End, found: 1, limit: 0 }),
    ];
    for (bytes, expected) in cases {
        let (target, served) = workload(|mut stream| read_until_reset(&mut stream));
        let hop = world.last(target, QUICK);
        Client::run(&world, async |client| {
            let mut leg = client.open(hop.address).await;
            leg.send(FrameKind::Data, b"good").await.unwrap();
            // What came before the bad frame is let through first.
            tokio::time::sleep(Duration::from_millis(50)).await;
            leg.sink.queue_record(&bytes).unwrap();
            leg.sink.flush().await.unwrap();
            let error = leg.expect(FrameKind::End, "END", Duration::from_secs(5)).await.unwrap_err();
            assert!(matches!(error, Error::Fault(fault) if fault.code == Reason::Protocol));
        });
        assert!(b"good".starts_with(&served.join().unwrap()[..]));
        assert!(matches!(hop.ended().error(), Error::Peer(PeerMisbehaved::Frame(error)) if error == expected));
    }
}

#[test]
fn data_after_the_end_is_refused_and_reaches_nobody() {
    let (target, served) = workload(|mut stream| {
        let came = read_all(&mut stream);
        std::thread::sleep(Duration::from_millis(500));
        came
    });
    let world = World::new();
    let hop = world.last(target, "");
    Client::run(&world, async |client| {
        let mut leg = client.open(hop.address).await;
        leg.send(FrameKind::Data, b"all").await.unwrap();
        leg.send(FrameKind::End, b"").await.unwrap();
        leg.send(FrameKind::Data, b"more").await.unwrap();
        let error = leg.expect(FrameKind::End, "END", Duration::from_secs(5)).await.unwrap_err();
        assert!(matches!(error, Error::Fault(fault) if fault.code == Reason::Protocol));
    });
    assert_eq!(served.join().unwrap(), b"all");
    let ended = hop.ended();
    assert_eq!(ended.counters.up, 3);
    assert!(matches!(ended.error(), Error::Peer(PeerMisbehaved::Order { .. })));
}

/// A control frame as large as a REFRESH with collateral, at full load in its direction: it is not held up, and it
/// stands between two frames, never inside one.
#[test]
fn control_frames_go_between_data_at_full_load() {
    const FRAMES: usize = 20;
    let (target, served) = workload(|mut stream| {
        let block = Random::bytes(5, 1 << 20);
        let mut sent = 0;
        let mut stop = stream.try_clone().unwrap();
        let stopped = std::thread::spawn(move || stop.read(&mut [0; 1]));
        while !stopped.is_finished() {
            stream.write_all(&block).unwrap();
            sent += block.len();
        }
        stream.shutdown(Shutdown::Write).unwrap();
        // A close with bytes unread would be a reset.
        assert_eq!(read_all(&mut stream), b"top");
        sent
    });
    let world = World::new();
    Client::run(&world, async |client| {
        let server = Server::new(&world);
        let (mut leg, accepted) = tokio::join!(client.shake_hands(server.address), server.accept());
        let mut up = accepted.leg;
        let link = Rc::clone(up.sink.link().unwrap());
        let socket = tokio::net::TcpStream::connect(target).await.unwrap();
        let mut down = Leg::plain(Socket::tcp(socket));
        let below = Below::End(TerminalKind::Workload.into());
        let times = Times { half_close: Duration::from_secs(60), write_stall: None, idle: None };
        let live = Live::new(&client.node.side, None, None, &below, (&up, &down));
        let closing = Closing { side: &client.node.side, below: &below, live: &live };
        let story = async {
            let mut arrived: usize = 0;
            let block = Random::bytes(5, 1 << 20);
            let check = |frame: &Frame, arrived: &mut usize| {
                assert_eq!(frame.kind, FrameKind::Data);
                let mut payload = &frame.payload[..];
                while !payload.is_empty() {
                    let at = *arrived % block.len();
                    let len = payload.len().min(block.len() - at);
                    assert!(payload[..len] == block[at..at + len], "a wrong byte near {arrived}");
                    *arrived += len;
                    payload = &payload[len..];
                }
            };
            for round in 0..FRAMES {
                for _ in 0..50 {
                    check(&next(&mut leg).await.unwrap(), &mut arrived);
                }
                let refresh = Bytes::from(Random::bytes(round as u64, 300_000));
                assert!(link.post(Frame { kind: FrameKind::Refresh, payload: refresh.clone() }));
                let (posted, before) = (Instant::now(), arrived);
                loop {
                    let frame = next(&mut leg).await.unwrap();
                    if frame.kind == FrameKind::Refresh {
                        assert!(frame.payload == refresh);
                        break;
                    }
                    check(&frame, &mut arrived);
                }
                // What was in flight, and at most one batch: not more, whatever comes behind.
                let (waited, ahead) = (posted.elapsed(), arrived - before);
                assert!(ahead < 24 << 20 && waited < Duration::from_secs(5), "{ahead} bytes went first, {waited:?}");
            }
            leg.send(FrameKind::Data, b"stop").await.unwrap();
            leg.send(FrameKind::End, b"").await.unwrap();
            loop {
                let frame = next(&mut leg).await.unwrap();
                match frame.kind {
                    FrameKind::End => break arrived,
                    _ => check(&frame, &mut arrived),
                }
            }
        };
        let never = Box::pin(std::future::pending());
        let (outcome, arrived) = tokio::join!(relay::run(&mut up, &mut down, &closing, &times, never), story);
        assert_eq!(outcome.counters.down, arrived as u64);
        assert_eq!(served.join().unwrap(), arrived);
    });
}
