//! What an operator got wrong: said with what, where and what to do, and told apart by the exit status.

use std::net::TcpListener;

use crate::harness::{World, command, run, unused_address};

/// Exit status 2: the command line cannot be meant. Nothing was started.
fn is_refused(program: &str, line: &str, parts: &[&str]) {
    let done = run(&mut command(program, line));
    assert_eq!((done.code, done.out.as_str()), (Some(2), ""), "{program} {line}: {done:?}");
    for part in parts {
        assert!(done.err.contains(part), "`{part}` is not in what `{program} {line}` says:\n{}", done.err);
    }
}

/// Exit status 1: it was meant, and could not be done.
fn fails(program: &str, line: &str, parts: &[&str]) {
    let done = run(&mut command(program, line));
    assert_eq!((done.code, done.out.as_str()), (Some(1), ""), "{program} {line}: {done:?}");
    for part in parts {
        assert!(done.err.contains(part), "`{part}` is not in what `{program} {line}` says:\n{}", done.err);
    }
}

#[test]
fn flags_that_contradict_each_other() {
    is_refused("inclavared", "", &["--listen", "missing", "demo"]);
    is_refused("inclavared", "--listen 127.0.0.1:0 demo", &["cannot be used with"]);
    is_refused("inclavared", "--connect 127.0.0.1:1 --listen 127.0.0.1:0", &["--listen", "leave one of them out"]);
    is_refused("enclave-tls-server", "--echo --serve-dir /tmp", &["--echo and --serve-dir", "keep one of them"]);
    is_refused("shelter", "remoteattestation --verifier sim", &["--platform", "missing", "add `--platform DIR`"]);
    is_refused("shelter", "remoteattestation --timeout 0s", &["--timeout", "zero"]);
    is_refused("shelter", "mrverify", &["mrverify", "shelter record"]);
}

#[test]
fn a_port_in_use() {
    let world = World::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let line = format!("--listen {address} --xfer 127.0.0.1:9 {}", world.sim());
    fails("inclavared", &line, &["route `main`", &format!("tcp://{address}"), "in use"]);
    let line = format!("--port {} {}", address.port(), world.sim());
    fails("enclave-tls-server", &line, &[&format!("tcp://{address}"), "in use"]);
    let line = format!("forward --listen {address} --to 127.0.0.1:9 --verifier sim --platform {}", world.platform());
    fails("shelter", &line, &[&format!("tcp://{address}"), "in use"]);
}

#[test]
fn a_platform_that_is_not_there() {
    let world = World::new();
    let nowhere = world.path("nowhere").display().to_string();
    let sim = format!("--attester sim --verifier sim --platform {nowhere}");
    // What, where, and what to do.
    let parts = ["simulated platform", nowhere.as_str(), "`inclavared sim init DIR`"];
    fails("inclavared", &format!("--listen 127.0.0.1:0 --xfer 127.0.0.1:9 {sim}"), &parts);
    fails("enclave-tls-server", &format!("--port 0 {sim}"), &parts);
    let line = format!("remoteattestation --addr 127.0.0.1:9 --verifier sim --platform {nowhere}");
    fails("shelter", &line, &parts);
}

#[test]
fn a_folder_to_be_served_that_is_not_there() {
    let world = World::new();
    let nowhere = world.path("nowhere").display().to_string();
    fails("enclave-tls-server", &format!("--port 0 --serve-dir {nowhere} {}", world.sim()), &["--serve-dir", &nowhere]);
}

#[test]
fn nobody_at_the_address() {
    let world = World::new();
    let address = unused_address();
    let line = format!("remoteattestation --addr {address} --verifier sim --platform {}", world.platform());
    fails("shelter", &line, &["Remote attestation failed with err: ", &format!("tcp://{address}"), "refused"]);
}

#[test]
fn a_platform_is_made_once_and_left_alone() {
    let world = World::new();
    let init = format!("sim init {}", world.platform());
    let root = || std::fs::read(world.path("platform").join("root.pem")).unwrap();
    let made = root();
    let again = run(&mut command("inclavared", &init));
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(again.out.contains(&world.platform()), "{}", again.out);
    assert_eq!(root(), made);
}
