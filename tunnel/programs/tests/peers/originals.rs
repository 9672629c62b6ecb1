//! `compat = "enclave-tls"`: the original's `shelter` as a client, here rebuilt from its rules in `programs/rats.py`.
//!
//! Its hop answered with 64 bytes of payload, which it called measurements: here they are those of the verified quote.

use std::io::ErrorKind;
use std::net::TcpListener;

use serde_json::Value;

use crate::harness::{Hop, World, tcp};
use crate::rats::Field;
use crate::stacks::{Act, Client, End, Stack};
use crate::stream::connect;

/// A hop for the original's clients, before `target`.
fn hop(world: &World, target: &str, more: &str) -> Hop {
    world.route(
        "old",
        &format!(
            "listen = \"127.0.0.1:0\"\nxfer = \"{target}\"\nupstream = \"attested\"\ncompat = \"enclave-tls\"\n\
             downstream = {{ tls = \"mutual\", policy = \"any\" }}\n{more}"
        ),
    )
}

/// What `shelter` came to: its exit status, and the lines that it printed.
fn shelter(field: &Field, to: &Hop, question: Option<&str>) -> (Option<i32>, Vec<String>) {
    let address = to.tcp().to_string();
    let words: Vec<&str> = ["shelter", &address].into_iter().chain(question).collect();
    let (code, said) = field.rats(&words);
    (code, said.lines().map(str::to_owned).collect())
}

#[test]
fn is_answered_from_the_verified_quote() {
    let Some(field) = Field::new() else { return };
    let of_code = |label: &str| format!("--mutual --echo --sim-label {label}");
    for (label, through_a_relay) in [("one", false), ("another", true)] {
        let workload = field.world.workload(&of_code(label));
        let relay = through_a_relay.then(|| field.world.hop(&workload.address, "--sim-label relay"));
        let target = relay.as_ref().map_or(&workload.address, |relay| &relay.address);
        let old = hop(&field.world, target, "");
        let (code, said) = shelter(&field, &old, None);
        assert_eq!((code, said.len()), (Some(0), 2), "{said:?}");
        assert!(said[0].starts_with("TLSv1.3 "), "{said:?}");

        // The same as the verifier of today finds at the end of the path.
        let (code, path) = field.world.attest(target, "--mutual --attester sim");
        assert_eq!(code, Some(0), "{path:#}");
        let hops = path["hops"].as_array().unwrap();
        let last = &hops.last().unwrap()["measurement"];
        let answer: Value = serde_json::from_str(&said[1]).unwrap();
        assert!(last["mrenclave"].is_string() && last["mrsigner"].is_string(), "{path:#}");
        assert_eq!((&answer["mrenclave"], &answer["mrsigner"]), (&last["mrenclave"], &last["mrsigner"]));
        let rest = (&answer["id"], &answer["msgtype"], &answer["version"]);
        assert_eq!(rest, (&"123456".into(), &"ENCLAVEINFO".into(), &1.into()));
        let words = format!("the quotes of {} hops were verified by inclavared\n", hops.len());
        assert_eq!(answer["message"], Value::from(words));
        old.program.err.wait("the end", |line| line.contains("close=\"complete\"").then_some(()));
    }
}

/// No byte of the workload's is asked for, so that none can be taken for a measurement.
#[test]
fn no_payload_is_asked_for() {
    let Some(field) = Field::new() else { return };
    let behind = TcpListener::bind("127.0.0.1:0").unwrap();
    let flags = format!("--mutual --sim-tee tdx --xfer {}", behind.local_addr().unwrap());
    let workload = field.world.workload(&flags);
    let old = hop(&field.world, &workload.address, "");
    // A TD has no mrenclave: there is nothing that the old answer could say of it.
    let (code, said) = shelter(&field, &old, None);
    assert!(code == Some(1) && said[1].contains("ALERT_ACCESS_DENIED"), "{said:?}");
    old.program.err.wait("the reason", |line| line.contains("reason=\"tee\"").then_some(()));
    behind.set_nonblocking(true).unwrap();
    assert_eq!(behind.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn what_is_refused_is_not_answered() {
    let Some(field) = Field::new() else { return };
    let elsewhere = World::new();
    let refused = |old: &Hop, question, reason: &str| {
        let (code, said) = shelter(&field, old, question);
        assert_eq!((code, said.len()), (Some(1), 2), "{said:?}");
        assert!(said[1].starts_with("end [SSL: ") && said[1].contains("ALERT"), "{said:?}");
        old.program.err.wait(reason, |line| line.contains(&format!("reason=\"{reason}\"")).then_some(()));
    };
    // A workload of another platform, and nobody at all.
    let stranger = elsewhere.workload("--mutual");
    refused(&hop(&field.world, &stranger.address, ""), None, "collateral");
    refused(&hop(&field.world, "127.0.0.1:9", ""), None, "unreachable");

    let long = format!("{{\"x\":\"{}", "y".repeat(600));
    let old = hop(&field.world, &field.ours.address, "[deadlines]\nhandshake_to_open = \"300ms\"\n");
    refused(&old, Some("hello"), "protocol");
    refused(&old, Some("{\"type\":\"hello\"}"), "protocol");
    refused(&old, Some(&long), "protocol");
    // Half a question, and then nothing.
    refused(&old, Some("{"), "deadline");
}

/// TLS 1.3 alone, and nothing of the protocol of today on such a route.
#[test]
fn others_are_not_served() {
    let Some(field) = Field::new() else { return };
    let old = hop(&field.world, &field.ours.address, "");
    let (code, failure) = field.world.attest(&old.address, "");
    assert_eq!((code, &failure["error"]["code"]), (Some(1), &"protocol".into()), "{failure:#}");
    let client = Client { world: &field.world, address: tcp(&old.address), ca: None, own: None };
    let heard = Stack::Python.client(&client, Act::Trade, b"hello");
    assert_eq!(heard.bytes, b"");
    assert!(matches!(heard.end, End::Alert(_)), "{heard:?}");
    // A port scan.
    drop(connect(old.tcp()));
    assert_is_up(&old.tcp().to_string(), &field);
}

fn assert_is_up(address: &str, field: &Field) {
    let (code, said) = field.rats(&["shelter", address]);
    assert_eq!(code, Some(0), "{said}");
}
