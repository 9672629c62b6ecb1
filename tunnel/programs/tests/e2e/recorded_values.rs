//! Reference values: recorded from a path, they accept that path and nothing else.
//!
//! <https://github.com/inclavare-containers/inclavare-containers/issues/779>,
//! <https://github.com/inclavare-containers/inclavare-containers/issues/1235>: policy on measurements.
//! <https://github.com/Dstack-TEE/dstack/issues/829>, <https://github.com/Dstack-TEE/dstack/issues/967>: say whose
//! attestation failed, and why.

use std::fs;

use crate::harness::World;

#[test]
fn of_a_path_accept_it_and_name_the_hop_that_differs() {
    let world = World::new();
    let chain = world.chain(3);
    let to = chain.address();
    let file = world.path("values.toml");
    let values = file.display().to_string();
    let recorded = world.shelter(&format!("record --addr {to} --out {values}"));
    assert_eq!(recorded.code, Some(0), "{recorded:?}");

    let (code, path) = world.attest(to, &format!("--policy {values}"));
    assert_eq!(code, Some(0), "{path:#}");
    assert_eq!(path["reference_values"], "compared");
    let hops = path["hops"].as_array().unwrap();
    let measured: Vec<_> = hops.iter().map(|hop| hop["measurement"]["mrenclave"].as_str().unwrap()).collect();

    let text = fs::read_to_string(&file).unwrap();
    let other = "5a".repeat(32);
    assert_eq!(text.matches(measured[1]).count(), 1, "{text}");
    fs::write(&file, text.replace(measured[1], &other)).unwrap();
    let (code, failure) = world.attest(to, &format!("--policy {values}"));
    assert_eq!(code, Some(1), "{failure:#}");
    let error = &failure["error"];
    assert_eq!((&error["code"], &error["hop"]), (&"measurement".into(), &2.into()), "{failure:#}");
    assert!(error["expected"].as_str().unwrap().contains(&other), "{failure:#}");
    assert!(error["found"].as_str().unwrap().contains(measured[1]), "{failure:#}");

    let said = world.shelter(&format!("remoteattestation --addr {to} --policy {values}"));
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
    for part in ["Remote attestation failed with err: ", "hop 2", &other, measured[1]] {
        assert!(said.err.contains(part), "{part}: {said:?}");
    }
}

#[test]
fn may_be_signed_and_named_by_a_policy() {
    let world = World::new();
    let chain = world.chain(2);
    let to = chain.address();
    let path = |name: &str| world.path(name).display().to_string();
    let openssl = |line: &str| {
        let done = std::process::Command::new("openssl").args(line.split_whitespace()).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    openssl(&format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {}", path("release.key")));
    openssl(&format!("pkey -in {} -pubout -out {}", path("release.key"), path("release.pem")));
    let record =
        format!("record --addr {to} --out {} --operator release --sign-key {}", path("v.toml"), path("release.key"));
    let recorded = world.shelter(&record);
    assert_eq!(recorded.code, Some(0), "{recorded:?}");
    let text = fs::read_to_string(path("v.toml")).unwrap();
    assert!(text.contains("operator = \"release\"") && text.contains("verified_under = \"genuine-only\""), "{text}");

    let policy = world.policy("reference_values = \"v.toml\"\nsigned_by = \"release.pem\"\n");
    let (code, found) = world.attest(to, &format!("--policy {policy}"));
    assert_eq!((code, &found["reference_values"]), (Some(0), &"compared".into()), "{found:#}");
    let compared = found["hops"][0]["verdict"]["comparisons"].as_array().unwrap();
    assert_eq!((&compared[0]["field"], &compared[0]["found"]), (&"mrenclave".into(), &compared[0]["expected"]));

    fs::write(path("v.toml"), text.replace("max_hops", "# max_hops")).unwrap();
    let refused = world.shelter(&format!("remoteattestation --addr {to} --policy {policy}"));
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.err.contains("the file or its signature was altered"), "{}", refused.err);
}

#[test]
fn are_compared_with_a_path_as_it_is_now() {
    let world = World::new();
    let ids = ["11".repeat(16), "22".repeat(16)];
    let workload = |id: &str| world.workload(&format!("--sim-label code --sim-field isvextprodid={id} --echo"));
    let file = world.path("values.toml").display().to_string();
    let first = workload(&ids[0]);
    let recorded = world.shelter(&format!("record --addr {} --out {file}", first.address));
    assert_eq!(recorded.code, Some(0), "{recorded:?}");
    let same = world.shelter(&format!("diff {file} --addr {}", first.address));
    assert_eq!((same.code, same.out.starts_with("No difference between ")), (Some(0), true), "{same:?}");

    let second = workload(&ids[1]);
    let differs = world.shelter(&format!("diff {file} --addr {} --json", second.address));
    assert_eq!(differs.code, Some(1), "{differs:?}");
    let json: serde_json::Value = serde_json::from_str(&differs.out).unwrap();
    let expected = serde_json::json!([{ "place": "hop 1", "key": "isvextprodid", "a": ids[0], "b": ids[1] }]);
    assert_eq!(json["differences"], expected, "{json:#}");
    let gone = world.shelter(&format!("diff {file} --addr tcp://127.0.0.1:1 --json"));
    assert_eq!(gone.code, Some(2), "{gone:?}");
    assert!(gone.out.contains("\"ok\":false"), "{gone:?}");
}

#[test]
fn are_not_written_over_a_file_that_is_there() {
    let world = World::new();
    let chain = world.chain(1);
    let file = world.path("values.toml");
    fs::write(&file, "mine").unwrap();
    let record = format!("record --addr {} --out {}", chain.address(), file.display());
    let refused = world.shelter(&record);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("values.toml") && refused.err.contains("--force"), "{}", refused.err);
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    assert_eq!(world.shelter(&format!("{record} --force")).code, Some(0));
    assert!(fs::read_to_string(&file).unwrap().contains("[policy.recorded]"));
}

#[test]
fn of_another_hop_stop_a_stream_before_its_first_byte() {
    let world = World::new();
    let chain = world.chain(2);
    let policy = world.policy(&format!("[[policy.test.hop]]\ntee = [\"sgx\"]\nmrenclave = [\"{}\"]", "5a".repeat(32)));
    let forward = world.forward(chain.address(), &format!("--policy {policy}"));
    let mut stream = crate::stream::connect(forward.address);
    let read = crate::stream::read_all(&mut stream);
    assert!(read.is_err(), "a refused path ended like a whole stream: {read:?}");
    let receipt = forward.receipt();
    assert_eq!(receipt["close"], "refused", "{receipt:#}");
    assert_eq!((&receipt["bytes_up"], &receipt["bytes_down"]), (&0.into(), &0.into()));
    assert_eq!(receipt["error"]["code"], "measurement", "{receipt:#}");
}
