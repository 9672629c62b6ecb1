//! `shelter appraise` and `shelter inspect`: verdicts and exit codes of the real program over files.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use inclavared_attest::attester::{Attester as _, UserData};
use inclavared_attest::evidence::{HopClaims, Tee};
use inclavared_attest::hop_key::HopKey;
use inclavared_attest::sim::{SimAttester, SimPlatform, SimSpec};
use inclavared_attest::{ConfigDigest, PolicyDigest, Timestamp, certificate};
use serde_json::{Value, json};

fn shelter(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shelter")).args(args).output().unwrap()
}

fn with_stdin(args: &[&str], stdin: &[u8]) -> Output {
    let mut shelter = Command::new(env!("CARGO_BIN_EXE_shelter"));
    let mut child =
        shelter.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It stops reading where a file is too large.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    assert!(bytes.is_ascii(), "{}", String::from_utf8_lossy(bytes));
    std::str::from_utf8(bytes).unwrap()
}

/// The verdict in JSON and the exit code, which have to say the same.
fn judged(args: &[&str]) -> (i32, Value) {
    verdict(shelter(&[&["appraise", "--json"], args].concat()))
}

fn verdict(output: Output) -> (i32, Value) {
    let shown: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {} {}", text(&output.stdout), text(&output.stderr)));
    assert_eq!(text(&output.stdout).lines().count(), 1);
    let code = output.status.code().unwrap();
    let outcome = ["accepted", "refused", "could-not-try"][usize::try_from(code).unwrap()];
    assert_eq!((&shown["outcome"], &shown["ok"]), (&json!(outcome), &json!(code == 0)), "{shown}");
    assert_eq!(shown["error"].is_null(), code == 0, "{shown}");
    for key in ["tee", "tcb_status", "advisories", "claims", "binding"] {
        assert!(shown.get(key).is_some(), "{key} is missing: {shown}");
    }
    // The cause is told on standard error as well.
    assert_eq!(output.stderr.is_empty(), code == 0);
    (code, shown)
}

fn refused(args: &[&str]) -> (i32, String, Value) {
    let (code, shown) = judged(args);
    (code, shown["error"]["code"].as_str().unwrap_or("accepted").to_owned(), shown)
}

fn message(shown: &Value) -> &str {
    shown["error"]["message"].as_str().unwrap()
}

/// The samples in dcap-qvl's own package.
fn samples() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo).args(["metadata", "--format-version", "1"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
        let packages = metadata["packages"].as_array().unwrap();
        let package = packages.iter().find(|package| package["name"] == "dcap-qvl").unwrap();
        Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap().join("sample")
    })
}

fn sample(name: &str) -> String {
    samples().join(name).into_os_string().into_string().unwrap()
}

#[test]
fn samples_of_intels_quotes() {
    for (name, at, tee, status) in [
        ("sgx_quote", "1751328000", "sgx", "ConfigurationAndSWHardeningNeeded"),
        ("tdx_quote", "2025-07-01T00:00:00Z", "tdx", "UpToDate"),
    ] {
        let (quote, collateral) = (sample(name), sample(&format!("{name}_collateral.json")));
        let (code, shown) = judged(&["--evidence", &quote, "--collateral", &collateral, "--at", at]);
        assert_eq!((code, &shown["tee"], &shown["tcb_status"]), (0, &json!(tee), &json!(status)), "{shown}");
        assert_eq!((&shown["reference_values"], &shown["root"]), (&json!("not-compared"), &json!("intel")));
        assert_eq!((&shown["claims"], &shown["error"]), (&Value::Null, &Value::Null));
        assert_eq!(shown["binding"]["user_data"].as_str().unwrap().len(), 128);
        assert_eq!(shown["policy"], "genuine-only");

        let plain = shelter(&["appraise", "--evidence", &quote, "--collateral", &collateral, "--at", at]);
        assert_eq!((plain.status.code(), text(&plain.stderr)), (Some(0), ""));
        let lines: Vec<_> = text(&plain.stdout).lines().collect();
        assert_eq!(lines[0], format!("Evidence accepted: {tee}, quote, root intel, TCB {status}"));
        assert_eq!(lines[1], "at 2025-07-01T00:00:00Z, policy genuine-only, measurements not compared");
        assert!(lines.len() < 20, "{lines:?}");

        // From standard input, and as hexadecimal.
        let digits = hex::encode(std::fs::read(&quote).unwrap());
        let args = ["appraise", "--json", "--evidence", "-", "--collateral", &collateral, "--at", at];
        assert_eq!(verdict(with_stdin(&args, digits.as_bytes())).0, 0);
        // Today the collateral is not valid, and says nothing of the quote.
        let (code, label, shown) = refused(&["--evidence", &quote, "--collateral", &collateral]);
        assert_eq!((code, label.as_str()), (2, "expired"), "{shown}");
        // Nothing beside it, and what is for another platform.
        let (code, label, shown) = refused(&["--evidence", &quote, "--at", at]);
        assert_eq!((code, label.as_str()), (2, "collateral"));
        assert!(message(&shown).contains("at hand: none"), "{shown}");

        let inspected = shelter(&["inspect", &quote]);
        assert_eq!(inspected.status.code(), Some(0));
        let inspected: Value = serde_json::from_slice(&inspected.stdout).unwrap();
        assert_eq!((&inspected["form"], &inspected["quote"]["body"]["debug"]), (&json!("quote"), &json!(false)));
    }
}

