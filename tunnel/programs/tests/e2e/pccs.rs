//! Collateral over HTTP: `inclavared pccs` in front of a simulated platform, and verifiers that hold its root alone.
//!
//! <https://github.com/confidential-containers/trustee/issues/840>: a collateral service that is away must not be
//! mistaken for good or for bad evidence.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{World, command, run, unused_address};
use crate::program::{Finished, PATIENCE, Program};

/// A folder with the platform's root and nothing else.
fn root_alone(world: &World) -> String {
    let folder = world.path("root-alone");
    fs::create_dir_all(&folder).unwrap();
    fs::copy(world.path("platform").join("root.pem"), folder.join("root.pem")).unwrap();
    folder.display().to_string()
}

pub(crate) fn pccs(from: &str, listen: &str) -> (Program, String) {
    let program = Program::start(&mut command("inclavared", &format!("pccs --listen {listen} {from}")));
    let address = program.address("pccs");
    (program, address)
}

fn shelter(root: &str, to: &str, flags: &str) -> Finished {
    let line = format!("remoteattestation --addr {to} --json --verifier sim --platform {root} {flags}");
    run(&mut command("shelter", &line))
}

fn json(done: &Finished) -> Value {
    serde_json::from_str(&done.out).unwrap_or_else(|error| panic!("{error}: {done:?}"))
}

/// As the platform's own collateral names it: the TCB info is JSON in a string of JSON.
fn fmspc(world: &World) -> String {
    let set = fs::read(world.path("platform").join("collateral-sgx.json")).unwrap();
    let set: Value = serde_json::from_slice(&set).unwrap();
    let info: Value = serde_json::from_str(set["tcb_info"].as_str().unwrap()).unwrap();
    info["fmspc"].as_str().unwrap().to_lowercase()
}

#[test]
fn every_verifier_of_a_chain_fetches_what_it_needs() {
    let world = World::new();
    let (service, url) = pccs(&format!("--platform {}", world.platform()), "127.0.0.1:0");
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    let from = format!("--collateral-service {url}");
    let workload = world.workload(&format!("--mutual --echo {from}"));
    let hop = world.hop(&workload.address, &format!("--role ingress {from}"));
    let root = root_alone(&world);

    let without = shelter(&root, &hop.address, "");
    assert_eq!(without.code, Some(1), "{without:?}");
    assert!(without.err.contains("collateral-sgx.json"), "{without:?}");

    let done = shelter(&root, &hop.address, &from);
    assert_eq!((done.code, json(&done)["hops"].as_array().map(Vec::len)), (Some(0), Some(2)), "{done:?}");

    // Who has its collateral goes on without the service. A new verifier cannot, and says why.
    drop(service);
    let without = shelter(&root, &hop.address, &from);
    assert_eq!((without.code, &json(&without)["error"]["code"]), (Some(1), &"collateral".into()), "{without:?}");
    let (code, path) = world.attest(&hop.address, "");
    assert_eq!(code, Some(0), "{path:#}");
}

#[test]
fn a_service_that_is_down_at_the_start_is_asked_again() {
    let world = World::new();
    let address = unused_address();
    let from = format!("--collateral-service http://{address}");
    let workload = world.workload("--echo");
    let hop = world.hop(&workload.address, &format!("--role ingress {from}"));

    // The hop verifies the workload before it answers for it: it is the one that lacks something.
    let begun = Instant::now();
    let (code, failure) = world.attest(&hop.address, "");
    assert_eq!((code, &failure["error"]["code"]), (Some(1), &"collateral".into()), "{failure:#}");
    assert_eq!(failure["error"]["hop"], 1, "{failure:#}");
    let message = failure["error"]["message"].to_string();
    assert!(!message.contains(&address.to_string()), "a peer learns where collateral comes from: {message}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    hop.program.err.wait("why", |line| line.contains(&address.to_string()).then_some(()));

    let _service = pccs(&format!("--platform {}", world.platform()), &address.to_string());
    let end = Instant::now() + PATIENCE;
    loop {
        let (code, path) = world.attest(&hop.address, "");
        if code == Some(0) {
            break;
        }
        assert_eq!(path["error"]["code"], "collateral", "{path:#}");
        assert!(Instant::now() < end, "{path:#}");
        std::thread::park_timeout(Duration::from_millis(500));
    }
}

#[test]
fn a_bundle_serves_where_no_service_is() {
    let world = World::new();
    let root = root_alone(&world);
    let chain = world.chain(2);
    let (service, url) = pccs(&format!("--platform {}", world.platform()), "127.0.0.1:0");
    let file = |name: &str| world.path(name).display().to_string();
    let (bundle, cache, again) = (file("bundle.json"), file("cache"), file("again.json"));
    let collateral = |line: &str| {
        let done = run(&mut command("inclavared", &format!("collateral {line}")));
        assert_eq!(done.code, Some(0), "{line}: {done:?}");
        done.out
    };
    let fmspc = fmspc(&world);
    let fetch = format!("fetch --fmspc {fmspc} --tee sgx --out {bundle} --platform {root} --service {url}");
    assert!(collateral(&fetch).contains("simulated"));
    drop(service);

    collateral(&format!("import {bundle} --cache {cache} --platform {root}"));
    collateral(&format!("export --cache {cache} --out {again} --platform {root}"));
    assert!(collateral(&format!("show {again}")).contains(&format!("sgx/{fmspc}")));
    for bundle in [&bundle, &again] {
        let done = shelter(&root, chain.address(), &format!("--collateral-bundle {bundle}"));
        assert_eq!(done.code, Some(0), "{done:?}");
    }

    // Under another root nothing of it is believed.
    let other = World::new();
    let done = run(&mut command(
        "inclavared",
        &format!("collateral import {bundle} --cache {cache} --platform {}", other.platform()),
    ));
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.err.contains("collateral refused"), "{done:?}");
}
