//! Files of every kind, judged and shown: simulated ones, dcap-qvl's samples, and real evidence where it is at hand.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::appraise::snp::testing::{TestAmd, VekSpec};
use crate::appraise::snp::{SigningKey, SnpProduct};
use crate::appraise::tests::real::{samples, vectors};
use crate::appraise::{Root, TcbStatus, TrustRoots};
use crate::attester::{Attester, AttesterError};
use crate::certificate::testing::with;
use crate::certificate::{issue, issue_with_endorsements};
use crate::evidence::{Endorsements, FreshClaims, FreshEvidence, HopClaims, UserData};
use crate::hop_key::HopKey;
use crate::policy::Policy;
use crate::sim::{SimAttester, SimPlatform, SimSpec};
use crate::tee::{EvidenceTag, Tee};
use crate::{ConfigDigest, Digest, PolicyDigest, Reason, Timestamp};

const NOW: Timestamp = Timestamp(1_800_000_000);

fn hop() -> HopClaims {
    HopClaims {
        version: 1,
        chain_role: "workload".into(),
        policy_digest: PolicyDigest::of(b"policy"),
        not_after: NOW.plus(Duration::from_secs(1800)),
        config_digest: ConfigDigest::of(b"configuration"),
    }
}

fn allowing_simulated() -> Policy {
    Policy { allow_simulated: true, ..Policy::genuine_only() }
}

fn error(verdict: &OfflineVerdict) -> (Outcome, &'static str) {
    assert!(!verdict.ok);
    (verdict.outcome, verdict.error.as_ref().unwrap().code)
}

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

/// As a program would: the file, what is beside it, the vendors' roots, no policy named.
fn judged(file: &[u8], beside: &[&[u8]], now: Timestamp, allow_debug: bool) -> OfflineVerdict {
    let mut collateral = OfflineCollateral::new();
    for file in beside {
        collateral.add(file).unwrap();
    }
    let input = Input::read(file).unwrap();
    appraise(&input, &collateral, &TrustRoots::vendors(), &Policy::genuine_only(), allow_debug, now)
}

