//! Legs that stand ready: a path over them is as good as any, says so, and comes to be whatever happened to them.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Hop, World, command};
use crate::program::{PATIENCE, Program};
use crate::stream::{connect, echo};

/// A relay with legs that stand ready, before `workload`. `more` is of the route, `tables` what follows it.
fn relay(world: &World, workload: &str, more: &str, tables: &str) -> Hop {
    world.route(
        "relay",
        &format!(
            r#"
            listen = "127.0.0.1:0"
            xfer = "{workload}"
            upstream = "attested"
            downstream = {{ tls = "mutual", policy = "any" }}
            {more}
            [log]
            filter = "inclavared_tunnel=debug,info"
            {tables}
            "#
        ),
    )
}

/// Until legs stand ready.
fn filled(relay: &Hop) {
    relay.program.err.wait("legs that stand ready", |line| line.contains("legs stand ready").then_some(()));
}

fn attested(world: &World, to: &Hop, flags: &str) -> Value {
    let (code, path) = world.attest(&to.address, flags);
    assert_eq!(code, Some(0), "{path:#}");
    path
}

/// How long the leg between the two hops had stood.
fn warm_ms(path: &Value) -> Option<u64> {
    assert_eq!(path["hops"][0]["leg_warm_ms"], Value::Null, "the verifier's own leg is made for the path");
    path["hops"][1]["leg_warm_ms"].as_u64()
}

/// Attests until a path goes over a leg that stood ready.
fn warm(world: &World, to: &Hop) -> Value {
    warm_with(world, to, "")
}

fn warm_with(world: &World, to: &Hop, flags: &str) -> Value {
    let begun = Instant::now();
    loop {
        let path = attested(world, to, flags);
        if warm_ms(&path).is_some() {
            return path;
        }
        assert!(begun.elapsed() < PATIENCE, "no path goes over a leg that stood ready");
    }
}

#[test]
fn each_carries_one_path_and_says_how_long_it_stood() {
    let world = World::new();
    let workload = world.workload("--echo");
    let relay = relay(&world, &workload.address, "warm = { size = 2 }", "");
    filled(&relay);
    let paths: Vec<_> = (0..4).map(|_| warm(&world, &relay)).collect();
    let legs: HashSet<_> = paths.iter().map(|path| path["hops"][1]["leg"].to_string()).collect();
    assert_eq!(legs.len(), 4, "a leg was used twice");
    let sessions: HashSet<_> = paths.iter().map(|path| path["session"].to_string()).collect();
    assert_eq!(sessions.len(), 4);
    for path in &paths {
        assert_eq!(path["hops"].as_array().unwrap().len(), 2);
        assert!(warm_ms(path).unwrap() < 4000, "{path:#}");
    }

    // Streams, more at once than there are legs, and a receipt for each.
    let forward = world.forward(&relay.address, "");
    let mut streams: Vec<_> = (0..6).map(|_| connect(forward.address)).collect();
    streams.iter_mut().for_each(|stream| echo(stream, b"over a leg"));
    for stream in streams {
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(crate::stream::read_all(&mut { stream }).unwrap(), b"");
    }
    for receipt in forward.receipts(6) {
        assert_eq!((&receipt["close"], &receipt["error"]), (&"complete".into(), &Value::Null), "{receipt:#}");
    }
}

/// The fresh quote covers the verifier's nonce and the leg, however long that had stood.
#[test]
fn a_fresh_quote_binds_them_as_any_other() {
    let world = World::new();
    let workload = world.workload("--echo");
    let relay = relay(&world, &workload.address, "warm = { size = 2 }", "");
    filled(&relay);
    let policy = world.policy("measurements = \"not-compared\"\nbinding = \"quote\"");
    for _ in 0..2 {
        let path = warm_with(&world, &relay, &format!("--policy {policy}"));
        let bound: Vec<_> = path["hops"].as_array().unwrap().iter().map(|hop| hop["bound_by"].clone()).collect();
        assert_eq!(bound, ["quote", "quote"], "{path:#}");
    }
}

#[test]
fn no_path_is_lost_when_the_hop_below_is_restarted() {
    let world = World::new();
    let start = |port: u16| {
        let line = format!("--port {port} {} --echo", world.sim());
        Hop::new(Program::start(&mut command("enclave-tls-server", &line)))
    };
    let workload = start(0);
    let relay = relay(&world, &workload.address, "warm = { size = 3 }", "");
    filled(&relay);
    let before = warm(&world, &relay);
    let port = workload.tcp().port();
    workload.program.signal(Signal::KILL);
    workload.program.finish(PATIENCE);
    let (code, refused) = world.attest(&relay.address, "");
    assert_eq!((code, &refused["error"]["code"]), (Some(1), &"unreachable".into()), "{refused:#}");
    let _again = start(port);
    let after = attested(&world, &relay, "");
    assert_ne!(before["hops"][1]["kid"], after["hops"][1]["kid"]);
    // And legs to the new process stand ready by and by.
    assert_eq!(warm(&world, &relay)["hops"][1]["kid"], after["hops"][1]["kid"]);
}

