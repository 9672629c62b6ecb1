//! Hops on SEV-SNP: with certificates that travel along, and with those that a key service has, over real HTTP.

use std::fs;
use std::sync::Arc;

use inclavared_attest::attester::{Attester as _, UserData};
use inclavared_attest::evidence::Claims;
use inclavared_attest::sim::{SimPlatform, SimSnpAttester, SimSnpSpec};
use inclavared_attest::{KeyId, Timestamp};
use serde_json::Value;

use crate::harness::{World, command, run};
use crate::pccs::pccs;

fn tees(path: &Value) -> Vec<&str> {
    path["hops"].as_array().unwrap().iter().map(|hop| hop["tee"].as_str().unwrap()).collect()
}

#[test]
fn certificates_travel_to_a_verifier_that_asks_nobody() {
    let world = World::new();
    let workload = world.workload("--mutual --echo --sim-tee snp --sim-machine third");
    let second = world.hop(&workload.address, "--role relay --sim-tee snp --sim-machine second");
    let first = world.hop(&second.address, "--role ingress");
    let (code, path) = world.attest(&first.address, "");
    assert_eq!((code, tees(&path)), (Some(0), vec!["sgx", "sev-snp", "sev-snp"]), "{path:#}");
}

#[test]
fn a_report_alone_is_judged_with_what_a_service_has() {
    let world = World::new();
    let (service, url) = pccs(&format!("--platform {}", world.platform()), "127.0.0.1:0");
    let from = format!("--collateral-service {url}");
    let workload = world.workload(&format!("--mutual --echo --sim-tee snp --sim-no-certificates {from}"));
    let hop = world.hop(&workload.address, &format!("--role ingress {from}"));
    let (code, path) = world.attest(&hop.address, &from);
    assert_eq!((code, tees(&path)), (Some(0), vec!["sgx", "sev-snp"]), "{path:#}");

    // Who has no service lacks what the second hop's host did not hand out. The first hop has it by now.
    let (code, failure) = world.attest(&hop.address, "");
    assert_eq!((code, &failure["error"]["code"], &failure["error"]["hop"]), (Some(1), &"collateral".into(), &2.into()));

    // A service that is away stops nobody who has what it takes, and lets nobody in who has not.
    drop(service);
    let (code, failure) = world.attest(&hop.address, &from);
    assert_eq!((code, &failure["error"]["code"]), (Some(1), &"collateral".into()), "{failure:#}");
    assert!(failure["error"]["message"].as_str().unwrap().contains(&url), "{failure:#}");
}

#[test]
fn a_report_in_a_file() {
    let world = World::new();
    let (_service, url) = pccs(&format!("--platform {}", world.platform()), "127.0.0.1:0");
    let platform = Arc::new(SimPlatform::load(&world.path("platform"), Timestamp::now()).unwrap());
    let attester = SimSnpAttester::new(&platform, SimSnpSpec::new("code"), Timestamp::now()).unwrap();
    let report = attester.quote(&UserData::of(&Claims::new(KeyId::of(b"key"), None))).unwrap();
    let file = |name: &str| world.path(name).display().to_string();
    fs::write(world.path("report.bin"), report).unwrap();
    let (report, bundle, cache, again) = (file("report.bin"), file("amd.json"), file("cache"), file("again.json"));

    let without = world.shelter(&format!("appraise --json --evidence {report}"));
    assert_eq!(without.code, Some(2), "{without:?}");
    let collateral = |line: &str| {
        let done = run(&mut command("inclavared", &format!("collateral {line}")));
        assert_eq!(done.code, Some(0), "{line}: {done:?}");
        done.out
    };
    let of = format!("--platform {}", world.platform());
    let shown = collateral(&format!("fetch-amd --report {report} --out {bundle} --service {url} {of}"));
    assert!(shown.contains("simulated  sev-snp/milan/vcek  1 certificates"), "{shown}");
    collateral(&format!("import {bundle} --cache {cache} {of}"));
    collateral(&format!("export --cache {cache} --out {again} {of}"));
    assert!(collateral(&format!("show {again}")).contains("sev-snp/milan/vcek"));
    for bundle in [&bundle, &again] {
        let done = world.shelter(&format!("appraise --json --evidence {report} --collateral {bundle}"));
        assert_eq!(done.code, Some(0), "{done:?}");
        let verdict: Value = serde_json::from_str(&done.out).unwrap();
        assert_eq!((&verdict["tee"], &verdict["root"]), (&"sev-snp".into(), &"simulated".into()), "{verdict:#}");
        assert_eq!(verdict["revocation_checked"], true, "{verdict:#}");
    }
}
