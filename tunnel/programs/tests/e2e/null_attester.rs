//! No evidence at all exists only where both sides name it.
//!
//! <https://github.com/inclavare-containers/inclavare-containers/issues/769>,
//! <https://github.com/inclavare-containers/inclavare-containers/issues/1317>: the null verifier was chosen silently.

use crate::harness::{Hop, World, command, run};
use crate::program::Program;

fn null_server() -> Hop {
    let program = Program::start(&mut command("enclave-tls-server", "--port 0 --attester null --echo"));
    Hop::new(program)
}

#[test]
fn is_refused_by_every_other_verifier() {
    let world = World::new();
    let server = null_server();
    server.program.err.wait("a warning", |line| (line.contains("WARN") && line.contains("null")).then_some(()));
    let (code, failure) = world.attest(&server.address, "");
    assert_eq!((code, &failure["error"]["hop"]), (Some(1), &1.into()), "{failure:#}");
    assert_eq!(failure["error"]["code"], "null", "{failure:#}");
    for verifier in ["auto", "sgx_ecdsa", "tdx_ecdsa", "sev_snp"] {
        let line = format!("remoteattestation --addr {} --json --verifier {verifier}", server.address);
        let done = run(&mut command("shelter", &line));
        let failure: serde_json::Value = serde_json::from_str(&done.out).unwrap();
        assert_eq!((done.code, &failure["error"]["code"]), (Some(1), &"null".into()), "{verifier}: {failure:#}");
    }
}

#[test]
fn is_accepted_by_the_verifier_of_that_name() {
    let server = null_server();
    let verify = |flags: &str| {
        let line = format!("remoteattestation --addr {} --json --verifier null {flags}", server.address);
        let done = run(&mut command("shelter", &line));
        (done.code, serde_json::from_str::<serde_json::Value>(&done.out).unwrap())
    };
    let (code, path) = verify("");
    assert_eq!((code, &path["hops"][0]["tee"]), (Some(0), &"none".into()), "{path:#}");

    // A policy has to say it as well.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("strict.toml");
    std::fs::write(&file, "[policy.strict]\nidentity = \"any-genuine\"\nmeasurements = \"not-compared\"\n").unwrap();
    let (code, failure) = verify(&format!("--policy {}", file.display()));
    assert_eq!((code, &failure["error"]["code"]), (Some(1), &"null".into()), "{failure:#}");
}

#[test]
fn is_never_what_an_unnamed_attester_comes_to() {
    if ["/dev/sgx_enclave", "/dev/tdx_guest", "/dev/sev-guest", "/dev/attestation"]
        .iter()
        .any(|device| std::path::Path::new(device).exists())
    {
        eprintln!("skipped: this machine has a TEE");
        return;
    }
    let done = run(&mut command("enclave-tls-server", "--port 0"));
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.err.contains("attester `auto`"), "{}", done.err);
}
