//! What was recorded is read back as a policy that accepts exactly that.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code, outside of test functions")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use inclavared_attest::appraise::snp::{SnpProduct, SnpTcb};
use inclavared_attest::appraise::{
    Appraised, CodeIdentity, Platform, Root, SgxIdentity, SnpIdentity, TcbStatus, TdxIdentity,
};
use inclavared_attest::evidence::{Claims, Tee};
use inclavared_attest::policy::{
    Applies, Binding, Demand, Field, FieldValue, HopPlace, HopRule, IdentityRule, Measurements, NameRule, PathEnd,
    Policy, ReferenceValue, RoleStep, TerminalKind, Test,
};
use inclavared_attest::{CollateralDigest, ConfigDigest, KeyId, Reason, Timestamp};
use inclavared_config::{RecordMeta, RecordedHop, load_policy, parse_policy, render_recorded};

#[test]
fn a_recorded_path_is_read_back_as_exactly_that() {
    let hops = [hop(1, "ingress", sgx()), hop(2, "relay", tdx()), hop(3, "relay", tdx()), hop(4, "workload", snp())];
    let policy = read_back(&hops, &meta(&Policy::genuine_only()));
    assert_eq!(policy.name, "recorded");
    assert!(!policy.allow_simulated && !policy.danger_allow_debug && !policy.danger_allow_null);
    assert_eq!(policy.identity, IdentityRule::AnyGenuine);
    assert_eq!(policy.tcb.grace, Duration::ZERO);
    let step = |role: &str, n| RoleStep { role: role.into(), min: n, max: n };
    assert_eq!(policy.shape.order, [step("ingress", 1), step("relay", 2), step("workload", 1)]);
    assert_eq!(policy.shape.max_hops, 4);
    assert_eq!(policy.shape.terminals, BTreeSet::from([TerminalKind::SameTee]));
    assert!(!policy.shape.allow_legacy_end);
    let Measurements::Rules(rules) = policy.measurements else { panic!("{:?}", policy.measurements) };
    let applies: Vec<_> = rules.iter().map(|rule| rule.applies.clone()).collect();
    assert_eq!(applies, [1, 2, 3, 4].map(Applies::Position));
    let td = ReferenceValue::Tdx {
        mrtd: [4; 48],
        rtmr: [Some([5; 48]), Some([6; 48]), Some([7; 48]), Some([0; 48])],
        mrconfigid: Some([0; 48]),
    };
    let values: Vec<_> = rules.iter().flat_map(|rule| rule.reference_values.clone()).collect();
    let first = ReferenceValue::SgxEnclave { mrenclave: [1; 32] };
    assert_eq!(values, [first, td.clone(), td, ReferenceValue::SevSnp { measurement: [9; 48] }]);
}

#[test]
fn states_that_were_seen_are_accepted_and_no_worse_ones() {
    let recorded = |tcb_status, under: &Policy| {
        let seen = RecordedHop { tcb_status, ..hop(1, "workload", sgx()) };
        read_back(&[seen], &meta(under)).tcb
    };
    let mut under = Policy::genuine_only();
    let best = recorded(TcbStatus::UpToDate, &under);
    assert_eq!(best.accepted, BTreeSet::from([TcbStatus::UpToDate]));
    let usual = recorded(TcbStatus::ConfigurationNeeded, &under);
    assert_eq!(usual.accepted, BTreeSet::from([TcbStatus::UpToDate, TcbStatus::ConfigurationNeeded]));

    // By grace alone: it stays grace, and ends.
    under.tcb.grace = Duration::from_secs(5400);
    let graced = recorded(TcbStatus::OutOfDateConfigurationNeeded, &under);
    assert_eq!(graced.accepted, BTreeSet::from([TcbStatus::UpToDate, TcbStatus::ConfigurationNeeded]));
    assert_eq!(graced.grace, Duration::from_secs(5400));
    assert_eq!(recorded(TcbStatus::UpToDate, &under).grace, Duration::ZERO);

    under.tcb.accepted.insert(TcbStatus::OutOfDate);
    let accepted = recorded(TcbStatus::OutOfDate, &under);
    assert_eq!(accepted.accepted, BTreeSet::from([TcbStatus::UpToDate, TcbStatus::OutOfDate]));
    assert_eq!(accepted.grace, Duration::ZERO);
}

