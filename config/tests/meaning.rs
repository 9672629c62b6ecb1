//! What configurations mean: that each key arrives where it belongs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use inclavared_attest::appraise::TcbStatus;
use inclavared_attest::appraise::snp::{SnpProduct, SnpTcb};
use inclavared_attest::evidence::Tee;
use inclavared_attest::policy::{
    Applies, Binding, Demand, Field, IdentityRule, Measurements, Policy, ReferenceValue, RoleStep, TerminalKind, Test,
};
use inclavared_config::{
    AttesterKind, CertificateFiles, Config, Deadlines, Downstream, FlagConfig, GENUINE_ONLY, Group, Legacy, Limits,
    Listen, LogFormat, PkiDownstream, PkiUpstream, Suite, Target, TlsSettings, Upstream, VerifierKind, WarmLegs, check,
    load, load_policy, parse, parse_policy,
};

#[test]
fn what_is_left_out_has_its_default() {
    let config = load(Path::new("tests/valid/minimal.toml")).unwrap();
    assert_eq!(config.attestation.attester, AttesterKind::Auto);
    assert_eq!(config.attestation.verifier, VerifierKind::Auto);
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.deadlines, Deadlines::default());
    assert_eq!(config.deadlines.idle, None);
    assert_eq!(config.workers, std::thread::available_parallelism().unwrap());
    assert!(config.policies.is_empty());
    let route = &config.routes[0];
    assert_eq!(route.role, "workload");
    assert_eq!(route.legacy, Legacy::Enforce);
    assert_eq!((route.ttl, route.disclose_expected, route.warm), (8, false, None));
}

#[test]
fn every_key_of_a_route_arrives() {
    let config = load(Path::new("tests/valid/every_key.toml")).unwrap();
    let route = &config.routes[0];
    let policy = config.policies["all"].clone();
    assert_eq!(route.listen, Listen::Tcp("[::1]:1236".parse().unwrap()));
    assert_eq!(route.target, Target::Unix("/run/relay.sock".into()));
    assert_eq!(route.upstream, Upstream::Mutual { policy });
    assert_eq!(route.downstream, Downstream::Mutual { policy: Policy::genuine_only().into() });
    assert_eq!((route.role.as_str(), route.legacy, route.ttl), ("ingress", Legacy::Deny, 3));
    assert!(route.disclose_expected);
    assert_eq!(route.warm, Some(WarmLegs { size: 9, max_age: Duration::from_secs(30) }));
    let plain = load(Path::new("tests/valid/many_routes.toml")).unwrap();
    let roles: Vec<_> = plain.routes.iter().map(|route| route.role.as_str()).collect();
    assert_eq!(roles, ["workload", "workload", "relay", "relay"]);
    assert!(matches!(plain.routes[2].downstream, Downstream::Attested { .. }));
}

