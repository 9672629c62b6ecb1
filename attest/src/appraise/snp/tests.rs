//! Reports and chains under a root of the tests' own, with every layer damaged once; and AMD's real ones.

use std::sync::Arc;

use super::testing::{CHIP, CaSpec, MILAN_TCB, NOW, TURIN_TCB, TestAmd, VekSpec, YEAR, amd_oid, extension, integer};
use super::*;
use crate::KeyId;
use crate::appraise::tests::real::vectors;
use crate::appraise::{Appraiser, CollateralBook, Root, TrustRoots};
use crate::evidence::{Claims, Endorsements, Evidence, UserData};
use crate::policy::{HopPlace, Policy, PolicyError, Verdict};
use crate::tee::EvidenceTag;

fn no_crl(_: SnpProduct) -> Option<Crl> {
    None
}

fn appraised(spec: &VekSpec, change: impl FnOnce(&mut [u8])) -> Result<Appraised, AppraisalError> {
    let amd = TestAmd::shared();
    appraise(&amd.report(spec, change), &amd.endorsements(spec), &amd.roots(), no_crl, NOW)
}

fn refused(spec: &VekSpec, change: impl FnOnce(&mut [u8])) -> AppraisalError {
    appraised(spec, change).unwrap_err()
}

/// A report that fits `signs`, with a chain that says something else.
fn with_chain(signs: &VekSpec, vek: &VekSpec, ca: &CaSpec) -> AppraisalError {
    let amd = TestAmd::shared();
    let endorsements = SnpEndorsements { vcek: amd.vek(vek), ask: amd.ca(ca) };
    appraise(&amd.report(signs, |_| {}), &endorsements, &amd.roots(), no_crl, NOW).unwrap_err()
}

fn admit(policy: &Policy, appraised: &Appraised) -> Result<Verdict, PolicyError> {
    policy.admit_hop(&HopPlace { position: 1, last: true, role: "" }, appraised, None, appraised.appraised_at)
}

#[test]
fn every_product_and_both_keys() {
    for (spec, raw) in [
        (VekSpec::vcek(SnpProduct::Milan), MILAN_TCB),
        (VekSpec::vcek(SnpProduct::Genoa), MILAN_TCB),
        (VekSpec::vcek(SnpProduct::Turin), TURIN_TCB),
        (VekSpec::vlek(SnpProduct::Milan), MILAN_TCB),
        (VekSpec::vlek(SnpProduct::Turin), TURIN_TCB),
    ] {
        for version in 2..=5 {
            let found = appraised(&spec, |report| report[0] = version).unwrap();
            assert_eq!((found.tee, found.root), (Tee::SevSnp, Root::Amd));
            assert_eq!(found.tcb_status, TcbStatus::UpToDate);
            let tcb = SnpTcb::read(spec.product, raw);
            assert_eq!(found.platform.snp, Some(SnpPlatform { product: spec.product, tcb }));
            let mut chip = [0; 64];
            let named = spec.hwid.as_deref().unwrap_or(&CHIP);
            chip[..named.len()].copy_from_slice(named);
            assert_eq!(found.platform.ids, [chip.to_vec()]);
            assert_eq!((found.platform.smt, found.debug, found.revocation_checked), (Some(true), false, false));
            assert_eq!(found.expires, spec.window.1, "the first certificate to end");
            let CodeIdentity::SevSnp(code) = found.code else { panic!() };
            assert_eq!((code.measurement, code.vmpl), ([9; 48], 0));
        }
    }
}

