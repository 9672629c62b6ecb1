//! A failure at each position of a chain of five: the verifier learns which hop, which check, and what was found.
//!
//! <https://github.com/Dstack-TEE/dstack/issues/829>, <https://github.com/Dstack-TEE/dstack/issues/967>: say whose
//! attestation failed, and why.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::five::{HOPS, Settings, five, mrtd, path, policy_file};
use crate::harness::{World, unused_address};
use crate::stream::echo_backend;

const WRONG: &str = "ab";

/// A rule a position, of which one names other code.
fn rules(path: &Value, first: usize, wrong: usize) -> String {
    let rule = |position: usize| {
        let mrtd = if position == wrong { WRONG.repeat(48) } else { mrtd(path, position) };
        format!("[[policy.test.hop]]\nposition = {}\nmrtd = \"{mrtd}\"\n", position + 1 - first)
    };
    (first..=HOPS).map(rule).collect()
}

fn error(failure: &Value) -> (&str, Option<u64>, Option<u64>) {
    let error = &failure["error"];
    (error["code"].as_str().unwrap(), error["hop"].as_u64(), error["reported_by"].as_u64())
}

#[test]
fn other_code_than_the_verifier_expects() {
    let world = World::new();
    let backend = echo_backend();
    let hops = five(&world, backend.address, |_| Settings::default());
    let path = path(&world, &hops);
    let right = policy_file(&world, "right", &rules(&path, 1, 0));
    let (code, verified) = world.attest(&hops[0].address, &format!("--policy {right}"));
    assert_eq!((code, &verified["reference_values"]), (Some(0), &"compared".into()), "{verified:#}");
    for position in 1..=HOPS {
        let policy = policy_file(&world, "wrong", &rules(&path, 1, position));
        let (code, failure) = world.attest(&hops[0].address, &format!("--policy {policy}"));
        assert_eq!(code, Some(1), "{failure:#}");
        assert_eq!(error(&failure), ("measurement", Some(position as u64), None), "{failure:#}");
        // It is the verifier's own: it may see both.
        assert!(failure["error"]["expected"].as_str().unwrap().contains(&WRONG.repeat(8)), "{failure:#}");
        assert!(failure["error"]["found"].as_str().unwrap().contains(&mrtd(&path, position)[..16]), "{failure:#}");
        assert!(failure["error"]["check"].as_str().unwrap().contains("measurement"), "{failure:#}");
    }
}

