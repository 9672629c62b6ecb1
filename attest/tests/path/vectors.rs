//! The committed vectors: they verify at their time with their collateral, and their encodings are the only ones.

use std::path::PathBuf;
use std::sync::Arc;

use inclavared_attest::appraise::{Appraiser, Collateral, CollateralBook, Root, TrustRoots};
use inclavared_attest::path::{
    Close, Counters, Expects, FirstLeg, Nonce, Open, PathInput, Trailer, TrailerLimits, no_known_blobs, verify_path,
};
use inclavared_attest::policy::PathEnd;
use inclavared_attest::{Digest, KeyId, LegId, Timestamp};
use serde_json::Value;

use crate::world::policy;

fn read(name: &str) -> Value {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors").join(name);
    let text = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_slice(&text).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn digest(value: &Value) -> Digest {
    value.as_str().unwrap().parse().unwrap()
}

fn appraiser() -> Appraiser {
    let platform = read("platform.json");
    let book = CollateralBook::new();
    for tee in ["sgx", "tdx"] {
        let set = Collateral::from_json(platform["collateral"][tee].to_string().as_bytes()).unwrap();
        book.insert(Root::Simulated, Arc::new(set)).unwrap();
    }
    Appraiser::new(TrustRoots::intel().with_simulated(bytes(&platform["root"])), Arc::new(book))
}

fn check(hops: usize) {
    let vector = read(&format!("key-{hops}.json"));
    let (preview, last) = (bytes(&vector["preview"]), bytes(&vector["final"]));
    let (spki, evidence, open) =
        (bytes(&vector["server_spki"]), bytes(&vector["server_evidence"]), bytes(&vector["open"]));
    let mut input = PathInput {
        trailer: &preview,
        limits: TrailerLimits::DEFAULT,
        expects: Expects::Preview,
        nonce: Nonce::from_bytes(*digest(&vector["nonce"]).as_bytes()),
        leg: FirstLeg { id: LegId(digest(&vector["leg"])), spki: &spki, evidence: &evidence },
        own: vector["client_key"].as_str().map(|key| KeyId(key.parse().unwrap())),
        open: Open::digest(&open),
        now: Timestamp(vector["now"].as_u64().unwrap()),
        known: &no_known_blobs,
    };
    let appraiser = appraiser();
    let path = verify_path(&input, &policy(), &appraiser).unwrap();
    let counter = |name: &str| vector["counters"][name].as_u64().unwrap();
    let counters = Counters { up: counter("up"), down: counter("down") };
    input.trailer = &last;
    input.expects = Expects::Final { path: &path, counters };
    let done = verify_path(&input, &policy(), &appraiser).unwrap();

    let expected = &vector["expected"];
    assert_eq!(done.session.0, digest(&expected["session"]));
    assert_eq!(done.hops.len(), hops);
    for (hop, expected) in done.hops.iter().zip(expected["hops"].as_array().unwrap()) {
        assert_eq!(hop.role, expected["role"].as_str().unwrap());
        assert_eq!(hop.kid.0, digest(&expected["key"]));
        assert_eq!(hop.leg.0, digest(&expected["leg"]));
        assert_eq!(hop.evidence.digest().0, digest(&expected["evidence"]));
        assert_eq!(hop.verdict.status.name(), expected["status"].as_str().unwrap());
        assert_eq!(hop.preview.0, digest(&expected["preview_record"]));
        assert_eq!(hop.record.0, digest(&expected["final_record"]));
        assert_eq!(serde_json::to_value(hop.appraised.tee).unwrap(), expected["tee"]);
    }
    let end = match &done.end {
        PathEnd::Terminal(kind) => serde_json::to_value(kind).unwrap(),
        PathEnd::Legacy => "legacy".into(),
    };
    assert_eq!(end, expected["end"]);
    assert_eq!(done.worst.name(), expected["worst"].as_str().unwrap());
    assert_eq!((done.compared, done.simulated), (false, true));
    assert_eq!(done.expires.0, expected["expires"].as_u64().unwrap());
    assert_eq!(done.close, Some(Close::Complete { counters }));

    // Written anew from what was read, every byte is the same.
    assert_eq!(Open::decode(&open).unwrap().encode(), open);
    let again = Trailer::decode(&preview, &TrailerLimits::DEFAULT, &no_known_blobs).unwrap();
    assert_eq!(again.encode(), preview);
    let known = |name: &inclavared_attest::EvidenceDigest| again.blob(name).cloned();
    let again = Trailer::decode(&last, &TrailerLimits::DEFAULT, &known).unwrap();
    assert_eq!(again.encode_without(&|_| true), last);
    for record in again.records() {
        assert_eq!(record.record().payload(), record.payload(), "a record of {hops} hops");
    }
}

#[test]
fn one_hop() {
    check(1);
}

#[test]
fn two_hops_and_a_verifier_with_a_key() {
    check(2);
}

#[test]
fn three_hops() {
    check(3);
}
