//! One bit at each layer, and each refusal by its reason.

use std::sync::Arc;
use std::time::Duration;

use dcap_qvl::QuoteCollateralV3;

use super::simulated::{NOW, World};
use crate::appraise::{AppraisalError, Appraiser, Collateral, CollateralBook, Root, TrustRoots};
use crate::sim::{CollateralSpec, QuoteFormat, SimAttester, SimPlatform, SimSpec};
use crate::tee::{EvidenceTag, Tee};
use crate::{Reason, Timestamp};

/// Where things stand in a quote.
struct Layout {
    body: usize,
    signature: usize,
    attestation_key: usize,
    qe_report: usize,
    qe_signature: usize,
    auth_data: usize,
    chain: usize,
}

fn layout(format: QuoteFormat) -> Layout {
    let (signed, nested) = match format {
        QuoteFormat::SgxV3 => (48 + 384, 0),
        QuoteFormat::TdxV4 => (48 + 584, 6),
        QuoteFormat::TdxV5 => (48 + 6 + 648, 6),
    };
    let signature = signed + 4;
    let qe_report = signature + 128 + nested;
    Layout {
        body: 48 + 6 + 20,
        signature,
        attestation_key: signature + 64,
        qe_report,
        qe_signature: qe_report + 384,
        auth_data: qe_report + 384 + 64 + 2,
        chain: qe_report + 384 + 64 + 2 + 32 + 6,
    }
}

fn specs() -> [SimSpec; 3] {
    let tdx = SimSpec::tdx("a");
    [SimSpec::sgx("a"), tdx.clone(), SimSpec { format: QuoteFormat::TdxV5, ..tdx }]
}

fn refused(appraiser: &Appraiser, quote: &[u8]) -> AppraisalError {
    appraiser.appraise_quote(EvidenceTag::Simulated, quote, NOW).unwrap_err()
}

#[test]
fn a_bit_of_the_quote() {
    let world = World::new();
    for spec in specs() {
        let quote = world.quote(spec.clone());
        let at = layout(spec.format);
        let offsets = [
            (at.body, "body"),
            (at.signature + 5, "signature"),
            (at.attestation_key + 5, "attestation key"),
            (at.qe_report + 70, "QE report"),
            (at.qe_signature + 5, "QE report signature"),
            (at.auth_data, "QE authentication data"),
        ];
        for (offset, what) in offsets {
            let mut changed = quote.clone();
            changed[offset] ^= 1;
            let error = refused(&world.appraiser, &changed);
            assert_eq!(error.reason, Reason::QuoteSignature, "{what} of {:?}: {error}", spec.format);
        }
    }
}

/// Replaces the PEM chain in a quote of SGX v3, whose lengths are the simplest.
fn with_chain(quote: &[u8], chain: &str) -> Vec<u8> {
    let at = layout(QuoteFormat::SgxV3);
    let mut changed = quote[..at.chain - 4].to_vec();
    changed.extend((chain.len() as u32).to_le_bytes());
    changed.extend(chain.as_bytes());
    let length = (changed.len() - at.signature) as u32;
    changed[at.signature - 4..at.signature].copy_from_slice(&length.to_le_bytes());
    changed
}

fn chain_of(quote: &[u8]) -> Vec<Vec<u8>> {
    let pem = std::str::from_utf8(&quote[layout(QuoteFormat::SgxV3).chain..]).unwrap();
    crate::appraise::pem_certificates(pem).unwrap()
}

fn pem(ders: &[Vec<u8>]) -> String {
    crate::sim::pem_chain(&ders.iter().map(|der| &der[..]).collect::<Vec<_>>())
}