#[test]
fn damaged_quotes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let collateral = sample("tdx_quote_collateral.json");
    let mut quote = std::fs::read(sample("tdx_quote")).unwrap();
    let judge = |bytes: &[u8]| {
        let file = folder.path().join("quote");
        std::fs::write(&file, bytes).unwrap();
        let file = file.to_str().unwrap();
        refused(&["--evidence", file, "--collateral", &collateral, "--at", "1751328000"])
    };
    assert_eq!(judge(&quote).0, 0);
    let (code, label, shown) = judge(&quote[..1000]);
    assert_eq!((code, label.as_str()), (1, "evidence-form"), "{shown}");
    assert!(message(&shown).contains("begins like a quote"), "{shown}");
    quote[300] ^= 1;
    let (code, label, _) = judge(&quote);
    assert_eq!((code, label.as_str()), (1, "quote-signature"));
}

#[test]
fn what_is_no_evidence_is_not_judged() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.into_os_string().into_string().unwrap()
    };
    let (empty, garbage) = (file("empty", b" \n"), file("garbage", b"no evidence at all"));
    let huge = file("huge", &vec![b'a'; (1 << 20) + 1]);
    let missing = folder.path().join("missing").into_os_string().into_string().unwrap();
    let directory = folder.path().to_str().unwrap().to_owned();
    for (path, label, words) in [
        (&empty, "evidence-form", "an empty file"),
        (&garbage, "evidence-form", "neither a quote, nor a report, nor evidence, nor a certificate"),
        (&huge, "file", "more than 1048576 bytes"),
        (&missing, "file", "name a readable file"),
        (&directory, "file", "name a readable file"),
    ] {
        let (code, found, shown) = refused(&["--evidence", path]);
        assert_eq!((code, found.as_str()), (2, label), "{shown}");
        assert!(message(&shown).contains(words) && message(&shown).contains(path.as_str()), "{shown}");
        assert_eq!(
            (&shown["tee"], &shown["form"], &shown["policy"]),
            (&Value::Null, &Value::Null, &json!("genuine-only"))
        );
        let plain = shelter(&["appraise", "--evidence", path]);
        assert_eq!(plain.status.code(), Some(2));
        assert!(text(&plain.stderr).starts_with(&format!("shelter: could not be tried [{label}]: ")));
        assert!(text(&plain.stdout).starts_with("Evidence not judged\n"));
        let inspected = shelter(&["inspect", path]);
        assert_eq!((inspected.status.code(), text(&inspected.stdout)), (Some(2), ""));
        assert!(text(&inspected.stderr).contains(words), "{}", text(&inspected.stderr));
    }
    // Standard input is bounded, too.
    let endless = vec![7; 3 << 20];
    let (code, shown) = verdict(with_stdin(&["appraise", "--json", "--evidence", "-"], &endless));
    assert_eq!((code, &shown["error"]["code"]), (2, &json!("file")));
    assert!(message(&shown).starts_with("standard input: more than"), "{shown}");
    assert_eq!(with_stdin(&["inspect", "-"], b"").status.code(), Some(2));
    // The same beside good evidence.
    let quote = sample("tdx_quote");
    for (path, label) in [(&empty, "collateral"), (&garbage, "collateral"), (&huge, "file"), (&missing, "file")] {
        let (code, found, shown) = refused(&["--evidence", &quote, "--collateral", path]);
        assert_eq!((code, found.as_str()), (2, label), "{shown}");
        assert!(message(&shown).contains(path.as_str()), "{shown}");
    }
}

