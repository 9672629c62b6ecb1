use inclavared_attest::Timestamp;

use super::*;

fn parse(line: &str) -> Result<Parsed<Shelter>, CliError> {
    Shelter::parse(line.split_whitespace())
}

fn attested(line: &str) -> (Verification, bool, Vec<String>) {
    match parse(line).unwrap() {
        Parsed { what: Shelter::RemoteAttestation { path, json, .. }, notes, .. } => (path, json, notes),
        other => panic!("{other:?}"),
    }
}

fn mistakes(line: &str) -> Vec<String> {
    match parse(line).unwrap_err() {
        CliError::Mistakes(mistakes) => mistakes.to_string().lines().map(str::to_owned).collect(),
        CliError::Usage(error) => panic!("{error}"),
    }
}

#[test]
fn the_commands_of_the_originals_readme() {
    let (path, json, notes) = attested(
        "shelter remoteattestation --verifier sgx_ecdsa --tls openssl --crypto openssl --addr=tcp://127.0.0.1:1236",
    );
    assert_eq!(path.target.to_string(), "tcp://127.0.0.1:1236");
    assert_eq!((path.attestation.verifier, path.mutual, json), (VerifierKind::SgxEcdsa, false, false));
    assert_eq!(path.policy.name, "genuine-only");
    assert_eq!(path.timeout, DEFAULT_TIMEOUT);
    assert_eq!(notes.len(), 2);
    for (line, target) in [
        ("--addr=unix:///run/enclave-tls/tls.sock", "unix:///run/enclave-tls/tls.sock"),
        ("--tls openssl", "tcp://127.0.0.1:1234"),
        ("--crypto openssl", "tcp://127.0.0.1:1234"),
        ("--mutual", "tcp://127.0.0.1:1234"),
    ] {
        assert_eq!(attested(&format!("shelter remoteattestation {line}")).0.target.to_string(), target, "{line}");
    }
    assert!(mistakes("shelter remoteattestation --verifier sgx_la")[0].contains("write sgx_ecdsa"));
    assert!(mistakes("shelter mrverify")[0].contains("write `shelter record --out FILE` once"));
}

#[test]
fn flags_as_gos_library_took_them() {
    let (path, ..) = attested("shelter -verbose remoteattestation -addr tcp://h:1 -mutual=true -attester=sgx_ecdsa");
    assert!(path.mutual);
    assert_eq!(path.attestation.attester, AttesterKind::SgxEcdsa);
    let (path, ..) = attested("shelter remoteattestation --mutual --mutual=false --addr tcp://h:1 --addr tcp://h:2");
    assert!(!path.mutual, "the last one counts");
    assert_eq!(path.target.to_string(), "tcp://h:2");
    assert_eq!(parse("shelter --verbose remoteattestation").unwrap().log.filter, "debug");
    assert_eq!(parse("shelter --verbose remoteattestation -log-level fatal").unwrap().log.filter, "error");
    assert_eq!(parse("shelter remoteattestation").unwrap().log.filter, "warn");
    assert!(matches!(parse("shelter -v"), Err(CliError::Usage(error)) if error.exit_code() == 0));
    assert!(matches!(parse("shelter remoteattestation --mutual=maybe"), Err(CliError::Usage(error))
        if error.to_string().contains("write `true` or `false`")));
}

#[test]
fn a_verifier_that_shows_nothing_needs_nothing_to_show() {
    let (path, _, notes) = attested("shelter remoteattestation --attester sim --addr tcp://h:1");
    assert_eq!(path.attestation.platform, None);
    assert_eq!(notes, ["--attester: not used, as a verifier shows evidence only with --mutual"]);
    assert_eq!(
        mistakes("shelter remoteattestation --attester sim --mutual"),
        ["command line: --platform: missing: `sim` needs a simulated platform; add `--platform DIR`, its folder"]
    );
    let (path, ..) = attested("shelter remoteattestation --verifier sim --platform /p");
    assert!(path.policy.allow_simulated);
}

#[test]
fn record_and_forward() {
    let record = |line: &str| match parse(&format!("shelter record {line}")).unwrap().what {
        Shelter::Record { to, .. } => to,
        other => panic!("{other:?}"),
    };
    let to = record("--addr=tcp://h:1 --out values.toml --operator release --sign-key key.pem");
    assert_eq!((to.out, to.name.as_str(), to.overwrite), (Some("values.toml".into()), "recorded", false));
    assert_eq!((to.operator.as_deref(), to.sign_key), (Some("release"), Some("key.pem".into())));
    let to = record("--out - --name prod --force --operator=");
    assert_eq!((to.out, to.name.as_str(), to.overwrite, to.operator), (None, "prod", true, None));
    assert!(mistakes("shelter record --sign-key key.pem")[0].contains("--sign-key: a signature stands in a file"));
    assert!(mistakes("shelter record --name a/b")[0].contains("--name: `a/b` cannot be a policy's name"));
    assert!(mistakes("shelter record --name genuine-only")[0].contains("--name"));

    let parsed = parse("shelter forward --listen 127.0.0.1:9000 --to tcp://h:1236 --json").unwrap();
    let Shelter::Forward { path, listen, json, .. } = parsed.what else { panic!() };
    assert_eq!((listen.to_string().as_str(), json), ("tcp://127.0.0.1:9000", true));
    assert_eq!(path.target.to_string(), "tcp://h:1236");
}

