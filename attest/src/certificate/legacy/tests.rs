use rcgen::{PublicKeyData, SigningKey};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::super::testing::{
    NOW, TAGGED_EVIDENCE, assemble, changed, evidence, real_certificates, replace, signed, with,
};
use super::super::{parse, parse_interoperable};
use super::*;
use crate::Reason;
use crate::hop_key::HopKey;
use crate::quote::testing;

const QUOTE: &[u64] = &[1, 2, 840, 113741, 1337, 6];
const GRAMINE_QUOTE: &[u64] = &[0, 6, 9, 42, 840, 113741, 1337, 6];
const VERSION_3: &[u8] = &[0xa0, 3, 2, 1, 2];

fn quote_over(hashed: &[u8]) -> Vec<u8> {
    let mut user_data = [0; 64];
    user_data[..32].copy_from_slice(Digest::of(hashed).as_bytes());
    testing::sgx_v3(&user_data)
}

fn refusal(der: &[u8]) -> CertificateError {
    parse_legacy(der, NOW).unwrap_err()
}

#[test]
fn reads_both_identifiers() {
    let key = HopKey::generate().unwrap();
    let quote = quote_over(key.spki());
    for id in [QUOTE, GRAMINE_QUOTE] {
        let der = signed(&with(&[(id, &quote)]), &key);
        let read = parse_legacy(&der, NOW).unwrap();
        assert_eq!((read.spki.as_slice(), read.kid), (key.spki(), key.kid()));
        assert_eq!((read.quote.as_slice(), read.key_hash), (quote.as_slice(), key.kid().0));
        assert_eq!((read.version, read.key), (3, KeyAlgorithm::EcdsaP256));
        assert_eq!(parse(&der, NOW).unwrap().evidence, None, "never reached by `parse`");
    }
    let both = signed(&with(&[(QUOTE, &quote), (GRAMINE_QUOTE, &quote)]), &key);
    assert_eq!(refusal(&both), CertificateError::TwoEvidences);
    let twice = signed(&with(&[(QUOTE, &quote), (QUOTE, &quote)]), &key);
    assert_eq!(refusal(&twice), CertificateError::TwoEvidences);
}

/// enclave-tls: RSA, the hash of the PKCS#1 key, version "v4", a padded quote.
#[test]
fn reads_what_enclave_tls_writes() {
    let rsa = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_3072).unwrap();
    let quote = quote_over(rsa.public_key_raw());
    let padded = [quote.as_slice(), &[0; 70]].concat();
    let der = with(&[(QUOTE, &padded)]).self_signed(&rsa).unwrap().der().to_vec();
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    let mut tbs = certificate.tbs_certificate.as_ref().to_vec();
    replace(&mut tbs, VERSION_3, &[0xa0, 3, 2, 1, 3]);
    const SHA256_WITH_RSA: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00";
    let version_4 = assemble(&tbs, SHA256_WITH_RSA, &rsa.sign(&tbs).unwrap());

    for (der, version) in [(der, 3), (version_4, 4)] {
        let read = parse_legacy(&der, NOW).unwrap();
        assert_eq!((read.version, read.key), (version, KeyAlgorithm::Rsa));
        assert_eq!(read.quote, quote);
        assert_eq!(read.key_hash, Digest::of(rsa.public_key_raw()));
        assert_eq!(read.spki, rsa.subject_public_key_info());
        if version == 4 {
            assert_eq!(parse_interoperable(&der, NOW), Err(CertificateError::Version { found: 4 }));
        }
    }
    // The hash of the whole SubjectPublicKeyInfo is what EC keys have.
    let quote = quote_over(&rsa.subject_public_key_info());
    let der = with(&[(QUOTE, &quote)]).self_signed(&rsa).unwrap().der().to_vec();
    assert!(matches!(refusal(&der), CertificateError::LegacyKeyMismatch { .. }));
}

#[test]
fn version_4_is_read_as_strictly() {
    let key = HopKey::generate().unwrap();
    let der = signed(&with(&[(QUOTE, &quote_over(key.spki()))]), &key);
    let version_4 = |tbs: &mut Vec<u8>| replace(tbs, VERSION_3, &[0xa0, 3, 2, 1, 3]);
    assert_eq!(parse_legacy(&changed(&der, &key, version_4), NOW).unwrap().version, 4);
    let junk = changed(&der, &key, |tbs| {
        version_4(tbs);
        tbs.extend([5, 0]);
        let len = u16::from_be_bytes([tbs[2], tbs[3]]) + 2;
        tbs[2..4].copy_from_slice(&len.to_be_bytes());
    });
    assert!(matches!(refusal(&junk), CertificateError::Der(_)));
    let version_5 = changed(&der, &key, |tbs| replace(tbs, VERSION_3, &[0xa0, 3, 2, 1, 4]));
    assert_eq!(refusal(&version_5), CertificateError::Version { found: 5 });
    let other = HopKey::generate().unwrap();
    assert_eq!(refusal(&changed(&der, &other, version_4)), CertificateError::SelfSignature);
    let late = parse_legacy(&changed(&der, &key, version_4), Timestamp(NOW.0 + 4000)).unwrap_err();
    assert!(matches!(late, CertificateError::Expired { .. }));
}

#[test]
fn refuses_evidence_that_is_not_over_the_key() {
    let (key, other) = (HopKey::generate().unwrap(), HopKey::generate().unwrap());
    let error = refusal(&signed(&with(&[(QUOTE, &quote_over(other.spki()))]), &key));
    assert_eq!(error, CertificateError::LegacyKeyMismatch { claimed: other.kid().0, found: key.kid().0 });
    assert_eq!(error.reason(), Reason::Binding);
    let mut tail = [0; 64];
    tail[..32].copy_from_slice(key.kid().as_bytes());
    tail[32] = 1;
    assert_eq!(
        refusal(&signed(&with(&[(QUOTE, &testing::sgx_v3(&tail))]), &key)),
        CertificateError::LegacyUserDataTail
    );
    let short = quote_over(key.spki());
    let error = refusal(&signed(&with(&[(QUOTE, &short[..500])]), &key));
    assert!(matches!(error, CertificateError::LegacyQuote(_)));
    assert_eq!(refusal(&signed(&with(&[(QUOTE, &testing::tdx_v4(&tail))]), &key)), CertificateError::LegacyTee);
}

#[test]
fn refuses_other_kinds_by_name() {
    let key = HopKey::generate().unwrap();
    for kind in [8, 14, 20, 22, 24] {
        let der = signed(&with(&[(&[1, 2, 840, 113741, 1337, kind], b"x")]), &key);
        assert_eq!(refusal(&der), CertificateError::LegacyKind(format!("1.2.840.113741.1337.{kind}")));
    }
    let der = signed(&with(&[(TAGGED_EVIDENCE, evidence(&key).blob())]), &key);
    assert_eq!(refusal(&der), CertificateError::NoLegacyEvidence);
    assert_eq!(refusal(&der).reason(), Reason::NoEvidence);
}

/// CCC-Attestation/interoperable-ra-tls: Gramine's certificate has its legacy evidence too.
#[test]
fn reads_gramines_certificate() {
    let Some([gramine, intel]) = real_certificates() else { return };
    let read = parse_legacy(&gramine, Timestamp(1_750_000_000)).unwrap();
    assert_eq!((read.version, read.key), (3, KeyAlgorithm::EcdsaP384));
    assert_eq!(read.key_hash, read.kid.0);
    assert_eq!(read.quote.len(), 4734);
    assert_eq!(parse_legacy(&intel, Timestamp(1_750_000_000)), Err(CertificateError::NoLegacyEvidence));
}