#[test]
fn a_bit_of_the_report() {
    let spec = VekSpec::vcek(SnpProduct::Milan);
    let amd = TestAmd::shared();
    let (endorsements, roots) = (amd.endorsements(&spec), amd.roots());
    let report = amd.report(&spec, |_| {});
    // Whatever byte is changed after signing, the report is refused; the reason is the first check that sees it.
    for offset in 0..report.len() {
        let mut changed = report.clone();
        changed[offset] ^= 0x40;
        let error = appraise(&changed, &endorsements, &roots, no_crl, NOW).unwrap_err();
        let expected = match offset {
            // Version, who asked, the signature's algorithm; and what nothing signs, behind r and s.
            0..4 | 0x30..0x38 | 0x2D0..0x2E8 | 0x318.. => Reason::EvidenceForm,
            // The TCB and the chip that the certificate is for.
            0x180..0x188 | 0x1A0..0x1E0 => Reason::Collateral,
            _ => Reason::QuoteSignature,
        };
        assert_eq!(error.reason, expected, "byte {offset:#x}: {error}");
    }
    for len in [0, 1, 1183, 1185] {
        let mut cut = report.clone();
        cut.resize(len, 0);
        assert_eq!(appraise(&cut, &endorsements, &roots, no_crl, NOW).unwrap_err().reason, Reason::EvidenceForm);
    }
}

#[test]
fn what_the_firmware_signed_and_is_refused() {
    let vcek = VekSpec::vcek(SnpProduct::Milan);
    for version in [0, 1, 6] {
        assert_eq!(refused(&vcek, |report| report[0] = version).reason, Reason::EvidenceForm);
    }
    let host = refused(&vcek, |report| report[0x30..0x34].fill(0xFF));
    assert_eq!((host.reason, host.found.as_str()), (Reason::EvidenceForm, "the host"));
    assert_eq!(refused(&vcek, |report| report[0x30] = 4).found, "VMPL 4");
    let masked = refused(&vcek, |report| report[0x48] = 1 << 1);
    assert_eq!((masked.reason, masked.what.as_str()), (Reason::EvidenceForm, "the key that signed the report"));
    for kind in 2..=7 {
        assert_eq!(refused(&vcek, |report| report[0x48] = kind << 2).found, format!("kind {kind}"));
    }
    let migratable = refused(&vcek, |report| report[0x0A] |= 1 << 2);
    assert_eq!((migratable.reason, migratable.what.as_str()), (Reason::Measurement, "guest policy"));
    // Debug is the policy's to judge.
    let debug = appraised(&vcek, |report| report[0x0A] |= 1 << 3).unwrap();
    assert!(debug.debug);
    assert_eq!(admit(&Policy::genuine_only(), &debug).unwrap_err().reason, Reason::Debug);
    assert_eq!(appraised(&vcek, |report| report[0x40] = 0).unwrap().platform.smt, Some(false));
}

#[test]
fn the_firmware_that_runs_and_the_one_that_is_certified() {
    let vcek = VekSpec::vcek(SnpProduct::Milan);
    // SNP firmware 9 runs, and is not committed: the machine can go back to 8.
    let provisional = appraised(&vcek, |report| report[0x38 + 6] = 9).unwrap();
    assert_eq!(provisional.tcb_status, TcbStatus::ConfigurationNeeded);
    let held_back = appraised(&vcek, |report| (report[0x38 + 6], report[0x1E0 + 6]) = (9, 9)).unwrap();
    assert_eq!(held_back.tcb_status, TcbStatus::ConfigurationNeeded);
    assert_eq!(held_back.platform.snp.unwrap().tcb.snp, 8);
    // A guest that was launched under older firmware counts as that old.
    let launched = appraised(&vcek, |report| report[0x1F0 + 7] = 100).unwrap();
    assert_eq!((launched.tcb_status, launched.platform.snp.unwrap().tcb.microcode), (TcbStatus::UpToDate, 100));
    for (what, offset) in [("reported TCB", 0x1E0), ("committed TCB", 0x38)] {
        let error = refused(&vcek, |report| report[offset + 7] = 114);
        assert_eq!((error.reason, error.what.as_str()), (Reason::TcbStatus, what));
    }
}

