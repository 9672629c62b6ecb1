//! What was recorded is read back as a policy that accepts exactly that.

use std::collections::BTreeSet;
use std::time::Duration;

use inclavared_attest::Timestamp;
use inclavared_attest::appraise::{CodeIdentity, SgxIdentity, SnpIdentity, TcbStatus, TdxIdentity};
use inclavared_attest::evidence::Tee;
use inclavared_attest::policy::{
    Applies, Binding, IdentityRule, Measurements, Policy, ReferenceValue, RoleStep, TerminalKind,
};
use inclavared_config::{RecordMeta, RecordedEnd, RecordedHop, load_policy, parse_policy, render_recorded};

#[test]
fn a_recorded_path_is_read_back_as_exactly_that() {
    let hops = [hop(1, "ingress", sgx()), hop(2, "relay", tdx()), hop(3, "relay", tdx()), hop(4, "workload", snp())];
    let policy = read_back(&hops, &meta());
    assert_eq!(policy.name, "recorded");
    assert!(!policy.allow_simulated && !policy.danger_allow_debug && !policy.danger_allow_null);
    assert_eq!(policy.identity, IdentityRule::AnyGenuine);
    assert_eq!((policy.tcb.grace, policy.binding), (Duration::from_secs(5400), Binding::Quote));
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
    let seen = RecordedHop { tcb_status: TcbStatus::OutOfDate, ..hop(1, "workload", sgx()) };
    let policy = read_back(&[seen], &meta());
    assert_eq!(policy.tcb.accepted, BTreeSet::from([TcbStatus::UpToDate, TcbStatus::OutOfDate]));
    let seen = RecordedHop { tcb_status: TcbStatus::UpToDate, ..hop(1, "workload", sgx()) };
    assert_eq!(read_back(&[seen], &meta()).tcb.accepted, BTreeSet::from([TcbStatus::UpToDate]));
}

#[test]
fn what_weakens_the_proof_is_allowed_only_if_it_was_seen() {
    let first = RecordedHop { simulated: true, ..hop(1, "relay", sgx()) };
    let second = RecordedHop { debug: true, ..hop(2, "workload", sgx()) };
    let policy = read_back(&[first, second], &RecordMeta { end: RecordedEnd::Legacy, ..meta() });
    assert!(policy.allow_simulated && policy.danger_allow_debug && policy.shape.allow_legacy_end);
    assert!(!policy.danger_allow_null);
}

#[test]
fn a_hop_without_evidence_gets_no_rule() {
    let null = RecordedHop { tee: Tee::None, ..hop(2, "workload", CodeIdentity::None) };
    let policy = read_back(&[hop(1, "relay", sgx()), null.clone()], &meta());
    let Measurements::Rules(rules) = policy.measurements else { panic!("{:?}", policy.measurements) };
    assert_eq!(rules.len(), 1);
    let alone = render_recorded(&[null], &meta());
    let errors = parse_policy("values.toml", &alone, None).unwrap_err();
    assert!(errors.to_string().contains("no reference values, so every hop is denied"), "{errors}");
}

#[test]
fn text_of_a_peer_cannot_become_toml() {
    let text = "w\"\nallow_simulated = true\n[policy.other]\n#\\\u{1b}\u{7f}\u{e9}";
    let meta = RecordMeta { path: text.into(), ..meta() };
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
    assert_eq!(render_recorded(&[simulated], &meta()), expected);
    assert!(load_policy("tests/values/simulated.toml".as_ref(), None).unwrap().allow_simulated);
}

fn read_back(hops: &[RecordedHop], meta: &RecordMeta) -> Policy {
    let text = render_recorded(hops, meta);
    parse_policy("values.toml", &text, None).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

fn meta() -> RecordMeta {
    RecordMeta {
        policy: "recorded".into(),
        by: "shelter".into(),
        version: "0.1.0".into(),
        at: Timestamp(1_709_251_199),
        path: "tcp://127.0.0.1:1236".into(),
        end: RecordedEnd::Terminal(TerminalKind::SameTee),
        binding: Binding::Quote,
        grace: Duration::from_secs(5400),
    }
}

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
        guest_policy: 0,
        vmpl: 0,
    }))
}
