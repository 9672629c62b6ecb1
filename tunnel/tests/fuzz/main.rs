//! The fuzz targets as ordinary tests: seeds that are accepted, mutated for some thousand rounds each. Nothing may panic, and
//! what a target asserts of accepted bytes has to hold. `fuzz/README.md` says how to go on with a fuzzer.
//!
//! A failure names its seed and round, so that it can be had again: the mutations are a function of both.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod mutate;
mod seeds;
#[path = "../../../fuzz/src/targets.rs"]
#[allow(unreachable_pub, reason = "public for the fuzzer")]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use mutate::Mutator;
use seeds::Seeds;

/// Rounds a seed; a target that takes its time gets fewer.
const ROUNDS: u64 = 20_000;

fn fuzz(name: &str, target: fn(&[u8]), seeds: &[Vec<u8>], rounds: u64) {
    assert!(!seeds.is_empty());
    keep(name, seeds);
    for (number, seed) in seeds.iter().enumerate() {
        target(seed);
        let mut mutator = Mutator::new(number as u64);
        for round in 0..rounds {
            let bytes = mutator.mutate(seed, seeds);
            let run = catch_unwind(AssertUnwindSafe(|| target(&bytes)));
            assert!(run.is_ok(), "{name}: seed {number}, round {round}: {}", hex::encode(&bytes));
        }
    }
}

/// As a first corpus for the fuzzer, where `FUZZ_CORPUS` names a folder.
fn keep(name: &str, seeds: &[Vec<u8>]) {
    let Some(folder) = std::env::var_os("FUZZ_CORPUS") else { return };
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(folder).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    for (number, seed) in seeds.iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{number}")), seed).unwrap();
    }
}

#[test]
fn record_content() {
    fuzz("record_content", targets::record_content, &Seeds::record_content(), ROUNDS);
}

#[test]
fn client_hello() {
    fuzz("client_hello", targets::client_hello, &Seeds::client_hello(), ROUNDS);
}

#[test]
fn frames() {
    fuzz("frames", targets::frames, &Seeds::frames(), ROUNDS);
}

#[test]
fn messages() {
    fuzz("messages", targets::messages, &Seeds::new().messages(), ROUNDS);
}

#[test]
fn trailer() {
    fuzz("trailer", targets::trailer, &Seeds::new().trailers(), ROUNDS / 4);
}

#[test]
fn evidence() {
    fuzz("evidence", targets::evidence, &Seeds::new().evidence(), ROUNDS);
}

#[test]
fn certificate() {
    fuzz("certificate", targets::certificate, &Seeds::new().certificates(), ROUNDS / 2);
}

#[test]
fn quote() {
    fuzz("quote", targets::quote, &Seeds::new().quotes(), ROUNDS);
}

#[test]
fn dcbor() {
    fuzz("dcbor", targets::dcbor, &Seeds::new().messages(), ROUNDS);
}

#[test]
fn policy() {
    fuzz("policy", targets::policy, &Seeds::files(&["../config/tests/valid"]), ROUNDS / 8);
}

#[test]
fn config() {
    let folders = ["../config/tests/valid", "../config/tests/invalid", "../examples"];
    fuzz("config", targets::config, &Seeds::files(&folders), ROUNDS / 40);
}

/// The seeds are what they are said to be: otherwise the mutations would try nothing but the first check.
#[test]
fn seeds_are_accepted() {
    use inclavared_attest::certificate::{parse, parse_legacy};
    use inclavared_attest::evidence::{Claims, Endorsements, Evidence, FreshEvidence};
    use inclavared_attest::path::{Open, Trailer, TrailerLimits, no_known_blobs};
    let seeds = Seeds::new();
    assert!(Seeds::client_hello().iter().all(|s| inclavared_wire::tls::parse_client_hello(s).unwrap().is_some()));
    let [evidence, claims, endorsements, fresh] = &seeds.evidence()[..] else { panic!("four kinds") };
    Evidence::decode(evidence).unwrap();
    FreshEvidence::decode(fresh).unwrap();
    Claims::decode(claims).unwrap();
    Endorsements::decode(endorsements).unwrap();
    let [hop, legacy] = &seeds.certificates()[..] else { panic!("two kinds") };
    parse(hop, targets::NOW).unwrap();
    parse_legacy(legacy, targets::NOW).unwrap();
    for trailer in seeds.trailers() {
        Trailer::decode(&trailer, &TrailerLimits::MOST, &no_known_blobs).unwrap();
    }
    Open::decode(&seeds.messages()[0]).unwrap();
    inclavared_config::parse_policy(
        "seed",
        std::str::from_utf8(&Seeds::files(&["../config/tests/valid"])[0]).unwrap(),
        None,
    )
    .map(drop)
    .unwrap_or_else(|errors| assert!(!errors.mistakes().is_empty()));
}
