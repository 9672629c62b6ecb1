use std::time::Duration;

use inclavared_attest::appraise::TcbStatus;
use inclavared_attest::sim::{QuoteFormat, SimSpec, TcbChoice};

use super::super::testing::{NOW, WORLD, chain, chain_with, pinned, policy};
use super::*;

/// The first eight digits of the legs differ from run to run.
fn table(path: &Path, now: Timestamp) -> String {
    path.hops.iter().fold(success(path, now), |text, hop| {
        text.replace(&hop.leg.to_string()[..8], &format!("leg-{:04}", hop.position))
    })
}

#[test]
fn a_path_under_the_built_in_policy() {
    let path = chain(&WORLD, NOW, 2).verify(&policy()).unwrap();
    assert_eq!(
        table(&path, NOW.plus(Duration::from_secs(7))),
        format!(
            "\
#  role      TEE            measurement   TCB status  values        bound by  leg
1  ingress   SGX simulated  87a0acaec00f  UpToDate    not compared  key 7s    leg-0001
2  workload  TDX simulated  c7fcee8afd9d  UpToDate    not compared  key 7s    leg-0002
hops 1, 2: measurements were not compared with reference values
hops 1, 2: simulated evidence: no hardware stands behind it
end: workload, the last hop itself
it may be started until {}, and ages out at {}

Remote attestation is successful.
Measurements were NOT compared with reference values: any code in such a TEE passes. Write them down
once with `shelter record`, and name that file with --policy.
SIMULATED: evidence of a simulated platform is in this path. No hardware stands behind it.
",
            path.expires, path.ages_at
        )
    );
}

#[test]
fn a_path_that_was_compared_does_not_say_otherwise() {
    let chain = chain(&WORLD, NOW, 2);
    let path = chain.verify(&pinned(&chain.verify(&policy()).unwrap())).unwrap();
    let text = table(&path, NOW);
    assert!(!text.to_lowercase().contains("not compared"), "{text}");
    assert!(text.contains("  compared  "), "{text}");
}

#[test]
fn the_longest_values_fit() {
    let mut tcb = policy();
    tcb.tcb.accepted.extend(TcbStatus::ALL);
    tcb.danger_allow_debug = true;
    let long = "r".repeat(64);
    let relaunch = SimSpec {
        format: QuoteFormat::TdxV5,
        tcb: TcbChoice::Status(TcbStatus::TDRelaunchAdvisedConfigurationNeeded),
        debug: true,
        ..SimSpec::tdx("hop")
    };
    let path = chain_with(&WORLD, NOW, &[(&long, relaunch), ("workload", SimSpec::sgx("hop"))]).verify(&tcb).unwrap();
    let text = success(&path, NOW.plus(Duration::from_secs(86_400 * 99)));
    assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
    let joined: String = text.split_whitespace().collect();
    assert!(joined.matches('r').count() >= 64, "nothing is cut off: {text}");
    assert!(text.contains("TDRelaunch"), "{text}");
    assert!(text.contains("DEBUG: a TEE of this path is in debug mode."), "{text}");
}

#[test]
fn what_peers_say_cannot_command_the_terminal() {
    let role = "work\u{1b}[2J\u{202e}";
    let mut path = chain(&WORLD, NOW, 1).verify(&policy()).unwrap();
    path.hops[0].role = role.into();
    path.hops[0].verdict.reasons = vec!["a\nRemote attestation".into()];
    let text = success(&path, NOW);
    assert!(text.bytes().all(|b| b == b'\n' || (b' '..=b'~').contains(&b)), "{text}");
    assert_eq!(text.matches("\nRemote attestation").count(), 1);
}

#[test]
fn the_peer_behind_the_last_hop_has_a_row() {
    let path = chain(&WORLD, NOW, 1).with_legacy_end(&WORLD, "peer").verify(&policy()).unwrap();
    let text = success(&path, NOW);
    assert!(text.contains("\n2  legacy    SGX simulated  "), "{text}");
    assert!(text.contains("end: an attested peer that does not speak this protocol"), "{text}");
}

#[test]
fn ages_are_short() {
    let ages = [0, 99, 100, 5_999, 6_000, 359_999, 360_000].map(|s| age(Timestamp(s), Timestamp(0)));
    assert_eq!(ages, ["0s", "99s", "1m", "99m", "1h", "99h", "4d"]);
    assert_eq!(age(Timestamp(0), Timestamp(5)), "0s", "a clock that went back");
}