#[test]
fn a_policys_minimum() {
    let found = appraised(&VekSpec::vcek(SnpProduct::Milan), |_| {}).unwrap();
    let verdict = admit(&Policy::genuine_only(), &found).unwrap();
    assert!(verdict.reasons.iter().any(|reason| reason.contains("compared with no minimum")), "{verdict:?}");
    assert!(verdict.reasons.iter().any(|reason| reason.contains("revocation was not checked")), "{verdict:?}");

    let at_least = |product, min| {
        let mut policy = Policy::genuine_only();
        policy.tcb.snp_min.insert(product, min);
        policy
    };
    let min = SnpTcb { fmc: None, bootloader: 3, tee: 0, snp: 8, microcode: 115 };
    let verdict = admit(&at_least(SnpProduct::Milan, min), &found).unwrap();
    assert!(!verdict.reasons.iter().any(|reason| reason.contains("no minimum")), "{verdict:?}");
    let higher = SnpTcb { snp: 9, ..min };
    let error = admit(&at_least(SnpProduct::Milan, higher), &found).unwrap_err();
    assert_eq!((error.reason, error.what.as_str()), (Reason::TcbStatus, "SEV-SNP TCB"));
    let error = admit(&at_least(SnpProduct::Turin, min), &found).unwrap_err();
    assert_eq!((error.reason, error.what.as_str()), (Reason::TcbStatus, "SEV-SNP product"));

    // And it is part of what a policy's digest says.
    let digests = [
        Policy::genuine_only().digest(),
        at_least(SnpProduct::Milan, min).digest(),
        at_least(SnpProduct::Milan, higher).digest(),
        at_least(SnpProduct::Milan, SnpTcb { fmc: Some(0), ..min }).digest(),
        at_least(SnpProduct::Genoa, min).digest(),
    ];
    for (i, digest) in digests.iter().enumerate() {
        assert!(!digests[i + 1..].contains(digest), "{i}");
    }
}

#[test]
fn a_certificate_that_is_not_of_the_report() {
    let vcek = VekSpec::vcek(SnpProduct::Milan);
    let above = CaSpec::above(&vcek);
    // Each part of the TCB, the reserved ones too.
    for part in 0..8 {
        let mut other = vcek.clone();
        other.tcb[part] += 1;
        let error = with_chain(&vcek, &other, &above);
        assert_eq!((error.reason, error.what.as_str()), (Reason::Collateral, "the TCB in the certificate of the key"));
    }
    let other = VekSpec { hwid: Some(vec![0xC5; 64]), ..vcek.clone() };
    let error = with_chain(&vcek, &other, &above);
    assert_eq!((error.reason, error.what.as_str()), (Reason::Collateral, "the chip in the certificate of the key"));
    // The same certificate for a report that hides its chip.
    let masked = appraised(&vcek, |report| report[0x1A0..0x1E0].fill(0)).unwrap();
    assert_eq!(masked.platform.ids, [] as [Vec<u8>; 0]);

    let vlek = VekSpec::vlek(SnpProduct::Milan);
    for (signs, vek) in [(&vcek, &vlek), (&vlek, &vcek)] {
        let error = with_chain(signs, vek, &CaSpec::above(vek));
        assert_eq!(error.what, "the kind of key that signed the report");
        assert_eq!(error.reason, Reason::Collateral);
    }
    // Another key than the one that signed.
    let (amd, other) = (TestAmd::shared(), TestAmd::generate());
    let mut report = amd.report(&vcek, |_| {});
    other.sign_report(&mut report);
    let error = appraise(&report, &amd.endorsements(&vcek), &amd.roots(), no_crl, NOW).unwrap_err();
    assert_eq!((error.reason, error.what.as_str()), (Reason::QuoteSignature, "the signature of the report"));
}

#[test]
fn certificates_of_a_wrong_form() {
    let vcek = VekSpec::vcek(SnpProduct::Milan);
    let above = CaSpec::above(&vcek);
    let p256 = crate::hop_key::HopKey::generate().unwrap().spki().to_vec();
    let cases = [
        ("a short identifier", VekSpec { hwid: Some(vec![0xC4; 8]), ..vcek.clone() }),
        ("chip and cloud", VekSpec { csp_id: Some("cloud"), ..vcek.clone() }),
        ("neither", VekSpec { hwid: None, ..vcek.clone() }),
        (
            "a TCB part twice",
            VekSpec { further: vec![extension(&amd_oid(&[3, 8]), false, &integer(115))], ..vcek.clone() },
        ),
        (
            "an unknown critical extension",
            VekSpec { further: vec![extension(&[0x55, 0x1d, 0x36], true, &[5, 0])], ..vcek.clone() },
        ),
        ("P-256", VekSpec { key: Some(p256), ..vcek.clone() }),
    ];
    for (what, vek) in cases {
        let error = with_chain(&vcek, &vek, &above);
        assert_eq!(error.reason, Reason::Collateral, "{what}: {error}");
        assert_eq!(error.what, "the certificate of the VCEK or VLEK", "{what}: {error}");
    }
    // A certificate of Turin states the version of the fmc; one in Milan's layout does not.
    let turin = VekSpec { issuer: "SEV-Turin".into(), hwid: Some(vec![0xC4; 8]), ..vcek.clone() };
    let error = with_chain(&vcek, &turin, &CaSpec { product: SnpProduct::Turin, ..CaSpec::above(&turin) });
    assert_eq!((error.reason, error.expected.as_str()), (Reason::Collateral, "the TCB's part 9"));
}

