//! The public half: whose signatures are believed, and whether a signature is one of theirs.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;

use crate::KeyId;
use crate::crypto::{Scheme, verifies};
use crate::hop_key::p256_point;

/// Whose signatures are believed.
#[derive(Clone, PartialEq, Eq)]
pub struct TrustedKey {
    kid: KeyId,
    spki: Vec<u8>,
}

impl TrustedKey {
    /// From a SubjectPublicKeyInfo in PEM (`-----BEGIN PUBLIC KEY-----`).
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyFormError> {
        let spki = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| KeyFormError::Public)?;
        p256_point(&spki).ok_or(KeyFormError::Public)?;
        Ok(Self::of(spki.to_vec()))
    }

    /// `spki` is that of a P-256 key.
    pub(super) fn of(spki: Vec<u8>) -> Self {
        Self { kid: KeyId::of(&spki), spki }
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    pub fn kid(&self) -> KeyId {
        self.kid
    }

    fn verifies(&self, file: &[u8], signature: &[u8]) -> bool {
        // Checked when the key was read.
        let Some(point) = p256_point(&self.spki) else { return false };
        verifies(Scheme::P256Sha256Asn1, point, file, signature)
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

impl fmt::Debug for TrustedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustedKey({})", self.kid)
    }
}
