//! A hop key with its private half.

use std::fmt;

use zeroize::Zeroizing;

use super::HopKeyError;
use crate::KeyId;
use crate::crypto::{P256_SPKI_PREFIX, P256Key};

/// A private key and its public half. It is never written anywhere; its bytes are wiped when it is dropped.
pub struct HopKey {
    kid: KeyId,
    spki: Vec<u8>,
    key: P256Key,
}

impl HopKey {
    pub fn generate() -> Result<Self, HopKeyError> {
        let key = P256Key::generate().map_err(|_| HopKeyError::Generate)?;
        let spki = [P256_SPKI_PREFIX, key.point()].concat();
        Ok(Self { kid: KeyId::of(&spki), spki, key })
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    pub fn kid(&self) -> KeyId {
        self.kid
    }

    /// The SubjectPublicKeyInfo in DER.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The uncompressed point (65 bytes).
    pub fn point(&self) -> &[u8] {
        &self.spki[P256_SPKI_PREFIX.len()..]
    }

    /// The private key as PKCS#8, for the TLS library's signer.
    pub fn pkcs8_der(&self) -> &Zeroizing<Vec<u8>> {
        self.key.pkcs8()
    }

    /// ES256 as COSE wants it (RFC 9053 section 2.1): `r || s`, 64 bytes.
    pub fn sign_es256(&self, message: &[u8]) -> Result<[u8; 64], HopKeyError> {
        self.key.sign_fixed(message).map_err(|_| HopKeyError::Sign)
    }

    /// ECDSA with SHA-256 as X.509 wants it (RFC 3279 section 2.2.3): an ASN.1 `SEQUENCE { r, s }`.
    pub fn sign_asn1(&self, message: &[u8]) -> Result<Vec<u8>, HopKeyError> {
        self.key.sign_asn1(message).map_err(|_| HopKeyError::Sign)
    }
}

impl fmt::Debug for HopKey {
    /// The name of the key alone: nothing of the private half may reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HopKey({})", self.kid)
    }
}