#[test]
fn a_chain_that_is_broken() {
    let vcek = VekSpec::vcek(SnpProduct::Milan);
    let above = CaSpec::above(&vcek);
    let signature = |vek: &VekSpec, ca: &CaSpec, what: &str| {
        let error = with_chain(&vcek, vek, ca);
        assert_eq!((error.reason, error.what.as_str()), (Reason::QuoteSignature, what), "{error}");
    };
    signature(&vcek, &CaSpec { ca: false, ..above.clone() }, "the ASK or ASVK");
    signature(&vcek, &CaSpec { key_usage: 0x80, ..above.clone() }, "the ASK or ASVK");
    signature(&vcek, &CaSpec { subject: "SEV-Rome".into(), ..above }, "the VCEK or VLEK");
    let subject = VekSpec { subject: "SEV-VLEK".into(), ..vcek.clone() };
    signature(&subject, &above, "the VCEK or VLEK");
    // The CA for VLEKs may not certify a chip.
    let issuer = VekSpec { issuer: "SEV-VLEK-Milan".into(), ..vcek.clone() };
    signature(&issuer, &CaSpec::above(&issuer), "the issuer of the VCEK or VLEK");

    for (what, vek, ca) in [
        ("the VCEK or VLEK", VekSpec { window: (Timestamp(1), Timestamp(NOW.0 - 1)), ..vcek.clone() }, above.clone()),
        (
            "the VCEK or VLEK",
            VekSpec { window: (Timestamp(NOW.0 + 1), Timestamp(NOW.0 + YEAR)), ..vcek.clone() },
            above.clone(),
        ),
        ("the ASK or ASVK", vcek.clone(), CaSpec { window: (Timestamp(1), Timestamp(NOW.0 - 1)), ..above }),
    ] {
        let error = with_chain(&vcek, &vek, &ca);
        assert_eq!((error.reason, error.what.as_str()), (Reason::Expired, what), "{error}");
    }

    let amd = TestAmd::shared();
    let (good, report) = (amd.endorsements(&vcek), amd.report(&vcek, |_| {}));
    let with = |endorsements: &SnpEndorsements, roots: &[AmdRoot]| {
        appraise(&report, endorsements, roots, no_crl, NOW).unwrap_err()
    };
    let flipped = |der: &[u8], at: usize| {
        let mut der = der.to_vec();
        der[at] ^= 1;
        der
    };
    for (what, changed) in [
        ("the VCEK or VLEK", SnpEndorsements { vcek: flipped(&good.vcek, good.vcek.len() - 1), ..good.clone() }),
        ("the ASK or ASVK", SnpEndorsements { ask: flipped(&good.ask, good.ask.len() - 1), ..good.clone() }),
    ] {
        let error = with(&changed, &amd.roots());
        assert_eq!((error.reason, error.what.as_str()), (Reason::QuoteSignature, what), "{error}");
    }
    // Names fit and keys do not: another AMD's root, another AMD's chain, AMD's own root.
    let other = TestAmd::generate();
    assert_eq!(with(&good, &other.roots()).reason, Reason::QuoteSignature);
    let mixed = SnpEndorsements { ask: other.endorsements(&vcek).ask, ..good.clone() };
    assert_eq!(with(&mixed, &amd.roots()).reason, Reason::QuoteSignature);
    let error = with(&good, &amd_roots());
    assert_eq!((error.reason, error.what.as_str()), (Reason::QuoteSignature, "the root of the certificates"));
    assert_eq!(with(&good, &[]).reason, Reason::QuoteSignature);
    // Certificates that are none, or something behind them.
    for (vcek, ask) in [(b"".to_vec(), good.ask.clone()), (good.vcek.clone(), [&good.ask[..], &[0]].concat())] {
        assert_eq!(with(&SnpEndorsements { vcek, ask }, &amd.roots()).reason, Reason::Collateral);
    }
}