/// A hop in the chain refuses the one below it. What it would have accepted is told only where its route says so.
#[test]
fn other_code_than_a_hop_expects() {
    let world = World::new();
    let backend = echo_backend();
    let probe = five(&world, backend.address, |_| Settings::default());
    let shown = path(&world, &probe);
    drop(probe);
    for (position, discloses) in [(2, true), (2, false), (3, false), (4, true), (5, false), (5, true)] {
        let hops = five(&world, backend.address, |hop| {
            let route = format!("disclose_expected = {discloses}");
            if hop + 1 != position {
                return Settings { route, ..Settings::default() };
            }
            let head = "[policy.test]\nallow_simulated = true\nidentity = \"any-genuine\"\nterminal = \"tee-local\"\n";
            let tables = format!("{head}{}", rules(&shown, position, position));
            Settings { policy: "test".to_owned(), route, tables, ..Settings::default() }
        });
        let (code, failure) = world.attest(&hops[0].address, "");
        assert_eq!(code, Some(1), "{failure:#}");
        let (at, by) = (position as u64, position as u64 - 1);
        assert_eq!(error(&failure), ("measurement", Some(at), Some(by)), "{failure:#}");
        let message = failure["error"]["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("hop {by} says of hop {at}: policy (`test`, measurement")), "{message}");
        assert!(failure["error"]["found"].as_str().unwrap().contains(&mrtd(&shown, position)[..16]), "{failure:#}");
        let expected = failure["error"]["expected"].as_str();
        assert_eq!(expected.is_some(), discloses, "{failure:#}");
        let said = failure.to_string();
        assert_eq!(said.contains(&WRONG.repeat(8)), discloses, "{said}");
    }
}

#[test]
fn a_hop_that_is_not_there() {
    let world = World::new();
    let backend = echo_backend();
    for position in 2..=HOPS {
        let hops = five(&world, backend.address, |hop| match hop + 1 == position {
            true => Settings { xfer: Some(unused_address().to_string()), ..Settings::default() },
            false => Settings::default(),
        });
        let (code, failure) = world.attest(&hops[0].address, "");
        assert_eq!(code, Some(1), "{failure:#}");
        let by = position as u64 - 1;
        assert_eq!(error(&failure), ("unreachable", Some(by), Some(by)), "{failure:#}");
    }
    // The first: nobody can say anything but the verifier.
    let (code, failure) = world.attest(&unused_address().to_string(), "");
    assert_eq!((code, error(&failure)), (Some(1), ("unreachable", None, None)), "{failure:#}");
    // The server behind the last hop is dialled at START.
    let hops = five(&world, unused_address(), |_| Settings::default());
    assert_eq!(world.attest(&hops[0].address, "").0, Some(0));
    let (code, failure) = world.attest(&hops[0].address, "--start");
    assert_eq!((code, error(&failure)), (Some(1), ("unreachable", Some(5), Some(5))), "{failure:#}");
}

#[test]
fn a_hop_that_has_stopped() {
    let world = World::new();
    let backend = echo_backend();
    let hops = five(&world, backend.address, |_| Settings {
        deadlines: "handshake = \"2s\"\nopen_to_preview = \"9s\"\nopen_to_preview_per_hop = \"1s\"".to_owned(),
        ..Settings::default()
    });
    for position in 2..=HOPS {
        let stopped = &hops[position - 1].program;
        stopped.signal(Signal::STOP);
        let begun = Instant::now();
        let (code, failure) = world.attest(&hops[0].address, "");
        let took = begun.elapsed();
        stopped.signal(Signal::CONT);
        assert_eq!(code, Some(1), "{failure:#}");
        let by = position as u64 - 1;
        assert_eq!(error(&failure), ("deadline", Some(by), Some(by)), "{failure:#}");
        assert!(took < Duration::from_secs(9), "{took:?}");
    }
    assert_eq!(world.attest(&hops[0].address, "").0, Some(0), "and all is well again");
    // The first, and something that accepts and says nothing.
    hops[0].program.signal(Signal::STOP);
    let (code, failure) = world.attest(&hops[0].address, "--timeout 2s");
    hops[0].program.signal(Signal::CONT);
    assert_eq!((code, error(&failure).0), (Some(1), "deadline"), "{failure:#}");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let (code, failure) = world.attest(&silent.local_addr().unwrap().to_string(), "--timeout 2s");
    assert_eq!((code, error(&failure).0), (Some(1), "deadline"), "{failure:#}");
}

/// The hop behind the stopped one has answered the handshake, and then says no more: the deadlines go down the chain in
/// steps, so that the hop next to it names it, and not the verifier.
#[test]
fn a_hop_that_stops_after_its_handshake() {
    let world = World::new();
    // The last hop's own client is let in and gets no PREVIEW: below it is a listener that never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let hops = five(&world, "127.0.0.1:9", |hop| Settings {
        deadlines: "handshake = \"30s\"\nopen_to_preview = \"7s\"\nopen_to_preview_per_hop = \"1s\"".to_owned(),
        xfer: (hop == 4).then(|| address.to_string()),
        ..Settings::default()
    });
    let (code, failure) = world.attest(&hops[0].address, "");
    assert_eq!(code, Some(1), "{failure:#}");
    // Hop 4 waits for a handshake for longer than hop 3 waits for hop 4.
    assert_eq!(error(&failure), ("deadline", Some(3), Some(3)), "{failure:#}");
    assert!(failure["error"]["message"].as_str().unwrap().contains("PREVIEW"), "{failure:#}");
}
