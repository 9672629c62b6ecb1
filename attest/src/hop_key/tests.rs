use super::*;
use crate::KeyId;
use crate::crypto::{Scheme, verifies};

#[test]
fn signs_what_verifies_and_nothing_else() {
    let (key, other) = (HopKey::generate().unwrap(), HopKey::generate().unwrap());
    let signature = key.sign_es256(b"message").unwrap();
    assert!(verify_es256(key.spki(), b"message", &signature));
    assert!(!verify_es256(key.spki(), b"messagf", &signature));
    assert!(!verify_es256(other.spki(), b"message", &signature));
    assert!(!verify_es256(key.spki(), b"message", &signature[..63]));
    let mut changed = signature;
    changed[40] ^= 1;
    assert!(!verify_es256(key.spki(), b"message", &changed));
    let asn1 = key.sign_asn1(b"message").unwrap();
    assert!(!verify_es256(key.spki(), b"message", &asn1), "only r || s is ES256");
    assert!(verifies(Scheme::P256Sha256Asn1, key.point(), b"message", &asn1));
}

#[test]
fn takes_one_encoding_of_one_curve() {
    let key = HopKey::generate().unwrap();
    let signature = key.sign_es256(b"m").unwrap();
    assert!(!verify_es256(key.point(), b"m", &signature), "a bare point");
    assert!(!verify_es256(&[key.spki(), &[0]].concat(), b"m", &signature), "trailing bytes");
    assert!(!verify_es256(&[], b"m", &signature));
    let mut compressed = key.spki().to_vec();
    compressed[26] = 2;
    assert!(!verify_es256(&compressed, b"m", &signature));
    let mut off_curve = key.spki().to_vec();
    off_curve[60] ^= 1;
    assert!(!verify_es256(&off_curve, b"m", &signature));
}

#[test]
fn shows_its_name_alone() {
    let key = HopKey::generate().unwrap();
    assert_eq!(format!("{key:?}"), format!("HopKey({})", key.kid()));
    assert_eq!(key.kid(), KeyId::of(key.spki()));
}