#[test]
fn a_simulated_quote_and_certificate() {
    let platform = Arc::new(SimPlatform::generate(NOW).unwrap());
    let attester = SimAttester::new(&platform, SimSpec::tdx("a")).unwrap();
    let roots = TrustRoots::vendors().with_simulated(platform.root_der());
    let mut collateral = OfflineCollateral::new();
    collateral.add(&platform.collateral(Tee::Tdx).unwrap().to_json()).unwrap();

    let quote = attester.quote_over(&[7; 64]).unwrap();
    let Input::Quote(bare) = Input::read(&quote).unwrap() else { panic!() };
    assert_eq!((bare.tag, bare.tee, bare.padding), (EvidenceTag::Simulated, Tee::Tdx, 0));
    let input = Input::Quote(bare);
    let verdict = appraise(&input, &collateral, &roots, &allowing_simulated(), false, NOW);
    assert!(verdict.ok, "{verdict:?}");
    assert_eq!((verdict.outcome, verdict.root), (Outcome::Accepted, Some(Root::Simulated)));
    assert_eq!(verdict.claims, None);
    assert_eq!(verdict.binding, Some(json!({ "user_data": "07".repeat(64) })));
    assert!(verdict.reasons.iter().any(|reason| reason.contains("simulated evidence")), "{verdict:?}");
    // Not without being told, twice.
    let verdict = appraise(&input, &collateral, &roots, &Policy::genuine_only(), false, NOW);
    assert_eq!(error(&verdict), (Outcome::Refused, "simulated"));
    let verdict = appraise(&input, &collateral, &TrustRoots::vendors(), &allowing_simulated(), false, NOW);
    assert_eq!(error(&verdict), (Outcome::Refused, "simulated"));

    let key = HopKey::generate().unwrap();
    let certificate = issue(&key, &attester, hop(), NOW).unwrap();
    let input = Input::read(certificate.der()).unwrap();
    let verdict = appraise(&input, &collateral, &roots, &allowing_simulated(), false, NOW);
    assert!(verdict.ok, "{verdict:?}");
    let claims = verdict.claims.unwrap();
    assert_eq!(claims["pubkey-hash"], json!(key.kid()));
    assert_eq!(claims["inclavared"]["chain_role"], "workload");
    let binding = verdict.binding.unwrap();
    assert_eq!((&binding["holds"], &binding["key"]), (&json!(true), &json!(key.kid())));
    assert_eq!(verdict.form, "interoperable-certificate");
    // A certificate that has ended is refused, and shown.
    let verdict = appraise(
        &input,
        &collateral,
        &roots,
        &allowing_simulated(),
        false,
        hop().not_after.plus(Duration::from_secs(1)),
    );
    assert_eq!(error(&verdict), (Outcome::Refused, "expired"));
    let shown = inspect(&input);
    assert_eq!((&shown["form_error"], &shown["binding"]["holds"]), (&Value::Null, &json!(true)));
    assert_eq!(shown["quote"]["body_kind"], "td-1.0");
    assert_eq!(shown["evidence"]["simulated"], true);
    assert_eq!(shown["quote"]["certification"]["type"], 5);

    // What is missing or out of its time beside the evidence says nothing of the evidence.
    let nothing = OfflineCollateral::new();
    let verdict = appraise(&input, &nothing, &roots, &allowing_simulated(), false, NOW);
    assert_eq!(error(&verdict), (Outcome::CouldNotTry, "collateral"));
    let mut other = OfflineCollateral::new();
    other.add(&platform.collateral(Tee::Sgx).unwrap().to_json()).unwrap();
    let verdict = appraise(&input, &other, &roots, &allowing_simulated(), false, NOW);
    assert_eq!(error(&verdict), (Outcome::CouldNotTry, "collateral"));
    assert!(verdict.error.unwrap().message.contains("at hand: sgx/"));
    let late = platform.expires().plus(Duration::from_secs(1));
    let verdict = appraise(&Input::read(&quote).unwrap(), &collateral, &roots, &allowing_simulated(), false, late);
    assert_eq!(error(&verdict), (Outcome::CouldNotTry, "expired"));
    // And a chain that is missing in the set is no reason to refuse: the quote has it.
    let mut set = platform.collateral(Tee::Tdx).unwrap().as_set().clone();
    set.pck_crl_issuer_chain.clear();
    let mut chainless = OfflineCollateral::new();
    chainless.add(&serde_json::to_vec(&json!({ "now": NOW, "collateral": set })).unwrap()).unwrap();
    assert_eq!(chainless.now(), Some(NOW));
    assert!(appraise(&Input::read(&quote).unwrap(), &chainless, &roots, &allowing_simulated(), false, NOW).ok);
    // A damaged quote is refused.
    let mut damaged = quote;
    damaged[200] ^= 1;
    let verdict = appraise(&Input::read(&damaged).unwrap(), &collateral, &roots, &allowing_simulated(), false, NOW);
    assert_eq!(error(&verdict), (Outcome::Refused, "quote-signature"));
}

#[test]
fn evidence_as_it_travels_and_a_fresh_quote_is_shown_as_one() {
    let platform = Arc::new(SimPlatform::generate(NOW).unwrap());
    let attester = SimAttester::new(&platform, SimSpec::sgx("a")).unwrap();
    let roots = TrustRoots::vendors().with_simulated(platform.root_der());
    let mut collateral = OfflineCollateral::new();
    collateral.add(&platform.collateral(Tee::Sgx).unwrap().to_json()).unwrap();
    let judge = |file: &[u8], at| {
        let input = Input::read(file).unwrap();
        (appraise(&input, &collateral, &roots, &allowing_simulated(), false, at), inspect(&input))
    };

    let key = HopKey::generate().unwrap();
    let certificate = issue(&key, &attester, hop(), NOW).unwrap();
    let (verdict, shown) = judge(certificate.evidence().blob(), NOW);
    assert!(verdict.ok && verdict.form == "evidence", "{verdict:?}");
    assert_eq!(verdict.claims.unwrap()["pubkey-hash"], json!(key.kid()));
    assert_eq!((&shown["evidence"]["of"], &shown["binding"]["holds"]), (&json!("a key"), &json!(true)));

    let claims = FreshClaims {
        config_digest: hop().config_digest,
        not_after: hop().not_after,
        root: Digest::of(b"legs"),
        iat_ms: NOW.0 * 1000,
    };
    let quote = attester.quote(&UserData::of_fresh(&claims)).unwrap();
    let fresh = FreshEvidence::new(attester.tag(), quote, claims).unwrap();
    for file in [fresh.blob().to_vec(), hex::encode(fresh.blob()).into_bytes()] {
        let (verdict, shown) = judge(&file, NOW);
        assert!(verdict.ok && verdict.form == "fresh-quote", "{verdict:?}");
        assert!(verdict.reasons.iter().any(|reason| reason.contains("no certificate's evidence")), "{verdict:?}");
        assert_eq!(verdict.binding.unwrap()["key"], Value::Null);
        assert_eq!(verdict.claims.unwrap()["inclavared-fresh"]["root"], json!(claims.root));
        assert_eq!((&shown["evidence"]["of"], &shown["claims"]["pubkey-hash"]), (&json!("legs"), &Value::Null));
    }
    let (verdict, _) = judge(fresh.blob(), hop().not_after.plus(Duration::from_secs(1)));
    assert_eq!(error(&verdict), (Outcome::Refused, "expired"));

    // In a certificate it is refused, and shown for what it is.
    let params = with(&[(&[2, 23, 133, 5, 4, 9], fresh.blob())]);
    let der = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec();
    let (verdict, shown) = judge(&der, crate::certificate::testing::NOW);
    assert_eq!(error(&verdict), (Outcome::Refused, "evidence-form"));
    assert!(verdict.error.unwrap().message.contains("fresh quote over legs"));
    assert_eq!((&shown["evidence"]["of"], &shown["binding"]["holds"]), (&json!("legs"), &json!(false)));
    assert!(shown["form_error"].as_str().unwrap().contains("fresh quote over legs"), "{shown:#}");

    let mut junk = fresh.blob().to_vec();
    junk.push(0);
    assert!(matches!(Input::read(&junk), Err(InputError::Evidence(_))));
}