#[test]
fn revocation() {
    let amd = TestAmd::shared();
    let roots = amd.roots();
    let vcek = VekSpec::vcek(SnpProduct::Milan);
    let (report, endorsements) = (amd.report(&vcek, |_| {}), amd.endorsements(&vcek));
    let soon = (Timestamp(NOW.0 - 10), Timestamp(NOW.0 + 10));
    let with = |der: Vec<u8>, now| {
        // Kept while it was valid.
        let (_, crl) = Crl::verify(&der, &roots, NOW).unwrap();
        appraise(&report, &endorsements, &roots, |_| Some(crl), now)
    };
    let clean = with(amd.crl(SnpProduct::Milan, false, soon), NOW).unwrap();
    assert!(clean.revocation_checked);
    assert_eq!(clean.expires, soon.1);
    let none = appraise(&report, &endorsements, &roots, no_crl, NOW).unwrap();
    assert_ne!(clean.collateral, none.collateral);

    let error = with(amd.crl(SnpProduct::Milan, true, soon), NOW).unwrap_err();
    assert_eq!((error.reason, error.what.as_str()), (Reason::QuoteSignature, "the ASK or ASVK"));
    assert!(error.found.contains("on AMD's CRL"), "{error}");
    let error = with(amd.crl(SnpProduct::Milan, false, soon), Timestamp(NOW.0 + 11)).unwrap_err();
    assert_eq!((error.reason, error.what.as_str()), (Reason::Expired, "AMD's CRL"));
    let error = with(amd.crl(SnpProduct::Turin, false, soon), NOW).unwrap_err();
    assert_eq!((error.reason, error.what.as_str()), (Reason::Collateral, "AMD's CRL"), "another product's");

    let mut forged = amd.crl(SnpProduct::Milan, false, soon);
    *forged.last_mut().unwrap() ^= 1;
    let other = TestAmd::generate().crl(SnpProduct::Milan, false, soon);
    for der in [forged, other] {
        let error = Crl::verify(&der, &roots, NOW).unwrap_err();
        assert_eq!((error.reason, error.what.as_str()), (Reason::Collateral, "AMD's CRL"));
    }
    assert_eq!(Crl::verify(&[], &roots, NOW).unwrap_err().reason, Reason::Collateral);
}

/// Evidence whose report covers its claims.
fn evidence(spec: &VekSpec, masked: bool) -> Evidence {
    let claims = Claims::new(KeyId::of(b"key"), None);
    let report = TestAmd::shared().report(spec, |report| {
        report[0x50..0x90].copy_from_slice(UserData::of(&claims).as_bytes());
        if masked {
            report[0x1A0..0x1E0].fill(0);
        }
    });
    Evidence::new(EvidenceTag::SevSnp, report, claims).unwrap()
}

