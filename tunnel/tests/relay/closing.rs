//! Every way in which a stream can end, seen from both plain ends and in what the hops report.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use inclavared_attest::Reason;
use inclavared_attest::path::CloseReason;
use inclavared_tunnel::error::{Error, PeerMisbehaved};
use inclavared_wire::frame::FrameKind;

use crate::peers::Client;
use crate::world::{PATIENCE, QUICK, Random, World, connect, read_all, read_until_reset, reset, workload};

const UP: usize = 700_001;
const DOWN: usize = 500_003;

#[test]
fn the_client_ends_first() {
    let (target, served) = workload(|mut stream| {
        let came = read_all(&mut stream);
        stream.write_all(&Random::bytes(2, DOWN)).unwrap();
        came
    });
    let world = World::new();
    let hops = world.pair(target, "");
    let mut client = connect(hops[0].address);
    client.write_all(&Random::bytes(1, UP)).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert!(read_all(&mut client) == Random::bytes(2, DOWN));
    assert!(served.join().unwrap() == Random::bytes(1, UP));
    hops.iter().for_each(|hop| hop.ended().assert_complete(UP, DOWN));
}

#[test]
fn the_workload_ends_first() {
    let (target, served) = workload(|mut stream| {
        stream.write_all(&Random::bytes(2, DOWN)).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        read_all(&mut stream)
    });
    let world = World::new();
    let hops = world.pair(target, "");
    let mut client = connect(hops[0].address);
    assert!(read_all(&mut client) == Random::bytes(2, DOWN));
    client.write_all(&Random::bytes(1, UP)).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert!(served.join().unwrap() == Random::bytes(1, UP));
    hops.iter().for_each(|hop| hop.ended().assert_complete(UP, DOWN));
}

/// A workload that answers before it has read all, and closes: that close is a reset, and our write fails of it while
/// the answer is still unread. `tokio::io::copy_bidirectional` loses the answer then.
#[test]
fn an_answer_outlives_an_upload_that_nobody_reads() {
    const ANSWER: usize = 60_000;
    let world = World::new();
    for _ in 0..5 {
        let (target, served) = workload(|mut stream| {
            let mut some = [0; 1000];
            stream.read_exact(&mut some).unwrap();
            stream.write_all(&Random::bytes(2, ANSWER)).unwrap();
        });
        let hops = world.pair(target, QUICK);
        let mut client = connect(hops[0].address);
        let mut writer = client.try_clone().unwrap();
        let upload = thread::spawn(move || while writer.write_all(&[7; 65_536]).is_ok() {});
        served.join().unwrap();
        // Nothing of the answer is read before the upload has failed everywhere.
        upload.join().unwrap();
        let mut answer = Vec::new();
        let end = client.read_to_end(&mut answer);
        assert!(answer == Random::bytes(2, ANSWER), "{} bytes, then {end:?}", answer.len());
        assert_eq!(hops[1].ended().error().reason(), Reason::Reset);
    }
}

#[test]
fn a_reset_of_the_client_is_a_reset_for_the_workload() {
    let mut random = Random::new(11);
    let world = World::new();
    for round in 0..8 {
        // A client that leaves before its path is open is not told on: nothing was dialled for it.
        let (open, opened) = channel();
        let (target, served) = workload(move |mut stream| {
            open.send(()).unwrap();
            read_until_reset(&mut stream)
        });
        let hops = world.pair(target, QUICK);
        let mut client = connect(hops[0].address);
        let bytes = Random::bytes(round, 1 + random.below(300_000));
        client.write_all(&bytes).unwrap();
        opened.recv_timeout(PATIENCE).unwrap();
        thread::sleep(Duration::from_millis(random.next() % 40));
        reset(client);
        let came = served.join().unwrap();
        assert!(bytes.starts_with(&came), "round {round}: what came is not what was sent");
        assert_eq!(hops[0].ended().error().reason(), Reason::Reset);
        assert!(matches!(hops[1].ended().error(), Error::Fault(fault) if fault.code == Reason::Reset));
    }
}

