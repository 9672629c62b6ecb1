//! Each check of a policy, by its reason; and what verdicts and digests say.

mod fields;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::appraise::{Appraised, CodeIdentity, Platform, Root, SgxIdentity, SnpIdentity, TcbStatus as S, TdxIdentity};
use crate::evidence::HopClaims;
use crate::{CollateralDigest, PolicyDigest, Reason, Timestamp};

const NOW: Timestamp = Timestamp(1_800_000_000);
const DAY: u64 = 86_400;

fn sgx() -> Appraised {
    Appraised {
        tee: Tee::Sgx,
        root: Root::Intel,
        code: CodeIdentity::Sgx(SgxIdentity {
            mrenclave: [1; 32],
            mrsigner: [2; 32],
            isv_prod_id: 3,
            isv_svn: 4,
            attributes: [0; 16],
            misc_select: 0,
            config_id: [0; 64],
            config_svn: 0,
            isv_family_id: [0; 16],
            isv_ext_prod_id: [0; 16],
        }),
        debug: false,
        tcb_status: S::UpToDate,
        tcb_date: Timestamp(NOW.0 - 10 * DAY),
        advisories: vec![],
        revocation_checked: true,
        platform: Platform {
            snp: None,
            ids: vec![vec![9; 16], vec![8; 16]],
            smt: Some(true),
            dynamic: Some(true),
            cached_keys: Some(true),
        },
        collateral: CollateralDigest::from_bytes([0; 32]),
        appraised_at: NOW,
        expires: NOW.plus(Duration::from_secs(DAY)),
    }
}

fn tdx() -> Appraised {
    let identity = TdxIdentity {
        mrtd: [1; 48],
        rtmr: [[10; 48], [11; 48], [12; 48], [13; 48]],
        mrconfigid: [5; 48],
        mrowner: [0; 48],
        mrownerconfig: [0; 48],
        mrseam: [0; 48],
        mrsignerseam: [0; 48],
        td_attributes: [0; 8],
        xfam: [0; 8],
        tee_tcb_svn: [0; 16],
    };
    Appraised { tee: Tee::Tdx, code: CodeIdentity::Tdx(Box::new(identity)), ..sgx() }
}

fn snp() -> Appraised {
    let identity = SnpIdentity {
        measurement: [6; 48],
        host_data: [0; 32],
        id_key_digest: [0; 48],
        author_key_digest: [0; 48],
        family_id: [0; 16],
        image_id: [0; 16],
        guest_svn: 0,
        guest_policy: 0,
        vmpl: 0,
    };
    Appraised { tee: Tee::SevSnp, root: Root::Amd, code: CodeIdentity::SevSnp(Box::new(identity)), ..sgx() }
}

fn hop() -> HopClaims {
    HopClaims {
        version: 1,
        chain_role: "relay".into(),
        policy_digest: PolicyDigest::from_bytes([0; 32]),
        not_after: NOW.plus(Duration::from_secs(3600)),
        config_digest: ConfigDigest::from_bytes([7; 32]),
    }
}

const PLACE: HopPlace<'static> = HopPlace { position: 1, last: false, role: "relay" };

fn admit(policy: &Policy, appraised: &Appraised) -> Result<Verdict, PolicyError> {
    policy.admit_hop(&PLACE, appraised, Some(&hop()), NOW)
}

fn refused(policy: &Policy, appraised: &Appraised) -> PolicyError {
    admit(policy, appraised).unwrap_err()
}

fn policy(change: impl FnOnce(&mut Policy)) -> Policy {
    let mut policy = Policy::genuine_only();
    change(&mut policy);
    policy
}

fn with_rules(rules: Vec<HopRule>) -> Policy {
    policy(|policy| policy.measurements = Measurements::Rules(rules))
}

fn rule(applies: Applies, tee: Tee, value: ReferenceValue) -> HopRule {
    HopRule { applies, tees: [tee].into(), reference_values: vec![value], demands: vec![], config_digest: None }
}

fn enclave(byte: u8) -> ReferenceValue {
    ReferenceValue::SgxEnclave { mrenclave: [byte; 32] }
}

