//! From a hop key to a verdict, by the public interface alone: two processes that share a platform's folder.

// A test may panic; the lint knows that of test functions alone, not of what they share.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use inclavared_attest::appraise::{Appraise as _, Appraiser, CollateralBook, Root, TrustRoots, collateral_id};
use inclavared_attest::certificate::{issue, parse};
use inclavared_attest::evidence::{Evidence, EvidenceTag, HopClaims, Tee};
use inclavared_attest::hop_key::HopKey;
use inclavared_attest::policy::{
    Applies, HopPlace, HopRule, Measurements, Policy, PolicyError, ReferenceValue, Verdict,
};
use inclavared_attest::sim::{SimAttester, SimPlatform, SimSpec};
use inclavared_attest::{ConfigDigest, Reason, Timestamp};

const NOW: Timestamp = Timestamp(1_800_000_000);

/// What the attesting process does: it hands out a certificate.
fn attester(folder: &Path, spec: SimSpec) -> Vec<u8> {
    let platform = Arc::new(SimPlatform::load_or_create(folder, NOW).unwrap());
    let attester = SimAttester::new(&platform, spec).unwrap();
    let claims = HopClaims {
        version: 1,
        chain_role: "workload".into(),
        policy_digest: Policy::genuine_only().digest(),
        not_after: NOW.plus(Duration::from_secs(1800)),
        config_digest: ConfigDigest::of(b"configuration"),
    };
    let key = HopKey::generate().unwrap();
    issue(&key, &attester, claims, NOW).unwrap().der().to_vec()
}

/// What the verifying process does with it.
fn verifier(folder: &Path, certificate: &[u8], policy: &Policy) -> Result<Verdict, PolicyError> {
    let platform = SimPlatform::load(folder, NOW).unwrap();
    let book = CollateralBook::new();
    for tee in [Tee::Sgx, Tee::Tdx] {
        book.insert(Root::Simulated, Arc::new(platform.collateral(tee).unwrap().clone())).unwrap();
    }
    let appraiser = Appraiser::new(TrustRoots::intel().with_simulated(platform.root_der()), Arc::new(book));

    let evidence = parse(certificate, NOW).unwrap().evidence.unwrap();
    assert_eq!(evidence.tag(), EvidenceTag::Simulated);
    assert_eq!(collateral_id(&evidence).unwrap().fmspc, platform.fmspc());
    let appraised = appraiser.appraise(&evidence, NOW).unwrap();
    let place = HopPlace { position: 1, last: true, role: "workload" };
    policy.admit(&place, &appraised, evidence.claims(), NOW)
}

fn measured(spec: &SimSpec) -> Policy {
    let value = match spec.tee() {
        Tee::Sgx => ReferenceValue::SgxEnclave { mrenclave: spec.mrenclave },
        _ => ReferenceValue::Tdx { mrtd: spec.mrtd, rtmr: spec.rtmr.map(Some), mrconfigid: None },
    };
    let rule = HopRule {
        applies: Applies::Any,
        tees: [spec.tee()].into(),
        reference_values: vec![value],
        demands: vec![],
        config_digest: Some(ConfigDigest::of(b"configuration")),
    };
    Policy {
        name: "measured".into(),
        allow_simulated: true,
        measurements: Measurements::Rules(vec![rule]),
        ..Policy::genuine_only()
    }
}

#[test]
fn from_a_hop_key_to_a_verdict() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("platform");
    for spec in [SimSpec::sgx("enclave-tls-server"), SimSpec::tdx("enclave-tls-server")] {
        let certificate = attester(&folder, spec.clone());
        let verdict = verifier(&folder, &certificate, &measured(&spec)).unwrap();
        assert!(verdict.compared && verdict.simulated);

        let error = verifier(&folder, &certificate, &Policy::genuine_only()).unwrap_err();
        assert_eq!(error.reason, Reason::Simulated);
        let other = SimSpec::of(spec.tee(), "something else").unwrap();
        let error = verifier(&folder, &certificate, &measured(&other)).unwrap_err();
        assert_eq!(error.reason, Reason::Measurement);
        assert!(error.to_string().starts_with("policy `measured`, measurements: expected mr"), "{error}");
    }
}

#[test]
fn a_simulated_quote_under_the_genuine_tag() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("platform");
    let certificate = attester(&folder, SimSpec::default());
    let evidence = parse(&certificate, NOW).unwrap().evidence.unwrap();
    let disguised =
        Evidence::new(EvidenceTag::IntelQuote, evidence.quote().to_vec(), evidence.claims().clone()).unwrap();
    assert_eq!(collateral_id(&disguised).unwrap_err().reason, Reason::Simulated);
    let appraiser = Appraiser::new(TrustRoots::intel(), Arc::default());
    assert_eq!(appraiser.appraise(&disguised, NOW).unwrap_err().reason, Reason::Simulated);

    // And collateral that came with the evidence is believed under its own root alone.
    let platform = SimPlatform::load(&folder, NOW).unwrap();
    let collateral = platform.collateral(Tee::Sgx).unwrap();
    let trusting = Appraiser::new(TrustRoots::intel().with_simulated(platform.root_der()), Arc::default());
    assert_eq!(trusting.appraise_with(&evidence, collateral, NOW).unwrap().root, Root::Simulated);
    assert_eq!(trusting.appraise_with(&disguised, collateral, NOW).unwrap_err().reason, Reason::Simulated);
    assert_eq!(trusting.appraise(&evidence, NOW).unwrap_err().reason, Reason::Collateral, "nothing in the book");
}