#[test]
fn through_the_appraiser() {
    use crate::appraise::Appraise as _;
    let amd = TestAmd::shared();
    let roots = TrustRoots::intel().with_amd(amd.roots());
    let appraiser = Appraiser::new(roots, Arc::new(CollateralBook::new()));
    let vcek = VekSpec::vcek(SnpProduct::Milan);
    let plain = evidence(&vcek, false);
    let error = appraiser.appraise(&plain, NOW).unwrap_err();
    assert_eq!((error.reason, error.found.as_str()), (Reason::Collateral, "none at hand"));

    // What belongs to another report, or to nobody's root, is not kept.
    let elsewhere = VekSpec { hwid: Some(vec![1; 64]), ..vcek.clone() };
    let error = appraiser.learn(&plain, &amd.endorsements(&elsewhere), NOW).unwrap_err();
    assert_eq!(error.reason, Reason::Collateral);
    let error = appraiser.learn(&plain, &TestAmd::generate().endorsements(&vcek), NOW).unwrap_err();
    assert_eq!(error.reason, Reason::QuoteSignature);
    assert!(appraiser.book().amd(Root::Amd).is_empty());

    // As they come in a peer's certificate.
    let sent = |chain| appraiser.learn_endorsements(&plain, &Endorsements::SevSnp(chain), NOW);
    assert_eq!(sent(amd.endorsements(&elsewhere)).unwrap_err().reason, Reason::Collateral);
    sent(amd.endorsements(&vcek)).unwrap();
    appraiser.learn(&plain, &amd.endorsements(&vcek), NOW).unwrap();
    assert_eq!(appraiser.book().amd(Root::Amd).len(), 1, "the same key once");
    assert_eq!(appraiser.appraise(&plain, NOW).unwrap().root, Root::Amd);
    // By the signature, where the report names no chip.
    assert_eq!(appraiser.appraise(&evidence(&vcek, true), NOW).unwrap().root, Root::Amd);
    // Not for another kind of key, nor for another TCB.
    let vlek = evidence(&VekSpec::vlek(SnpProduct::Milan), false);
    assert_eq!(appraiser.appraise(&vlek, NOW).unwrap_err().reason, Reason::Collateral);
    // A CRL that is at hand is used, and its end ends the appraisal.
    let soon = (Timestamp(NOW.0 - 10), Timestamp(NOW.0 + 10));
    let crl = amd.crl(SnpProduct::Milan, true, soon);
    appraiser.book().amd(Root::Amd).insert_crl(&crl, &amd.roots(), NOW).unwrap();
    assert_eq!(appraiser.appraise(&plain, NOW).unwrap_err().reason, Reason::QuoteSignature);

    let strict = Appraiser::new(TrustRoots::intel(), Arc::clone(appraiser.book()));
    assert_eq!(strict.appraise(&plain, NOW).unwrap_err().reason, Reason::Tee);
    let amds = Appraiser::new(TrustRoots::vendors(), Arc::clone(appraiser.book()));
    assert_eq!(amds.appraise(&plain, NOW).unwrap_err().reason, Reason::QuoteSignature, "not under AMD's own roots");
}

#[test]
fn a_book_does_not_grow_without_end() {
    let amd = TestAmd::shared();
    let (book, roots, spec) = (AmdBook::default(), amd.roots(), VekSpec::vcek(SnpProduct::Milan));
    book.insert(&amd.endorsements(&spec), &roots, NOW).unwrap();
    let report = SnpReport::parse(&amd.report(&spec, |_| {})).unwrap();
    assert!(book.find(&report).is_some());
    // Other chips, each with a key of its own.
    let ask = amd.ca(&CaSpec::above(&spec));
    for id in 0..AmdBook::MAX_CHAINS as u32 {
        let mut key = amd.vek_spki();
        let end = key.len() - 4;
        key[end..].copy_from_slice(&id.to_le_bytes());
        let hwid = Some(id.to_le_bytes().repeat(16));
        let vcek = amd.vek(&VekSpec { key: Some(key), hwid, ..spec.clone() });
        book.insert(&SnpEndorsements { vcek, ask: ask.clone() }, &roots, NOW).unwrap();
    }
    assert_eq!(book.len(), AmdBook::MAX_CHAINS);
    assert!(book.find(&report).is_none(), "the oldest went");
}

