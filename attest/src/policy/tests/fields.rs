//! Every field that a rule may demand: that it lets pass what it names, and refuses the rest by expected and found.

use super::*;
use crate::appraise::CodeIdentity;

fn demanding(value: ReferenceValue, tee: Tee, field: Field, test: Test) -> Policy {
    with_rules(vec![HopRule { demands: vec![Demand { field, test }], ..rule(Applies::Any, tee, value) }])
}

/// What names the code of [`sgx`], [`tdx`] and [`snp`].
fn code_of(appraised: &Appraised) -> ReferenceValue {
    match appraised.tee {
        Tee::Sgx => enclave(1),
        Tee::Tdx => ReferenceValue::Tdx { mrtd: [1; 48], rtmr: [None; 4], mrconfigid: None },
        _ => ReferenceValue::SevSnp { measurement: [6; 48] },
    }
}

/// Each field has a value of its own.
fn filled() -> [Appraised; 3] {
    let (mut sgx, mut tdx, mut snp) = (sgx(), tdx(), snp());
    if let CodeIdentity::Sgx(id) = &mut sgx.code {
        (id.attributes, id.misc_select, id.config_id, id.config_svn) = ([21; 16], 0x0403_0201, [22; 64], 23);
        (id.isv_family_id, id.isv_ext_prod_id) = ([24; 16], [25; 16]);
    }
    if let CodeIdentity::Tdx(id) = &mut tdx.code {
        (id.mrowner, id.mrownerconfig, id.mrseam, id.mrsignerseam) = ([31; 48], [32; 48], [33; 48], [34; 48]);
        (id.td_attributes, id.xfam) = ([0, 0, 0, 0x10, 0, 0, 0, 0], [0xe7, 0, 6, 0, 0, 0, 0, 0]);
    }
    if let CodeIdentity::SevSnp(id) = &mut snp.code {
        (id.host_data, id.id_key_digest, id.author_key_digest) = ([41; 32], [42; 48], [43; 48]);
        (id.family_id, id.image_id, id.guest_svn, id.guest_policy, id.vmpl) = ([44; 16], [45; 16], 46, 0x3_001f, 1);
    }
    [sgx, tdx, snp]
}

fn of(field: Field) -> Appraised {
    let found = filled().into_iter().find(|appraised| appraised.tee == field.tee());
    found.unwrap_or_else(|| panic!("{field}"))
}

#[test]
fn each_field_is_compared_in_full() {
    for &field in Field::ALL {
        let appraised = of(field);
        let code = code_of(&appraised);
        let found = field.read(&appraised.code).unwrap();
        let policy = |test| demanding(code.clone(), field.tee(), field, test);

        let verdict = admit(&policy(Test::OneOf([found.clone()].into())), &appraised).unwrap();
        let comparison = verdict.comparisons.last().unwrap();
        assert_eq!((comparison.field, comparison.expected.as_str()), (field.name(), found.to_string().as_str()));
        assert!(verdict.reasons.iter().any(|reason| reason.ends_with(&format!(", {field}"))), "{verdict:?}");

        let other = match &found {
            FieldValue::Bytes(bytes) => {
                assert_eq!(Some(bytes.len()), field.width(), "{field}");
                let mut other = bytes.clone();
                *other.last_mut().unwrap() ^= 1;
                FieldValue::Bytes(other)
            }
            FieldValue::Number(number) => {
                assert_eq!(None, field.width(), "{field}");
                FieldValue::Number(number + 1)
            }
        };
        let error = refused(&policy(Test::OneOf([other.clone()].into())), &appraised);
        assert_eq!((error.reason, error.what.as_str()), (Reason::Measurement, field.name()));
        assert_eq!(error.expected, other.to_string());
        match field {
            Field::GuestPolicy => assert_eq!(error.found, "0x3001f (smt, bit 17)"),
            _ => assert_eq!(error.found, found.to_string()),
        }
        admit(&policy(Test::OneOf([other, found].into())), &appraised).unwrap();
        assert_eq!(refused(&policy(Test::OneOf(BTreeSet::new())), &appraised).expected, "nothing at all");
        assert_eq!(field.name().parse(), Ok(field));
    }
    assert!(
        "mrenclav"
            .parse::<Field>()
            .unwrap_err()
            .starts_with("`mrenclav` is no field of evidence; there are mrenclave,")
    );
}

