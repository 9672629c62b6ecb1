//! How a stream through five hops ends: complete, partial, severed or unreceipted, with processes killed and stopped at
//! each position and in each order of half-closes. `shelter` says which, and where.
//!
//! <https://github.com/rathole-org/rathole/issues/460>: a stream cut short that looked complete.

use std::io::{ErrorKind, Write as _};
use std::net::{Shutdown, TcpStream};

use rustix::process::Signal;
use serde_json::Value;

use crate::five::{HOPS, Settings, five};
use crate::harness::{Forward, Hop, World};
use crate::program::PATIENCE;
use crate::stream::{Backend, connect, echo, echo_backend, read_all, read_some};

/// Carries one stream, and gives its receipt and the exit status.
fn ended(forward: Forward) -> (Value, Option<i32>) {
    let receipt = forward.receipt();
    (receipt, forward.program.finish(PATIENCE).code)
}

fn kill(hop: Hop) {
    hop.program.signal(Signal::KILL);
    assert_eq!(hop.program.finish(PATIENCE).code, None);
}

/// What has happened before the hop dies.
#[derive(Clone, Copy, Debug)]
enum Before {
    Open,
    ClientEnded,
    ServerEnded,
}

/// Kills each hop in turn.
fn killed(before: Before) {
    let world = World::new();
    for position in 1..=HOPS {
        // It answers, ends its direction where it is told so, and hears no end.
        let backend = Backend::new(move |mut stream: TcpStream| {
            let heard = read_some(&mut stream, 6)?;
            stream.write_all(&heard)?;
            if matches!(before, Before::ServerEnded) {
                stream.shutdown(Shutdown::Write)?;
            }
            read_all(&mut stream).map(|_| std::thread::park_timeout(PATIENCE))
        });
        let mut hops = five(&world, backend.address, |_| Settings::default());
        let forward = world.forward(&hops[0].address, "--once");
        let mut stream = connect(forward.address);
        echo(&mut stream, b"before");
        match before {
            Before::Open => {}
            Before::ClientEnded => stream.shutdown(Shutdown::Write).unwrap(),
            Before::ServerEnded => assert_eq!(read_all(&mut stream).unwrap(), b""),
        }
        kill(hops.remove(position - 1));
        if !matches!(before, Before::ServerEnded) {
            assert_eq!(read_all(&mut stream).map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
        }
        let (receipt, code) = ended(forward);
        let what = format!("{before:?}, hop {position}: {receipt:#}");
        if position == 1 {
            assert_eq!((&receipt["close"], code), (&"unreceipted".into(), Some(5)), "{what}");
            assert!(["truncated", "reset"].contains(&receipt["error"]["code"].as_str().unwrap()), "{what}");
            continue;
        }
        assert_eq!((&receipt["close"], code), (&"severed".into(), Some(4)), "{what}");
        assert_eq!(receipt["severed_after"], position - 1, "{what}");
        assert!(["truncated", "reset"].contains(&receipt["reason"].as_str().unwrap()), "{what}");
        // Those that are left have signed what crossed them, and that it is not all.
        for (place, hop) in receipt["hops"].as_array().unwrap().iter().enumerate() {
            let close = if place + 1 < position { "severed" } else { "unreceipted" };
            assert_eq!(hop["close"], close, "{what}");
            if place + 1 < position {
                assert_eq!((&hop["bytes_up"], &hop["bytes_down"]), (&6.into(), &6.into()), "{what}");
            }
        }
    }
}

#[test]
fn killed_while_both_ways_are_open() {
    killed(Before::Open);
}

#[test]
fn killed_after_the_client_has_ended() {
    killed(Before::ClientEnded);
}

#[test]
fn killed_after_the_server_has_ended() {
    killed(Before::ServerEnded);
}

/// Deadlines that a test can wait for.
const QUICK: &str = "half_close = \"1s\"\nopen_to_preview_per_hop = \"300ms\"";

#[test]
fn stopped_after_the_client_has_ended() {
    let world = World::new();
    for position in 2..=HOPS {
        let backend = Backend::new(|mut stream: TcpStream| {
            let heard = read_some(&mut stream, 6)?;
            stream.write_all(&heard)?;
            read_all(&mut stream).map(|_| std::thread::park_timeout(PATIENCE))
        });
        let hops = five(&world, backend.address, |_| Settings { deadlines: QUICK.to_owned(), ..Settings::default() });
        let forward = world.forward(&hops[0].address, "--once");
        let mut stream = connect(forward.address);
        echo(&mut stream, b"before");
        hops[position - 1].program.signal(Signal::STOP);
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(&mut stream).map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
        let (receipt, code) = ended(forward);
        let what = format!("hop {position}: {receipt:#}");
        assert_eq!((&receipt["close"], code), (&"severed".into(), Some(4)), "{what}");
        assert_eq!((&receipt["severed_after"], &receipt["reason"]), (&(position - 1).into(), &"idle".into()), "{what}");
    }
}

#[test]
fn complete_in_every_order_of_ends() {
    let world = World::new();
    let client_first = echo_backend();
    let server_first = Backend::new(|mut stream: TcpStream| {
        stream.write_all(b"answer")?;
        stream.shutdown(Shutdown::Write)?;
        read_all(&mut stream)
    });
    for (server, first) in [(client_first.address, true), (server_first.address, false)] {
        let hops = five(&world, server, |_| Settings::default());
        let forward = world.forward(&hops[0].address, "--once");
        let mut stream = connect(forward.address);
        if first {
            stream.write_all(b"answer").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        }
        assert_eq!(read_all(&mut stream).unwrap(), b"answer");
        if !first {
            stream.write_all(b"answer").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        }
        let (receipt, code) = ended(forward);
        assert_eq!((&receipt["close"], code), (&"complete".into(), Some(0)), "{receipt:#}");
        let hops = receipt["hops"].as_array().unwrap();
        assert!(hops.iter().all(|hop| (&hop["bytes_up"], &hop["bytes_down"]) == (&6.into(), &6.into())), "{receipt:#}");
        assert_eq!(hops.len(), HOPS);
    }
}

/// The last hop ends what nobody else ends, and signs why.
fn partial(deadline: &str, reason: &str, ends: bool) {
    let world = World::new();
    let silent = Backend::new(|mut stream: TcpStream| {
        let heard = read_some(&mut stream, 6)?;
        stream.write_all(&heard)?;
        std::thread::park_timeout(PATIENCE);
        Ok::<_, std::io::Error>(())
    });
    let hops = five(&world, silent.address, |position| Settings {
        deadlines: if position == HOPS { deadline.to_owned() } else { String::new() },
        ..Settings::default()
    });
    let forward = world.forward(&hops[0].address, "--once");
    let mut stream = connect(forward.address);
    echo(&mut stream, b"before");
    if ends {
        stream.shutdown(Shutdown::Write).unwrap();
    }
    assert_eq!(read_all(&mut stream).map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
    let (receipt, code) = ended(forward);
    assert_eq!((&receipt["close"], code), (&"partial".into(), Some(3)), "{receipt:#}");
    assert_eq!(receipt["reason"], reason, "{receipt:#}");
    assert_eq!(receipt["hops"].as_array().unwrap().len(), HOPS);
}

#[test]
fn partial_when_one_half_stays_silent() {
    partial("half_close = \"1s\"", "half-close", true);
}

#[test]
fn partial_when_nobody_says_anything() {
    partial("idle = \"1s\"", "idle", false);
}

#[test]
fn refused_is_none_of_them() {
    let world = World::new();
    let hops = five(&world, crate::harness::unused_address(), |_| Settings::default());
    // The policy allows fewer hops: nothing is sent.
    let policy = world.policy("measurements = \"not-compared\"\nmax_hops = 2");
    let forward = world.forward(&hops[0].address, &format!("--once --policy {policy}"));
    assert!(read_all(&mut connect(forward.address)).is_err());
    let (receipt, code) = ended(forward);
    assert_eq!((&receipt["close"], code), (&"refused".into(), Some(1)), "{receipt:#}");
    // The server behind the last hop is not there: the path was verified and started.
    let forward = world.forward(&hops[0].address, "--once");
    assert!(read_all(&mut connect(forward.address)).is_err());
    let (receipt, code) = ended(forward);
    assert_eq!((&receipt["close"], code), (&"unreceipted".into(), Some(5)), "{receipt:#}");
    assert_eq!(receipt["error"]["code"], "unreachable", "{receipt:#}");
}
