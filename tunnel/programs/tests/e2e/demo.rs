//! `inclavared demo`: what a newcomer runs first has to work, and to say what it shows.

use std::time::Duration;

use crate::harness::command;
use crate::program::{Finished, Program};

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