#[test]
fn the_pck_chain() {
    let world = World::new();
    let quote = world.quote(SimSpec::sgx("a"));
    let chain = chain_of(&quote);
    assert_eq!(with_chain(&quote, &pem(&chain)), quote);

    let mut forged = chain.clone();
    *forged[0].last_mut().unwrap() ^= 1;
    let error = refused(&world.appraiser, &with_chain(&quote, &pem(&forged)));
    assert_eq!(error.reason, Reason::QuoteSignature, "{error}");
    assert_eq!(error.what, "the quote's PCK certificate chain");

    let error = refused(&world.appraiser, &with_chain(&quote, &pem(&chain[..1])));
    assert_eq!(error.reason, Reason::QuoteSignature, "no CA: {error}");
    let error = refused(&world.appraiser, &with_chain(&quote, ""));
    assert_eq!(error.reason, Reason::EvidenceForm, "no certificate: {error}");
    let error = refused(
        &world.appraiser,
        &with_chain(&quote, "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"),
    );
    assert_eq!(error.reason, Reason::EvidenceForm, "{error}");

    // A PCK certificate of the same platform, but of another of its keys' worlds: the QE report is not signed by it.
    let other = Arc::new(SimPlatform::generate(NOW).unwrap());
    let others = chain_of(&SimAttester::new(&other, SimSpec::sgx("a")).unwrap().quote_over(&[7; 64]).unwrap());
    let error = refused(&world.appraiser, &with_chain(&quote, &pem(&others)));
    assert_eq!(error.reason, Reason::Collateral, "another platform's FMSPC has no collateral here: {error}");

    let revoking = CollateralSpec {
        revoked_pcks: vec![SimAttester::new(&world.platform, SimSpec::sgx("a")).unwrap().pck_serial().to_vec()],
        ..CollateralSpec::at(Tee::Sgx, NOW)
    };
    let error = refused(&world.with_collateral(&revoking), &quote);
    assert_eq!(error.reason, Reason::QuoteSignature, "{error}");
    assert!(error.found.contains("Revoked"), "{error}");
}

#[test]
fn bytes_behind_the_quote_and_within_its_lengths() {
    let world = World::new();
    for spec in specs() {
        let quote = world.quote(spec.clone());
        let longer = [&quote[..], &[0]].concat();
        assert_eq!(refused(&world.appraiser, &longer).reason, Reason::EvidenceForm);
        for cut in [0, 1, 47, 48, 400, quote.len() - 1] {
            assert_eq!(refused(&world.appraiser, &quote[..cut]).reason, Reason::EvidenceForm, "{cut}");
        }
        // The library reads such a quote: the length of the signature counts one byte that nothing is in.
        let at = layout(spec.format);
        let mut padded = longer;
        let length = (padded.len() - at.signature) as u32;
        padded[at.signature - 4..at.signature].copy_from_slice(&length.to_le_bytes());
        let error = refused(&world.appraiser, &padded);
        assert_eq!((error.reason, error.what.as_str()), (Reason::EvidenceForm, "the length of the quote"));
        if spec.format != QuoteFormat::SgxV3 {
            // And one more, in the certification data.
            let outer = at.qe_report - 4;
            let length = (padded.len() - at.qe_report) as u32;
            padded[outer..outer + 4].copy_from_slice(&length.to_le_bytes());
            let error = refused(&world.appraiser, &padded);
            assert_eq!((error.reason, error.what.as_str()), (Reason::EvidenceForm, "QE report certification data"));
        }
    }
}

/// Appraises with changed collateral; also what `verify` says of it.
fn with_changed(world: &World, change: impl FnOnce(&mut QuoteCollateralV3)) -> (AppraisalError, AppraisalError) {
    let mut set = world.platform.collateral(Tee::Sgx).unwrap().as_set().clone();
    change(&mut set);
    let collateral = Collateral::new(set).unwrap();
    let verified = collateral.verify(world.platform.root_der(), NOW).unwrap_err();
    let book = CollateralBook::new();
    book.insert(Root::Simulated, Arc::new(collateral)).unwrap();
    let appraiser = Appraiser::new(world.appraiser.roots().clone(), Arc::new(book));
    (refused(&appraiser, &world.quote(SimSpec::sgx("a"))), verified)
}

#[test]
fn a_bit_of_the_collateral() {
    type Change = fn(&mut QuoteCollateralV3);
    let world = World::new();
    for tee in [Tee::Sgx, Tee::Tdx] {
        world.platform.collateral(tee).unwrap().verify(world.platform.root_der(), NOW).unwrap();
    }
    let changes: [(&str, Change); 10] = [
        ("TCB info", |set| set.tcb_info = set.tcb_info.replace("UpToDate", "OutOfDate")),
        ("TCB info signature", |set| set.tcb_info_signature[3] ^= 1),
        ("TCB info signature length", |set| set.tcb_info_signature.truncate(10)),
        ("QE identity", |set| set.qe_identity = set.qe_identity.replace("Revoked", "UpToDate")),
        ("QE identity signature", |set| set.qe_identity_signature[3] ^= 1),
        ("PCK CRL", |set| *set.pck_crl.last_mut().unwrap() ^= 1),
        ("root CA CRL", |set| *set.root_ca_crl.last_mut().unwrap() ^= 1),
        ("TCB signer", |set| set.tcb_info_issuer_chain = set.pck_crl_issuer_chain.clone()),
        ("QE identity signer", |set| set.qe_identity_issuer_chain = set.pck_crl_issuer_chain.clone()),
        ("CRLs for one another", |set| set.root_ca_crl = set.pck_crl.clone()),
    ];
    for (what, change) in changes {
        let (error, verified) = with_changed(&world, change);
        assert_eq!(error.reason, Reason::Collateral, "{what}: {error}");
        assert_eq!(verified.reason, Reason::Collateral, "{what}: {verified}");
    }
}

