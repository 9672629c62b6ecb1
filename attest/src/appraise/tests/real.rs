//! Real quotes: the samples in dcap-qvl's own package, and those in the folder that `ATTEST_VECTORS` names.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use super::simulated::World;
use crate::appraise::{
    AppraisalError, Appraised, Appraiser, CodeIdentity, Collateral, CollateralBook, Root, TcbStatus, TrustRoots,
};
use crate::policy::{HopPlace, Policy, PolicyError, Verdict};
use crate::tee::{EvidenceTag, Tee};
use crate::{Reason, Timestamp};

/// The folder `sample/` of the package dcap-qvl, wherever cargo keeps it.
pub(crate) fn samples() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo).args(["metadata", "--format-version", "1"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let packages = metadata["packages"].as_array().unwrap();
        let package = packages.iter().find(|package| package["name"] == "dcap-qvl").unwrap();
        Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap().join("sample")
    })
}

/// A quote, cut to its own length, and its collateral.
struct Sample {
    quote: Vec<u8>,
    collateral: Collateral,
}

impl Sample {
    fn load(name: &str) -> Self {
        let quote = std::fs::read(samples().join(name)).unwrap();
        let collateral = std::fs::read(samples().join(format!("{name}_collateral.json"))).unwrap();
        Self { quote: cut(quote), collateral: Collateral::from_json(&collateral).unwrap() }
    }

    fn appraise(&self, now: &str) -> Result<Appraised, AppraisalError> {
        self.appraiser().appraise_quote(EvidenceTag::IntelQuote, &self.quote, at(now))
    }

    fn appraiser(&self) -> Appraiser {
        let book = CollateralBook::new();
        book.insert(Root::Intel, Arc::new(self.collateral.clone())).unwrap();
        Appraiser::new(TrustRoots::intel(), Arc::new(book))
    }
}

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

/// Real quotes come padded.
fn cut(mut quote: Vec<u8>) -> Vec<u8> {
    let signed = dcap_qvl::quote::Quote::parse(&quote).unwrap().signed_length();
    let length = u32::from_le_bytes(quote[signed..signed + 4].try_into().unwrap());
    quote.truncate(signed + 4 + length as usize);
    quote
}

/// Judged as the only hop of a path.
fn admit(policy: &Policy, appraised: &Appraised) -> Result<Verdict, PolicyError> {
    let place = HopPlace { position: 1, last: true, role: "" };
    policy.admit_hop(&place, appraised, None, appraised.appraised_at)
}

#[test]
fn every_sentence_in_the_table_of_refusals_is_the_librarys() {
    let sources = samples().parent().unwrap().join("src");
    let text: String = ["verify.rs", "utils.rs", "tcb_info.rs"]
        .map(|file| std::fs::read_to_string(sources.join(file)).unwrap())
        .concat();
    for words in crate::appraise::refusal::known_words() {
        // This one is the name of an error of webpki.
        assert!(words == "CrlExpired" || text.contains(words), "`{words}` is said nowhere");
    }
}

#[test]
fn sgx() {
    let sample = Sample::load("sgx_quote");
    let appraised = sample.appraise("2025-07-01T00:00:00Z").unwrap();
    assert_eq!((appraised.tee, appraised.root), (Tee::Sgx, Root::Intel));
    assert_eq!(appraised.tcb_status, TcbStatus::ConfigurationAndSWHardeningNeeded);
    assert_eq!(appraised.advisories, ["INTEL-SA-00289", "INTEL-SA-00615"]);
    assert!(!appraised.debug);
    assert_eq!(appraised.platform.smt, None, "the Processor CA says nothing of it");
    assert_eq!(appraised.platform.ids.len(), 1);
    assert_eq!(appraised.collateral, sample.collateral.digest());
    assert_eq!(appraised.expires, sample.collateral.expires());
    assert_eq!(appraised.expires, at("2025-07-19T10:01:18Z"));
    assert_eq!(sample.collateral.id().to_string(), "sgx/00a067110000/processor");
    let CodeIdentity::Sgx(identity) = appraised.code else { panic!() };
    assert_eq!(identity.mrenclave, sample.quote[48 + 64..48 + 96]);
    assert_eq!(identity.mrsigner, sample.quote[48 + 128..48 + 160]);
}