#[test]
fn genuine_only_takes_what_clouds_run() {
    let policy = Policy::genuine_only();
    for appraised in [sgx(), tdx(), snp()] {
        let verdict = admit(&policy, &appraised).unwrap();
        assert!(!verdict.compared && !verdict.simulated);
        assert_eq!(verdict.reasons, ["measurements were not compared with reference values"]);
    }
    for &status in S::ALL {
        let good = [S::UpToDate, S::SWHardeningNeeded, S::ConfigurationNeeded, S::ConfigurationAndSWHardeningNeeded];
        let appraised = Appraised { tcb_status: status, advisories: vec!["INTEL-SA-1".into()], ..sgx() };
        match admit(&policy, &appraised) {
            Ok(verdict) => {
                assert!(good.contains(&status), "{status}");
                assert_eq!(verdict.status, status);
                assert_eq!(verdict.reasons.iter().any(|r| r.contains(status.name())), status != S::UpToDate);
                assert!(verdict.reasons.contains(&"advisories INTEL-SA-1".into()));
            }
            Err(error) => {
                assert!(!good.contains(&status), "{error}");
                assert_eq!(error.reason, Reason::TcbStatus);
                assert!(error.found.starts_with(status.name()) && error.found.contains("INTEL-SA-1"), "{error}");
                assert!(error.to_string().starts_with("policy `genuine-only`, TCB status: expected one of UpToDate"));
            }
        }
    }
}

#[test]
fn what_is_dangerous_must_be_named() {
    let policy_ = Policy::genuine_only();

    let debug = Appraised { debug: true, ..sgx() };
    assert_eq!(refused(&policy_, &debug).reason, Reason::Debug);
    let verdict = admit(&policy(|p| p.danger_allow_debug = true), &debug).unwrap();
    assert_eq!(verdict.trust.get(Claim::RuntimeOpaque), TrustVector::CONTRAINDICATED);

    let simulated = Appraised { root: Root::Simulated, ..sgx() };
    assert_eq!(refused(&policy_, &simulated).reason, Reason::Simulated);
    let verdict = admit(&policy(|p| p.allow_simulated = true), &simulated).unwrap();
    assert!(verdict.simulated);
    assert_eq!(verdict.trust.get(Claim::Hardware), TrustVector::CONTRAINDICATED);
    assert!(verdict.reasons[0].contains("simulated"));

    let null = Appraised {
        root: Root::None,
        tee: Tee::None,
        code: CodeIdentity::None,
        tcb_status: S::Revoked,
        platform: Platform::default(),
        ..sgx()
    };
    assert_eq!(refused(&policy_, &null).reason, Reason::Null);
    let verdict = admit(&policy(|p| p.danger_allow_null = true), &null).unwrap();
    assert_eq!((verdict.root, verdict.compared), (Root::None, false));
    assert_eq!(verdict.trust, TrustVector::default());
    // One danger does not open the door to another.
    assert_eq!(refused(&policy(|p| p.allow_simulated = true), &null).reason, Reason::Null);
    assert_eq!(refused(&policy(|p| p.danger_allow_null = true), &simulated).reason, Reason::Simulated);
}

#[test]
fn grace_is_for_age_alone() {
    let grace = |days: u64| policy(|p| p.tcb.grace = Duration::from_secs(days * DAY));
    let outdated = Appraised { tcb_status: S::OutOfDate, ..sgx() };
    let verdict = admit(&grace(11), &outdated).unwrap();
    assert!(verdict.reasons[0].contains("in its grace until"), "{:?}", verdict.reasons);
    assert_eq!(verdict.trust.get(Claim::Hardware), TrustVector::WARNING);
    let error = refused(&grace(10), &outdated);
    assert_eq!(error.reason, Reason::TcbStatus);
    assert!(error.expected.ends_with("or out of date for less than 10 days"), "{error}");

    let both = Appraised { tcb_status: S::OutOfDateConfigurationNeeded, ..sgx() };
    admit(&grace(11), &both).unwrap();
    let strict = policy(|p| {
        p.tcb.grace = Duration::from_secs(11 * DAY);
        p.tcb.accepted = [S::UpToDate].into();
    });
    admit(&strict, &outdated).unwrap();
    assert_eq!(refused(&strict, &both).reason, Reason::TcbStatus, "the configuration is not covered by grace");
    for status in [S::TDRelaunchAdvised, S::Revoked] {
        let other = Appraised { tcb_status: status, ..sgx() };
        assert_eq!(refused(&grace(1000), &other).reason, Reason::TcbStatus);
    }
    let careless = policy(|p| p.tcb.accepted = S::ALL.iter().copied().collect());
    admit(&careless, &Appraised { tcb_status: S::TDRelaunchAdvised, ..sgx() }).unwrap();
    assert_eq!(refused(&careless, &Appraised { tcb_status: S::Revoked, ..sgx() }).reason, Reason::TcbStatus);
}

