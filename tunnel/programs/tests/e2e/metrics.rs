//! `[admin]`: what Prometheus reads of a hop, and what it does not.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;

use crate::harness::{Hop, World, command, tcp};
use crate::program::Program;
use crate::stream::{connect, echo, read_all};

fn http(admin: &str, request: &str) -> String {
    let mut stream = connect(tcp(&admin.replace("http://", "tcp://")));
    write!(stream, "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The value of one line.
fn value(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next().unwrap().parse().ok()
}

fn hop(world: &World, below: &str, more: &str) -> Hop {
    world.route(
        "ingress",
        &format!(
            r#"
            listen = "127.0.0.1:0"
            xfer = "{below}"
            upstream = "attested"
            downstream = {{ tls = "mutual", policy = "any" }}
            role = "ingress"
            {more}
            "#
        ),
    )
}

#[test]
fn counts_connections_appraisals_and_collateral() {
    let world = World::new();
    let workload = world.workload("--mutual --echo");
    let hop = hop(&world, &workload.address, "[admin]\nlisten = \"127.0.0.1:0\"");
    let admin = hop.program.address("admin");

    let forward = world.forward(&hop.address, "");
    for _ in 0..2 {
        let mut stream = connect(forward.address);
        echo(&mut stream, b"fourteen bytes");
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(&mut stream).unwrap(), b"");
    }
    assert!(forward.receipts(2).iter().all(|receipt| receipt["close"] == "complete"));
    // A verifier that comes to look, and leaves before START.
    let (code, _) = world.attest(&hop.address, "");
    assert_eq!(code, Some(0));
    // And one that is no peer at all.
    connect(hop.tcp()).write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    hop.program.err.wait("the end of the stranger", |line| line.contains("reason=\"tls\"").then_some(()));

    // A connection counts as open for a moment after it was logged.
    let idle = |answer: &String| value(answer, "inclavared_open{what=\"connections\"}") == Some(0);
    let answer = (0..100).map(|_| http(&admin, "GET /metrics")).find(idle).expect("nobody is connected any more");
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("text/plain; version=0.0.4"), "{head}");
    let count = |name: &str| value(text, name).unwrap_or_else(|| panic!("{name}:\n{text}"));
    let ended = |labels: &str| count(&format!("inclavared_connections_ended_total{{route=\"main\",{labels}}}"));
    assert_eq!(ended("result=\"closed\",reason=\"complete\""), 2);
    assert_eq!(ended("result=\"failed\",reason=\"tls\""), 1);
    assert_eq!(count("inclavared_connections_accepted_total{route=\"main\"}"), 4);
    assert_eq!(count("inclavared_connections_turned_away_total{route=\"main\"}"), 0);
    assert_eq!(count("inclavared_payload_bytes_total{route=\"main\",direction=\"up\"}"), 28);
    assert_eq!(count("inclavared_payload_bytes_total{route=\"main\",direction=\"down\"}"), 28);
    assert_eq!(count("inclavared_opening_seconds_count{route=\"main\"}"), 2);
    assert_eq!(count("inclavared_open{what=\"openings\"}"), 0);
    // The workload was appraised once, for all three paths.
    assert_eq!(count("inclavared_evidence_cache_misses_total"), 1);
    assert_eq!(count("inclavared_evidence_cache_entries"), 1);
    assert_eq!(count("inclavared_evidence_cache_evictions_total"), 0);
    assert_eq!(count("inclavared_collateral_rollbacks_refused_total"), 0);
    assert!(text.contains("inclavared_collateral_valid_seconds{root=\"simulated\",set=\"sgx/"), "{text}");

    assert!(http(&admin, "GET /healthz").ends_with("\r\n\r\nok\n"));
    assert!(http(&admin, "GET /").starts_with("HTTP/1.1 404 "));
    assert!(http(&admin, "POST /metrics").starts_with("HTTP/1.1 405 "));
}

#[test]
fn refusals_by_their_reason_and_services_by_their_address() {
    let world = World::new();
    let (service, url) = crate::pccs::pccs(&format!("--platform {}", world.platform()), "127.0.0.1:0");
    let workload = world.workload("--mutual --echo --sim-debug");
    let more = format!("[admin]\nlisten = \"127.0.0.1:0\"\n[collateral]\nservices = \"{url}\"");
    let hop = hop(&world, &workload.address, &more);
    let (code, failure) = world.attest(&hop.address, "");
    assert_eq!((code, &failure["error"]["code"]), (Some(1), &"debug".into()), "{failure:#}");
    drop(service);
    let answer = http(&hop.program.address("admin"), "GET /metrics");
    let count = |name: &str| value(&answer, name).unwrap_or_else(|| panic!("{name}:\n{answer}"));
    assert_eq!(count("inclavared_connections_ended_total{route=\"main\",result=\"refused\",reason=\"debug\"}"), 1);
    assert_eq!(count("inclavared_appraisals_refused_total{reason=\"collateral\"}"), 1, "before it was fetched");
    let fetches =
        |result| count(&format!("inclavared_collateral_fetches_total{{endpoint=\"{url}\",result=\"{result}\"}}"));
    assert_eq!((fetches("good"), fetches("failed")), (1, 0));
}

#[test]
fn there_is_none_unless_it_is_asked_for() {
    let world = World::new();
    let workload = world.workload("--mutual --echo");
    let hop = hop(&world, &workload.address, "");
    assert_eq!(world.attest(&hop.address, "").0, Some(0));
    assert!(!hop.program.err.seen().contains("admin"));

    // An address that is taken is said, and nothing starts.
    let file = world.path("taken.toml");
    let text = fs_text(&world, &workload.address, &hop.tcp().to_string());
    std::fs::write(&file, text).unwrap();
    let ended = Program::start(&mut command("inclavared", &format!("--config {}", file.display())));
    let ended = ended.finish(crate::program::PATIENCE);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.err.contains("`[admin]` cannot listen on"), "{ended:?}");
}

fn fs_text(world: &World, below: &str, taken: &str) -> String {
    format!(
        "[attestation]\nattester = \"sim\"\nverifier = \"sim\"\nplatform = \"{}\"\n[admin]\nlisten = \"{taken}\"\n\
         [[route]]\nname = \"main\"\nlisten = \"127.0.0.1:0\"\nxfer = \"{below}\"\nupstream = \"attested\"\n\
         downstream = \"plain\"\n",
        world.platform()
    )
}
