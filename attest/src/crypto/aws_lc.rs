//! The backend on aws-lc-rs.

#[cfg(feature = "os")]
mod keys;

#[cfg(feature = "issue")]
pub(crate) use keys::RsaKey;
#[cfg(feature = "os")]
pub(crate) use keys::{Ed25519Key, P256Key, P384Key, fill};

use aws_lc_rs::digest::{Context, SHA256, SHA384, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1,
    ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PSS_2048_8192_SHA384,
    RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use rustls_pki_types::SignatureVerificationAlgorithm;
pub(crate) use webpki::aws_lc_rs::{ECDSA_P256_SHA256, ECDSA_P384_SHA384, ED25519};

use super::Scheme;

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

pub(crate) fn sha384(bytes: &[u8]) -> [u8; 48] {
    digest(&SHA384, bytes).as_ref().try_into().expect("SHA-384 has 48 bytes")
}

/// SHA-256 of bytes that come one after the other.
pub(crate) struct Sha256(Context);

impl Sha256 {
    pub(crate) fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> [u8; 32] {
        self.0.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}

/// Whether `signature` over `message` is by `key`. `false` for bytes that are no key or no signature of the scheme.
pub(crate) fn verifies(scheme: Scheme, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let algorithm: &dyn VerificationAlgorithm = match scheme {
        Scheme::RsaPkcs1Sha256 => &RSA_PKCS1_2048_8192_SHA256,
        Scheme::RsaPkcs1Sha384 => &RSA_PKCS1_2048_8192_SHA384,
        Scheme::RsaPssSha384 => &RSA_PSS_2048_8192_SHA384,
        // Compressed or not; the library also takes hybrid points, which no certificate has (RFC 5480 section 2.2).
        _ if !matches!(key.first(), Some(2..=4)) => return false,
        Scheme::P256Sha256Fixed => &ECDSA_P256_SHA256_FIXED,
        Scheme::P256Sha256Asn1 => &ECDSA_P256_SHA256_ASN1,
        Scheme::P384Sha384Fixed => &ECDSA_P384_SHA384_FIXED,
        Scheme::P384Sha256Asn1 => &ECDSA_P384_SHA256_ASN1,
        Scheme::P384Sha384Asn1 => &ECDSA_P384_SHA384_ASN1,
    };
    UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
}

/// [`Scheme::RsaPkcs1Sha256`] by a key that is given as its two numbers, big-endian.
pub(crate) fn verifies_rsa_numbers(modulus: &[u8], exponent: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let key = RsaPublicKeyComponents { n: modulus, e: exponent };
    key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
}

/// What certificates of a CA may be signed with: all that webpki verifies.
pub(crate) fn chain_algorithms() -> &'static [&'static dyn SignatureVerificationAlgorithm] {
    webpki::ALL_VERIFICATION_ALGS
}