/// A report that names neither chip nor cloud is anybody's to send: few keys are tried on it, those in use first.
#[test]
fn few_keys_are_tried_on_a_report_that_names_none() {
    let amd = TestAmd::shared();
    let (book, roots, spec) = (AmdBook::default(), amd.roots(), VekSpec::vcek(SnpProduct::Milan));
    let ask = amd.ca(&CaSpec::above(&spec));
    let others = |range: std::ops::Range<u32>| {
        for id in range {
            let mut key = amd.vek_spki();
            let end = key.len() - 4;
            key[end..].copy_from_slice(&id.to_le_bytes());
            let hwid = Some(id.to_le_bytes().repeat(16));
            let vcek = amd.vek(&VekSpec { key: Some(key), hwid, ..spec.clone() });
            book.insert(&SnpEndorsements { vcek, ask: ask.clone() }, &roots, NOW).unwrap();
        }
    };
    book.insert(&amd.endorsements(&spec), &roots, NOW).unwrap();
    let report = |masked: bool| {
        let bytes = amd.report(&spec, |report| {
            if masked {
                report[0x1A0..0x1E0].fill(0);
            }
        });
        SnpReport::parse(&bytes).unwrap()
    };
    others(0..7);
    assert!(book.find(&report(true)).is_some(), "one of the last eight");
    // Found, it counts as the last: seven more do not push it out, and eight do.
    others(7..14);
    assert!(book.find(&report(true)).is_some());
    others(14..22);
    assert!(book.find(&report(true)).is_none());
    // Its chip named, it is found among any number.
    assert!(book.find(&report(false)).is_some());
    // And its certificate, which comes along where the chip is hidden, brings it back.
    book.insert(&amd.endorsements(&spec), &roots, NOW).unwrap();
    assert!(book.find(&report(true)).is_some());
}

/// AMD's own: a Milan report with its VCEK, and a VCEK of Turin.
#[test]
fn real_ones() {
    let Some(folder) = vectors("real_ones") else { return };
    let read = |name: &str| std::fs::read(folder.join("snp").join(name)).unwrap();
    let ask = |name: &str| {
        let pem = String::from_utf8(read(name)).unwrap();
        crate::appraise::pem_certificates(&pem).unwrap().remove(0)
    };
    let at = |time: &str| time.parse::<Timestamp>().unwrap();
    let now = at("2025-01-01T00:00:00Z");
    let report = hex::decode(read("report_milan.hex")).unwrap();
    let milan = SnpEndorsements { vcek: read("vcek_milan.der"), ask: ask("cert_chain_milan") };
    let found = appraise(&report, &milan, &amd_roots(), no_crl, now).unwrap();
    assert_eq!((found.tee, found.root, found.debug), (Tee::SevSnp, Root::Amd, false));
    assert_eq!(found.tcb_status, TcbStatus::UpToDate);
    let tcb = SnpTcb { fmc: None, bootloader: 3, tee: 0, snp: 8, microcode: 115 };
    assert_eq!(found.platform.snp, Some(SnpPlatform { product: SnpProduct::Milan, tcb }));
    assert_eq!(found.expires, at("2030-04-03T19:23:43Z"));
    admit(&Policy::genuine_only(), &found).unwrap();

    let late = appraise(&report, &milan, &amd_roots(), no_crl, at("2030-04-04T00:00:00Z")).unwrap_err();
    assert_eq!(late.reason, Reason::Expired);
    let mut changed = report.clone();
    changed[0x90] ^= 1;
    let error = appraise(&changed, &milan, &amd_roots(), no_crl, now).unwrap_err();
    assert_eq!((error.reason, error.what.as_str()), (Reason::QuoteSignature, "the signature of the report"));

    // The chain of Turin verifies; the report is of another chip, so it goes no further.
    let turin = SnpEndorsements { vcek: read("vcek_turin.der"), ask: ask("cert_chain_turin") };
    let vek = chain::verify(&turin, &amd_roots(), now).unwrap();
    assert_eq!((vek.product, vek.kind), (SnpProduct::Turin, SigningKey::Vcek));
    assert_eq!(vek.tcb, [0, 0, 0, 0, 0, 0, 0, 9]);
    assert_eq!(hex::encode(&vek.chip_id.unwrap()[..9]), "1e550a8ee5cf9f4d00");
    assert_eq!(appraise(&report, &turin, &amd_roots(), no_crl, now).unwrap_err().reason, Reason::Collateral);
    let mixed = SnpEndorsements { ask: milan.ask, ..turin };
    assert_eq!(appraise(&report, &mixed, &amd_roots(), no_crl, now).unwrap_err().reason, Reason::QuoteSignature);
}
