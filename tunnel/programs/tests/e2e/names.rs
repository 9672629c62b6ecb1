//! Whose a hop is: a certificate of an authority beside the evidence, verified by whoever stands far away.
//!
//! The right code on somebody else's machine passes every measurement.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use serde_json::Value;

use crate::five::{Settings, five};
use crate::harness::{Hop, World};
use crate::stream::echo_backend;

/// An authority whose certificate lies in `NAME.pem`, and what it issues beside it.
struct Authority(Issuer<'static, KeyPair>);

impl Authority {
    fn new(world: &World, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(world.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        Self(Issuer::new(params, key))
    }

    /// The files for `[identity]`.
    fn issue(&self, world: &World, who: &str) -> String {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = vec![SanType::URI(id(who).try_into().unwrap())];
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let write = |path: &Path, text: String| std::fs::write(path, text).unwrap();
        write(&world.path(&format!("{who}.pem")), certificate.pem());
        write(&world.path(&format!("{who}.key")), key.serialize_pem());
        format!("[identity]\ncert = \"{who}.pem\"\nkey = \"{who}.key\"")
    }
}

fn id(who: &str) -> String {
    format!("spiffe://example.org/{who}")
}

/// A policy that wants one of these names, by the authority `ca`.
fn names(world: &World, ca: &str, who: &[&str], more: &str) -> String {
    let ids: Vec<_> = who.iter().map(|who| format!("\"{}\"", id(who))).collect();
    let file = world.path(&format!("{ca}-{}.policy.toml", who.join("-")));
    let text = format!(
        "[policy.test]\nallow_simulated = true\nmeasurements = \"not-compared\"\n\
         identity = {{ ca = \"{ca}.pem\", spiffe = [{}] }}\n{more}",
        ids.join(", ")
    );
    std::fs::write(&file, text).unwrap();
    file.display().to_string()
}

fn named(world: &World, tables: impl Fn(usize) -> String) -> Vec<Hop> {
    five(world, echo_backend().address, |position| Settings { tables: tables(position), ..Settings::default() })
}

#[track_caller]
fn assert_refused(failure: &(Option<i32>, Value), hop: u64, found: &str) {
    let (code, value) = failure;
    let error = &value["error"];
    assert_eq!((*code, &error["code"], &error["hop"]), (Some(1), &"identity".into(), &hop.into()), "{value:#}");
    assert!(error["check"].as_str().unwrap().contains("name"), "{value:#}");
    assert!(error["found"].as_str().unwrap().contains(found), "{value:#}");
}

#[test]
fn every_hop_has_one_that_the_verifier_knows() {
    let world = World::new();
    let (ours, theirs) = (Authority::new(&world, "ours"), Authority::new(&world, "theirs"));
    let gateway = ours.issue(&world, "gateway");
    let workload = ours.issue(&world, "workload");
    let hops = named(&world, |position| if position == 5 { workload.clone() } else { gateway.clone() });
    let attest = |policy: &str| world.attest(&hops[0].address, &format!("--policy {policy}"));
    let (code, path) = attest(&names(&world, "ours", &["gateway", "workload"], ""));
    assert_eq!(code, Some(0), "{path:#}");
    // At level `quote`, too, whose fresh quotes name nobody.
    let quoted = names(&world, "ours", &["workload", "gateway"], "binding = \"quote\"\n");
    let (code, path) = attest(&quoted);
    assert_eq!((code, &path["hops"][4]["bound_by"]), (Some(0), &"quote".into()), "{path:#}");
    assert_refused(&attest(&names(&world, "ours", &["gateway"], "")), 5, "spiffe://example.org/workload");
    assert_refused(&attest(&names(&world, "theirs", &["gateway", "workload"], "")), 1, "UnknownIssuer");
    drop(theirs);
}

#[test]
fn one_without_is_refused_where_it_stands() {
    let world = World::new();
    let (ours, theirs) = (Authority::new(&world, "ours"), Authority::new(&world, "theirs"));
    let gateway = ours.issue(&world, "gateway");
    let posing = theirs.issue(&world, "impostor");
    let without = named(&world, |position| if position == 3 { String::new() } else { gateway.clone() });
    let policy = names(&world, "ours", &["gateway", "impostor"], "");
    assert_refused(&world.attest(&without[0].address, &format!("--policy {policy}")), 3, "none");
    // The same name by another authority.
    let posed = named(&world, |position| if position == 4 { posing.clone() } else { gateway.clone() });
    assert_refused(&world.attest(&posed[0].address, &format!("--policy {policy}")), 4, "UnknownIssuer");
}

#[test]
fn a_workload_asks_for_one_of_those_behind_its_client() {
    let world = World::new();
    let ours = Authority::new(&world, "ours");
    let (gateway, edge) = (ours.issue(&world, "gateway"), ours.issue(&world, "edge"));
    let judged = |who: &[&str]| {
        let callers = names(&world, "ours", who, "terminal = \"plain\"\n");
        let text = std::fs::read_to_string(callers).unwrap();
        five(&world, echo_backend().address, |position| match position {
            5 => Settings {
                upstream: "{ tls = \"mutual\", policy = \"test\" }".to_owned(),
                tables: text.clone(),
                ..Settings::default()
            },
            1 => Settings { tables: edge.clone(), ..Settings::default() },
            _ => Settings { tables: gateway.clone(), ..Settings::default() },
        })
    };
    let right = judged(&["gateway", "edge"]);
    let (code, path) = world.attest(&right[0].address, "--start");
    assert_eq!((code, &path["receipt"]["close"]), (Some(0), &"complete".into()), "{path:#}");
    let wrong = judged(&["gateway"]);
    let (code, failure) = world.attest(&wrong[0].address, "--start");
    assert_eq!((code, &failure["error"]["code"]), (Some(1), &"identity".into()), "{failure:#}");
    let message = failure["error"]["message"].as_str().unwrap();
    assert!(message.contains("the path behind the client: hop 4: policy (`test`, name)"), "{message}");
}