#[test]
fn every_setting_arrives() {
    let config = load(Path::new("tests/valid/every_key.toml")).unwrap();
    let attestation = &config.attestation;
    assert_eq!((attestation.attester, attestation.verifier), (AttesterKind::Sim, VerifierKind::Sim));
    // A relative folder lies beside the file.
    assert_eq!(attestation.platform, Some(PathBuf::from("tests/valid/platform")));
    let sim = &attestation.sim;
    assert_eq!((sim.label.as_deref(), sim.machine.as_str()), (Some("ingress"), "second"));
    assert_eq!((sim.tee, sim.debug, sim.tcb), (Tee::Tdx, true, TcbStatus::OutOfDate));
    assert_eq!((sim.mrenclave, sim.mrsigner), (Some([0x11; 32]), Some([0x22; 32])));
    assert_eq!((sim.isv_prod_id, sim.isv_svn), (7, 16));
    let fields: Vec<_> = sim.fields.iter().map(|(field, value)| format!("{field}={value}")).collect();
    let wide = |byte: &str| byte.repeat(48);
    let expected = [
        format!("mrconfigid={}", wide("c3")),
        format!("mrowner={}", wide("c4")),
        format!("mrownerconfig={}", wide("c5")),
        "td_attributes=0000001000000000".into(),
        "xfam=e700060000000000".into(),
        format!("mrseam={}", wide("c6")),
    ];
    assert_eq!(fields, expected);
    assert_eq!((sim.mrtd, sim.rtmr), (Some([0xa1; 48]), [Some([0xb2; 48]); 4]));
    assert_eq!(config.workers.get(), 3);
    let limits = Limits {
        connections: 100,
        connections_per_source: 10,
        ipv6_prefix: 56,
        kept_for_admitted: 40,
        handshakes_in_flight: 11,
        handshakes_per_source: 3,
        handshake_kib: 128,
        openings: 12,
        openings_per_source: 5,
        idle_legs: 14,
        idle_legs_per_source: 6,
        blocking_threads: 2,
        blocking_queue: 13,
    };
    assert_eq!(config.limits, limits);
    let seconds = Duration::from_secs;
    let deadlines = Deadlines {
        handshake: seconds(1),
        handshake_to_open: seconds(2),
        idle_leg: seconds(12),
        opening_turn: seconds(13),
        hop_key: seconds(14),
        open_to_preview: seconds(3),
        open_to_preview_per_hop: Duration::from_millis(400),
        preview_to_start: seconds(5),
        dial: seconds(6),
        appraisal: seconds(7),
        quote: seconds(8),
        half_close: seconds(9),
        write_stall: Some(seconds(10)),
        idle: Some(seconds(5400)),
        stranger_idle: seconds(15),
        drain: seconds(11),
    };
    assert_eq!(config.deadlines, deadlines);
    assert_eq!((config.log.format, config.log.filter.as_str()), (LogFormat::Json, "inclavared_tunnel=debug,info"));
    assert_eq!(config.admin, Some("127.0.0.1:9465".parse().unwrap()));
    let collateral = &attestation.collateral;
    let amd = ["https://kdsintf.amd.com".to_owned(), "http://[::1]:8082".to_owned()];
    assert_eq!(collateral.amd_services.as_deref(), Some(&amd[..]));
    assert_eq!((collateral.refresh, sim.certificates), (Some(Duration::from_secs(6 * 3600)), false));
}

#[test]
fn metrics_are_for_this_machine_unless_it_is_said() {
    let route = std::fs::read_to_string("tests/valid/minimal.toml").unwrap();
    let config = |more: &str| parse("test.toml", &format!("{route}\n{more}")).unwrap();
    assert_eq!(config("").admin, None);
    assert_eq!(config("[admin]").admin, Some("127.0.0.1:9464".parse().unwrap()));
    let open = config("[admin]\nlisten = \"0.0.0.0:9464\"");
    assert!(open.summary().warnings.iter().any(|warning| warning.starts_with("admin: 0.0.0.0:9464 tells")));
    let error = parse("test.toml", &format!("{route}\n[admin]\nlisten = \"9464\"")).unwrap_err();
    assert!(error.to_string().contains("admin.listen"), "{error}");
}

#[test]
fn a_default_per_source_follows_a_lowered_whole() {
    let route = std::fs::read_to_string("tests/valid/minimal.toml").unwrap();
    let config = parse("test.toml", &format!("{route}\n[limits]\nconnections = 10\nopenings = 7")).unwrap();
    assert_eq!((config.limits.connections_per_source, config.limits.openings_per_source), (10, 7));
}

