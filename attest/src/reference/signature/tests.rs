use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::*;
use crate::hop_key::HopKey;

fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    let text = BASE64_STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n").into_bytes()
}

fn key() -> (SigningKey, TrustedKey) {
    let key = HopKey::generate().unwrap();
    let private = SigningKey::from_pem(&pem("PRIVATE KEY", key.pkcs8_der())).unwrap();
    (private, TrustedKey::from_pem(&pem("PUBLIC KEY", key.spki())).unwrap())
}

#[test]
fn a_file_is_its_signers() {
    let ((private, public), (_, other)) = (key(), key());
    assert_eq!(private.trusted(), &public);
    let file = b"[policy.p]\n";
    let signature = private.sign(file).unwrap();
    let keys = [other.clone(), public.clone()];
    assert_eq!(check(file, &signature, &keys, None), Ok(public.kid()));
    let text = format!("{}\n", BASE64_STANDARD.encode(&signature));
    assert_eq!(check(file, text.as_bytes(), &keys, None), Ok(public.kid()));

    let altered = SignatureError::Altered { key: public.kid() };
    assert_eq!(check(b"[policy.q]\n", &signature, &keys, Some(public.kid())), Err(altered));
    let other_key = SignatureError::OtherKey { key: public.kid() };
    assert_eq!(check(file, &signature, std::slice::from_ref(&other), Some(public.kid())), Err(other_key));
    assert_eq!(check(file, &signature, std::slice::from_ref(&other), None), Err(SignatureError::Wrong));
    assert_eq!(check(file, &signature, &[], None), Err(SignatureError::Wrong));
    for form in [&b""[..], b"hello", &[0x30; 73]] {
        assert_eq!(check(file, form, &keys, None), Err(SignatureError::Form));
    }
    for i in 0..signature.len() {
        let mut damaged = signature.clone();
        damaged[i] ^= 1;
        assert!(check(file, &damaged, &keys, None).is_err(), "byte {i}");
    }
}

#[test]
fn keys_of_another_kind_are_named() {
    let key = HopKey::generate().unwrap();
    assert_eq!(SigningKey::from_pem(&pem("PUBLIC KEY", key.spki())).unwrap_err(), KeyFormError::Private);
    assert_eq!(SigningKey::from_pem(b"").unwrap_err(), KeyFormError::Private);
    assert_eq!(TrustedKey::from_pem(&pem("PRIVATE KEY", key.pkcs8_der())), Err(KeyFormError::Public));
    assert_eq!(TrustedKey::from_pem(&pem("PUBLIC KEY", &key.spki()[1..])), Err(KeyFormError::Public));
    assert!(!format!("{:?}", self::key().0).contains("BEGIN"));
}