#[test]
fn tdx() {
    let sample = Sample::load("tdx_quote");
    let appraised = sample.appraise("2025-07-01T00:00:00Z").unwrap();
    assert_eq!((appraised.tee, appraised.root), (Tee::Tdx, Root::Intel));
    assert_eq!(appraised.tcb_status, TcbStatus::UpToDate);
    assert_eq!(appraised.advisories, [] as [&str; 0]);
    assert!(!appraised.debug);
    // What every cloud's machines say, and what a strict policy refuses.
    let flags = (appraised.platform.smt, appraised.platform.dynamic, appraised.platform.cached_keys);
    assert_eq!(flags, (Some(true), Some(true), Some(true)));
    assert_eq!(sample.collateral.id().to_string(), "tdx/b0c06f000000/platform");
    let verdict = admit(&Policy::genuine_only(), &appraised).unwrap();
    assert!(!verdict.compared && !verdict.simulated);
    let CodeIdentity::Tdx(identity) = appraised.code else { panic!() };
    assert_eq!(identity.mrtd, sample.quote[48 + 136..48 + 184]);
    assert_eq!(identity.rtmr[3], sample.quote[48 + 472..48 + 520]);
}

#[test]
fn tdx_below_every_level() {
    // Genuine and so old that Intel's TCB info lists no level for it: refused, not merely `OutOfDate`.
    let error = Sample::load("tdx_quote_outdated").appraise("2026-03-01T00:00:00Z").unwrap_err();
    assert_eq!((error.reason, error.what.as_str()), (Reason::TcbStatus, "TCB level"));
    assert!(error.found.contains("No matching TCB level"), "{error}");
}

#[test]
fn tdx_of_the_extended_report() {
    let sample = Sample::load("tdx_quote_td15ex");
    let appraised = sample.appraise("2026-10-20T00:00:00Z").unwrap();
    assert_eq!((appraised.tee, appraised.tcb_status), (Tee::Tdx, TcbStatus::UpToDate));
    assert_eq!(appraised.advisories, [] as [&str; 0]);
    assert_eq!(sample.collateral.as_set().pck_certificate_chain, None, "the quote brings its own");
}

#[test]
fn outside_of_the_collaterals_time() {
    let sample = Sample::load("tdx_quote");
    for (now, what) in [("2025-06-19T10:20:00Z", "QE identity"), ("2025-07-20T00:00:00Z", "")] {
        let error = sample.appraise(now).unwrap_err();
        assert_eq!(error.reason, Reason::Expired, "{error}");
        assert!(what.is_empty() || error.what == what, "{error}");
    }
}

#[test]
fn changed_in_one_bit() {
    for (name, now, signed, body) in [
        ("sgx_quote", "2025-07-01T00:00:00Z", 432, 48 + 70),
        ("tdx_quote", "2025-07-01T00:00:00Z", 632, 48 + 140),
        ("tdx_quote_td15ex", "2026-10-20T00:00:00Z", 939, 54 + 140),
    ] {
        let sample = Sample::load(name);
        let nested = if name == "sgx_quote" { 0 } else { 6 };
        let qe_report = signed + 4 + 128 + nested;
        for offset in [body, signed + 4 + 9, signed + 4 + 70, qe_report + 70, qe_report + 390] {
            let mut quote = sample.quote.clone();
            quote[offset] ^= 1;
            let error = sample.appraiser().appraise_quote(EvidenceTag::IntelQuote, &quote, at(now)).unwrap_err();
            assert_eq!(error.reason, Reason::QuoteSignature, "{name} at {offset}: {error}");
        }
    }
}

#[test]
fn the_samples_collateral_verifies_whole() {
    for (name, now) in [
        ("sgx_quote", "2025-07-01T00:00:00Z"),
        ("tdx_quote", "2025-07-01T00:00:00Z"),
        ("tdx_quote_outdated", "2026-03-01T00:00:00Z"),
        ("tdx_quote_td15ex", "2026-10-20T00:00:00Z"),
    ] {
        let collateral = Sample::load(name).collateral;
        collateral.verify(TrustRoots::intel().der(Root::Intel).unwrap(), at(now)).unwrap();
        let again = Collateral::from_json(&collateral.to_json()).unwrap();
        assert_eq!(again, collateral);

        let world = World::new();
        let error = collateral.verify(world.platform.root_der(), at(now)).unwrap_err();
        assert_eq!(error.reason, Reason::Collateral, "{error}");
    }
    let error = Collateral::from_json(b"{\"tcb_info\": 1}").unwrap_err();
    assert_eq!(error.reason, Reason::Collateral);
}

