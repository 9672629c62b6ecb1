//! Every file under `valid` and `invalid` is a test; an invalid one lists all that is to be said of it.
//!
//! The expectations stand in the file itself, as `# expect: LINE: KEY: WHAT; REMEDY`, and are complete: a mistake that
//! is not listed fails the test as well as one that is not found.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use inclavared_config::{check, load, parse};

#[test]
fn valid_files_load() {
    for file in files("tests/valid") {
        if let Err(errors) = load(&file) {
            panic!("{errors}");
        }
    }
}

#[test]
fn invalid_files_say_exactly_what_is_wrong() {
    let mut failures = Vec::new();
    for file in files("tests/invalid") {
        let text = fs::read_to_string(&file).unwrap();
        let expected: BTreeSet<_> =
            text.lines().filter_map(|line| line.strip_prefix("# expect: ")).map(str::to_owned).collect();
        let errors = check(&file).expect_err(&format!("{} has mistakes", file.display()));
        let prefix = format!("{}:", file.display());
        let shown = errors.to_string();
        let found: BTreeSet<_> =
            shown.lines().map(|line| line.strip_prefix(&prefix).unwrap_or(line).to_owned()).collect();
        let lines: Vec<_> = errors.mistakes().iter().map(|mistake| mistake.line).collect();
        assert!(lines.is_sorted(), "{}: {lines:?}", file.display());
        failures.extend(found.difference(&expected).map(|line| format!("{prefix} not expected: {line}")));
        failures.extend(expected.difference(&found).map(|line| format!("{prefix} not found: {line}")));
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// Half-written files are what an editor leaves: whatever is wrong with one, it is said and nothing panics.
#[test]
fn damaged_files_are_read_or_refused() {
    let text = fs::read_to_string("tests/valid/every_key.toml").unwrap();
    let lines: Vec<_> = text.lines().collect();
    for i in 0..lines.len() {
        let without = [&lines[..i], &lines[i + 1..]].concat().join("\n");
        let doubled = [&lines[..=i], &lines[i..]].concat().join("\n");
        let cut = lines[i].split_at(lines[i].len() / 2).0;
        let halved = [&lines[..i], &[cut]].concat().join("\n");
        for damaged in [without, doubled, halved] {
            if let Err(errors) = parse("damaged.toml", &damaged) {
                assert!(!errors.mistakes().is_empty());
                assert!(errors.mistakes().iter().all(|m| m.line.is_some_and(|n| n <= lines.len() + 1)), "{errors}");
            }
        }
    }
}

#[test]
fn ten_mistakes_are_ten_lines() {
    let file = Path::new("tests/invalid/ten_mistakes.toml");
    let errors = load(file).unwrap_err();
    let expected = r#"
tests/invalid/ten_mistakes.toml:1: worker: unknown key; did you mean `workers`?
tests/invalid/ten_mistakes.toml:4: attestation.attester: `sgx_epid` is no attester; there are sim, null, sgx_ecdsa, tdx_ecdsa, sev_snp, auto
tests/invalid/ten_mistakes.toml:8: route[1].listen: `localhost` is a name, and a listener needs an address; write `0.0.0.0:1236`, `[::]:1236` or one address of this machine
tests/invalid/ten_mistakes.toml:9: route[1].xfer: `db:0` has port 0; write the port that the target listens on
tests/invalid/ten_mistakes.toml:10: route[1].upstream: no policy for the evidence of the other side; write `upstream = { tls = "mutual", policy = "NAME" }`, the name of a `[policy.NAME]` or `genuine-only`
tests/invalid/ten_mistakes.toml:11: route[1].downstream.policy: no policy is named `workloads`; there are workload, genuine-only
tests/invalid/ten_mistakes.toml:13: route[2]: plain on both sides: nothing would be attested; write `upstream = "attested"` beside a workload, or an attested `downstream` beside a client
tests/invalid/ten_mistakes.toml:21: deadlines.dial: `5` has no unit; write for example 500ms, 10s, 10m or 1h30m
tests/invalid/ten_mistakes.toml:23: policy.workload.identity: missing; write `identity = "any-genuine"` or `identity = { platforms = ["HEX"] }`
tests/invalid/ten_mistakes.toml:24: policy.workload.hop[1]: mrsigner, isvprodid and isvsvn_min go together; add what is missing: everything that a signer ever signed would pass otherwise
"#;
    assert_eq!(format!("\n{errors}\n"), expected);
}

#[test]
fn shipped_examples_pass() {
    for name in ["chain", "ingress", "egress", "hop", "sidecar"] {
        let file = PathBuf::from("../examples").join(name).with_extension("toml");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("# "), "{} says first what it is", file.display());
        if let Err(errors) = check(&file) {
            panic!("{errors}");
        }
    }
    assert!(files("../examples").len() >= 5);
    for file in files("../examples") {
        assert!(check(&file).is_ok(), "{}", file.display());
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let errors = load(Path::new("tests/none.toml")).unwrap_err();
    assert_eq!(errors.mistakes()[0].line, None);
    assert!(errors.to_string().starts_with("tests/none.toml: cannot be read: "), "{errors}");
}

fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "toml") && !path.ends_with("Cargo.toml")).collect();
    files.sort();
    assert!(!files.is_empty(), "{folder} holds no files");
    files
}