#[test]
fn advisories_flags_and_platforms() {
    let listed = Appraised { advisories: vec!["INTEL-SA-00615".into()], ..sgx() };
    let strict = policy(|p| p.tcb.refused_advisories = ["intel-sa-00615".into()].into());
    assert_eq!(refused(&strict, &listed).reason, Reason::Advisory);
    admit(&strict, &sgx()).unwrap();

    for (what, change) in [
        ("SMT (hyperthreading)", (|p| p.tcb.allow_smt = false) as fn(&mut Policy)),
        ("dynamic platform", |p| p.tcb.allow_dynamic_platform = false),
        ("cached keys", |p| p.tcb.allow_cached_keys = false),
    ] {
        let strict = policy(change);
        let error = refused(&strict, &sgx());
        assert_eq!((error.reason, error.what.as_str()), (Reason::TcbStatus, what));
        // A Processor CA's certificate says nothing of it.
        admit(&strict, &Appraised { platform: Platform::default(), ..sgx() }).unwrap();
    }

    let ours = policy(|p| p.identity = IdentityRule::Platforms([vec![8; 16]].into()));
    let verdict = admit(&ours, &sgx()).unwrap();
    assert_eq!(verdict.trust.get(Claim::InstanceIdentity), TrustVector::AFFIRMING);
    let theirs = policy(|p| p.identity = IdentityRule::Platforms([vec![0xab; 16]].into()));
    let error = refused(&theirs, &sgx());
    assert_eq!(error.reason, Reason::Identity);
    assert!(error.expected.contains("abab") && error.found.contains("0909"), "{error}");
    let nameless = refused(&ours, &Appraised { platform: Platform::default(), ..sgx() });
    assert_eq!((nameless.reason, nameless.found.as_str()), (Reason::Identity, "none"));
}

