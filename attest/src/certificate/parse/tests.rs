use proptest::prelude::*;
use rcgen::{BasicConstraints, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};

use super::super::testing::{
    CMW, ECDSA_WITH_SHA256, ENDORSEMENTS, NOW, TAGGED_EVIDENCE, assemble, changed, evidence, hop, octet_string, plain,
    real_certificates, replace, signed, with,
};
use super::super::{CmwError, MAX_CERTIFICATE_LEN};
use super::*;
use crate::Digest;
use crate::Reason;
use crate::evidence::{Claims, EvidenceError, FreshClaims, FreshEvidence, IntelEndorsements, UserData};
use crate::hop_key::HopKey;
use crate::tee::{EvidenceTag, Tee};

fn key() -> HopKey {
    HopKey::generate().unwrap()
}

fn good(key: &HopKey) -> Vec<u8> {
    signed(&with(&[(TAGGED_EVIDENCE, evidence(key).blob())]), key)
}

fn refusal(der: &[u8]) -> CertificateError {
    let error = parse(der, NOW).unwrap_err();
    assert!(parse_interoperable(der, NOW).is_err());
    error
}

#[test]
fn evidence_is_none_only_without_an_extension() {
    let key = key();
    let read = parse(&signed(&plain(), &key), NOW).unwrap();
    assert_eq!((read.evidence, read.kid), (None, key.kid()));
    assert!(parse(&good(&key), NOW).unwrap().evidence.is_some());
    let empty = signed(&with(&[(TAGGED_EVIDENCE, b"")]), &key);
    assert!(matches!(refusal(&empty), CertificateError::Evidence(EvidenceError::Cbor { .. })));
    let legacy = signed(&with(&[(&[1, 2, 840, 113741, 1337, 6], b"anything")]), &key);
    let read = parse(&legacy, NOW).unwrap();
    assert!(read.evidence.is_none() && read.has_legacy_evidence, "legacy evidence is seen and not read");
}

#[test]
fn refuses_two_evidences() {
    let key = key();
    let blob = evidence(&key).blob().to_vec();
    let wrapped = octet_string(&blob);
    for extensions in [
        [(TAGGED_EVIDENCE, blob.as_slice()), (TAGGED_EVIDENCE, &blob)],
        [(TAGGED_EVIDENCE, &blob), (CMW, &wrapped)],
        [(CMW, &wrapped), (CMW, &wrapped)],
    ] {
        let error = refusal(&signed(&with(&extensions), &key));
        assert_eq!(error, CertificateError::TwoEvidences);
        assert_eq!(error.reason(), Reason::EvidenceForm);
    }
}

/// Of this very hop, by its own platform, over its own leg: whatever stands in it, it names no key.
#[test]
fn a_fresh_quote_is_no_certificates_evidence() {
    let key = key();
    let claims = FreshClaims {
        config_digest: hop().config_digest,
        not_after: hop().not_after,
        root: Digest::of(b"legs of the key"),
        iat_ms: NOW.0 * 1000,
    };
    let quote = crate::quote::testing::sgx_v3(UserData::of_fresh(&claims).as_bytes());
    let fresh = FreshEvidence::new(EvidenceTag::IntelQuote, quote, claims).unwrap();
    let wrapped = octet_string(fresh.blob());
    for extension in [(TAGGED_EVIDENCE, fresh.blob()), (CMW, &wrapped)] {
        let error = refusal(&signed(&with(&[extension]), &key));
        assert_eq!(error, CertificateError::Evidence(EvidenceError::NotOfAKey));
        assert_eq!(error.reason(), Reason::EvidenceForm);
    }
}

#[test]
fn takes_a_cmw_with_tagged_evidence() {
    let key = key();
    let wrapped = octet_string(evidence(&key).blob());
    let read = parse(&signed(&with(&[(CMW, &wrapped)]), &key), NOW).unwrap();
    assert_eq!(read.evidence, Some(evidence(&key)));
    let json = signed(&with(&[(CMW, b"\x0c\x02{}")]), &key);
    assert_eq!(refusal(&json), CertificateError::Cmw(CmwError::Json));
}

#[test]
fn refuses_evidence_of_another_key() {
    let (key, other) = (key(), key());
    let error = refusal(&signed(&with(&[(TAGGED_EVIDENCE, evidence(&other).blob())]), &key));
    assert_eq!(error, CertificateError::KeyMismatch { claimed: other.kid(), found: key.kid() });
    assert_eq!(error.reason(), Reason::Binding);
}

