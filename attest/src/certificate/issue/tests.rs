use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::super::testing::{NOW, PaperAttester, hop};
use super::super::{KeyAlgorithm, MAX_CERTIFICATE_LEN};
use super::*;
use crate::evidence::{EvidenceError, IntelEndorsements};
use crate::quote::testing;
use crate::tee::Tee;

fn sgx() -> PaperAttester {
    PaperAttester(EvidenceTag::IntelQuote, Some(testing::sgx_v3))
}

fn endorsements(size: usize) -> Endorsements {
    let collateral = IntelEndorsements {
        version: 3,
        tcb_info: vec![1; size],
        tcb_issuer_chain: vec![2],
        pck_crl: vec![3],
        root_ca_crl: vec![4],
        pck_crl_issuer_chain: vec![5],
        qe_identity: vec![6],
        qe_issuer_chain: vec![7],
    };
    Endorsements::Intel(collateral)
}

#[test]
fn a_peer_reads_what_was_issued() {
    for (attester, tee) in [
        (sgx(), Tee::Sgx),
        (PaperAttester(EvidenceTag::IntelQuote, Some(testing::tdx_v4)), Tee::Tdx),
        (PaperAttester(EvidenceTag::Simulated, Some(testing::tdx_v5)), Tee::Tdx),
        (PaperAttester(EvidenceTag::SevSnp, Some(testing::snp)), Tee::SevSnp),
        (PaperAttester(EvidenceTag::Null, None), Tee::None),
    ] {
        let key = HopKey::generate().unwrap();
        let certificate = issue(&key, &attester, hop(), NOW).unwrap();
        assert_eq!(certificate.kid(), key.kid());
        assert_eq!(certificate.not_before(), Timestamp(NOW.0 - 300));
        assert_eq!(certificate.not_after(), hop().not_after);
        assert_eq!(certificate.evidence().tee(), tee);

        let read = parse(certificate.der(), NOW).unwrap();
        assert_eq!((read.spki.as_slice(), read.kid, read.key), (key.spki(), key.kid(), KeyAlgorithm::EcdsaP256));
        assert_eq!(read.evidence.as_ref(), Some(certificate.evidence()));
        assert_eq!(read.evidence.unwrap().claims().hop(), Some(&hop()));
        assert_eq!((read.not_before, read.not_after), (certificate.not_before(), certificate.not_after()));
        assert_eq!((read.endorsements, read.has_legacy_evidence), (None, false));
    }
}

#[test]
fn has_the_form_that_others_want() {
    let key = HopKey::generate().unwrap();
    let certificate = issue(&key, &sgx(), hop(), NOW).unwrap();
    let (_, read) = X509Certificate::from_der(certificate.der()).unwrap();
    assert_eq!(read.subject(), read.issuer());
    assert_eq!(read.raw_serial().len(), 16);
    assert!(read.raw_serial()[0] & 0x80 == 0);
    let constraints = read.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && !constraints.value.ca);
    assert!(read.key_usage().unwrap().unwrap().value.digital_signature());
    let usage = read.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && usage.client_auth);
    let extensions = read.extensions_map().unwrap();
    let value = |id: &[u64]| extensions[&x509_parser::der_parser::oid::Oid::from(id).unwrap()];
    // The subject key identifier, and the same as the authority's.
    assert_eq!(value(&[2, 5, 29, 14]).value[2..], value(&[2, 5, 29, 35]).value[4..]);
    // The evidence is CBOR directly, not an OCTET STRING within.
    let evidence = value(TAGGED_EVIDENCE);
    assert!(!evidence.critical);
    assert_eq!(evidence.value, certificate.evidence().blob());
    assert_eq!(evidence.value[..3], [0xd9, 0xea, 0x60]);

    let other = issue(&key, &sgx(), hop(), NOW).unwrap();
    assert_ne!(X509Certificate::from_der(other.der()).unwrap().1.raw_serial(), read.raw_serial());
}

#[test]
fn the_tls_library_verifies_a_handshake_with_it() {
    let key = HopKey::generate().unwrap();
    let certificate = issue_with_endorsements(&key, &sgx(), hop(), Some(&endorsements(100)), NOW).unwrap();
    let der = CertificateDer::from(certificate.der());
    let end_entity = webpki::EndEntityCert::try_from(&der).unwrap();
    let signature = key.sign_asn1(b"handshake").unwrap();
    let algorithm = webpki::aws_lc_rs::ECDSA_P256_SHA256;
    assert!(end_entity.verify_signature(algorithm, b"handshake", &signature).is_ok());
    assert!(end_entity.verify_signature(algorithm, b"another", &signature).is_err());
}

#[test]
fn carries_endorsements_within_their_bound() {
    let key = HopKey::generate().unwrap();
    let issue = |size| issue_with_endorsements(&key, &sgx(), hop(), Some(&endorsements(size)), NOW);
    let certificate = issue(40_000).unwrap();
    assert_eq!(parse(certificate.der(), NOW).unwrap().endorsements, Some(endorsements(40_000)));
    assert!(certificate.der().len() <= MAX_CERTIFICATE_LEN);
    assert!(matches!(issue(Endorsements::MAX_LEN), Err(IssueError::EndorsementsTooLarge { max: 49152, .. })));
    let null = PaperAttester(EvidenceTag::Null, None);
    let error = issue_with_endorsements(&key, &null, hop(), Some(&endorsements(1)), NOW).unwrap_err();
    assert!(matches!(error, IssueError::Refused(crate::certificate::CertificateError::EndorsementsKind)));
}

#[test]
fn there_is_no_certificate_without_evidence() {
    let key = HopKey::generate().unwrap();
    let refused = |attester: &PaperAttester, hop| issue(&key, attester, hop, NOW).unwrap_err();
    let error = refused(&PaperAttester(EvidenceTag::IntelQuote, None), hop());
    assert!(matches!(error, IssueError::Attester(_)));
    assert_eq!(error.reason(), crate::Reason::Internal);
    // An attester that ignores what it was asked for, as one whose buffer another thread has written to.
    let error = refused(&PaperAttester(EvidenceTag::IntelQuote, Some(|_| testing::sgx_v3(&[1; 64]))), hop());
    assert!(matches!(error, IssueError::Evidence(EvidenceError::UserData { .. })));
    let error = refused(&PaperAttester(EvidenceTag::IntelQuote, Some(|_| Vec::new())), hop());
    assert!(matches!(error, IssueError::Evidence(EvidenceError::Quote(_))));
    let error = refused(&sgx(), HopClaims { chain_role: "r".repeat(65), ..hop() });
    assert!(matches!(error, IssueError::Evidence(EvidenceError::Role { .. })));
    for not_after in [NOW, Timestamp(0), Timestamp(u64::MAX)] {
        let error = refused(&sgx(), HopClaims { not_after, ..hop() });
        assert!(matches!(error, IssueError::Window { .. }));
    }
}

#[test]
fn the_padding_of_a_platform_is_cut() {
    let key = HopKey::generate().unwrap();
    let padding = PaperAttester(EvidenceTag::IntelQuote, Some(|data| [testing::tdx_v4(data), vec![0; 3065]].concat()));
    let certificate = issue(&key, &padding, hop(), NOW).unwrap();
    assert_eq!(certificate.evidence().quote().len(), testing::tdx_v4(&[0; 64]).len());
}