#[test]
fn measurements_of_each_tee() {
    let svn = |isv_svn_min| ReferenceValue::SgxSigner { mrsigner: [2; 32], isv_prod_id: 3, isv_svn_min };
    let td = |rtmr, mrconfigid| ReferenceValue::Tdx { mrtd: [1; 48], rtmr, mrconfigid };
    let good = [
        (Tee::Sgx, sgx(), enclave(1)),
        (Tee::Sgx, sgx(), svn(4)),
        (Tee::Tdx, tdx(), td([None; 4], None)),
        (Tee::Tdx, tdx(), td([Some([10; 48]), None, None, Some([13; 48])], Some([5; 48]))),
        (Tee::SevSnp, snp(), ReferenceValue::SevSnp { measurement: [6; 48] }),
    ];
    for (tee, appraised, value) in good {
        let verdict = admit(&with_rules(vec![rule(Applies::Any, tee, value)]), &appraised).unwrap();
        let fields: Vec<_> = verdict.comparisons.iter().map(|comparison| comparison.field).collect();
        assert!(verdict.compared && !fields.is_empty());
        assert_eq!(verdict.reasons, [format!("compared: {}", fields.join(", "))]);
        assert_eq!(verdict.trust.get(Claim::Executables), TrustVector::AFFIRMING);
    }
    let bad = [
        (Tee::Sgx, sgx(), enclave(0)),
        (Tee::Sgx, sgx(), svn(5)),
        (Tee::Sgx, sgx(), ReferenceValue::SgxSigner { mrsigner: [2; 32], isv_prod_id: 4, isv_svn_min: 0 }),
        (Tee::Sgx, sgx(), ReferenceValue::SgxSigner { mrsigner: [0; 32], isv_prod_id: 3, isv_svn_min: 0 }),
        (Tee::Tdx, tdx(), ReferenceValue::Tdx { mrtd: [0; 48], rtmr: [None; 4], mrconfigid: None }),
        (Tee::Tdx, tdx(), td([None, None, Some([0; 48]), None], None)),
        (Tee::Tdx, tdx(), td([None; 4], Some([0; 48]))),
        (Tee::SevSnp, snp(), ReferenceValue::SevSnp { measurement: [0; 48] }),
        // A value of another kind of TEE never matches, even where the rule lets that kind in.
        (Tee::Tdx, tdx(), enclave(1)),
    ];
    for (tee, appraised, value) in bad {
        let error = refused(&with_rules(vec![rule(Applies::Any, tee, value.clone())]), &appraised);
        assert_eq!((error.reason, error.what.as_str()), (Reason::Measurement, "measurements"));
        assert_eq!(error.expected, value.to_string());
    }
    let error = refused(&with_rules(vec![rule(Applies::Any, Tee::Sgx, enclave(0))]), &sgx());
    assert!(error.expected.contains(&"00".repeat(32)) && error.found.contains(&"01".repeat(32)), "{error}");
    let error = refused(&with_rules(vec![rule(Applies::Any, Tee::Sgx, enclave(1))]), &tdx());
    assert_eq!((error.reason, error.expected.as_str(), error.found.as_str()), (Reason::Tee, "sgx", "tdx"));
}

#[test]
fn rules_apply_by_place_and_the_nearest_miss_is_shown() {
    let place = |position, last, role| HopPlace { position, last, role };
    let cases = [
        (Applies::Position(2), place(2, false, "relay"), true),
        (Applies::Position(2), place(1, false, "relay"), false),
        (Applies::Last, place(3, true, "relay"), true),
        (Applies::Last, place(3, false, "relay"), false),
        (Applies::Role("relay".into()), place(1, false, "relay"), true),
        (Applies::Role("ingress".into()), place(1, false, "relay"), false),
        (Applies::Any, place(1, false, "relay"), true),
    ];
    for (applies, place, admitted) in cases {
        let policy = with_rules(vec![rule(applies.clone(), Tee::Sgx, enclave(1))]);
        match policy.admit_hop(&place, &sgx(), Some(&hop()), NOW) {
            Ok(_) => assert!(admitted, "{applies:?} {place:?}"),
            Err(error) => {
                assert!(!admitted, "{error}");
                assert_eq!((error.reason, error.what.as_str()), (Reason::Measurement, "rules"));
            }
        }
    }
    // No rules at all deny, and so does a rule without values.
    assert_eq!(refused(&with_rules(vec![]), &sgx()).reason, Reason::Measurement);
    let empty = HopRule { reference_values: vec![], ..rule(Applies::Any, Tee::Sgx, enclave(1)) };
    assert_eq!(refused(&with_rules(vec![empty]), &sgx()).expected, "no code at all");

    let pinned = |byte| HopRule {
        config_digest: Some(ConfigDigest::from_bytes([byte; 32])),
        ..rule(Applies::Any, Tee::Sgx, enclave(1))
    };
    let other = || rule(Applies::Any, Tee::Tdx, enclave(1));
    let wrong = || rule(Applies::Any, Tee::Sgx, enclave(0));
    let verdict = admit(&with_rules(vec![other(), wrong(), pinned(7)]), &sgx()).unwrap();
    assert_eq!(verdict.trust.get(Claim::Configuration), TrustVector::AFFIRMING);
    for rules in [vec![other(), wrong(), pinned(0)], vec![pinned(0), wrong(), other()]] {
        assert_eq!(refused(&with_rules(rules), &sgx()).reason, Reason::ConfigDigest);
    }
    assert_eq!(refused(&with_rules(vec![other(), wrong()]), &sgx()).reason, Reason::Measurement);
    // Evidence without claims of ours states no configuration.
    let error = with_rules(vec![pinned(7)]).admit_hop(&PLACE, &sgx(), None, NOW).unwrap_err();
    assert_eq!((error.reason, error.found.as_str()), (Reason::ConfigDigest, "none"));
}