#[test]
fn what_was_demanded_is_still_demanded() {
    let mut under = Policy::genuine_only();
    under.identity = IdentityRule::Platforms(BTreeSet::from([vec![7; 16]]));
    under.binding = Binding::KeyAudit;
    under.refuse_warm_legs = true;
    under.max_evidence_age = Duration::from_secs(60);
    under.max_path_age = Duration::from_secs(61);
    under.tcb.allow_smt = false;
    let turin = SnpTcb { fmc: Some(1), bootloader: 2, tee: 3, snp: 4, microcode: 5 };
    let milan = SnpTcb { snp: 24, ..SnpTcb::default() };
    under.tcb.snp_min = BTreeMap::from([(SnpProduct::Milan, milan), (SnpProduct::Turin, turin)]);
    under.tcb.refused_advisories = BTreeSet::from(["INTEL-SA-00615".into()]);
    under.measurements = Measurements::Rules(vec![HopRule {
        applies: Applies::Any,
        tees: BTreeSet::from([Tee::Sgx]),
        reference_values: vec![ReferenceValue::SgxEnclave { mrenclave: [1; 32] }],
        demands: vec![],
        config_digest: Some(ConfigDigest::from_bytes([0xd4; 32])),
    }]);
    let policy = read_back(&[hop(1, "workload", sgx())], &meta(&under));
    assert_eq!((policy.identity, policy.binding), (under.identity, under.binding));
    assert!(policy.refuse_warm_legs);
    assert_eq!((policy.max_evidence_age, policy.max_path_age), (under.max_evidence_age, under.max_path_age));
    assert!(!policy.tcb.allow_smt && policy.tcb.allow_dynamic_platform && policy.tcb.allow_cached_keys);
    assert_eq!(policy.tcb.refused_advisories, under.tcb.refused_advisories);
    assert_eq!(policy.tcb.snp_min, under.tcb.snp_min);
    let Measurements::Rules(rules) = policy.measurements else { panic!("{:?}", policy.measurements) };
    assert_eq!(rules[0].config_digest, Some(ConfigDigest::from_bytes([0xd4; 32])));
}

#[test]
fn names_that_were_demanded_are_not_dropped() {
    let named = NameRule { authorities: vec![vec![1]], uris: ["spiffe://example.org/hop".into()].into() };
    let under = Policy { named: Some(named), ..Policy::genuine_only() };
    let text = render_recorded(&[hop(1, "workload", sgx())], &meta(&under));
    assert!(text.contains("identity = { ca = \"ca.pem\", spiffe = [\"spiffe://example.org/hop\"] }\n"), "{text}");
    // Without the authority's certificate beside it, it is no policy: nothing is dropped silently.
    let errors = parse_policy("values.toml", &text, None).unwrap_err();
    assert_eq!(errors.mistakes()[0].key, "policy.recorded.identity.ca");
}

