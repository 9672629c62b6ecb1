//! Chains of 1, 2, 3 and 8 hops: the verifier sees every hop, in order, with its own measurement.
//!
//! <https://github.com/bug-ops/zeph/issues/4650>: users want the whole chain, verified by the client.

use std::collections::HashSet;

use serde_json::Value;

use crate::harness::World;

fn shows_every_hop(hops: usize) {
    let world = World::new();
    let chain = world.chain(hops);
    let (code, path) = world.attest(chain.address(), "");
    assert_eq!(code, Some(0), "{path:#}");
    assert_eq!(path["ok"], true);
    let shown = path["hops"].as_array().unwrap();
    assert_eq!(shown.len(), hops, "{path:#}");
    for (i, hop) in shown.iter().enumerate() {
        let role = match i + 1 {
            last if last == hops => "workload",
            1 => "ingress",
            _ => "relay",
        };
        assert_eq!((&hop["position"], &hop["role"]), (&Value::from(i + 1), &Value::from(role)), "{path:#}");
        assert_eq!((&hop["tee"], &hop["simulated"]), (&"sgx".into(), &true.into()));
        assert_eq!(hop["reference_values"], "not-compared");
        assert_eq!((&hop["bound_by"], &hop["tls"]["alpn"]), (&"key".into(), &"inclavared/1".into()));
    }
    let unique = [("measurement", hops), ("kid", hops), ("leg", hops), ("evidence_digest", hops), ("platform", 1)];
    for (what, expected) in unique {
        let different: HashSet<_> = shown.iter().map(|hop| hop[what].to_string()).collect();
        assert_eq!(different.len(), expected, "{what}: {path:#}");
    }
    assert_eq!(path["end"], "workload");
    assert_eq!((&path["simulated"], &path["reference_values"]), (&true.into(), &"not-compared".into()));

    let table = world.shelter(&format!("remoteattestation --addr {}", chain.address()));
    assert_eq!(table.code, Some(0), "{table:?}");
    assert!(table.out.contains("Remote attestation is successful.\n"), "{}", table.out);
    assert!(table.out.contains("SIMULATED") && table.out.contains("NOT compared"), "{}", table.out);
    let rows: Vec<_> = table.out.lines().skip_while(|line| !line.starts_with('#')).skip(1).take(hops).collect();
    assert_eq!(rows.len(), hops, "{}", table.out);
    for (row, hop) in rows.iter().zip(shown) {
        let cells: Vec<_> = row.split_whitespace().collect();
        let expected = [hop["position"].to_string(), hop["role"].as_str().unwrap().to_owned()];
        assert_eq!(cells[..2], expected, "{row}");
        let measurement = hop["measurement"]["mrenclave"].as_str().unwrap();
        assert!(cells.iter().any(|cell| cell.len() >= 8 && measurement.starts_with(cell)), "{measurement}: {row}");
    }
}

#[test]
fn of_one_hop() {
    shows_every_hop(1);
}

#[test]
fn of_two_hops() {
    shows_every_hop(2);
}

#[test]
fn of_three_hops() {
    shows_every_hop(3);
}

#[test]
fn of_eight_hops() {
    shows_every_hop(8);
}

#[test]
fn a_path_longer_than_a_policy_allows_is_refused() {
    let world = World::new();
    let chain = world.chain(3);
    let policy = world.policy("measurements = \"not-compared\"\nmax_hops = 2");
    let (code, failure) = world.attest(chain.address(), &format!("--policy {policy}"));
    assert_eq!((code, &failure["ok"]), (Some(1), &false.into()), "{failure:#}");
    // The verifier says in its OPEN how far the path may go, and counts what came.
    let code = failure["error"]["code"].as_str().unwrap();
    assert!(["ttl", "path-form", "shape"].contains(&code), "{failure:#}");
}