#[test]
fn masks_compare_their_bits_alone() {
    let appraised = of(Field::Xfam);
    let policy = |value: &[u8], mask: &[u8]| {
        let test = Test::Masked { value: value.to_vec(), mask: mask.to_vec() };
        demanding(code_of(&appraised), Tee::Tdx, Field::Xfam, test)
    };
    let mask = [0xff, 0, 0, 0, 0, 0, 0, 0];
    admit(&policy(&[0xe7, 0, 0, 0, 0, 0, 0, 0], &mask), &appraised).unwrap();
    let error = refused(&policy(&[0xe6, 0, 0, 0, 0, 0, 0, 0], &mask), &appraised);
    assert_eq!((error.reason, error.what.as_str()), (Reason::Measurement, "xfam"));
    assert_eq!(error.expected, "e600000000000000 under the mask ff00000000000000");
    assert_eq!(error.found, "e700060000000000");
    // Values of another length compare nothing, so they let nothing pass.
    assert_eq!(refused(&policy(&[0xe7], &[0xff]), &appraised).what, "xfam");
    assert_eq!(refused(&policy(&[], &[]), &appraised).what, "xfam");
}

#[test]
fn numbers_have_bounds() {
    for (field, test, passes) in [
        (Field::ConfigSvn, Test::AtLeast(23), true),
        (Field::ConfigSvn, Test::AtLeast(24), false),
        (Field::IsvSvn, Test::AtLeast(4), true),
        (Field::IsvSvn, Test::AtLeast(5), false),
        (Field::GuestSvn, Test::AtLeast(46), true),
        (Field::GuestSvn, Test::AtLeast(47), false),
        (Field::Vmpl, Test::AtMost(1), true),
        (Field::Vmpl, Test::AtMost(0), false),
        // A test that does not fit its field.
        (Field::IsvSvn, Test::Masked { value: vec![4], mask: vec![0xff] }, false),
        (Field::Xfam, Test::AtLeast(0), false),
        (Field::Xfam, Test::AtMost(u64::MAX), false),
        (Field::Xfam, Test::Bits { set: 0, clear: 0 }, false),
    ] {
        let appraised = of(field);
        let policy = demanding(code_of(&appraised), field.tee(), field, test.clone());
        match admit(&policy, &appraised) {
            Ok(_) => assert!(passes, "{field} {test:?}"),
            Err(error) => {
                assert!(!passes, "{error}");
                assert_eq!((error.reason, error.what.as_str()), (Reason::Measurement, field.name()));
                assert_eq!(error.expected, test.to_string());
                assert_eq!(error.found, field.read(&appraised.code).unwrap().to_string());
            }
        }
    }
    let appraised = of(Field::Vmpl);
    let error = refused(&demanding(code_of(&appraised), Tee::SevSnp, Field::Vmpl, Test::AtMost(0)), &appraised);
    assert_eq!((error.expected.as_str(), error.found.as_str()), ("0 or lower", "1"));
}

#[test]
fn guest_policy_bits() {
    let appraised = of(Field::GuestPolicy);
    let policy =
        |set, clear| demanding(code_of(&appraised), Tee::SevSnp, Field::GuestPolicy, Test::Bits { set, clear });
    admit(&policy(1 << 16, 1 << 19 | 1 << 20), &appraised).unwrap();
    let error = refused(&policy(1 << 20 | 1 << 30, 0), &appraised);
    assert_eq!((error.reason, error.what.as_str()), (Reason::Measurement, "guest_policy"));
    assert_eq!(
        (error.expected.as_str(), error.found.as_str()),
        ("set: single-socket, bit 30", "0x3001f (smt, bit 17)")
    );
    assert_eq!(refused(&policy(0, 1 << 16), &appraised).expected, "not set: smt");
    assert_eq!(refused(&policy(1 << 20, 1 << 16), &appraised).expected, "set: single-socket; not set: smt");
}