/// Makes reports of the tests' own AMD.
#[derive(Debug)]
struct PaperSnp;

impl Attester for PaperSnp {
    fn name(&self) -> &'static str {
        "sev_snp"
    }

    fn tag(&self) -> EvidenceTag {
        EvidenceTag::SevSnp
    }

    fn quote(&self, user_data: &UserData) -> Result<Vec<u8>, AttesterError> {
        Ok(TestAmd::shared().report(&VekSpec::vcek(SnpProduct::Turin), |report| {
            report[0x50..0x90].copy_from_slice(user_data.as_bytes());
        }))
    }
}

#[test]
fn an_snp_certificate_that_brings_its_chain() {
    let amd = TestAmd::shared();
    let spec = VekSpec::vcek(SnpProduct::Turin);
    let chain = amd.endorsements(&spec);
    let key = HopKey::generate().unwrap();
    let endorsements = Endorsements::SevSnp(chain.clone());
    let certificate = issue_with_endorsements(&key, &PaperSnp, hop(), Some(&endorsements), NOW).unwrap();
    let input = Input::read(certificate.der()).unwrap();
    let roots = TrustRoots::intel().with_amd(amd.roots());
    let judge = |collateral: &OfflineCollateral, roots: &TrustRoots| {
        appraise(&input, collateral, roots, &Policy::genuine_only(), false, NOW)
    };
    let mut collateral = OfflineCollateral::new();
    let verdict = judge(&collateral, &roots);
    assert!(verdict.ok, "{verdict:?}");
    assert_eq!((verdict.tee, verdict.root), (Some(Tee::SevSnp), Some(Root::Amd)));
    assert_eq!((verdict.revocation_checked, verdict.tcb_date), (Some(false), None));
    assert_eq!(error(&judge(&collateral, &TrustRoots::vendors())), (Outcome::Refused, "quote-signature"));

    // With a CRL beside it.
    let soon = (Timestamp(NOW.0 - 10), Timestamp(NOW.0 + 10));
    collateral.add(&amd.crl(SnpProduct::Turin, false, soon)).unwrap();
    assert_eq!(judge(&collateral, &roots).revocation_checked, Some(true));
    let mut revoked = OfflineCollateral::new();
    revoked.add(&amd.crl(SnpProduct::Turin, true, soon)).unwrap();
    assert_eq!(error(&judge(&revoked, &roots)), (Outcome::Refused, "quote-signature"));
    let mut stale = OfflineCollateral::new();
    stale.add(&amd.crl(SnpProduct::Turin, false, (Timestamp(1), Timestamp(2)))).unwrap();
    assert_eq!(error(&judge(&stale, &roots)), (Outcome::CouldNotTry, "expired"));

    let shown = inspect(&input);
    assert_eq!(shown["endorsements"]["vcek"]["subject"], "O=Simulated platform, not AMD, CN=SEV-VCEK");
    assert_eq!(shown["quote"]["signing_key"], json!(SigningKey::Vcek));

    // A bare report: with nothing beside it, with another chip's chain, with both.
    let report = amd.report(&spec, |_| {});
    let bare = |collateral: &OfflineCollateral| {
        appraise(&Input::read(&report).unwrap(), collateral, &roots, &Policy::genuine_only(), false, NOW)
    };
    let mut collateral = OfflineCollateral::new();
    assert_eq!(error(&bare(&collateral)), (Outcome::CouldNotTry, "collateral"));
    collateral.add_snp(&amd.endorsements(&VekSpec { hwid: Some(vec![1; 8]), ..spec }));
    assert_eq!(error(&bare(&collateral)), (Outcome::CouldNotTry, "collateral"));
    collateral.add_snp(&chain);
    assert!(bare(&collateral).ok);
}