#[test]
fn refuses_bad_evidence_and_endorsements() {
    let key = key();
    let mut blob = evidence(&key).blob().to_vec();
    blob.push(0);
    let error = refusal(&signed(&with(&[(TAGGED_EVIDENCE, &blob)]), &key));
    let expected = EvidenceError::TrailingBytes { what: "evidence", count: 1 };
    assert_eq!(error, CertificateError::Evidence(expected));
    let error = refusal(&signed(&with(&[(TAGGED_EVIDENCE, &vec![0xd9; Evidence::MAX_LEN + 1])]), &key));
    assert!(matches!(error, CertificateError::Evidence(EvidenceError::TooLarge { max: 16384, .. })));
    let in_octets = octet_string(evidence(&key).blob());
    let error = refusal(&signed(&with(&[(TAGGED_EVIDENCE, &in_octets)]), &key));
    assert!(matches!(error, CertificateError::Evidence(EvidenceError::Cbor { .. })), "an OCTET STRING within");

    let blob = evidence(&key).blob().to_vec();
    let error = refusal(&signed(&with(&[(TAGGED_EVIDENCE, &blob), (ENDORSEMENTS, b"\x00")]), &key));
    assert!(matches!(error, CertificateError::Endorsements(_)));
    let collateral = IntelEndorsements {
        version: 3,
        tcb_info: Vec::new(),
        tcb_issuer_chain: Vec::new(),
        pck_crl: Vec::new(),
        root_ca_crl: Vec::new(),
        pck_crl_issuer_chain: Vec::new(),
        qe_identity: Vec::new(),
        qe_issuer_chain: Vec::new(),
    };
    let large = Endorsements::Intel(IntelEndorsements { tcb_info: vec![0; 49152], ..collateral.clone() }).encode();
    let error = refusal(&signed(&with(&[(TAGGED_EVIDENCE, &blob), (ENDORSEMENTS, &large)]), &key));
    assert!(matches!(error, CertificateError::Endorsements(EvidenceError::TooLarge { max: 49152, .. })));
    let real = Endorsements::Intel(collateral.clone()).encode();
    assert!(parse(&signed(&with(&[(TAGGED_EVIDENCE, &blob), (ENDORSEMENTS, &real)]), &key), NOW).is_ok());
    let simulated = Endorsements::Simulated(collateral).encode();
    let error = refusal(&signed(&with(&[(TAGGED_EVIDENCE, &blob), (ENDORSEMENTS, &simulated)]), &key));
    assert_eq!(error, CertificateError::EndorsementsKind);
    assert_eq!(refusal(&signed(&with(&[(ENDORSEMENTS, &real)]), &key)), CertificateError::EndorsementsKind);
}

#[test]
fn refuses_what_is_out_of_its_window() {
    let key = key();
    let der = good(&key);
    let (not_before, not_after) = (Timestamp(NOW.0 - 60), Timestamp(NOW.0 + 3600));
    assert!(parse(&der, not_before).is_ok() && parse(&der, not_after).is_ok());
    let now = Timestamp(not_before.0 - 1);
    assert_eq!(parse(&der, now), Err(CertificateError::NotYetValid { not_before, now }));
    let now = Timestamp(not_after.0 + 1);
    let error = parse(&der, now).unwrap_err();
    assert_eq!(error, CertificateError::Expired { not_after, now });
    assert_eq!(error.reason(), Reason::Expired);
}

#[test]
fn refuses_a_certificate_that_outlives_its_evidence() {
    let key = key();
    let mut params = with(&[(TAGGED_EVIDENCE, evidence(&key).blob())]);
    params.not_after += std::time::Duration::from_secs(1);
    let error = refusal(&signed(&params, &key));
    let evidence = hop().not_after;
    assert_eq!(error, CertificateError::OutlivesEvidence { not_after: Timestamp(evidence.0 + 1), evidence });
}

#[test]
fn refuses_another_signature_or_issuer() {
    let (key, other) = (key(), key());
    let mut der = good(&key);
    let last = der.len() - 1;
    der[last] ^= 1;
    assert_eq!(refusal(&der), CertificateError::SelfSignature);
    assert_eq!(refusal(&changed(&good(&key), &other, |_| ())), CertificateError::SelfSignature);
    let der = changed(&good(&key), &key, |tbs| {
        // The issuer stands first.
        let at = tbs.windows(4).position(|w| w == b"peer").unwrap();
        tbs[at] = b'b';
    });
    assert_eq!(refusal(&der), CertificateError::NotSelfIssued);
}