#[test]
fn every_key_of_a_policy_arrives() {
    let policy = load_policy(Path::new("tests/valid/every_key.toml"), Some("all")).unwrap();
    assert!(policy.allow_simulated && policy.danger_allow_null && policy.danger_allow_debug);
    assert_eq!(policy.tcb.accepted, BTreeSet::from([TcbStatus::UpToDate, TcbStatus::OutOfDate]));
    assert_eq!(policy.tcb.grace, Duration::from_secs(30 * 86_400));
    assert_eq!(policy.tcb.refused_advisories, BTreeSet::from(["INTEL-SA-00615".to_owned()]));
    assert_eq!(policy.tcb.allowed_advisories, Some(BTreeSet::from(["INTEL-SA-00289".to_owned()])));
    assert!(!policy.tcb.allow_smt && !policy.tcb.allow_dynamic_platform && !policy.tcb.allow_cached_keys);
    let milan = SnpTcb { fmc: None, bootloader: 4, tee: 1, snp: 24, microcode: 219 };
    let genoa = SnpTcb { snp: 23, ..SnpTcb::default() };
    let turin = SnpTcb { fmc: Some(1), snp: 4, ..SnpTcb::default() };
    let minimum = [(SnpProduct::Milan, milan), (SnpProduct::Genoa, genoa), (SnpProduct::Turin, turin)];
    assert_eq!(policy.tcb.snp_min, BTreeMap::from(minimum));
    assert_eq!(policy.identity, IdentityRule::Platforms(BTreeSet::from([vec![0xc3; 16]])));
    let step = |role: &str, min, max| RoleStep { role: role.into(), min, max };
    assert_eq!(policy.shape.order, [step("ingress", 1, 1), step("relay", 0, 2), step("workload", 1, 1)]);
    assert_eq!((policy.shape.min_hops, policy.shape.max_hops), (2, 4));
    assert_eq!(policy.shape.terminals.len(), 5);
    assert!(policy.shape.allow_legacy_end);
    assert_eq!(policy.max_evidence_age, Duration::from_secs(1800));
    assert_eq!(policy.max_path_age, Duration::from_secs(7200));
    assert_eq!(policy.binding, Binding::KeyAudit);
    assert!(policy.refuse_warm_legs);
    let Measurements::Rules(rules) = &policy.measurements else { panic!("{:?}", policy.measurements) };
    let applies: Vec<_> = rules.iter().map(|rule| rule.applies.clone()).collect();
    assert_eq!(applies, [Applies::Position(1), Applies::Role("relay".into()), Applies::Last, Applies::Any]);
    let tees: Vec<_> = rules.iter().flat_map(|rule| rule.tees.iter().copied()).collect();
    assert_eq!(tees, [Tee::Sgx, Tee::Sgx, Tee::Tdx, Tee::SevSnp]);
    let enclave = |byte| ReferenceValue::SgxEnclave { mrenclave: [byte; 32] };
    assert_eq!(rules[0].reference_values, [enclave(0x11), enclave(0x22)]);
    assert_eq!(rules[0].config_digest.map(|digest| *digest.as_bytes()), Some([0x11; 32]));
    let signer = ReferenceValue::SgxSigner { mrsigner: [0x22; 32], isv_prod_id: 1, isv_svn_min: 2 };
    assert_eq!(rules[1].reference_values, [signer]);
    let td = ReferenceValue::Tdx {
        mrtd: [0xa1; 48],
        rtmr: [Some([0xb2; 48]), None, None, Some([0xa1; 48])],
        mrconfigid: Some([0xb2; 48]),
    };
    assert_eq!(rules[2].reference_values, [td]);
    assert_eq!(rules[3].reference_values, [ReferenceValue::SevSnp { measurement: [0xa1; 48] }]);
    let demands: Vec<_> = rules.iter().map(|rule| rule.demands.as_slice()).collect();
    let hex = |bytes: &str, width: usize| bytes.repeat(width);
    let shown: Vec<Vec<String>> = demands
        .iter()
        .map(|demands| demands.iter().map(|demand| format!("{}: {}", demand.field, demand.test)).collect())
        .collect();
    let first = [
        format!("mrsigner: {}", hex("22", 32)),
        "isvprodid: 3".into(),
        "isvsvn: 4 or higher".into(),
        format!("configid: {}", hex("33", 64)),
        format!("isvfamilyid: {} or {}", hex("44", 16), hex("45", 16)),
        format!("isvextprodid: {}", hex("55", 16)),
        "attributes: 84000000000000000000000000000000 under the mask 84000000000000000000000000000000".into(),
        "miscselect: 00000000".into(),
        "configsvn: 5 or higher".into(),
    ];
    assert_eq!((&shown[0][..], shown[1].len()), (&first[..], 0));
    let third = [
        format!("mrowner: {}", hex("c1", 48)),
        format!("mrownerconfig: {}", hex("c2", 48)),
        format!("mrseam: {}", hex("c3", 48)),
        format!("mrsignerseam: {}", hex("00", 48)),
        "td_attributes: 0000001000000000 under the mask ffffff7fffffffff".into(),
        "xfam: e700000000000000 under the mask ffff000000000000".into(),
    ];
    assert_eq!(shown[2], third);
    let fourth = [
        format!("host_data: {}", hex("d1", 32)),
        format!("id_key_digest: {}", hex("d2", 48)),
        format!("author_key_digest: {}", hex("d3", 48)),
        format!("family_id: {}", hex("d4", 16)),
        format!("image_id: {}", hex("d5", 16)),
        "guest_svn: 6 or higher".into(),
        "guest_policy: set: single-socket, ciphertext-hiding-dram; not set: smt".into(),
        "vmpl: 1 or lower".into(),
    ];
    assert_eq!(shown[3], fourth);
}