/// Every bit: the parts that nothing signs are held to their one encoding.
#[test]
fn any_bit_of_a_list_of_revoked_certificates() {
    let world = World::new();
    let set = world.platform.collateral(Tee::Sgx).unwrap().as_set().clone();
    let whole =
        |set: QuoteCollateralV3| Collateral::new(set).and_then(|set| set.verify(world.platform.root_der(), NOW));
    whole(set.clone()).unwrap();
    let lists: [fn(&mut QuoteCollateralV3) -> &mut Vec<u8>; 2] = [|set| &mut set.root_ca_crl, |set| &mut set.pck_crl];
    for list in lists {
        for bit in 0..list(&mut set.clone()).len() * 8 {
            let mut changed = set.clone();
            list(&mut changed)[bit / 8] ^= 1 << (bit % 8);
            assert!(whole(changed).is_err(), "bit {} of byte {}", bit % 8, bit / 8);
        }
    }
}

#[test]
fn authorities_out_of_their_place() {
    let world = World::new();
    let keys = world.platform.keys.as_ref().unwrap();
    let revoke = |der: &[u8]| {
        let serial = crate::appraise::x509::parse(der).unwrap().raw_serial().to_vec();
        keys.root.crl(NOW, NOW.plus(Duration::from_secs(60)), &[serial]).unwrap()
    };
    for (what, der) in [("PCK CA", &keys.pck_ca.der), ("TCB signer", &keys.tcb_signer.der)] {
        let (error, verified) = with_changed(&world, |set| set.root_ca_crl = revoke(der));
        assert_eq!((verified.reason, verified.what.as_str()), (Reason::Collateral, what));
        assert!(verified.found.contains("on the CRL"), "{verified}");
        assert_eq!(error.reason, Reason::Collateral, "{error}");
    }
    // The PCK CA signs certificates, not TCB info, though the root stands behind it too.
    let (error, verified) = with_changed(&world, |set| {
        set.tcb_info_signature = keys.pck_ca.key.sign(set.tcb_info.as_bytes()).unwrap().to_vec();
        set.tcb_info_issuer_chain = set.pck_crl_issuer_chain.clone();
    });
    assert_eq!((verified.reason, verified.what.as_str()), (Reason::Collateral, "TCB signer"));
    assert_eq!(error.reason, Reason::Collateral, "{error}");
}

#[test]
fn out_of_its_time() {
    let world = World::new();
    let quote = world.quote(SimSpec::sgx("a"));
    let good = CollateralSpec::at(Tee::Sgx, NOW);
    let (past, future) = (Timestamp(NOW.0 - 1), Timestamp(NOW.0 + 1));
    let cases = [
        ("expired TCB info", CollateralSpec { next_update: past, ..good.clone() }),
        ("TCB info of tomorrow", CollateralSpec { issued: future, ..good.clone() }),
        ("expired CRL", CollateralSpec { crl_next_update: past, ..good.clone() }),
    ];
    for (what, spec) in cases {
        let collateral = world.platform.collateral_with(&spec).unwrap();
        let error = collateral.verify(world.platform.root_der(), NOW).unwrap_err();
        assert_eq!(error.reason, Reason::Expired, "{what}: {error}");
        let error = refused(&world.with_collateral(&spec), &quote);
        assert_eq!(error.reason, Reason::Expired, "{what}: {error}");
    }
    // The library does not look at a CRL's thisUpdate; what is kept was verified by us, and we do.
    let early = world.platform.collateral_with(&CollateralSpec { crl_issued: future, ..good }).unwrap();
    assert_eq!(early.verify(world.platform.root_der(), NOW).unwrap_err().reason, Reason::Expired);

    // The certificates: ten years on, with collateral of that time.
    let later = NOW.plus(Duration::from_secs(11 * 365 * 86_400));
    let spec = CollateralSpec::at(Tee::Sgx, later);
    let error = world.with_collateral(&spec).appraise_quote(EvidenceTag::Simulated, &quote, later).unwrap_err();
    assert_eq!(error.reason, Reason::Expired, "{error}");
}