#[test]
fn mistakes_of_the_command_line() {
    let quote = sample("tdx_quote");
    for (args, words) in [
        (&["appraise"][..], "--evidence <FILE>"),
        (&["inspect"], "<FILE>"),
        (&["appraise", "--evidence", &quote, "--at", "noon"], "`noon` is no time"),
        (&["appraise", "--evidence", "-", "--collateral", "-"], "standard input is named twice"),
        (&["appraise", "--evidence", &quote, "--verifier", "sim"], "add `--platform DIR`"),
        (&["appraise", "--evidence", &quote, "--platform", "p"], "add `--verifier sim`"),
        (&["appraise", "--evidence", &quote, "--verifier", "sgx_ecdsa"], "a file is judged as what it is"),
        (&["appraise", "--evidence", &quote, "--policy", "nowhere.toml"], "nowhere.toml"),
    ] {
        let output = shelter(args);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), ""), "{args:?}");
        assert!(text(&output.stderr).contains(words), "{args:?}: {}", text(&output.stderr));
    }
}

#[test]
fn a_policy_compares() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values.toml");
    let (quote, collateral) = (sample("tdx_quote"), sample("tdx_quote_collateral.json"));
    let beside = ["--evidence", &quote, "--collateral", &collateral, "--at", "1751328000"];
    let (_, shown) = judged(&beside);
    let id = &shown["code"]["tdx"];
    let policy = |mrtd: &str| {
        let (first, second) = (id["rtmr"][1].as_str().unwrap(), id["rtmr"][2].as_str().unwrap());
        format!(
            "[policy.p]\nidentity = \"any-genuine\"\n[[policy.p.hop]]\nmrtd = \"{mrtd}\"\nrtmr1 = \"{first}\"\nrtmr2 = \"{second}\"\n"
        )
    };
    let both = policy(id["mrtd"].as_str().unwrap()) + &policy(&"a1".repeat(48)).replace("policy.p", "policy.other");
    std::fs::write(&file, both).unwrap();
    let judge = |name: &str| judged(&[&beside[..], &["--policy", &format!("{}#{name}", file.display())]].concat());
    let (code, shown) = judge("p");
    assert_eq!((code, &shown["reference_values"], &shown["policy"]), (0, &json!("compared"), &json!("p")), "{shown}");
    let (code, shown) = judge("other");
    assert_eq!((code, &shown["error"]["code"]), (1, &json!("measurement")), "{shown}");
    assert_eq!(shown["tcb_status"], "UpToDate");
}

