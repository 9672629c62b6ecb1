//! What a policy may say of a whole path: roles in order, how many hops, what stands at the end, whose machines, which
//! configuration. Each is refused by its name.
//!
//! <https://github.com/inclavare-containers/inclavare-containers/issues/779>,
//! <https://github.com/inclavare-containers/inclavare-containers/issues/1235>: policy on what was measured.

use serde_json::Value;

use crate::five::policy_file;
use crate::harness::{Chain, World};
use crate::stream::echo_backend;

/// Verifies under a policy of its own.
fn verify(world: &World, chain: &Chain, text: &str) -> (Option<i32>, Value) {
    let policy = policy_file(world, "shape", text);
    world.attest(chain.address(), &format!("--policy {policy}"))
}

#[track_caller]
fn assert_accepted((code, path): (Option<i32>, Value)) {
    assert_eq!(code, Some(0), "{path:#}");
}

#[track_caller]
fn assert_refused((code, failure): (Option<i32>, Value), reason: &str, check: &str, found: &str) -> Value {
    let error = &failure["error"];
    assert_eq!((code, &error["code"]), (Some(1), &reason.into()), "{failure:#}");
    assert!(error["check"].as_str().unwrap().contains(check), "{failure:#}");
    assert!(error["found"].as_str().unwrap().contains(found), "{failure:#}");
    failure
}

const ANY: &str = "measurements = \"not-compared\"\n";

#[test]
fn roles_in_their_order_and_number() {
    let world = World::new();
    let chain = world.chain(4);
    let order = |order: &str| verify(&world, &chain, &format!("{ANY}order = [{order}]"));
    for right in [
        "\"ingress\", \"relay\", \"relay\", \"workload\"",
        "\"ingress\", \"relay{0,2}\", \"workload\"",
        "\"ingress{0,1}\", \"relay{2,3}\", \"edge{0,1}\", \"workload\"",
    ] {
        assert_accepted(order(right));
    }
    let found = "ingress -> relay -> relay -> workload";
    for wrong in [
        "\"ingress\", \"relay\", \"workload\"",
        "\"ingress\", \"relay{0,1}\", \"workload\"",
        "\"ingress\", \"relay{3,4}\", \"workload\"",
        "\"relay{0,4}\", \"ingress\", \"workload\"",
        "\"ingress\", \"edge\", \"relay{1,2}\", \"workload\"",
    ] {
        let failure = assert_refused(order(wrong), "shape", "order of roles", found);
        assert_eq!(failure["error"]["hop"], Value::Null, "{failure:#}");
    }
    assert_accepted(verify(&world, &chain, &format!("{ANY}min_hops = 4\nmax_hops = 4")));
    assert_refused(verify(&world, &chain, &format!("{ANY}min_hops = 5")), "shape", "number of hops", "4");
    let (code, failure) = verify(&world, &chain, &format!("{ANY}max_hops = 3"));
    assert_eq!((code, &failure["error"]["code"]), (Some(1), &"ttl".into()), "{failure:#}");
    assert_eq!(failure["error"]["reported_by"], 3, "{failure:#}");
}

#[test]
fn what_stands_at_the_end() {
    let world = World::new();
    let backend = echo_backend().address;
    let ends = [
        ("--echo".to_owned(), "workload"),
        (format!("--sim-tee tdx --xfer {backend}"), "tee-local"),
        (format!("--sim-tee sgx --xfer {backend}"), "host-local"),
        ("--sim-tee tdx --xfer 192.0.2.1:9".to_owned(), "plain"),
    ];
    for (workload, kind) in ends {
        // Alone: another hop's own policy would refuse the end before this verifier sees it.
        let chain = world.chain_to(1, &workload);
        assert_accepted(verify(&world, &chain, &format!("{ANY}terminal = \"{kind}\"")));
        let others = ["workload", "same-tee", "tee-local", "host-local", "plain"];
        let others: Vec<_> = others.iter().filter(|other| **other != kind).map(|other| format!("{other:?}")).collect();
        let terminal = format!("{ANY}terminal = [{}]", others.join(", "));
        assert_refused(verify(&world, &chain, &terminal), "shape", "end of the path", kind);
        // Without a word about it, nothing that leaves the TEE.
        let by_default = verify(&world, &chain, ANY);
        match kind {
            "host-local" | "plain" => drop(assert_refused(by_default, "shape", "end of the path", kind)),
            _ => assert_accepted(by_default),
        }
    }
}

#[test]
fn whose_machines_and_which_configuration() {
    let world = World::new();
    let chain = world.chain(3);
    let (_, path) = world.attest(chain.address(), "");
    // Identity stands in the head of the file: this policy has its own.
    let with_identity = |identity: &str| {
        let file = world.path("identity.policy.toml");
        std::fs::write(&file, format!("[policy.test]\nallow_simulated = true\n{ANY}identity = {identity}")).unwrap();
        world.attest(chain.address(), &format!("--policy {}", file.display()))
    };
    let platform = path["hops"][0]["platform"]["ids"][0].as_str().unwrap();
    assert_accepted(with_identity(&format!("{{ platforms = [\"{platform}\"] }}")));
    let other = "ab".repeat(platform.len() / 2);
    let failure =
        assert_refused(with_identity(&format!("{{ platforms = [\"{other}\"] }}")), "identity", "platform", platform);
    assert_eq!(failure["error"]["hop"], 1, "{failure:#}");

    let rules = |wrong: usize| -> String {
        let rule = |position: usize| {
            let hop = &path["hops"][position - 1];
            let digest = hop["config_digest"].as_str().unwrap();
            let digest = if position == wrong { "ab".repeat(32) } else { digest.to_owned() };
            let mrenclave = hop["measurement"]["mrenclave"].as_str().unwrap();
            format!(
                "[[policy.test.hop]]\nposition = {position}\nmrenclave = \"{mrenclave}\"\nconfig_digest = \"{digest}\"\n"
            )
        };
        (1..=3).map(rule).collect()
    };
    assert_accepted(verify(&world, &chain, &rules(0)));
    for position in 1..=3 {
        let found = path["hops"][position - 1]["config_digest"].as_str().unwrap();
        let failure = assert_refused(verify(&world, &chain, &rules(position)), "config-digest", "configuration", found);
        assert_eq!(failure["error"]["hop"], position, "{failure:#}");
    }
}