#[test]
fn a_guest_attests_from_vmpl_0_unless_it_is_said() {
    let text = "[policy.p]\nidentity = \"any-genuine\"\n[[policy.p.hop]]\nsnp_measurement = \"";
    let policy = parse_policy("p.toml", &format!("{text}{}\"", "a1".repeat(48)), None).unwrap();
    let Measurements::Rules(rules) = policy.measurements else { panic!("{:?}", policy.measurements) };
    assert_eq!(rules[0].demands, [Demand { field: Field::Vmpl, test: Test::AtMost(0) }]);
}

#[test]
fn configids_as_an_identity() {
    let text =
        format!("[policy.p]\nidentity = {{ configids = \"{}\" }}\nmeasurements = \"not-compared\"", "0a".repeat(64));
    assert_eq!(parse_policy("p.toml", &text, None).unwrap().identity, IdentityRule::ConfigIds([[10; 64]].into()));
}

#[test]
fn nothing_about_trust_is_permissive_by_default() {
    let text = "[policy.p]\nidentity = \"any-genuine\"\n[[policy.p.hop]]\nsnp_measurement = \"";
    let policy = parse_policy("p.toml", &format!("{text}{}\"", "a1".repeat(48)), None).unwrap();
    assert!(!policy.allow_simulated && !policy.danger_allow_null && !policy.danger_allow_debug);
    assert!(!policy.shape.allow_legacy_end);
    assert_eq!(policy.tcb, Policy::genuine_only().tcb);
    assert!(policy.tcb.accepted.iter().all(|status| *status < TcbStatus::TDRelaunchAdvised));
    let confidential = [TerminalKind::Workload, TerminalKind::SameTee, TerminalKind::TeeLocal];
    assert_eq!(policy.shape.terminals, BTreeSet::from(confidential));
    assert_eq!((policy.shape.min_hops, policy.shape.max_hops), (1, 8));
}