#[test]
fn collateral_of_something_else() {
    let (sgx, tdx) = (Sample::load("sgx_quote"), Sample::load("tdx_quote"));
    let now = at("2025-07-01T00:00:00Z");
    let parsed = crate::appraise::dcap::ParsedQuote::parse(EvidenceTag::IntelQuote, &tdx.quote).unwrap();
    let root = TrustRoots::intel();
    let root = root.der(Root::Intel).unwrap();
    assert_eq!(parsed.appraise(root, &sgx.collateral, now).unwrap_err().reason, Reason::Tee);
    let outdated = Sample::load("tdx_quote_outdated");
    let error = parsed.appraise(root, &outdated.collateral, now).unwrap_err();
    assert_eq!(error.reason, Reason::Collateral, "another FMSPC: {error}");
    // Nothing at hand.
    let error = sgx.appraiser().appraise_quote(EvidenceTag::IntelQuote, &tdx.quote, now).unwrap_err();
    assert_eq!((error.reason, error.found.as_str()), (Reason::Collateral, "none at hand"));
}

#[test]
fn genuine_is_never_taken_for_simulated() {
    let sample = Sample::load("sgx_quote");
    let now = at("2025-07-01T00:00:00Z");
    let world = World::new();
    let error = world.appraiser.appraise_quote(EvidenceTag::Simulated, &sample.quote, now).unwrap_err();
    assert_eq!(error.reason, Reason::Simulated);
    assert!(error.what.contains("genuine evidence under the tag of simulated"), "{error}");
    // Against the simulated root nothing of Intel's holds.
    let parsed = crate::appraise::dcap::ParsedQuote::parse(EvidenceTag::IntelQuote, &sample.quote).unwrap();
    let error = parsed.appraise(world.platform.root_der(), &sample.collateral, now).unwrap_err();
    assert_eq!(error.reason, Reason::Collateral, "{error}");
}

/// The folder of further real evidence, if it is named. Named and missing is a failure.
pub(crate) fn vectors(test: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("ATTEST_VECTORS") else {
        println!("{test}: skipped, ATTEST_VECTORS is not set");
        return None;
    };
    let folder = PathBuf::from(folder);
    assert!(folder.is_dir(), "ATTEST_VECTORS names {}, which is no folder", folder.display());
    Some(folder)
}

fn vector(folder: &Path, quote: &str, collateral: &str) -> (Sample, Vec<u8>, Timestamp) {
    let padded = std::fs::read(folder.join("tdx").join(quote)).unwrap();
    let json = std::fs::read(folder.join("tdx").join(collateral)).unwrap();
    let dated: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let now = Timestamp(dated["now"].as_u64().unwrap());
    let collateral = Collateral::from_json(&json).unwrap();
    (Sample { quote: cut(padded.clone()), collateral }, padded, now)
}

#[test]
fn a_padded_quote_of_a_cloud() {
    let Some(folder) = vectors("a_padded_quote_of_a_cloud") else { return };
    let (sample, padded, now) = vector(&folder, "gcp_00806f050000_padded.dat", "collateral_00806f050000_2025-02.json");
    assert_eq!(padded.len(), 8000);
    let error = sample.appraiser().appraise_quote(EvidenceTag::IntelQuote, &padded, now).unwrap_err();
    assert_eq!(error.reason, Reason::EvidenceForm, "{error}");
    let appraised = sample.appraise(&now.to_string()).unwrap();
    assert_eq!(appraised.tcb_status, TcbStatus::OutOfDate);
    assert!(!appraised.debug);
    assert_eq!(admit(&Policy::genuine_only(), &appraised).unwrap_err().reason, Reason::TcbStatus);
}

#[test]
fn a_quote_without_its_pck_certificate() {
    let Some(folder) = vectors("a_quote_without_its_pck_certificate") else { return };
    let quote = cut(std::fs::read(folder.join("sgx/encrypted_ppid_type3.dat")).unwrap());
    let appraiser = Appraiser::new(TrustRoots::intel(), Arc::default());
    let error = appraiser.appraise_quote(EvidenceTag::IntelQuote, &quote, Timestamp(1_700_000_000)).unwrap_err();
    assert_eq!((error.reason, error.what.as_str()), (Reason::EvidenceForm, "PCK certificate"));
}

#[test]
fn a_debug_td() {
    let Some(folder) = vectors("a_debug_td") else { return };
    let (sample, _, now) = vector(&folder, "debug_50806f.dat", "collateral_50806f000000_2023-06.json");
    let appraised = sample.appraise(&now.to_string()).unwrap();
    assert!(appraised.debug);
    assert_eq!(appraised.tcb_status, TcbStatus::UpToDate);
    assert_eq!(admit(&Policy::genuine_only(), &appraised).unwrap_err().reason, Reason::Debug);
    let verdict = admit(&Policy { danger_allow_debug: true, ..Policy::genuine_only() }, &appraised).unwrap();
    assert_eq!(verdict.status, TcbStatus::UpToDate);
}
