//! Signatures over files of reference values: ECDSA P-256 with SHA-256 over the file's bytes, beside the file.
//!
//! The form is the one that `openssl dgst -sha256 -sign` makes (ASN.1), raw or in base64, so that a release process can
//! sign with what it has.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use zeroize::Zeroizing;

use crate::KeyId;
use crate::hop_key::{P256_SPKI_PREFIX, p256_point};

/// Signs files of reference values. Its bytes are wiped by the library when it is dropped.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    key: TrustedKey,
}

/// Whose signatures are believed.
#[derive(Clone, PartialEq, Eq)]
pub struct TrustedKey {
    kid: KeyId,
    spki: Vec<u8>,
}

impl SigningKey {
    /// From PKCS#8 in PEM (`-----BEGIN PRIVATE KEY-----`).
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyFormError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| KeyFormError::Private)?;
        let der = Zeroizing::new(der.secret_pkcs8_der().to_vec());
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der).map_err(|_| KeyFormError::Private)?;
        let spki = [P256_SPKI_PREFIX, pair.public_key().as_ref()].concat();
        Ok(Self { pair, key: TrustedKey { kid: KeyId::of(&spki), spki } })
    }

    /// The public half.
    pub fn trusted(&self) -> &TrustedKey {
        &self.key
    }

    pub fn sign(&self, file: &[u8]) -> Result<Vec<u8>, KeyFormError> {
        let signature = self.pair.sign(&SystemRandom::new(), file).map_err(|_| KeyFormError::Sign)?;
        Ok(signature.as_ref().to_vec())
    }
}

impl TrustedKey {
    /// From a SubjectPublicKeyInfo in PEM (`-----BEGIN PUBLIC KEY-----`).
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyFormError> {
        let spki = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| KeyFormError::Public)?;
        p256_point(&spki).ok_or(KeyFormError::Public)?;
        Ok(Self { kid: KeyId::of(&spki), spki: spki.to_vec() })
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    pub fn kid(&self) -> KeyId {
        self.kid
    }

    fn verifies(&self, file: &[u8], signature: &[u8]) -> bool {
        // Checked when the key was read.
        let Some(point) = p256_point(&self.spki) else { return false };
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(file, signature).is_ok()
    }
}

/// Which of `keys` signed `file`. `named` is the key that the file itself names, which serves the error alone.
pub fn check(
    file: &[u8],
    signature: &[u8],
    keys: &[TrustedKey],
    named: Option<KeyId>,
) -> Result<KeyId, SignatureError> {
    let decoded = match std::str::from_utf8(signature) {
        Ok(text) => BASE64_STANDARD.decode(text.trim()).unwrap_or_else(|_| signature.to_vec()),
        Err(_) => signature.to_vec(),
    };
    // SEQUENCE of two integers of 33 bytes at most.
    if decoded.first() != Some(&0x30) || decoded.len() > 72 {
        return Err(SignatureError::Form);
    }
    if let Some(key) = keys.iter().find(|key| key.verifies(file, &decoded)) {
        return Ok(key.kid);
    }
    match named {
        Some(named) if keys.iter().any(|key| key.kid == named) => Err(SignatureError::Altered { key: named }),
        Some(named) => Err(SignatureError::OtherKey { key: named }),
        None => Err(SignatureError::Wrong),
    }
}

/// Why a signature is not believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SignatureError {
    #[error("the signature is no ECDSA signature in ASN.1, raw or in base64")]
    Form,
    #[error("the file or its signature was altered: it names the trusted key {key}, and that key did not sign it")]
    Altered { key: KeyId },
    #[error("the file is signed with the key {key}, which is not trusted")]
    OtherKey { key: KeyId },
    #[error("no trusted key signed this file: it was altered, or signed with another key")]
    Wrong,
}

/// A key that cannot be used. Nothing of the key stands in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyFormError {
    #[error("no P-256 private key in PKCS#8 and PEM (`openssl pkcs8 -topk8 -nocrypt` makes one)")]
    Private,
    #[error("no P-256 public key in PEM (`openssl pkey -pubout` makes one)")]
    Public,
    #[error("the key could not sign")]
    Sign,
}

impl fmt::Debug for SigningKey {
    /// The name of the key alone: nothing of the private half may reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.key.kid)
    }
}

impl fmt::Debug for TrustedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustedKey({})", self.kid)
    }
}

#[cfg(test)]
mod tests {
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
}