#[test]
fn other_code_or_another_order_is_refused() {
    let under = Policy::genuine_only();
    let hops = [hop(1, "relay", sgx()), hop(2, "workload", tdx())];
    let policy = read_back(&hops, &meta(&under));
    let end = PathEnd::Terminal(TerminalKind::SameTee);
    assert_eq!(policy.admit_shape(&["relay", "workload"], &end), Ok(()));
    for roles in [&["workload", "relay"][..], &["relay"], &["relay", "relay", "workload"]] {
        assert_eq!(policy.admit_shape(roles, &end).unwrap_err().reason, Reason::Shape);
    }
    let admit = |position: u8, role: &str, code: CodeIdentity| {
        let place = HopPlace { position, last: position == 2, role };
        let claims = Claims::new(KeyId::of(b"key"), None);
        policy.admit(&place, &appraised(code), &claims, NOW).map(|verdict| verdict.compared)
    };
    assert_eq!(admit(1, "relay", sgx()), Ok(true));
    assert_eq!(admit(2, "workload", tdx()), Ok(true));
    let CodeIdentity::Sgx(known) = sgx() else { panic!("an enclave") };
    let other = CodeIdentity::Sgx(SgxIdentity { mrenclave: [8; 32], ..known });
    assert_eq!(admit(1, "relay", other).unwrap_err().reason, Reason::Measurement);
    let CodeIdentity::Tdx(known) = tdx() else { panic!("a TD") };
    let other = CodeIdentity::Tdx(Box::new(TdxIdentity { mrconfigid: [1; 48], ..*known }));
    assert_eq!(admit(2, "workload", other).unwrap_err().reason, Reason::Measurement);
    assert_eq!(admit(2, "workload", sgx()).unwrap_err().reason, Reason::Tee);
    let elsewhere = PathEnd::Terminal(TerminalKind::Plain);
    assert_eq!(policy.admit_shape(&["relay", "workload"], &elsewhere).unwrap_err().reason, Reason::Shape);
}

#[test]
fn what_weakens_the_proof_is_allowed_only_if_it_was_seen() {
    let first = RecordedHop { simulated: true, ..hop(1, "relay", sgx()) };
    let second = RecordedHop { debug: true, ..hop(2, "workload", sgx()) };
    let policy = read_back(&[first, second], &RecordMeta { end: PathEnd::Legacy, ..meta(&Policy::genuine_only()) });
    assert!(policy.allow_simulated && policy.danger_allow_debug && policy.shape.allow_legacy_end);
    assert!(!policy.danger_allow_null);
}

#[test]
fn a_hop_without_evidence_gets_no_rule() {
    let null = RecordedHop { tee: Tee::None, ..hop(2, "workload", CodeIdentity::None) };
    let policy = read_back(&[hop(1, "relay", sgx()), null.clone()], &meta(&Policy::genuine_only()));
    let Measurements::Rules(rules) = policy.measurements else { panic!("{:?}", policy.measurements) };
    assert_eq!(rules.len(), 1);
    let alone = render_recorded(&[null], &meta(&Policy::genuine_only()));
    let errors = parse_policy("values.toml", &alone, None).unwrap_err();
    assert!(errors.to_string().contains("no reference values, so every hop is denied"), "{errors}");
}

#[test]
fn text_of_a_peer_cannot_become_toml() {
    let text = "w\"\nallow_simulated = true\n[policy.other]\n#\\\u{1b}\u{7f}\u{e9}";
    let under = Policy::genuine_only();
    let meta = RecordMeta { path: text, ..meta(&under) };
    let rendered = render_recorded(&[hop(1, text, sgx())], &meta);
    assert!(rendered.bytes().all(|b| b == b'\n' || (b' '..=b'~').contains(&b)), "{rendered}");
    // The role is refused as a role, and nothing else is wrong with the file.
    let errors = parse_policy("values.toml", &rendered, None).unwrap_err();
    assert_eq!(errors.mistakes().len(), 1, "{errors}");
    assert_eq!(errors.mistakes()[0].key, "policy.recorded.order[1]");
}

#[test]
fn the_file_reads_well() {
    let simulated = RecordedHop { simulated: true, ..hop(1, "workload", sgx()) };
    let expected = std::fs::read_to_string("tests/values/simulated.toml").unwrap();
    assert_eq!(render_recorded(&[simulated], &meta(&Policy::genuine_only())), expected);
    assert!(load_policy("tests/values/simulated.toml".as_ref(), None).unwrap().allow_simulated);
}