#[test]
fn refuses_another_version() {
    let key = key();
    for (number, found) in [(0, 1), (1, 2), (3, 4), (100, 101)] {
        let der = changed(&good(&key), &key, |tbs| replace(tbs, &[0xa0, 3, 2, 1, 2], &[0xa0, 3, 2, 1, number]));
        assert_eq!(refusal(&der), CertificateError::Version { found });
    }
}

#[test]
fn refuses_other_keys_and_algorithms() {
    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let der = plain().self_signed(&p384).unwrap().der().to_vec();
    let error = parse(&der, NOW).unwrap_err();
    assert!(matches!(&error, CertificateError::Key { found, .. } if found.contains("1.2.840.10045.2.1")), "{error}");
    assert_eq!(parse_interoperable(&der, NOW).unwrap().key, KeyAlgorithm::EcdsaP384);
    let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let der = plain().self_signed(&ed25519).unwrap().der().to_vec();
    assert!(matches!(refusal(&der), CertificateError::Key { .. }));
    assert!(matches!(parse_interoperable(&der, NOW), Err(CertificateError::Key { .. })));
    let rsa = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let der = plain().self_signed(&rsa).unwrap().der().to_vec();
    assert!(matches!(parse(&der, NOW), Err(CertificateError::Key { .. })));
    assert_eq!(parse_interoperable(&der, NOW).unwrap().key, KeyAlgorithm::Rsa);

    let key = key();
    let sha_384 = [&ECDSA_WITH_SHA256[..11], &[3]].concat();
    let der = changed(&good(&key), &key, |tbs| replace(tbs, ECDSA_WITH_SHA256, &sha_384));
    assert!(matches!(refusal(&der), CertificateError::Der(_)), "two algorithms");
    let mut tbs = Vec::new();
    changed(&good(&key), &key, |t| {
        replace(t, ECDSA_WITH_SHA256, &sha_384);
        tbs.clone_from(t);
    });
    let der = assemble(&tbs, &sha_384, &key.sign_asn1(&tbs).unwrap());
    assert_eq!(refusal(&der), CertificateError::SignatureAlgorithm("1.2.840.10045.4.3.3".into()));
}