#[test]
fn a_field_of_another_tee_is_never_there() {
    let [sgx, tdx, snp] = filled();
    for (appraised, field) in [(&sgx, Field::Xfam), (&tdx, Field::HostData), (&snp, Field::ConfigId)] {
        assert_eq!(field.read(&appraised.code), None);
        let demanded = demanding(code_of(appraised), appraised.tee, field, Test::OneOf([FieldValue::Number(0)].into()));
        let error = refused(&demanded, appraised);
        assert_eq!((error.what.as_str(), error.found.as_str()), (field.name(), "none"));
    }
}

#[test]
fn the_nearest_miss_is_told() {
    let appraised = of(Field::ConfigId);
    let miss = |field, value: FieldValue| HopRule {
        demands: vec![Demand::one(field, value)],
        ..rule(Applies::Any, Tee::Sgx, enclave(1))
    };
    let rules = vec![
        rule(Applies::Any, Tee::Sgx, enclave(9)),
        miss(Field::ConfigSvn, FieldValue::Number(9)),
        rule(Applies::Any, Tee::Sgx, enclave(8)),
    ];
    let error = refused(&with_rules(rules), &appraised);
    assert_eq!((error.what.as_str(), error.expected.as_str(), error.found.as_str()), ("configsvn", "9", "23"));
}

#[test]
fn a_configid_as_an_identity() {
    let [sgx, tdx, _] = filled();
    let ours = policy(|p| p.identity = IdentityRule::ConfigIds([[22; 64], [9; 64]].into()));
    let verdict = admit(&ours, &sgx).unwrap();
    // It names a configuration, and no machine.
    assert_eq!(verdict.trust.get(Claim::InstanceIdentity), TrustVector::NONE);
    assert_eq!(verdict.trust.get(Claim::Configuration), TrustVector::AFFIRMING);
    assert_eq!(verdict.comparisons[0].found, "16".repeat(64));
    let theirs = policy(|p| p.identity = IdentityRule::ConfigIds([[9; 64]].into()));
    let error = refused(&theirs, &sgx);
    assert_eq!((error.reason, error.what.as_str()), (Reason::Identity, "configid"));
    assert_eq!((error.expected, error.found), (format!("one of {}", "09".repeat(64)), "16".repeat(64)));
    let error = refused(&ours, &tdx);
    assert_eq!((error.reason, error.found.as_str()), (Reason::Identity, "none"));
    let nobody = policy(|p| p.identity = IdentityRule::ConfigIds(BTreeSet::new()));
    assert_eq!(refused(&nobody, &sgx).expected, "one of none");
}

#[test]
fn advisories_that_are_not_allowed() {
    let known = policy(|p| p.tcb.allowed_advisories = Some(["intel-sa-1".into()].into()));
    let with = |ids: &[&str]| Appraised { advisories: ids.iter().map(|id| (*id).into()).collect(), ..sgx() };
    admit(&known, &with(&[])).unwrap();
    admit(&known, &with(&["INTEL-SA-1"])).unwrap();
    let error = refused(&known, &with(&["INTEL-SA-1", "INTEL-SA-2"]));
    assert_eq!((error.reason, error.what.as_str()), (Reason::Advisory, "advisories"));
    assert_eq!((error.expected.as_str(), error.found.as_str()), ("none but intel-sa-1", "INTEL-SA-2"));
    let none = policy(|p| p.tcb.allowed_advisories = Some(BTreeSet::new()));
    assert_eq!(refused(&none, &with(&["INTEL-SA-1"])).expected, "none");
    let both = policy(|p| {
        p.tcb.allowed_advisories = Some(["INTEL-SA-1".into()].into());
        p.tcb.refused_advisories = ["INTEL-SA-1".into()].into();
    });
    assert_eq!(refused(&both, &with(&["INTEL-SA-1"])).expected, "none like INTEL-SA-1");
}
