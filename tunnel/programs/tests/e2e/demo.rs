//! `inclavared demo`: what a newcomer runs first has to work, and to say what it shows.

use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{command, run};
use crate::program::{Finished, PATIENCE, Program};

fn demo(flags: &str) -> Finished {
    let done = Program::start(&mut command("inclavared", &format!("demo {flags}"))).finish(Duration::from_secs(60));
    assert_eq!(done.code, Some(0), "{done:?}");
    done
}

#[test]
fn shows_a_path_a_transfer_its_receipt_and_a_refusal() {
    let said = demo("--hops 3").out;
    for role in ["ingress", "relay", "workload"] {
        assert!(said.lines().any(|line| line.contains(role) && line.contains("SGX simulated")), "{role}: {said}");
    }
    for part in [
        "end: workload",
        "the same SHA-256 on both sides",
        "receipt: complete, 67108864 bytes up, 67108864 down, the same at all 3 hops",
        "Remote attestation failed with err: hop 1: ",
        "mrenclave",
    ] {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
    assert!(said.lines().last().unwrap().starts_with("All of it as it should be"), "{said}");
}

/// A program that reads along gets a document a line and nothing else.
#[test]
fn says_json_alone_where_it_is_asked_to() {
    let said = demo("--hops 2 --json").out;
    let documents: Vec<serde_json::Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    assert_eq!(documents.len(), 2, "{said}");
    assert_eq!(documents[0]["hops"].as_array().map(Vec::len), Some(2), "{said}");
    assert_eq!(documents[1]["error"]["hop"], 1, "{said}");
}

#[test]
fn leaves_no_keys_behind_when_it_is_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(command("inclavared", "demo --hops 3").env("TMPDIR", folder.path()));
    program.out.wait("its first hop", |line| line.contains("ingress").then_some(()));
    program.signal(Signal::INT);
    assert_eq!(program.finish(PATIENCE).code, Some(130));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Standard output that takes nothing is an error with a name, not a panic.
#[test]
fn a_full_disk_behind_standard_output_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/chain.toml");
    let lines = [format!("check {file}"), format!("sim init {}/platform", folder.path().display())];
    for line in lines {
        let shell = format!("{} {line} >/dev/full", env!("CARGO_BIN_EXE_inclavared"));
        let done = run(std::process::Command::new("sh").args(["-c", &shell]));
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(done.err.contains("writing to standard output"), "{done:?}");
    }
}