#[test]
fn values_in_files() {
    let Shelter::Import(import) = parse("shelter import a.sig b.signed.so --role workload --out v.toml").unwrap().what
    else {
        panic!()
    };
    assert_eq!(
        (import.files.len(), import.role.as_deref(), import.to.name.as_str()),
        (2, Some("workload"), "imported")
    );
    assert!(mistakes("shelter import a.sig --role a/b")[0].contains("--role: `a/b` cannot be a role"));
    assert!(matches!(parse("shelter import"), Err(CliError::Usage(_))));
    let what = parse("shelter measure sgx a.sgxs --sigstruct a.sig --json").unwrap().what;
    let measure = Measure { image: "a.sgxs".into(), sigstruct: Some("a.sig".into()) };
    assert_eq!(what, Shelter::MeasureSgx { what: measure, json: true });

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.toml");
    std::fs::write(&file, "[policy.p]\nidentity = \"any-genuine\"\nmeasurements = \"not-compared\"\n").unwrap();
    let file = file.display();
    let Shelter::Diff { a, b, json } = parse(&format!("shelter diff {file} {file}#p --json")).unwrap().what else {
        panic!()
    };
    assert!(json && matches!(*b, DiffWith::File(other) if other.policy == a.policy && other.shown.ends_with("#p")));
    let Shelter::Diff { b, .. } = parse(&format!("shelter diff {file} --addr tcp://h:1")).unwrap().what else {
        panic!()
    };
    assert!(matches!(*b, DiffWith::Path(path) if path.policy.name == "genuine-only"));
    assert_eq!(
        mistakes(&format!("shelter diff {file}")),
        ["command line: --addr: missing; compare the first file with a second one, or with the path at `--addr URL`"]
    );
    assert!(
        mistakes(&format!("shelter diff {file} {file} --addr tcp://h:1"))[0].contains("is given, and a second file is")
    );
    assert!(mistakes("shelter diff none.toml none.toml").len() == 2);
}

#[test]
fn evidence_in_files() {
    let line = "shelter appraise -evidence=- --collateral a --collateral b --at 1751328000 --allow-debug --json";
    let Shelter::Appraise { appraisal, json } = parse(line).unwrap().what else { panic!() };
    let file = |name: &str| Source::File(name.into());
    assert_eq!((appraisal.evidence, appraisal.collateral), (Source::Stdin, vec![file("a"), file("b")]));
    assert_eq!((appraisal.at, appraisal.allow_debug, json), (Some(Timestamp(1_751_328_000)), true, true));
    assert_eq!((appraisal.policy.name.as_str(), appraisal.simulated), ("genuine-only", None));
    assert!(!appraisal.policy.allow_simulated && !appraisal.policy.danger_allow_debug);
    let line = "shelter appraise --evidence e --verifier sim --platform p --at 2025-07-01T00:00:00Z";
    let Shelter::Appraise { appraisal, .. } = parse(line).unwrap().what else { panic!() };
    assert_eq!((appraisal.at, appraisal.simulated), (Some(Timestamp(1_751_328_000)), Some("p".into())));
    assert!(appraisal.policy.allow_simulated);
    let many = format!("shelter appraise --evidence e{}", " --collateral c".repeat(65));
    assert!(mistakes(&many)[0].contains("name at most 64"));
    assert_eq!(mistakes("shelter appraise --evidence - --collateral - --at x --verifier nope").len(), 3);
    assert_eq!(parse("shelter inspect -").unwrap().what, Shelter::Inspect { file: Source::Stdin });
}

#[test]
fn all_mistakes_at_once() {
    assert_eq!(
        mistakes("shelter forward --listen h:1 --to tcp://h --timeout 10 --verifier nope --policy /nowhere.toml").len(),
        5
    );
    assert_eq!(
        mistakes("shelter remoteattestation --timeout 0s --addr unix://a"),
        [
            "command line: --addr: `unix://a` is not an absolute path; write three slashes: `unix:///run/NAME.sock`",
            "command line: --timeout: zero: nothing could be verified; write for example 30s",
        ]
    );
}

#[test]
fn help_fits_a_terminal() {
    ShelterArgs::command().debug_assert();
    for line in [
        "shelter --help",
        "shelter remoteattestation --help",
        "shelter forward -h",
        "shelter help record",
        "shelter appraise --help",
        "shelter inspect -h",
        "shelter diff --help",
        "shelter import --help",
        "shelter measure sgx --help",
    ] {
        let Err(CliError::Usage(help)) = parse(line) else { panic!("{line}") };
        assert_eq!(help.exit_code(), 0);
        assert!(help.to_string().lines().all(|line| line.chars().count() <= 100), "{help}");
    }
}