#[test]
fn a_policy_is_chosen_by_name_or_by_being_alone() {
    let text = |names: &[&str]| {
        let policy = |n: &&str| format!("[policy.{n}]\nidentity = \"any-genuine\"\nmeasurements = \"not-compared\"\n");
        names.iter().map(policy).collect::<String>()
    };
    let read = |names: &[&str], name| parse_policy("p.toml", &text(names), name).map(|policy| policy.name);
    assert_eq!(read(&["a"], None), Ok("a".into()));
    assert_eq!(read(&["a", "b"], Some("b")), Ok("b".into()));
    let said = |names: &[&str], name| read(names, name).unwrap_err().to_string();
    assert_eq!(said(&["a", "b"], None), "p.toml:1: holds more than one policy; name one of a, b");
    assert_eq!(said(&["a"], Some("b")), "p.toml:1: no policy is named `b`; there are a, genuine-only");
    assert_eq!(said(&[], None), "p.toml:1: holds no policy; write `[policy.NAME]`");
}

#[test]
fn flags_alone_mean_what_they_meant() {
    let flags = || FlagConfig::new("0.0.0.0:1236".parse().unwrap(), "127.0.0.1:1234".parse().unwrap());
    let plain = Config::from_flags(flags()).unwrap();
    let route = &plain.routes[0];
    assert_eq!(route.upstream, Upstream::Attested);
    assert_eq!(route.downstream, Downstream::Attested { policy: Policy::genuine_only().into() });
    assert_eq!((route.role.as_str(), route.legacy), ("relay", Legacy::Enforce));
    assert!(plain.policies.is_empty());

    let mutual = Config::from_flags(FlagConfig {
        mutual: true,
        attester: AttesterKind::Sim,
        verifier: VerifierKind::Sim,
        platform: Some("/tmp/p".into()),
        ..flags()
    })
    .unwrap();
    let simulated = Policy { allow_simulated: true, ..Policy::genuine_only() };
    assert_eq!(mutual.routes[0].downstream, Downstream::Mutual { policy: simulated.into() });
    assert_ne!(plain.digest, mutual.digest);

    let strict = Policy { name: "strict".into(), ..Policy::genuine_only() };
    let given =
        Config::from_flags(FlagConfig { policy: Some(strict), verifier: VerifierKind::Null, ..flags() }).unwrap();
    // A policy that was given is taken as it is, whatever the verifier.
    assert!(given.routes[0].downstream.policy().is_some_and(|policy| !policy.danger_allow_null));
    assert!(given.policies.contains_key("strict"));
    assert!(VerifierKind::Null.default_policy().danger_allow_null);
    for kind in [VerifierKind::Auto, VerifierKind::SgxEcdsa, VerifierKind::SgxEcdsaQve] {
        assert_eq!(kind.default_policy(), Policy::genuine_only());
    }
}

#[test]
fn flags_have_all_their_mistakes_reported() {
    let flags = FlagConfig {
        attester: AttesterKind::Sim,
        role: Some("a b".into()),
        ..FlagConfig::new("0.0.0.0:1236".parse().unwrap(), "127.0.0.1:1236".parse().unwrap())
    };
    let errors = Config::from_flags(flags).unwrap_err().to_string();
    assert_eq!(
        errors,
        "command line: --platform: missing: `sim` needs a simulated platform; add `--platform DIR`, its folder\n\
         command line: --listen: the target is what the process itself listens on; name the next hop or the workload\n\
         command line: --role: not a name; write 1 to 64 letters, digits, `-`, `_` or `.`"
    );
}