#[test]
fn collateral_of_something_else() {
    let world = World::new();
    let quote = world.quote(SimSpec::sgx("a"));
    let parsed = crate::appraise::dcap::ParsedQuote::parse(EvidenceTag::Simulated, &quote).unwrap();
    let appraise = |collateral: &Collateral| parsed.appraise(world.platform.root_der(), collateral, NOW).unwrap_err();

    let tdx = world.platform.collateral(Tee::Tdx).unwrap();
    assert_eq!(appraise(tdx).reason, Reason::Tee);

    let good = CollateralSpec::at(Tee::Sgx, NOW);
    let other = CollateralSpec { fmspc: Some([9; 6]), ..good.clone() };
    let error = appraise(&world.platform.collateral_with(&other).unwrap());
    assert_eq!(error.reason, Reason::Collateral);
    assert!(error.found.contains("090909090909"), "{error}");
    // Through the appraiser it is simply not there.
    let error = refused(&world.with_collateral(&other), &quote);
    assert_eq!((error.reason, error.found.as_str()), (Reason::Collateral, "none at hand"));

    // The library accepts a pceId of another PCE.
    let other = CollateralSpec { pce_id: [0, 1], ..good };
    let error = refused(&world.with_collateral(&other), &quote);
    assert_eq!((error.reason, error.what.as_str()), (Reason::Collateral, "the pceId of the TCB info"));
    assert_eq!((error.expected.as_str(), error.found.as_str()), ("0000", "0001"));

    // TCB info for one TEE beside QE identity for the other.
    let mut mixed = world.platform.collateral(Tee::Sgx).unwrap().as_set().clone();
    mixed.qe_identity = tdx.as_set().qe_identity.clone();
    assert_eq!(Collateral::new(mixed).unwrap_err().reason, Reason::Tee);
}

#[test]
fn simulated_is_never_taken_for_genuine() {
    let world = World::new();
    let quote = world.quote(SimSpec::sgx("a"));
    let error = world.appraiser.appraise_quote(EvidenceTag::IntelQuote, &quote, NOW).unwrap_err();
    assert_eq!(error.reason, Reason::Simulated);
    assert!(error.to_string().contains("simulated evidence under the tag of genuine evidence"), "{error}");

    // Even with the simulated collateral in the genuine drawer.
    let book = CollateralBook::new();
    book.insert(Root::Intel, Arc::new(world.platform.collateral(Tee::Sgx).unwrap().clone())).unwrap();
    let misled = Appraiser::new(world.appraiser.roots().clone(), Arc::new(book));
    assert_eq!(misled.appraise_quote(EvidenceTag::IntelQuote, &quote, NOW).unwrap_err().reason, Reason::Simulated);

    // Nobody named a simulated platform.
    let strict = Appraiser::new(TrustRoots::intel(), Arc::clone(world.appraiser.book()));
    let error = refused(&strict, &quote);
    assert_eq!(error.reason, Reason::Simulated, "{error}");

    // Another simulated platform than the trusted one.
    let other = World::new();
    let error = refused(&other.appraiser, &quote);
    assert_eq!(error.reason, Reason::Collateral, "{error}");
    let book = Arc::clone(world.appraiser.book());
    let confused = Appraiser::new(other.appraiser.roots().clone(), book);
    let error = refused(&confused, &quote);
    assert_eq!(error.reason, Reason::Collateral, "its collateral does not end in the trusted root: {error}");
}

#[test]
fn whatever_byte_is_changed() {
    let world = World::new();
    // About one byte in seventeen, all over the quote; the step is prime, so that it meets every field and the PEM.
    for spec in specs() {
        let quote = world.quote(spec);
        let good = world.appraiser.appraise_quote(EvidenceTag::Simulated, &quote, NOW).unwrap();
        for offset in (0..quote.len()).step_by(17) {
            for bit in [0x01, 0x80] {
                let mut changed = quote.clone();
                changed[offset] ^= bit;
                // What no signature covers may change (types of certification data, the root in the chain): it must
                // not change what is found.
                if let Ok(appraised) = world.appraiser.appraise_quote(EvidenceTag::Simulated, &changed, NOW) {
                    assert_eq!(appraised, good, "byte {offset}");
                }
            }
        }
    }
}

#[test]
fn what_a_peer_chose_is_printed_safely() {
    let error = AppraisalError::new(Reason::EvidenceForm, "x", "y", "a\nb\u{1b}[31m".repeat(1000));
    assert!(!error.found.chars().any(char::is_control));
    assert_eq!(error.found.chars().count(), 512);
}
