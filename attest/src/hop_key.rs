//! The key of a hop: ECDSA P-256, made in the process, in memory only.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    UnparsedPublicKey,
};
use zeroize::Zeroizing;

use crate::{KeyId, Reason};

/// A private key and its public half. It is never written anywhere; its bytes are wiped when it is dropped.
pub struct HopKey {
    kid: KeyId,
    spki: Vec<u8>,
    pkcs8: Zeroizing<Vec<u8>>,
    /// One key, held twice: the library fixes the form of its signatures (`r || s`, or ASN.1) when a key is loaded.
    fixed: EcdsaKeyPair,
    asn1: EcdsaKeyPair,
}

impl HopKey {
    pub fn generate() -> Result<Self, HopKeyError> {
        let fixed = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| HopKeyError::Generate)?;
        // The document wipes itself when it is dropped.
        let document = fixed.to_pkcs8v1().map_err(|_| HopKeyError::Generate)?;
        let pkcs8 = Zeroizing::new(document.as_ref().to_vec());
        let asn1 =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8).map_err(|_| HopKeyError::Generate)?;
        let spki = [P256_SPKI_PREFIX, fixed.public_key().as_ref()].concat();
        Ok(Self { kid: KeyId::of(&spki), spki, pkcs8, fixed, asn1 })
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
        &self.pkcs8
    }

    /// ES256 as COSE wants it (RFC 9053 section 2.1): `r || s`, 64 bytes.
    pub fn sign_es256(&self, message: &[u8]) -> Result<[u8; 64], HopKeyError> {
        let signature = self.fixed.sign(&SystemRandom::new(), message).map_err(|_| HopKeyError::Sign)?;
        signature.as_ref().try_into().map_err(|_| HopKeyError::Sign)
    }

    /// ECDSA with SHA-256 as X.509 wants it (RFC 3279 section 2.2.3): an ASN.1 `SEQUENCE { r, s }`.
    pub fn sign_asn1(&self, message: &[u8]) -> Result<Vec<u8>, HopKeyError> {
        let signature = self.asn1.sign(&SystemRandom::new(), message).map_err(|_| HopKeyError::Sign)?;
        Ok(signature.as_ref().to_vec())
    }
}

impl fmt::Debug for HopKey {
    /// The name of the key alone: nothing of the private half may reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HopKey({})", self.kid)
    }
}

/// Whether `signature` (`r || s`) over `message` is by the key in `spki`. `false` for every other kind or encoding of key.
pub fn verify_es256(spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let Some(point) = p256_point(spki) else {
        return false;
    };
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
}

/// The uncompressed point of a P-256 SubjectPublicKeyInfo in the one encoding that RFC 5480 leaves when the curve is
/// named and the point is not compressed. Whether it lies on the curve is checked when it is used.
pub fn p256_point(spki: &[u8]) -> Option<&[u8]> {
    let point = spki.strip_prefix(P256_SPKI_PREFIX)?;
    (point.len() == P256_POINT_LEN && point[0] == UNCOMPRESSED).then_some(point)
}

/// The library's random generator or signer failed: ours, or the machine's, never the peer's.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HopKeyError {
    #[error("no hop key could be made")]
    Generate,
    #[error("the hop key could not sign")]
    Sign,
}

impl HopKeyError {
    pub fn reason(&self) -> Reason {
        Reason::Internal
    }
}

/// `SEQUENCE { SEQUENCE { id-ecPublicKey, prime256v1 }, BIT STRING }` up to the point (RFC 5480 section 2).
pub(crate) const P256_SPKI_PREFIX: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const P256_POINT_LEN: usize = 65;
const UNCOMPRESSED: u8 = 4;

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1;

    use super::*;

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
        assert!(UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.point()).verify(b"message", &asn1).is_ok());
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
}