#[test]
fn a_reset_of_the_workload_is_a_reset_for_the_client() {
    let mut random = Random::new(12);
    let world = World::new();
    for round in 0..8 {
        let (len, pause) = (1 + random.below(300_000), random.next() % 40);
        let (target, served) = workload(move |mut stream| {
            stream.read_exact(&mut [0]).unwrap();
            stream.write_all(&Random::bytes(round, len)).unwrap();
            thread::sleep(Duration::from_millis(pause));
            reset(stream);
        });
        let hops = world.pair(target, QUICK);
        let mut client = connect(hops[0].address);
        client.write_all(b"x").unwrap();
        let came = read_until_reset(&mut client);
        assert!(Random::bytes(round, len).starts_with(&came), "round {round}: what came is not what was sent");
        served.join().unwrap();
        assert_eq!(hops[1].ended().error().reason(), Reason::Reset);
        assert!(matches!(hops[0].ended().error(), Error::Fault(fault) if fault.code == Reason::Reset));
    }
}

/// rathole-org/rathole#460: what was cut short must not look whole.
#[test]
fn a_client_that_leaves_without_end_is_a_truncation() {
    for says_close_notify in [false, true] {
        let (target, served) = workload(|mut stream| read_until_reset(&mut stream));
        let world = World::new();
        let hop = world.last(target, QUICK);
        Client::run(&world, async |client| {
            let mut leg = client.open(hop.address).await;
            leg.send(FrameKind::Data, &Random::bytes(1, 9000)).await.unwrap();
            if says_close_notify {
                leg.sink.queue_close_notify().unwrap();
                leg.sink.flush().await.unwrap();
            }
            leg.sink.shutdown_write().unwrap();
            let error = leg.expect(FrameKind::End, "END", Duration::from_secs(5)).await.unwrap_err();
            assert!(matches!(error, Error::Fault(fault) if fault.code == Reason::Truncated && fault.distance == 0));
        });
        let came = served.join().unwrap();
        assert!(Random::bytes(1, 9000).starts_with(&came));
        assert!(matches!(hop.ended().error(), Error::Peer(PeerMisbehaved::Truncated)), "{says_close_notify}");
    }
}

#[test]
fn a_silent_half_is_receipted_as_half_closed() {
    let (target, served) = workload(|mut stream| {
        let came = read_all(&mut stream);
        stream.write_all(b"some").unwrap();
        // Neither a byte more nor an end, for longer than the relay waits.
        thread::sleep(Duration::from_secs(5));
        (
            came,
            stream.write_all(&[0; 10]).and_then(|()| {
                thread::sleep(Duration::from_millis(200));
                stream.write_all(&[0; 10])
            }),
        )
    });
    let world = World::new();
    let hops = world.pair(target, QUICK);
    let mut client = connect(hops[0].address);
    client.write_all(b"all").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_until_reset(&mut client), b"some");
    let (came, write) = served.join().unwrap();
    assert_eq!(came, b"all");
    assert!(write.is_err(), "the workload's stream is still open");
    for hop in &hops {
        let ended = hop.ended();
        assert_eq!(ended.result.as_ref().ok(), Some(&CloseReason::HalfClose), "{:?}", ended.result);
        assert_eq!((ended.counters.up, ended.counters.down), (3, 4));
    }
}

/// The other way: the client never ends. The workload must not take the part for the whole.
#[test]
fn a_client_that_never_ends_is_no_end_of_file_for_the_workload() {
    let (target, served) = workload(|mut stream| {
        stream.read_exact(&mut [0; 5]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        read_until_reset(&mut stream)
    });
    let world = World::new();
    let hops = world.pair(target, QUICK);
    let mut client = connect(hops[0].address);
    client.write_all(b"begun").unwrap();
    assert_eq!(read_all(&mut client), b"");
    assert_eq!(served.join().unwrap(), b"");
    assert_eq!(hops[1].ended().result.ok(), Some(CloseReason::HalfClose));
}

#[test]
fn a_process_that_goes_down_cuts_its_streams_visibly() {
    let (target, served) = workload(|mut stream| read_until_reset(&mut stream));
    let world = World::new();
    let [egress, last] = world.pair(target, "");
    let mut client = connect(egress.address);
    client.write_all(b"begun").unwrap();
    thread::sleep(Duration::from_millis(300));
    last.kill();
    read_until_reset(&mut client);
    let came = served.join().unwrap();
    assert!(b"begun".starts_with(&came[..]));
    assert_eq!(egress.ended().error().reason(), Reason::Truncated);
}