#[test]
fn what_files_may_be() {
    let sgx = std::fs::read(samples().join("sgx_quote")).unwrap();
    let Input::Quote(raw) = Input::read(&sgx).unwrap() else { panic!() };
    assert_eq!((raw.tee, raw.tag, raw.quote.len() + raw.padding), (Tee::Sgx, EvidenceTag::IntelQuote, sgx.len()));
    let digits = hex::encode(&sgx);
    let lines: Vec<_> = digits.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    for text in [digits.clone(), format!("0x{digits}\n"), lines.join("\r\n")] {
        let Input::Quote(read) = Input::read(text.as_bytes()).unwrap() else { panic!() };
        assert_eq!(read, raw);
    }
    assert_eq!(Input::read(b" \n"), Err(InputError::Empty));
    assert_eq!(Input::read(b"hello"), Err(InputError::Unknown));
    assert!(matches!(Input::read(&sgx[..400]), Err(InputError::Quote(_))));
    assert!(matches!(Input::read(&[0x30, 0x82, 0, 1, 0]), Err(InputError::Certificate(_))));
    let key = b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n";
    assert!(matches!(Input::read(key), Err(InputError::Certificate(_))));
    let large = vec![0; Input::MAX_LEN + 1];
    assert!(matches!(Input::read(&large), Err(InputError::TooLarge { .. })));

    let mut collateral = OfflineCollateral::new();
    for bad in [&b"{}"[..], b"hello", b"\x30\x03\x02\x01\x00", key] {
        assert!(matches!(collateral.add(bad), Err(InputError::Collateral(_))), "{bad:?}");
    }
    assert_eq!(collateral.add(b" "), Err(InputError::Empty));
    assert_eq!(collateral.now(), None);
}

#[test]
fn real_samples() {
    for (name, now, status) in [
        ("sgx_quote", "2025-07-01T00:00:00Z", TcbStatus::ConfigurationAndSWHardeningNeeded),
        ("tdx_quote", "2025-07-01T00:00:00Z", TcbStatus::UpToDate),
        ("tdx_quote_td15ex", "2026-10-20T00:00:00Z", TcbStatus::UpToDate),
    ] {
        let file = std::fs::read(samples().join(name)).unwrap();
        let collateral = std::fs::read(samples().join(format!("{name}_collateral.json"))).unwrap();
        let verdict = judged(&file, &[&collateral], at(now), false);
        assert!(verdict.ok, "{name}: {verdict:?}");
        assert_eq!((verdict.tcb_status, verdict.reference_values), (Some(status), Some("not-compared")));
        let shown = serde_json::to_value(&verdict).unwrap();
        let expected = json!({ "ok": true, "outcome": "accepted", "form": "quote", "at": now, "error": null });
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&shown[key], value, "{name}: {key}");
        }
    }
}