/// Files of before this knew of more than measurements go on being read, and mean what they meant.
#[test]
fn files_of_before_are_read() {
    let before = load_policy("tests/values/before_fields.toml".as_ref(), None).unwrap();
    let now = load_policy("tests/values/simulated.toml".as_ref(), None).unwrap();
    assert_eq!(before, now);
    assert_eq!(before.digest(), now.digest());
}

#[test]
fn what_was_set_at_launch_is_compared() {
    let CodeIdentity::Sgx(mut enclave) = sgx() else { panic!("an enclave") };
    (enclave.config_id, enclave.config_svn, enclave.isv_ext_prod_id) = ([3; 64], 4, [5; 16]);
    let CodeIdentity::Tdx(mut td) = tdx() else { panic!("a TD") };
    (td.mrowner, td.xfam) = ([6; 48], [7; 8]);
    let CodeIdentity::SevSnp(mut guest) = snp() else { panic!("a guest") };
    (guest.host_data, guest.id_key_digest, guest.guest_svn, guest.vmpl) = ([8; 32], [9; 48], 10, 2);
    guest.guest_policy = 0x1_0000;
    let codes = [CodeIdentity::Sgx(enclave), CodeIdentity::Tdx(td), CodeIdentity::SevSnp(guest)];
    let hops: Vec<_> = (1..).zip(&codes).map(|(i, code)| hop(i, "relay", code.clone())).collect();
    let policy = read_back(&hops, &meta(&Policy::genuine_only()));
    assert_eq!(
        demanded(&policy),
        [
            vec![
                format!("configid: {}", "03".repeat(64)),
                format!("isvextprodid: {}", "05".repeat(16)),
                "configsvn: 4 or higher".into(),
            ],
            vec![format!("mrowner: {}", "06".repeat(48)), format!("mrownerconfig: {}", "00".repeat(48))],
            vec![
                format!("host_data: {}", "08".repeat(32)),
                format!("id_key_digest: {}", "09".repeat(48)),
                "guest_svn: 10 or higher".into(),
                "vmpl: 2 or lower".into(),
            ],
        ]
    );
    let claims = Claims::new(KeyId::of(b"key"), None);
    for (position, code) in (1..).zip(codes) {
        let place = HopPlace { position, last: position == 3, role: "relay" };
        policy.admit(&place, &appraised(code), &claims, NOW).unwrap();
    }
}

#[test]
fn fields_that_were_demanded_stay_demanded() {
    let rule = |tee, value, demands: Vec<Demand>| HopRule {
        applies: Applies::Any,
        tees: BTreeSet::from([tee]),
        reference_values: vec![value],
        demands,
        config_digest: None,
    };
    let masked = |field, len| Demand { field, test: Test::Masked { value: vec![0; len], mask: vec![1; len] } };
    let under = Policy {
        measurements: Measurements::Rules(vec![
            rule(
                Tee::Tdx,
                ReferenceValue::Tdx { mrtd: [4; 48], rtmr: [None; 4], mrconfigid: None },
                vec![masked(Field::Xfam, 8)],
            ),
            rule(
                Tee::SevSnp,
                ReferenceValue::SevSnp { measurement: [9; 48] },
                vec![
                    Demand { field: Field::GuestPolicy, test: Test::Bits { set: 0, clear: 1 << 16 } },
                    Demand { field: Field::FamilyId, test: Test::OneOf([FieldValue::Bytes(vec![0; 16])].into()) },
                ],
            ),
        ]),
        ..Policy::genuine_only()
    };
    let recorded = demanded(&read_back(&[hop(1, "relay", tdx()), hop(2, "workload", snp())], &meta(&under)));
    assert!(recorded[0].contains(&"xfam: 0000000000000000".into()), "{recorded:?}");
    assert!(recorded[1].contains(&format!("family_id: {}", "00".repeat(16))), "{recorded:?}");
    let policy = recorded[1].iter().find(|demand| demand.starts_with("guest_policy: not set: smt, ")).unwrap();
    assert!(policy.ends_with("page-swap-disable"), "{policy}");
}