#[test]
fn evidence_and_its_appraisal_end() {
    let policy = Policy::genuine_only();
    let ends = |not_after: u64| {
        let hop = HopClaims { not_after: Timestamp(not_after), ..hop() };
        policy.admit_hop(&PLACE, &sgx(), Some(&hop), NOW).map_err(|error| error.reason)
    };
    ends(NOW.0).unwrap();
    ends(NOW.0 + 3660).unwrap();
    assert_eq!(ends(NOW.0 - 1).unwrap_err(), Reason::Expired);
    assert_eq!(ends(NOW.0 + 3661).unwrap_err(), Reason::Expired);
    policy.admit_hop(&PLACE, &sgx(), None, NOW).unwrap();

    let stale = Appraised { expires: NOW, ..sgx() };
    assert_eq!(refused(&policy, &stale).reason, Reason::Expired);
    admit(&policy, &Appraised { expires: Timestamp(NOW.0 + 1), ..sgx() }).unwrap();
}

#[test]
fn the_role_is_the_attested_one() {
    let policy = Policy::genuine_only();
    let place = HopPlace { role: "ingress\n", ..PLACE };
    let error = policy.admit_hop(&place, &sgx(), Some(&hop()), NOW).unwrap_err();
    assert_eq!((error.reason, error.found.as_str()), (Reason::Role, "`ingress\\n`"));
}

#[test]
fn verdicts_have_a_json_form() {
    let verdict = admit(&Policy::genuine_only(), &sgx()).unwrap();
    let json = serde_json::to_value(&verdict).unwrap();
    assert_eq!(json["status"], "UpToDate");
    assert_eq!(json["root"], "intel");
    assert_eq!(json["trust"]["hardware"], 2);
    assert_eq!(json["trust"]["executables"], 0);
    assert_eq!(json["trust"].as_object().unwrap().len(), 8);
    let json = serde_json::to_value(sgx()).unwrap();
    assert_eq!(json["code"]["sgx"]["mrenclave"], "01".repeat(32));
    assert_eq!(json["platform"]["ids"][0], "09".repeat(16));
    let error = refused(&Policy::genuine_only(), &Appraised { debug: true, ..sgx() });
    assert_eq!(serde_json::to_value(error).unwrap()["reason"], "debug");
    assert_eq!(TrustVector::from_values(*verdict.trust.values()), verdict.trust);
}

