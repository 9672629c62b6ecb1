//! Peers that stall. Over real sockets: a paused clock hides these bugs.
//!
//! <https://github.com/Dstack-TEE/dstack/issues/1245>: a watchdog that is not polled while a write blocks.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use inclavared_attest::Reason;
use inclavared_attest::path::CloseReason;
use inclavared_tunnel::error::Error;

use crate::world::{QUICK, Random, World, connect, fill, read_all, read_until_reset, reset, workload};

const PLENTY: usize = 64 << 20;

/// An open stream whose reader stalls, for longer than any half-close timer, is served when it goes on.
#[test]
fn a_reader_that_stalls_gets_everything_when_it_goes_on() {
    let (target, served) = workload(|mut stream| {
        thread::sleep(Duration::from_secs(3));
        read_all(&mut stream)
    });
    let world = World::new();
    let hops = world.pair(target, QUICK);
    let mut client = connect(hops[0].address);
    let bytes = Random::bytes(1, PLENTY);
    let taken = fill(&mut client, &bytes);
    assert!(taken < PLENTY, "nothing has stalled: {taken} bytes are in flight");
    client.write_all(&bytes[taken..]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert!(served.join().unwrap() == bytes);
    assert_eq!(read_all(&mut client), b"");
    hops.iter().for_each(|hop| hop.ended().assert_complete(PLENTY, 0));
}

#[test]
fn a_client_that_stalls_gets_everything_when_it_goes_on() {
    let (target, served) = workload(|mut stream| {
        stream.read_exact(&mut [0]).unwrap();
        stream.write_all(&Random::bytes(2, PLENTY)).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        read_all(&mut stream)
    });
    let world = World::new();
    let hops = world.pair(target, QUICK);
    let mut client = connect(hops[0].address);
    client.write_all(b"x").unwrap();
    thread::sleep(Duration::from_secs(3));
    assert!(read_all(&mut client) == Random::bytes(2, PLENTY));
    drop(client);
    assert_eq!(served.join().unwrap(), b"");
    hops.iter().for_each(|hop| hop.ended().assert_complete(1, PLENTY));
}

/// After a half-close the timer covers a write that blocks.
#[test]
fn a_half_closed_peer_that_never_reads_is_ended() {
    let (target, served) = workload(|mut stream| {
        let came = read_all(&mut stream);
        let begun = Instant::now();
        while stream.write_all(&[0; 65_536]).is_ok() {}
        (came, begun.elapsed())
    });
    let world = World::new();
    let hops = world.pair(target, QUICK);
    let mut client = connect(hops[0].address);
    client.write_all(b"x").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let (came, waited) = served.join().unwrap();
    assert_eq!(came, b"x");
    assert!(waited < Duration::from_secs(10), "{waited:?}");
    // What did arrive is the beginning, and its end is no end of file.
    assert!(read_until_reset(&mut client).iter().all(|byte| *byte == 0));
    for hop in &hops {
        // The last hop seldom gets a receipt through; the first hears of it, or finds the same.
        match hop.ended().result {
            Ok(close) => assert_ne!(close, CloseReason::Complete),
            Err(error) => {
                assert!(matches!(error.reason(), Reason::Idle | Reason::Truncated | Reason::Reset), "{error:?}");
            }
        }
    }
}

/// Every byte that moves extends the timer, within one large write, too.
#[test]
fn a_slow_reader_after_a_half_close_gets_everything() {
    const LEN: usize = 28 << 20;
    let (target, served) = workload(|mut stream| {
        let came = read_all(&mut stream);
        stream.write_all(&Random::bytes(2, LEN)).unwrap();
        came
    });
    let world = World::new();
    let hops = world.pair(target, "half_close = \"2s\"");
    let mut client = connect(hops[0].address);
    socket2::SockRef::from(&client).set_recv_buffer_size(65_536).unwrap();
    client.write_all(b"x").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut came = Vec::new();
    let mut some = vec![0; 256 * 1024];
    let begun = Instant::now();
    loop {
        let read = client.read(&mut some).unwrap();
        if read == 0 {
            break;
        }
        came.extend_from_slice(&some[..read]);
        // 7 s in all: several times the half-close time. The kernel tells of room in its buffers in large steps.
        let due = Duration::from_secs(7).mul_f64(came.len() as f64 / LEN as f64);
        thread::sleep(due.saturating_sub(begun.elapsed()));
    }
    assert!(came == Random::bytes(2, LEN), "{} bytes", came.len());
    assert!(begun.elapsed() > Duration::from_secs(6));
    assert_eq!(served.join().unwrap(), b"x");
    hops.iter().for_each(|hop| hop.ended().assert_complete(1, LEN));
}

#[test]
fn a_stalled_write_ends_where_write_stall_is_configured() {
    let (target, served) = workload(|mut stream| {
        thread::sleep(Duration::from_secs(4));
        read_until_reset(&mut stream)
    });
    let world = World::new();
    let hops = world.pair(target, &format!("{QUICK}\nwrite_stall = \"1s\""));
    let mut client = connect(hops[0].address);
    let begun = Instant::now();
    while client.write_all(&[0; 65_536]).is_ok() {}
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    served.join().unwrap();
    let errors = [hops[0].ended().error(), hops[1].ended().error()];
    assert!(errors.iter().any(|error| matches!(error, Error::WriteStall(_))), "{errors:?}");
}

#[test]
fn a_quiet_stream_ends_where_idle_is_configured_and_only_there() {
    for idle in [false, true] {
        let (target, served) = workload(move |mut stream| match idle {
            true => read_until_reset(&mut stream),
            false => read_all(&mut stream),
        });
        let world = World::new();
        let deadlines = if idle { format!("{QUICK}\nidle = \"700ms\"") } else { QUICK.to_owned() };
        let hops = world.pair(target, &deadlines);
        let mut client = connect(hops[0].address);
        client.write_all(b"x").unwrap();
        thread::sleep(Duration::from_secs(2));
        if idle {
            read_until_reset(&mut client);
            // The last hop signs why.
            assert_eq!(hops[1].ended().result.ok(), Some(CloseReason::Idle));
        } else {
            client.shutdown(Shutdown::Write).unwrap();
        }
        assert!(b"x".starts_with(&served.join().unwrap()[..]));
    }
}

/// A client that is gone does not hold a path to a workload that stalls for longer than a half-closed one would.
#[test]
fn a_reset_is_noticed_while_the_other_side_stalls() {
    let (target, served) = workload(|mut stream| {
        thread::sleep(Duration::from_secs(8));
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let world = World::new();
    let hops = world.pair(target, QUICK);
    let mut client = connect(hops[0].address);
    let taken = fill(&mut client, &vec![0; PLENTY]);
    assert!(taken < PLENTY);
    let begun = Instant::now();
    reset(client);
    let error = hops[0].ended().error();
    assert!(matches!(error.reason(), Reason::Idle | Reason::Reset), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
    served.join().unwrap();
}