/// As enclave-tls writes them: RSA, the hash of the PKCS#1 key, X.509 "version 4", and a quote that is genuine for its
/// (simulated) platform.
#[test]
fn a_legacy_certificate_of_enclave_tls() {
    use crate::certificate::testing::{assemble, replace, with};
    use rcgen::{PublicKeyData as _, SigningKey as _};
    use x509_parser::prelude::{FromDer as _, X509Certificate};

    const QUOTE: &[u64] = &[1, 2, 840, 113741, 1337, 6];
    const SHA256_WITH_RSA: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00";
    let now = crate::certificate::testing::NOW;
    let platform = Arc::new(SimPlatform::generate(now).unwrap());
    let attester = SimAttester::new(&platform, SimSpec::sgx("a")).unwrap();
    let rsa = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_3072).unwrap();
    let version_4 = |hashed: &[u8]| {
        let mut user_data = [0; 64];
        user_data[..32].copy_from_slice(Digest::of(hashed).as_bytes());
        let der = with(&[(QUOTE, &attester.quote_over(&user_data).unwrap())]).self_signed(&rsa).unwrap().der().to_vec();
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        let mut tbs = certificate.tbs_certificate.as_ref().to_vec();
        replace(&mut tbs, &[0xa0, 3, 2, 1, 2], &[0xa0, 3, 2, 1, 3]);
        assemble(&tbs, SHA256_WITH_RSA, &rsa.sign(&tbs).unwrap())
    };
    let roots = TrustRoots::vendors().with_simulated(platform.root_der());
    let mut collateral = OfflineCollateral::new();
    collateral.add(&platform.collateral(Tee::Sgx).unwrap().to_json()).unwrap();
    let judged = |der: &[u8], policy: &Policy| {
        let pem = crate::sim::pem_chain(&[der]);
        appraise(&Input::read(pem.as_bytes()).unwrap(), &collateral, &roots, policy, false, now)
    };
    let verdict = judged(&version_4(rsa.public_key_raw()), &allowing_simulated());
    assert!(verdict.ok, "{verdict:?}");
    assert_eq!((verdict.form, verdict.root), (json!("legacy-certificate"), Some(Root::Simulated)));
    assert_eq!((verdict.tcb_status, verdict.claims), (Some(TcbStatus::UpToDate), None));
    assert_eq!(verdict.binding.unwrap()["holds"], true);
    assert!(verdict.reasons.iter().any(|reason| reason.contains("no claims")));
    // For another key, for its other hash, and where nobody allows simulated evidence.
    let verdict = judged(&version_4(b"another key"), &allowing_simulated());
    assert_eq!(error(&verdict), (Outcome::Refused, "binding"));
    let verdict = judged(&version_4(&rsa.subject_public_key_info()), &allowing_simulated());
    assert_eq!(error(&verdict), (Outcome::Refused, "binding"));
    let verdict = judged(&version_4(rsa.public_key_raw()), &Policy::genuine_only());
    assert_eq!(error(&verdict), (Outcome::Refused, "simulated"));
}

#[test]
fn real_quotes() {
    let Some(folder) = vectors("real_quotes") else { return };
    let dated = |name: &str| {
        let file = std::fs::read(folder.join("tdx").join(name)).unwrap();
        let mut collateral = OfflineCollateral::new();
        collateral.add(&file).unwrap();
        (file, collateral.now().unwrap())
    };
    let quote = |name: &str| std::fs::read(folder.join(name)).unwrap();

    let (collateral, now) = dated("collateral_00806f050000_2025-02.json");
    let cloud = quote("tdx/gcp_00806f050000_padded.dat");
    let verdict = judged(&cloud, &[&collateral], now, false);
    assert_eq!(error(&verdict), (Outcome::Refused, "tcb-status"));
    assert_eq!((verdict.tcb_status, verdict.padding), (Some(TcbStatus::OutOfDate), 8000 - 4935));
    assert!(verdict.reasons.iter().any(|reason| reason.contains("3065 bytes of padding")), "{verdict:?}");
    assert_eq!(inspect(&Input::read(&cloud).unwrap())["padding"], 3065);

    let (collateral, now) = dated("collateral_50806f000000_2023-06.json");
    let debug = quote("tdx/debug_50806f.dat");
    let verdict = judged(&debug, &[&collateral], now, false);
    assert_eq!(error(&verdict), (Outcome::Refused, "debug"));
    let verdict = judged(&debug, &[&collateral], now, true);
    assert!(verdict.ok, "{verdict:?}");
    assert_eq!((verdict.tcb_status, verdict.debug), (Some(TcbStatus::UpToDate), Some(true)));
    assert!(verdict.reasons.iter().any(|reason| reason.contains("debug TEE")), "{verdict:?}");

    let encrypted = quote("sgx/encrypted_ppid_type3.dat");
    let verdict = judged(&encrypted, &[], now, false);
    assert_eq!(error(&verdict), (Outcome::CouldNotTry, "collateral"));
    let message = verdict.error.unwrap().message;
    assert!(message.contains("PCK certificate") && message.contains("PCCS"), "{message}");
    let shown = inspect(&Input::read(&encrypted).unwrap());
    assert_eq!(shown["quote"]["certification"]["type"], 3);
    assert_eq!(shown["quote"]["certification"]["encrypted_ppid"].as_str().unwrap().len(), 768);
    assert_eq!(shown["quote"]["certification"]["pceid"], 0);
}