#[test]
fn every_demand_is_in_the_digest() {
    let full = || {
        with_rules(vec![
            HopRule {
                config_digest: Some(ConfigDigest::from_bytes([7; 32])),
                ..rule(Applies::Role("x".into()), Tee::Sgx, enclave(1))
            },
            rule(Applies::Last, Tee::Tdx, ReferenceValue::Tdx { mrtd: [1; 48], rtmr: [None; 4], mrconfigid: None }),
        ])
    };
    type Change = (&'static str, fn(&mut Policy));
    fn first(policy: &mut Policy) -> &mut HopRule {
        match &mut policy.measurements {
            Measurements::Rules(rules) => &mut rules[0],
            Measurements::NotCompared => panic!("the policy has rules"),
        }
    }
    fn demand(policy: &mut Policy, field: Field, test: Test) {
        first(policy).demands = vec![Demand { field, test }];
    }
    let changes: [Change; 42] = [
        ("nothing", |_| {}),
        ("simulated", |p| p.allow_simulated = true),
        ("null", |p| p.danger_allow_null = true),
        ("debug", |p| p.danger_allow_debug = true),
        ("accepted", |p| p.tcb.accepted = [S::UpToDate].into()),
        ("grace", |p| p.tcb.grace = Duration::from_secs(1)),
        ("advisories", |p| p.tcb.refused_advisories = ["A".into()].into()),
        ("no advisory allowed", |p| p.tcb.allowed_advisories = Some(BTreeSet::new())),
        ("an advisory allowed", |p| p.tcb.allowed_advisories = Some(["A".into()].into())),
        ("smt", |p| p.tcb.allow_smt = false),
        ("dynamic", |p| p.tcb.allow_dynamic_platform = false),
        ("cached", |p| p.tcb.allow_cached_keys = false),
        ("no platform", |p| p.identity = IdentityRule::Platforms(BTreeSet::new())),
        ("a platform", |p| p.identity = IdentityRule::Platforms([vec![1]].into())),
        ("a configid", |p| p.identity = IdentityRule::ConfigIds([[1; 64]].into())),
        ("no configid", |p| p.identity = IdentityRule::ConfigIds(BTreeSet::new())),
        ("a number", |p| demand(p, Field::IsvSvn, Test::OneOf([FieldValue::Number(1)].into()))),
        ("bytes", |p| demand(p, Field::IsvSvn, Test::OneOf([FieldValue::Bytes(vec![1])].into()))),
        ("another field", |p| demand(p, Field::ConfigSvn, Test::OneOf([FieldValue::Number(1)].into()))),
        ("at least", |p| demand(p, Field::IsvSvn, Test::AtLeast(1))),
        ("at most", |p| demand(p, Field::IsvSvn, Test::AtMost(1))),
        ("bits", |p| demand(p, Field::GuestPolicy, Test::Bits { set: 1, clear: 2 })),
        ("mask", |p| demand(p, Field::Xfam, Test::Masked { value: vec![1], mask: vec![2] })),
        ("not compared", |p| p.measurements = Measurements::NotCompared),
        ("no rules", |p| p.measurements = Measurements::Rules(vec![])),
        ("any", |p| first(p).applies = Applies::Any),
        ("last", |p| first(p).applies = Applies::Last),
        ("position", |p| first(p).applies = Applies::Position(1)),
        ("role", |p| first(p).applies = Applies::Role("y".into())),
        ("tees", |p| first(p).tees = [Tee::Tdx].into()),
        ("value", |p| first(p).reference_values = vec![enclave(2)]),
        ("signer", |p| {
            first(p).reference_values =
                vec![ReferenceValue::SgxSigner { mrsigner: [1; 32], isv_prod_id: 0, isv_svn_min: 0 }];
        }),
        ("snp", |p| first(p).reference_values = vec![ReferenceValue::SevSnp { measurement: [1; 48] }]),
        ("configuration", |p| first(p).config_digest = None),
        ("order", |p| p.shape.order = vec![RoleStep { role: "x".into(), min: 0, max: 1 }]),
        ("min hops", |p| p.shape.min_hops = 2),
        ("max hops", |p| p.shape.max_hops = 2),
        ("terminals", |p| p.shape.terminals = BTreeSet::new()),
        ("legacy", |p| p.shape.allow_legacy_end = false),
        ("evidence age", |p| p.max_evidence_age = Duration::from_secs(1)),
        ("path age", |p| p.max_path_age = Duration::from_secs(1)),
        ("binding", |p| p.binding = Binding::Quote),
    ];
    let mut seen = BTreeMap::new();
    for (what, change) in changes {
        let mut policy = full();
        change(&mut policy);
        assert_eq!(policy.digest(), policy.clone().digest());
        if let Some(other) = seen.insert(policy.digest(), what) {
            panic!("`{what}` and `{other}` have the same digest");
        }
    }
    let renamed = Policy { name: "other".into(), ..full() };
    assert_eq!(renamed.digest(), full().digest());
}

#[test]
fn the_form_of_the_digest_does_not_move() {
    // Attested hops carry this value: a change of the form is a change of the protocol.
    let expected = [
        "ab010102f403f404f4",
        "05a60184685570546f44617465",
        "71535748617264656e696e674e6565646564",
        "73436f6e66696775726174696f6e4e6565646564",
        "7821436f6e66696775726174696f6e416e64535748617264656e696e674e6565646564",
        "0200038004f505f506f5",
        "06f607f6",
        "08a5018002010308048368776f726b6c6f61646873616d652d746565697465652d6c6f63616c05f5",
        "09190e100a190e100b00",
    ];
    assert_eq!(hex::encode(Policy::genuine_only().to_dcbor()), expected.concat());
}