#[test]
fn a_summary_says_what_weakens_the_proof() {
    let summary = check(Path::new("tests/valid/every_key.toml")).unwrap();
    assert_eq!(
        summary.routes,
        [
            "ingress (ingress): tcp://[::1]:1236 mutual (policy all) -> unix:///run/relay.sock mutual (policy genuine-only)"
        ]
    );
    assert_eq!(summary.policies.len(), 2);
    assert_eq!(summary.policies[0], "all: 5 reference value(s) in 4 hop rule(s); 1 platform(s); up to 4 hops");
    let expected = [
        "attester `sim`: this process's evidence proves nothing about hardware",
        "collateral: the certificates of its services are not checked",
        "collateral: services may be asked over plain http",
        "policy `all`: simulated evidence passes; it proves nothing about hardware",
        "policy `all`: peers without any evidence pass",
        "policy `all`: debug TEEs pass; their memory is open to their host",
        "policy `all`: the terminal `host-local` passes; its bytes are outside of any TEE there, unencrypted",
        "policy `all`: the terminal `plain` passes; its bytes are outside of any TEE there, unencrypted",
        "policy `all`: a hop has mrtd without rtmr1 and rtmr2: that is the firmware alone, and any kernel passes",
        "policy `all`: danger_allow_null has no effect, as the verifier is `sim`",
        "policy `genuine-only`: measurements are not compared; any code in a genuine TEE passes",
        "policy `genuine-only` refuses what the verifier `sim` is for: allow_simulated is not set",
        "route `ingress`: disclose_expected tells reference values to anybody",
    ];
    assert_eq!(summary.warnings, expected);
    assert!(summary.to_string().ends_with(&format!("configuration digest {}", summary.digest)));
    let quiet = check(Path::new("../examples/sidecar.toml")).unwrap();
    assert!(quiet.warnings.is_empty(), "{:?}", quiet.warnings);
}

#[test]
fn a_signer_that_anybody_can_be_is_warned_of() {
    let route = std::fs::read_to_string("tests/valid/minimal.toml").unwrap();
    let signer = hex::encode(inclavared_attest::reference::sigstruct::SAMPLE_SIGNER);
    let route = route.replace("\"plain\"", "{ tls = \"attested\", policy = \"p\" }");
    let policy = format!(
        "{route}\n[policy.p]\nidentity = \"any-genuine\"\n[[policy.p.hop]]\nmrsigner = \"{signer}\"\nisvprodid = 0\nisvsvn_min = 0\n"
    );
    let warnings = parse("p.toml", &policy).unwrap().summary().warnings;
    let expected =
        "policy `p`: a hop trusts a signer whose key is published with Intel's SDK; anybody's enclave passes";
    assert_eq!(warnings, [expected]);
}

#[test]
fn the_built_in_policy_has_its_name() {
    assert_eq!(Policy::genuine_only().name, GENUINE_ONLY);
    assert_eq!(Policy::genuine_only().measurements, Measurements::NotCompared);
}

#[test]
fn certificates_of_a_pki_arrive() {
    let config = load(Path::new("tests/valid/pki.toml")).unwrap();
    let folder = Path::new("tests/valid");
    let files = |name: &str| CertificateFiles {
        cert: folder.join(name).with_extension("pem"),
        key: folder.join(name).with_extension("key"),
    };
    let ca = folder.join("ca.pem");
    let [both, egress, front] = config.routes.as_slice() else { panic!("three routes") };
    assert_eq!(both.upstream, Upstream::Pki(PkiUpstream { own: files("server"), client_ca: Some(ca.clone()) }));
    let own = Some(files("client"));
    assert_eq!(both.downstream, Downstream::Pki(PkiDownstream { ca, server_name: "localhost".into(), own }));
    assert_eq!((both.role.as_str(), front.role.as_str()), ("workload", "relay"));
    // The target's host is the name unless one is written; an absolute path stays as it is.
    let ca = PathBuf::from("/etc/ssl/ca.pem");
    assert_eq!(egress.downstream, Downstream::Pki(PkiDownstream { ca, server_name: "db.example".into(), own: None }));
    assert_eq!(front.upstream, Upstream::Pki(PkiUpstream { own: files("server"), client_ca: None }));
    assert_eq!(
        config.tls,
        TlsSettings { groups: vec![Group::X25519, Group::Secp256r1], suites: vec![Suite::Aes256Gcm] }
    );
    let warnings = config.summary().warnings.join("\n");
    assert!(warnings.contains("route `both`: pki to pki: nothing is attested to anybody"), "{warnings}");
    assert!(warnings.contains("route `egress`: plain to pki"), "{warnings}");
    assert!(!warnings.contains("route `front`"), "{warnings}");
}
