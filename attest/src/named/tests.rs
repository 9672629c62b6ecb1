use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, Issuer, KeyPair, SanType};

use super::statement::message;
use super::*;
use crate::dcbor::Writer;
use crate::{KeyId, Timestamp};

const NOW: Timestamp = Timestamp(1_800_000_000);
const KID: KeyId = KeyId::from_bytes([7; 32]);
const ID: &str = "spiffe://example.org/gateway";

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = rcgen::date_time_ymd(2040, 1, 1);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn root(&self) -> Vec<Vec<u8>> {
        vec![self.0.der().to_vec()]
    }

    fn naming(&self, year: i32) -> NamingKey {
        let (certificate, key) = self.issue(year);
        NamingKey::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap()
    }

    fn issue(&self, year: i32) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.subject_alt_names = vec![SanType::URI(ID.try_into().unwrap())];
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let issuer: &Issuer<'_, KeyPair> = &self.0;
        let certificate = params.signed_by(&key, issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

#[test]
fn names_one_key_until_its_end() {
    let authority = Authority::new();
    let statement = authority.naming(2035).name(KID, Timestamp(NOW.0 + 60)).unwrap();
    assert!(statement.len() < 1024, "{}", statement.len());
    let named = verify_name(&statement, KID, &authority.root(), NOW).unwrap();
    assert_eq!((named.uris.as_slice(), named.expires), (&[ID.to_owned()][..], Timestamp(NOW.0 + 60)));
    let refused = |kid, root: &Authority, now| verify_name(&statement, kid, &root.root(), now).unwrap_err();
    assert_eq!(refused(KeyId::from_bytes([8; 32]), &authority, NOW), NameError::Signature, "pasted");
    assert_eq!(refused(KID, &authority, Timestamp(NOW.0 + 61)), NameError::Expired(Timestamp(NOW.0 + 60)));
    assert!(matches!(refused(KID, &Authority::new(), NOW), NameError::Certificate(_)));
    assert!(matches!(refused(KID, &authority, Timestamp(2_200_000_000)), NameError::Certificate(_)));
}

#[test]
fn every_byte_of_it_counts() {
    let authority = Authority::new();
    let statement = authority.naming(2035).name(KID, Timestamp(NOW.0 + 60)).unwrap();
    for at in 0..statement.len() {
        let mut changed = statement.clone();
        changed[at] ^= 1;
        assert!(verify_name(&changed, KID, &authority.root(), NOW).is_err(), "byte {at}");
    }
    // One's own certificate over another's signature.
    let other = authority.naming(2035);
    let mut w = Writer::new();
    let of = |naming: &NamingKey| naming.signature(&message(KID, NOW, &naming.chain[0])).unwrap();
    w.array(4).uint(1).array(1).bytes(&authority.naming(2035).chain[0]).uint(NOW.0).bytes(&of(&other));
    assert_eq!(verify_name(&w.finish(), KID, &authority.root(), NOW).unwrap_err(), NameError::Signature);
}

#[test]
fn a_key_of_another_certificate_is_found_at_the_start() {
    let authority = Authority::new();
    let ((certificate, _), (_, key)) = (authority.issue(2035), authority.issue(2035));
    let error = NamingKey::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap_err();
    assert!(matches!(error, NameError::Key(_)), "{error}");
    assert!(matches!(NamingKey::from_pem(b"", key.as_bytes()), Err(NameError::Certificate(_))));
}
