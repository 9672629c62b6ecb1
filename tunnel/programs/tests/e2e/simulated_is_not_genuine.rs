//! Simulated evidence is refused by whoever did not ask for it, and the refusal says what it was.
//!
//! <https://github.com/Dstack-TEE/dstack/issues/607>: a check that is silently off.

use crate::harness::{World, command, run};

fn verify(world: &World, flags: &str) -> (Option<i32>, String, String) {
    let chain = world.chain(1);
    let done = run(&mut command("shelter", &format!("remoteattestation --addr {} {flags}", chain.address())));
    (done.code, done.out, done.err)
}

#[test]
fn to_the_verifiers_of_real_hardware() {
    let world = World::new();
    for verifier in ["sgx_ecdsa", "sgx_ecdsa_qve", "tdx_ecdsa", "auto"] {
        let (code, out, err) = verify(&world, &format!("--verifier {verifier}"));
        assert_eq!((code, out.as_str()), (Some(1), ""), "{verifier}: {err}");
        assert!(err.contains("imulated") && err.contains(verifier), "{verifier}: {err}");
    }
}

#[test]
fn to_a_policy_that_does_not_say_so() {
    let world = World::new();
    let file = world.path("strict.toml");
    std::fs::write(&file, "[policy.strict]\nidentity = \"any-genuine\"\nmeasurements = \"not-compared\"\n").unwrap();
    let flags = format!("--verifier sim --platform {} --policy {} --json", world.platform(), file.display());
    let (code, out, err) = verify(&world, &flags);
    assert_eq!(code, Some(1), "{err}");
    let failure: serde_json::Value = serde_json::from_str(&out).unwrap();
    let error = &failure["error"];
    assert_eq!((&error["code"], &error["hop"]), (&"simulated".into(), &1.into()), "{failure:#}");
}

#[test]
fn to_the_verifier_of_another_simulated_platform() {
    let (world, other) = (World::new(), World::new());
    let chain = world.chain(2);
    let (code, failure) = other.attest(chain.address(), "");
    assert_eq!((code, &failure["error"]["hop"]), (Some(1), &1.into()), "{failure:#}");
    // There is no collateral of such a machine: its evidence is not even looked at.
    assert_eq!(failure["error"]["code"], "collateral", "{failure:#}");
}