#[test]
fn simulated_evidence() {
    let folder = tempfile::tempdir().unwrap();
    let platform = folder.path().join("platform");
    let now = Timestamp::now();
    let made = Arc::new(SimPlatform::generate(now).unwrap());
    made.save(&platform).unwrap();
    let platform = platform.to_str().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.into_os_string().into_string().unwrap()
    };
    let hop = HopClaims {
        version: 1,
        chain_role: "workload".into(),
        policy_digest: PolicyDigest::of(b"policy"),
        not_after: now.plus(Duration::from_secs(1800)),
        config_digest: ConfigDigest::of(b"configuration"),
    };
    let key = HopKey::generate().unwrap();
    let attester = SimAttester::new(&made, SimSpec::of(Tee::Tdx, "a").unwrap()).unwrap();
    let issued = certificate::issue(&key, &attester, hop, now).unwrap();
    let evidence = file("certificate.der", issued.der());
    let sim = ["--verifier", "sim", "--platform", platform];
    let (code, shown) = judged(&[&["--evidence", &evidence], &sim[..]].concat());
    assert_eq!((code, &shown["root"], &shown["tee"]), (0, &json!("simulated"), &json!("tdx")), "{shown}");
    assert_eq!(shown["claims"]["inclavared"]["chain_role"], "workload");
    assert_eq!((&shown["binding"]["holds"], &shown["binding"]["key"]), (&json!(true), &json!(key.kid())));

    // Never without being told, whatever lies beside it.
    let collateral = format!("{platform}/collateral-tdx.json");
    let (code, label, shown) = refused(&["--evidence", &evidence, "--collateral", &collateral]);
    assert_eq!((code, label.as_str()), (1, "simulated"), "{shown}");
    // A certificate that has ended; a platform that is not there.
    let late = (now.0 + 1900).to_string();
    let (code, label, _) = refused(&[&["--evidence", &evidence, "--at", &late], &sim[..]].concat());
    assert_eq!((code, label.as_str()), (1, "expired"));
    let (code, label, shown) = refused(&["--evidence", &evidence, "--verifier", "sim", "--platform", "nowhere"]);
    assert_eq!((code, label.as_str()), (2, "collateral"));
    assert!(message(&shown).contains("there is no simulated platform"), "{shown}");

    // A debug TD.
    let spec = SimSpec { debug: true, ..SimSpec::of(Tee::Tdx, "a").unwrap() };
    let user_data = UserData::of(issued.evidence().claims());
    let quote = SimAttester::new(&made, spec).unwrap().quote(&user_data).unwrap();
    let debug = file("debug", &quote);
    let args = [&["--evidence", &debug], &sim[..]].concat();
    assert_eq!(refused(&args).1, "debug");
    let (code, shown) = judged(&[&args[..], &["--allow-debug"]].concat());
    assert_eq!((code, &shown["debug"]), (0, &json!(true)), "{shown}");

    let inspected = shelter(&["inspect", &evidence]);
    let shown: Value = serde_json::from_slice(&inspected.stdout).unwrap();
    assert_eq!((&shown["form_error"], &shown["evidence"]["simulated"]), (&Value::Null, &json!(true)));
}

/// The folder of real evidence, where one was named. A folder that is not there fails.
fn vectors(test: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("ATTEST_VECTORS") else {
        println!("{test}: skipped, ATTEST_VECTORS is not set");
        return None;
    };
    let folder = PathBuf::from(folder);
    assert!(folder.is_dir(), "ATTEST_VECTORS names {}, which is no folder", folder.display());
    Some(folder)
}

#[test]
fn real_quotes() {
    let Some(folder) = vectors("real_quotes") else { return };
    let file = |name: &str| folder.join(name).into_os_string().into_string().unwrap();
    let kept = |collateral: &str| {
        let dated: Value = serde_json::from_slice(&std::fs::read(collateral).unwrap()).unwrap();
        dated["now"].as_u64().unwrap().to_string()
    };
    let cloud = file("tdx/gcp_00806f050000_padded.dat");
    let collateral = file("tdx/collateral_00806f050000_2025-02.json");
    let at = kept(&collateral);
    let (code, label, shown) = refused(&["--evidence", &cloud, "--collateral", &collateral, "--at", &at]);
    assert_eq!((code, label.as_str()), (1, "tcb-status"), "{shown}");
    assert_eq!(
        (&shown["tcb_status"], &shown["tee"], &shown["padding"]),
        (&json!("OutOfDate"), &json!("tdx"), &json!(3065))
    );
    // As of today it cannot be judged, and the remedy is said.
    let (code, label, shown) = refused(&["--evidence", &cloud, "--collateral", &collateral]);
    assert_eq!((code, label.as_str()), (2, "expired"));
    assert!(message(&shown).contains(&format!("`--at {at}`")), "{shown}");

    let debug = file("tdx/debug_50806f.dat");
    let collateral = file("tdx/collateral_50806f000000_2023-06.json");
    let at = kept(&collateral);
    let args = ["--evidence", &debug, "--collateral", &collateral, "--at", &at];
    let (code, label, shown) = refused(&args);
    assert_eq!((code, label.as_str()), (1, "debug"), "{shown}");
    let (code, shown) = judged(&[&args[..], &["--allow-debug"]].concat());
    assert_eq!((code, &shown["tcb_status"], &shown["debug"]), (0, &json!("UpToDate"), &json!(true)), "{shown}");

    let encrypted = file("sgx/encrypted_ppid_type3.dat");
    let (code, _, shown) = refused(&["--evidence", &encrypted]);
    assert_eq!(code, 2);
    assert!(message(&shown).contains("PCCS") && message(&shown).contains("PCK certificate"), "{shown}");
}