#[test]
fn real_certificates() {
    let Some(folder) = vectors("real_certificates") else { return };
    for (name, claims) in [("gramine-cert.pem", 1), ("intel-sgxsdk-cert.pem", 1)] {
        let file = std::fs::read(folder.join("certs").join(name)).unwrap();
        let input = Input::read(&file).unwrap();
        let shown = inspect(&input);
        assert_eq!(shown["form"], "interoperable-certificate", "{name}");
        assert_eq!(shown["form_error"], Value::Null, "{name}");
        assert_eq!(shown["binding"]["holds"], true, "{name}");
        assert_eq!(shown["claims"]["pubkey-hash"], shown["certificate"]["spki_sha256"], "{name}");
        assert!(shown["claims"].as_object().unwrap().len() >= claims, "{name}");
        assert_eq!(shown["quote"]["body"]["debug"], true, "{name}");
        assert_eq!(shown["quote"]["body"]["mrenclave"].as_str().unwrap().len(), 64, "{name}");
        assert_eq!(shown["quote"]["certification"]["type"], 5, "{name}");
        // Nobody kept collateral for them.
        let Input::Certificate(certificate) = &input else { panic!() };
        let verdict = judged(&file, &[], certificate.not_before, true);
        assert_eq!(error(&verdict), (Outcome::CouldNotTry, Reason::Collateral.label()), "{name}");
        assert_eq!(verdict.binding.unwrap()["holds"], true);
        assert!(verdict.error.unwrap().message.contains("collateral for sgx/"), "{name}");
    }
}

#[test]
fn a_real_snp_report() {
    let Some(folder) = vectors("a_real_snp_report") else { return };
    let read = |name: &str| std::fs::read(folder.join("snp").join(name)).unwrap();
    let now = at("2025-01-01T00:00:00Z");
    let (report, vcek, chain) = (read("report_milan.hex"), read("vcek_milan.der"), read("cert_chain_milan"));
    let verdict = judged(&report, &[&vcek, &chain], now, false);
    assert!(verdict.ok, "{verdict:?}");
    assert_eq!((verdict.tee, verdict.tcb_status), (Some(Tee::SevSnp), Some(TcbStatus::UpToDate)));
    assert_eq!(verdict.form, "report");
    let shown = serde_json::to_value(&verdict).unwrap();
    assert_eq!(
        shown["platform"]["snp"],
        json!({ "product": "milan", "tcb": { "bootloader": 3, "tee": 0, "snp": 8, "microcode": 115 } })
    );
    // The chain alone, the VCEK alone, Turin's in their place.
    for beside in [&[&chain[..]][..], &[&vcek], &[&read("vcek_turin.der"), &read("cert_chain_turin")]] {
        assert_eq!(error(&judged(&report, beside, now, false)), (Outcome::CouldNotTry, "collateral"));
    }
    let shown = inspect(&Input::read(&report).unwrap());
    assert_eq!((&shown["quote"]["version"], &shown["quote"]["debug"]), (&json!(2), &json!(false)));
    assert_eq!(shown["quote"]["reported_tcb"], "0300000000000873");
}

/// Every file of the folder is read, shown and judged without a panic, cut anywhere.
#[test]
fn whatever_is_cut_off() {
    let Some(folder) = vectors("whatever_is_cut_off") else { return };
    for name in
        ["certs/gramine-cert.pem", "tdx/debug_50806f.dat", "snp/report_milan.hex", "sgx/encrypted_ppid_type3.dat"]
    {
        let file = std::fs::read(Path::new(&folder).join(name)).unwrap();
        for end in (0..file.len()).step_by(97) {
            if let Ok(input) = Input::read(&file[..end]) {
                inspect(&input);
                judged(&file[..end], &[], NOW, false);
            }
        }
    }
}

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..1400), kind in 0usize..6) {
        let heads: [&[u8]; 6] =
            [&[3, 0, 2, 0, 0, 0, 0, 0], &[4, 0, 2, 0, 0x81, 0, 0, 0], &[5, 0, 2, 0, 0x81], &[5, 0, 0, 0], &[0x30, 0x82], &[]];
        let file = [heads[kind], &bytes].concat();
        let mut collateral = OfflineCollateral::new();
        let _ = collateral.add(&file);
        if let Ok(input) = Input::read(&file) {
            inspect(&input);
            appraise(&input, &collateral, &TrustRoots::vendors(), &Policy::genuine_only(), true, NOW);
        }
    }
}
