use std::time::Duration;

use super::*;
use crate::appraise::{Appraise as _, Appraiser, CodeIdentity, CollateralBook, TcbStatus, TrustRoots};
use crate::certificate::{issue, parse};
use crate::evidence::{Evidence, HopClaims};
use crate::hop_key::HopKey;
use crate::tee::Tee;
use crate::{ConfigDigest, PolicyDigest, Reason};

const NOW: Timestamp = Timestamp(1_800_000_000);

fn platform() -> Arc<SimPlatform> {
    Arc::new(SimPlatform::generate(NOW).unwrap().with_amd(NOW).unwrap())
}

fn evidence(platform: &Arc<SimPlatform>, spec: SimSnpSpec) -> (Evidence, Option<Endorsements>) {
    let hop = HopClaims {
        version: 1,
        chain_role: "workload".into(),
        policy_digest: PolicyDigest::of(b""),
        not_after: NOW.plus(Duration::from_secs(60)),
        config_digest: ConfigDigest::of(b""),
    };
    let attester = SimSnpAttester::new(platform, spec, NOW).unwrap();
    let issued = issue(&HopKey::generate().unwrap(), &attester, hop, NOW).unwrap();
    let peer = parse(issued.der(), NOW).unwrap();
    (peer.evidence.unwrap(), peer.endorsements)
}

fn appraiser(platform: &SimPlatform) -> Appraiser {
    let amd = platform.amd().unwrap();
    let roots = TrustRoots::vendors().with_simulated_amd([amd.root().clone()]);
    let book = CollateralBook::new();
    book.amd(Root::Simulated).insert_set(amd.set(), roots.amd(Root::Simulated), NOW).unwrap();
    Appraiser::new(roots, Arc::new(book))
}

#[test]
fn certificates_travel_with_the_report_or_are_fetched() {
    let platform = platform();
    let appraiser = appraiser(&platform);
    let (evidence, sent) = evidence(&platform, SimSnpSpec::new("a"));
    assert_eq!((evidence.tee(), evidence.tag()), (Tee::SevSnp, EvidenceTag::Simulated));
    assert_eq!(appraiser.appraise(&evidence, NOW).unwrap_err().reason, Reason::Collateral);
    appraiser.learn_endorsements(&evidence, &sent.unwrap(), NOW).unwrap();
    let found = appraiser.appraise(&evidence, NOW).unwrap();
    assert_eq!((found.tee, found.root, found.tcb_status), (Tee::SevSnp, Root::Simulated, TcbStatus::UpToDate));
    assert!(found.revocation_checked);
    assert_eq!(found.platform.ids, [platform.chip_id("machine").to_vec()]);
    let CodeIdentity::SevSnp(code) = &found.code else { panic!() };
    assert_eq!(code.measurement, SimSnpSpec::new("a").measurement);

    // Another machine without certificates: asked for by what its report says.
    let spec = SimSnpSpec { machine: "b".into(), certificates: false, provisional: true, ..SimSnpSpec::new("a") };
    let (evidence, sent) = self::evidence(&platform, spec);
    assert_eq!(sent, None);
    let request = crate::appraise::snp::SnpRequest::of(evidence.quote()).unwrap();
    assert_eq!(request.products, [SnpProduct::Milan]);
    let amd = platform.amd().unwrap();
    let vcek = amd.vcek(&request.chip_id.unwrap(), request.tcb, NOW).unwrap();
    let set = AmdSet { certificates: vec![vcek], ..amd.set().clone() };
    appraiser.book().amd(Root::Simulated).insert_set(&set, appraiser.roots().amd(Root::Simulated), NOW).unwrap();
    let found = appraiser.appraise(&evidence, NOW).unwrap();
    assert_eq!(
        (found.tcb_status, &found.platform.ids[0][..]),
        (TcbStatus::ConfigurationNeeded, &platform.chip_id("b")[..])
    );
}

#[test]
fn a_ca_that_was_left_out_is_the_books() {
    let platform = platform();
    let appraiser = appraiser(&platform);
    let (evidence, sent) = evidence(&platform, SimSnpSpec::new("a"));
    let Some(Endorsements::SimulatedSnp(sent)) = sent else { panic!() };
    let alone = SnpEndorsements { ask: Vec::new(), ..sent };
    appraiser.learn(&evidence, &alone, NOW).unwrap();
    appraiser.appraise(&evidence, NOW).unwrap();

    let empty = Appraiser::new(appraiser.roots().clone(), Arc::default());
    let error = empty.learn(&evidence, &alone, NOW).unwrap_err();
    assert_eq!((error.reason, error.what.as_str()), (Reason::Collateral, "the ASK or ASVK"));
}

#[test]
fn a_newer_list_revokes_and_an_older_one_is_refused() {
    let platform = platform();
    let appraiser = appraiser(&platform);
    let (evidence, sent) = evidence(&platform, SimSnpSpec::new("a"));
    appraiser.learn_endorsements(&evidence, &sent.unwrap(), NOW).unwrap();
    let (amd, book, roots) = (platform.amd().unwrap(), appraiser.book(), appraiser.roots().amd(Root::Simulated));
    let book = book.amd(Root::Simulated);
    let epoch = book.epoch();
    book.insert_crl(&amd.set().crl, roots, NOW).unwrap();
    assert_eq!(book.epoch(), epoch, "the same list again is no change");
    book.insert_crl(&amd.crl(true, Timestamp(NOW.0 + 1)).unwrap(), roots, NOW).unwrap();
    assert!(book.epoch() > epoch);
    let error = appraiser.appraise(&evidence, NOW).unwrap_err();
    assert!(error.found.contains("on AMD's CRL"), "{error}");
    let error = book.insert_crl(&amd.set().crl, roots, NOW).unwrap_err();
    assert_eq!((error.reason, error.what.as_str()), (Reason::Collateral, "rollback of AMD's CRL"));
}

#[test]
fn simulated_reports_are_never_taken_for_amds() {
    let platform = platform();
    let appraiser = appraiser(&platform);
    let (evidence, sent) = evidence(&platform, SimSnpSpec::new("a"));
    // Under AMD's tag the simulated roots are nobody's.
    let genuine = Evidence::new(EvidenceTag::SevSnp, evidence.quote().to_vec(), evidence.claims().clone()).unwrap();
    let Some(Endorsements::SimulatedSnp(sent)) = sent else { panic!() };
    let error = appraiser.learn(&genuine, &sent, NOW).unwrap_err();
    assert_eq!((error.reason, error.what.as_str()), (Reason::QuoteSignature, "the root of the certificates"));
    assert_eq!(appraiser.appraise(&genuine, NOW).unwrap_err().reason, Reason::Collateral);
    // Without a simulated platform nothing of it is read.
    let strict = Appraiser::new(TrustRoots::vendors(), Arc::clone(appraiser.book()));
    assert_eq!(strict.appraise(&evidence, NOW).unwrap_err().reason, Reason::Simulated);
    let without = Arc::new(SimPlatform::generate(NOW).unwrap());
    let error = SimSnpAttester::new(&without, SimSnpSpec::new("a"), NOW).unwrap_err();
    assert!(matches!(error, SimError::NoAmd), "{error}");
}