#[test]
fn they_go_with_the_hop_key_that_made_them() {
    let world = World::new();
    let workload = world.workload("--echo");
    let relay = relay(&world, &workload.address, "warm = { size = 2 }", "[deadlines]\nhop_key = \"1s\"");
    filled(&relay);
    let begun = Instant::now();
    let (mut keys, mut over_warm) = (HashSet::new(), HashSet::new());
    while over_warm.len() < 3 {
        // The records are joined by the key: a leg of another key would be refused.
        let path = attested(&world, &relay, "");
        let kid = path["hops"][0]["kid"].to_string();
        if warm_ms(&path).is_some() {
            over_warm.insert(kid.clone());
        }
        keys.insert(kid);
        assert!(begun.elapsed() < PATIENCE, "{} keys, legs stood ready for {}", keys.len(), over_warm.len());
    }
}

#[test]
fn a_verifier_that_refuses_them_gets_a_path_without() {
    let world = World::new();
    let workload = world.workload("--echo");
    let inner = relay(&world, &workload.address, "warm = { size = 2 }", "");
    let outer = world.route(
        "outer",
        &format!(
            r#"
            listen = "127.0.0.1:0"
            xfer = "{}"
            upstream = "attested"
            downstream = {{ tls = "mutual", policy = "any" }}
            "#,
            inner.address
        ),
    );
    filled(&inner);
    let policy = world.policy("measurements = \"not-compared\"\nwarm_legs = \"refuse\"");
    let ages = |path: &Value| -> Vec<Value> {
        path["hops"].as_array().unwrap().iter().map(|hop| hop["leg_warm_ms"].clone()).collect()
    };
    let begun = Instant::now();
    while ages(&attested(&world, &outer, ""))[2] == Value::Null {
        assert!(begun.elapsed() < PATIENCE);
    }
    for _ in 0..3 {
        // It is asked for through the hop between.
        let path = attested(&world, &outer, &format!("--policy {policy}"));
        assert_eq!(ages(&path), [Value::Null, Value::Null, Value::Null], "{path:#}");
    }
}

/// A workload that is patient with peers whose evidence it has admitted, and with nobody else.
fn workload(world: &World, upstream: &str) -> Hop {
    world.route(
        "workload",
        &format!(
            r#"
            listen = "127.0.0.1:0"
            xfer = "127.0.0.1:9"
            upstream = {upstream}
            downstream = "plain"
            [attestation.sim]
            tee = "tdx"
            [deadlines]
            handshake_to_open = "500ms"
            idle_leg = "20s"
            drain = "25s"
            "#
        ),
    )
}

#[test]
fn a_known_peers_legs_may_stand_longer_and_end_with_a_drain() {
    let world = World::new();
    let workload = workload(&world, "{ tls = \"mutual\", policy = \"any\" }");
    let relay = relay(&world, &workload.address, "warm = { size = 2, max_age = \"15s\" }", "");
    filled(&relay);
    let begun = Instant::now();
    while warm_ms(&attested(&world, &relay, "")).is_none_or(|age| age < 1000) {
        assert!(begun.elapsed() < PATIENCE, "no leg stands longer than a stranger's may");
        std::thread::park_timeout(Duration::from_millis(1100));
    }
    workload.program.signal(Signal::TERM);
    // Its drain takes as long as there are connections, at most 25 s: legs that nobody uses are none.
    assert_eq!(workload.program.finish(Duration::from_secs(12)).code, Some(0));
}

#[test]
fn a_strangers_legs_may_not() {
    let world = World::new();
    let workload = workload(&world, "\"attested\"");
    let relay = relay(&world, &workload.address, "warm = { size = 2, max_age = \"15s\" }", "");
    filled(&relay);
    relay.program.err.wait("that they are lost", |line| line.contains("legs that stood ready were lost").then_some(()));
    for _ in 0..6 {
        let age = warm_ms(&attested(&world, &relay, ""));
        assert!(age.is_none_or(|age| age < 2000), "{age:?}");
        std::thread::park_timeout(Duration::from_millis(200));
    }
    // A pool whose legs are lost again and again is not filled in a row.
    let lost = |text: &str| text.lines().filter(|line| line.contains("were lost")).count();
    assert!(lost(&relay.program.err.seen()) < 30);
    relay.program.signal(Signal::TERM);
    assert_eq!(relay.program.finish(Duration::from_secs(12)).code, Some(0));
}