fn demanded(policy: &Policy) -> Vec<Vec<String>> {
    let Measurements::Rules(rules) = &policy.measurements else { panic!("{policy:?}") };
    let shown =
        |rule: &HopRule| rule.demands.iter().map(|demand| format!("{}: {}", demand.field, demand.test)).collect();
    rules.iter().map(shown).collect()
}

#[test]
fn who_and_with_which_key_is_in_the_file() {
    let under = Policy::genuine_only();
    let key = KeyId::of(b"signer");
    let meta = RecordMeta { operator: Some("a\nb"), key: Some(key), ..meta(&under) };
    let text = render_recorded(&[hop(1, "workload", sgx())], &meta);
    assert!(text.contains("operator = \"a\\U0000000Ab\"\n"), "{text}");
    assert!(text.contains(&format!("key = \"{key}\"\n")), "{text}");
    parse_policy("values.toml", &text, None).unwrap();
}

fn read_back(hops: &[RecordedHop], meta: &RecordMeta<'_>) -> Policy {
    parse_policy("values.toml", &render_recorded(hops, meta), None).expect("what was rendered loads")
}

fn meta(verified_under: &Policy) -> RecordMeta<'_> {
    RecordMeta {
        policy: "recorded",
        by: "shelter",
        version: "0.1.0",
        operator: None,
        at: NOW,
        path: "tcp://127.0.0.1:1236",
        end: PathEnd::Terminal(TerminalKind::SameTee),
        verified_under,
        key: None,
    }
}

fn appraised(code: CodeIdentity) -> Appraised {
    Appraised {
        tee: hop(1, "any", code.clone()).tee,
        root: Root::Intel,
        code,
        debug: false,
        tcb_status: TcbStatus::UpToDate,
        tcb_date: NOW,
        advisories: Vec::new(),
        platform: Platform::default(),
        revocation_checked: true,
        collateral: CollateralDigest::of(b"collateral"),
        appraised_at: NOW,
        expires: NOW.plus(Duration::from_secs(600)),
    }
}

const NOW: Timestamp = Timestamp(1_709_251_199);

fn hop(position: u8, role: &str, code: CodeIdentity) -> RecordedHop {
    let tee = match code {
        CodeIdentity::Sgx(_) => Tee::Sgx,
        CodeIdentity::Tdx(_) => Tee::Tdx,
        CodeIdentity::SevSnp(_) => Tee::SevSnp,
        CodeIdentity::None => Tee::None,
    };
    RecordedHop {
        position,
        role: role.into(),
        tee,
        code,
        simulated: false,
        debug: false,
        tcb_status: TcbStatus::SWHardeningNeeded,
        platform_ids: vec![vec![0xc3; 16]],
        config_digest: Some(ConfigDigest::from_bytes([0xd4; 32])),
    }
}

fn sgx() -> CodeIdentity {
    CodeIdentity::Sgx(SgxIdentity {
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
    })
}

fn tdx() -> CodeIdentity {
    CodeIdentity::Tdx(Box::new(TdxIdentity {
        mrtd: [4; 48],
        rtmr: [[5; 48], [6; 48], [7; 48], [0; 48]],
        mrconfigid: [0; 48],
        mrowner: [0; 48],
        mrownerconfig: [0; 48],
        mrseam: [0; 48],
        mrsignerseam: [0; 48],
        td_attributes: [0; 8],
        xfam: [0; 8],
        tee_tcb_svn: [0; 16],
    }))
}

fn snp() -> CodeIdentity {
    CodeIdentity::SevSnp(Box::new(SnpIdentity {
        measurement: [9; 48],
        host_data: [0; 32],
        id_key_digest: [0; 48],
        author_key_digest: [0; 48],
        family_id: [0; 16],
        image_id: [0; 16],
        guest_svn: 0,
        guest_policy: 0,
        vmpl: 0,
    }))
}