#[test]
fn a_real_report() {
    let Some(folder) = vectors("a_real_report") else { return };
    let file = |name: &str| folder.join("snp").join(name).into_os_string().into_string().unwrap();
    let (report, vcek, chain) = (file("report_milan.hex"), file("vcek_milan.der"), file("cert_chain_milan"));
    let args = ["--evidence", &report, "--collateral", &vcek, "--collateral", &chain, "--at", "2026-01-01T00:00:00Z"];
    let (code, shown) = judged(&args);
    assert_eq!((code, &shown["tee"], &shown["root"]), (0, &json!("sev-snp"), &json!("amd")), "{shown}");
    assert_eq!((&shown["tcb_status"], &shown["revocation_checked"]), (&json!("UpToDate"), &json!(false)));

    let policies = tempfile::tempdir().unwrap();
    for (minimum, expected) in [("milan = { snp = 1 }", 0), ("milan = { snp = 255 }", 1), ("turin = { fmc = 0 }", 1)] {
        let policy = policies.path().join("p.toml");
        let text = "[policy.p]\nidentity = \"any-genuine\"\nmeasurements = \"not-compared\"\nsnp_min = { ";
        std::fs::write(&policy, format!("{text}{minimum} }}\n")).unwrap();
        let (code, shown) = judged(&[&args[..], &["--policy", policy.to_str().unwrap()]].concat());
        assert_eq!(code, expected, "{minimum}: {shown}");
        if expected == 1 {
            assert_eq!(shown["error"]["code"], "tcb-status", "{shown}");
        }
    }

    let (code, label, shown) = refused(&["--evidence", &report]);
    assert_eq!((code, label.as_str()), (2, "collateral"), "{shown}");
    let other = ["--collateral", &file("vcek_turin.der"), "--collateral", &file("cert_chain_turin")];
    assert_eq!(refused(&[&["--evidence", &report], &other[..]].concat()).0, 2);
    let damaged = policies.path().join("report");
    let mut bytes = hex::decode(std::fs::read_to_string(&report).unwrap().trim()).unwrap();
    bytes[0x90] ^= 1;
    std::fs::write(&damaged, bytes).unwrap();
    let (code, label, shown) =
        refused(&["--evidence", damaged.to_str().unwrap(), "--collateral", &vcek, "--collateral", &chain]);
    assert_eq!((code, label.as_str()), (1, "quote-signature"), "{shown}");
}

#[test]
fn real_certificates() {
    let Some(folder) = vectors("real_certificates") else { return };
    for name in ["gramine-cert.pem", "intel-sgxsdk-cert.pem"] {
        let file = folder.join("certs").join(name);
        let output = shelter(&["inspect", file.to_str().unwrap()]);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
        let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (&shown["form"], &shown["form_error"]),
            (&json!("interoperable-certificate"), &Value::Null),
            "{name}"
        );
        assert_eq!(
            (&shown["binding"]["holds"], &shown["quote"]["body"]["debug"]),
            (&json!(true), &json!(true)),
            "{name}"
        );
        // Without collateral nothing can be said of them.
        let at = shown["certificate"]["not_before"].as_str().unwrap();
        let (code, label, _) = refused(&["--evidence", file.to_str().unwrap(), "--at", at]);
        assert_eq!((code, label.as_str()), (2, "collateral"), "{name}");
    }
}
