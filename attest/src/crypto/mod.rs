//! The one door to cryptography: hashes, signatures, and the keys that make them.
//!
//! Each file beside this one is a backend with the same functions and types, and a feature of the crate chooses it:
//! `aws-lc` (the default; C and assembly) or `rustcrypto` (Rust alone, which compiles to WebAssembly). With both
//! features, `aws-lc` serves. A backend knows no evidence and no record: what is signed, and by whom, is told by its
//! callers, who have also checked that a key has the one encoding that they accept.

#[cfg(feature = "aws-lc")]
mod aws_lc;
#[cfg(feature = "rustcrypto")]
#[cfg_attr(feature = "aws-lc", allow(dead_code, unused_imports))]
mod rustcrypto;

#[cfg(not(any(feature = "aws-lc", feature = "rustcrypto")))]
compile_error!("inclavared-attest needs one of its features `aws-lc` and `rustcrypto`: they are the cryptography");

#[cfg(feature = "aws-lc")]
use aws_lc as backend;
#[cfg(feature = "issue")]
pub(crate) use backend::RsaKey;
pub(crate) use backend::{ECDSA_P256_SHA256, ECDSA_P384_SHA384, ED25519, Sha256, chain_algorithms, sha384, verifies};
#[cfg(feature = "os")]
pub(crate) use backend::{Ed25519Key, P256Key, P384Key, fill};
pub(crate) use backend::{sha256, verifies_rsa_numbers};
#[cfg(all(feature = "rustcrypto", not(feature = "aws-lc")))]
use rustcrypto as backend;

/// What a signature is: the algorithm, its hash, and the form in which signature and key stand.
///
/// Keys of curves are points as SEC 1 has them; keys of RSA are RSAPublicKey of PKCS#1, with a modulus of 2048 to 8192
/// bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scheme {
    /// ECDSA on P-256 with SHA-256; `r || s`, 64 bytes.
    P256Sha256Fixed,
    /// ECDSA on P-256 with SHA-256; `SEQUENCE { r, s }`.
    P256Sha256Asn1,
    /// ECDSA on P-384 with SHA-384; `r || s`, 96 bytes.
    P384Sha384Fixed,
    /// ECDSA on P-384 with SHA-256; `SEQUENCE { r, s }`.
    P384Sha256Asn1,
    /// ECDSA on P-384 with SHA-384; `SEQUENCE { r, s }`.
    P384Sha384Asn1,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RsaPkcs1Sha256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RsaPkcs1Sha384,
    /// RSASSA-PSS with SHA-384, MGF1 with SHA-384 and a salt of 48 bytes.
    RsaPssSha384,
}

/// The library could not do it: no memory or no randomness, or bytes that are no key of this kind.
#[cfg(feature = "os")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Failed;

/// `SEQUENCE { SEQUENCE { id-ecPublicKey, prime256v1 }, BIT STRING }` up to the point (RFC 5480 section 2).
pub(crate) const P256_SPKI_PREFIX: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The same with secp384r1.
pub(crate) const P384_SPKI_PREFIX: &[u8] = &[
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00,
    0x22, 0x03, 0x62, 0x00,
];

#[cfg(all(test, feature = "aws-lc", feature = "rustcrypto"))]
mod tests;