#[test]
fn refuses_extensions_that_do_not_belong() {
    let key = key();
    let blob = evidence(&key).blob().to_vec();
    let mut params = with(&[(TAGGED_EVIDENCE, &blob)]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    assert_eq!(refusal(&signed(&params, &key)), CertificateError::Ca);

    for id in [&[1u64, 2, 3, 4][..], TAGGED_EVIDENCE] {
        let mut params = with(&[]);
        let mut extension = CustomExtension::from_oid_content(id, blob.clone());
        extension.set_criticality(true);
        params.custom_extensions.push(extension);
        let dotted = id.iter().map(u64::to_string).collect::<Vec<_>>().join(".");
        assert_eq!(refusal(&signed(&params, &key)), CertificateError::CriticalExtension(dotted));
    }

    let twice = with(&[(&[1, 2, 3, 4], b""), (&[1, 2, 3, 4], b"")]);
    assert_eq!(refusal(&signed(&twice, &key)), CertificateError::DuplicateExtension("1.2.3.4".into()));
    // One that the TLS library reads as well.
    let twice = with(&[(&[2, 5, 29, 19], b"\x30\x00")]);
    assert_eq!(refusal(&signed(&twice, &key)), CertificateError::DuplicateExtension("2.5.29.19".into()));

    let ids: Vec<[u64; 4]> = (0..40).map(|n| [1, 2, 3, n]).collect();
    let many: Vec<(&[u64], &[u8])> = ids.iter().map(|id| (id.as_slice(), &b""[..])).collect();
    assert_eq!(refusal(&signed(&with(&many), &key)), CertificateError::TooManyExtensions { max: 32 });

    let mut params = plain();
    params.key_usages = vec![KeyUsagePurpose::CrlSign];
    assert_eq!(refusal(&signed(&params, &key)), CertificateError::Usage { extension: "key usage" });
    let mut params = plain();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    assert_eq!(refusal(&signed(&params, &key)), CertificateError::Usage { extension: "extended key usage" });
}

#[test]
fn refuses_what_does_not_end_where_it_should() {
    let key = key();
    let der = good(&key);
    assert_eq!(refusal(&[der.as_slice(), &[0]].concat()), CertificateError::TrailingBytes(1));
    assert!(matches!(refusal(&der[..der.len() - 1]), CertificateError::Der(_)));
    assert!(matches!(refusal(&[]), CertificateError::Der(_)));
    let large = vec![0; MAX_CERTIFICATE_LEN + 1];
    assert!(matches!(refusal(&large), CertificateError::TooLarge { .. }));
    // Bytes behind the extensions, inside the signed part: one of the two parsers does not see them.
    let der = changed(&der, &key, |tbs| {
        tbs.extend([5, 0]);
        let len = u16::from_be_bytes([tbs[2], tbs[3]]) + 2;
        tbs[2..4].copy_from_slice(&len.to_be_bytes());
    });
    assert!(matches!(refusal(&der), CertificateError::Der(_)));
}

#[test]
fn claims_of_others_need_no_hop_claim() {
    let key = key();
    let claims = Claims::new(key.kid(), None);
    let quote = crate::quote::testing::sgx_v3(UserData::of(&claims).as_bytes());
    let evidence = Evidence::new(EvidenceTag::IntelQuote, quote, claims).unwrap();
    let mut params = with(&[(TAGGED_EVIDENCE, evidence.blob())]);
    params.not_after += std::time::Duration::from_secs(10 * 365 * 86400);
    params.distinguished_name.push(DnType::OrganizationName, "somebody");
    assert_eq!(parse(&signed(&params, &key), NOW).unwrap().evidence, Some(evidence));
}

/// CCC-Attestation/interoperable-ra-tls: certificates of Gramine and of Intel's SGX SDK.
#[test]
fn reads_certificates_of_the_field() {
    let Some(certificates) = real_certificates() else { return };
    let legacy = certificates.map(|der| {
        let read = parse_interoperable(&der, Timestamp(1_750_000_000)).unwrap();
        let evidence = read.evidence.unwrap();
        assert_eq!((evidence.tag(), evidence.tee()), (EvidenceTag::IntelQuote, Tee::Sgx));
        assert_eq!((evidence.claims().key(), read.key), (read.kid, KeyAlgorithm::EcdsaP384));
        assert_eq!((evidence.claims().hop(), evidence.claims().unknown().len()), (None, 0));
        assert!(
            matches!(parse(&der, Timestamp(1_750_000_000)), Err(CertificateError::Key { .. })),
            "P-384 is no hop's"
        );
        let ended = parse_interoperable(&der, Timestamp(4_000_000_000)).unwrap_err();
        assert!(matches!(ended, CertificateError::Expired { .. }));
        read.has_legacy_evidence
    });
    assert_eq!(legacy, [true, false]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes, NOW);
        let _ = super::super::parse_legacy(&bytes, NOW);
        let _ = parse(&assemble(&bytes, ECDSA_WITH_SHA256, &bytes), NOW);
    }

    #[test]
    fn mutated_certificates_never_panic(changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..4)) {
        let key = key();
        let der = good(&key);
        let head = der.len() - 900;
        let mutate = |bytes: &mut Vec<u8>| {
            for (at, value) in &changes {
                // Mostly in the fields before the quote, where the structure is.
                let at = usize::from(*at) % if value & 1 == 0 { bytes.len() } else { head.min(bytes.len()) };
                bytes[at] = *value;
            }
        };
        let mut broken = der.clone();
        mutate(&mut broken);
        if broken != der {
            prop_assert!(parse(&broken, NOW).is_err(), "its signature covers every byte but those that it refuses");
        }
        // Signed anew, so that every check behind the signature is reached.
        let resigned = changed(&der, &key, mutate);
        if let Ok(read) = parse(&resigned, NOW) {
            prop_assert_eq!(read.kid, key.kid());
            if let Some(evidence) = read.evidence {
                prop_assert_eq!(evidence.claims().key(), key.kid());
            }
        }
        let _ = super::super::parse_legacy(&resigned, NOW);
    }

    #[test]
    fn arbitrary_evidence_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let key = key();
        for id in [TAGGED_EVIDENCE, CMW, ENDORSEMENTS, &[1, 2, 840, 113741, 1337, 6]] {
            let der = signed(&with(&[(id, &bytes)]), &key);
            let _ = parse(&der, NOW);
            let _ = super::super::parse_legacy(&der, NOW);
        }
    }

    #[test]
    fn arbitrary_extensions_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..12), tag in 0usize..4) {
        let key = key();
        // BIT STRING, SEQUENCE, BOOLEAN, or whatever comes.
        let bytes = match tag {
            0 => bytes,
            n => [&[[0x03, 0x30, 0x01][n - 1], bytes.len() as u8], bytes.as_slice()].concat(),
        };
        for id in [15, 17, 19, 37] {
            let mut params = with(&[(&[2, 5, 29, id], &bytes)]);
            params.is_ca = IsCa::NoCa;
            let _ = parse_interoperable(&signed(&params, &key), NOW);
        }
    }
}
