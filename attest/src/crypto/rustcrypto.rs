//! The backend on the crates of RustCrypto and on ed25519-dalek: Rust alone, for WebAssembly and for builds without C.
//!
//! It verifies what the other backend verifies, but for chains of names (see [`chain_algorithms`]).

#[cfg(feature = "os")]
mod keys;

use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use rsa::pkcs1::DecodeRsaPublicKey as _;
use rsa::traits::PublicKeyParts as _;
use rsa::{BoxedUint, PublicKey as RsaPublicKey};
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};
use sha2::{Digest as _, Sha384, Sha512};

use super::Scheme;

#[cfg(feature = "issue")]
pub(crate) use keys::RsaKey;
#[cfg(feature = "os")]
pub(crate) use keys::{Ed25519Key, P256Key, P384Key, fill};

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    sha2::Sha256::digest(bytes).into()
}

pub(crate) fn sha384(bytes: &[u8]) -> [u8; 48] {
    Sha384::digest(bytes).into()
}

/// SHA-256 of bytes that come one after the other.
pub(crate) struct Sha256(sha2::Sha256);

impl Sha256 {
    pub(crate) fn new() -> Self {
        Self(sha2::Sha256::new())
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// Whether `signature` over `message` is by `key`. `false` for bytes that are no key or no signature of the scheme.
pub(crate) fn verifies(scheme: Scheme, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    match scheme {
        Scheme::P256Sha256Fixed => p256_fixed(key, &sha256(message), signature),
        Scheme::P256Sha256Asn1 => p256_asn1(key, &sha256(message), signature),
        Scheme::P384Sha384Fixed => p384_fixed(key, &sha384(message), signature),
        Scheme::P384Sha256Asn1 => p384_asn1(key, &sha256(message), signature),
        Scheme::P384Sha384Asn1 => p384_asn1(key, &sha384(message), signature),
        Scheme::RsaPkcs1Sha256 => rsa_pkcs1::<sha2::Sha256>(key, message, signature),
        Scheme::RsaPkcs1Sha384 => rsa_pkcs1::<Sha384>(key, message, signature),
        Scheme::RsaPssSha384 => rsa_pss::<Sha384>(key, message, signature),
    }
}

/// [`Scheme::RsaPkcs1Sha256`] by a key that is given as its two numbers, big-endian.
pub(crate) fn verifies_rsa_numbers(modulus: &[u8], exponent: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let number = BoxedUint::from_be_slice_vartime;
    let key = RsaPublicKey::new(number(modulus), number(exponent)).ok().filter(of_size);
    key.is_some_and(|key| key.pkcs1v15_verify::<sha2::Sha256>(message, signature).is_ok())
}

/// What certificates of a CA may be signed with: ECDSA on P-256 and P-384, Ed25519 and RSA. Chains with keys on P-521 or
/// of ML-DSA, which the other backend verifies, are refused here.
pub(crate) fn chain_algorithms() -> &'static [&'static dyn SignatureVerificationAlgorithm] {
    CHAINS
}

pub(crate) static ECDSA_P256_SHA256: &dyn SignatureVerificationAlgorithm = &Algorithm {
    key: alg_id::ECDSA_P256,
    signature: alg_id::ECDSA_SHA256,
    verifies: |key, message, signature| p256_asn1(key, &sha256(message), signature),
};
pub(crate) static ECDSA_P384_SHA384: &dyn SignatureVerificationAlgorithm = &Algorithm {
    key: alg_id::ECDSA_P384,
    signature: alg_id::ECDSA_SHA384,
    verifies: |key, message, signature| p384_asn1(key, &sha384(message), signature),
};
pub(crate) static ED25519: &dyn SignatureVerificationAlgorithm =
    &Algorithm { key: alg_id::ED25519, signature: alg_id::ED25519, verifies: ed25519 };

static CHAINS: &[&dyn SignatureVerificationAlgorithm] = &[
    ECDSA_P256_SHA256,
    &Algorithm {
        key: alg_id::ECDSA_P256,
        signature: alg_id::ECDSA_SHA384,
        verifies: |key, message, signature| p256_asn1(key, &sha384(message), signature),
    },
    &Algorithm {
        key: alg_id::ECDSA_P256,
        signature: alg_id::ECDSA_SHA512,
        verifies: |key, message, signature| p256_asn1(key, &Sha512::digest(message), signature),
    },
    &Algorithm {
        key: alg_id::ECDSA_P384,
        signature: alg_id::ECDSA_SHA256,
        verifies: |key, message, signature| p384_asn1(key, &sha256(message), signature),
    },
    ECDSA_P384_SHA384,
    &Algorithm {
        key: alg_id::ECDSA_P384,
        signature: alg_id::ECDSA_SHA512,
        verifies: |key, message, signature| p384_asn1(key, &Sha512::digest(message), signature),
    },
    ED25519,
    &rsa_algorithm(alg_id::RSA_PKCS1_SHA256, rsa_pkcs1::<sha2::Sha256>),
    &rsa_algorithm(alg_id::RSA_PKCS1_SHA384, rsa_pkcs1::<Sha384>),
    &rsa_algorithm(alg_id::RSA_PKCS1_SHA512, rsa_pkcs1::<Sha512>),
    &rsa_algorithm(alg_id::RSA_PSS_SHA256, rsa_pss::<sha2::Sha256>),
    &rsa_algorithm(alg_id::RSA_PSS_SHA384, rsa_pss::<Sha384>),
    &rsa_algorithm(alg_id::RSA_PSS_SHA512, rsa_pss::<Sha512>),
];

/// Key, message and signature in; whether it holds out.
type Verifies = fn(&[u8], &[u8], &[u8]) -> bool;

/// One pair of a kind of key and a kind of signature, as webpki asks for it.
#[derive(Debug)]
struct Algorithm {
    key: AlgorithmIdentifier,
    signature: AlgorithmIdentifier,
    verifies: Verifies,
}

const fn rsa_algorithm(signature: AlgorithmIdentifier, verifies: Verifies) -> Algorithm {
    Algorithm { key: alg_id::RSA_ENCRYPTION, signature, verifies }
}

impl SignatureVerificationAlgorithm for Algorithm {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.key
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }

    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        if (self.verifies)(key, message, signature) { Ok(()) } else { Err(InvalidSignature) }
    }
}

/// The functions of one curve: its key, and both forms of its signatures over a hash.
macro_rules! curve {
    ($curve:ident: $key:ident, $fixed:ident, $asn1:ident) => {
        fn $key(point: &[u8]) -> Option<$curve::ecdsa::VerifyingKey> {
            // Compressed or not; the library knows further forms, which no certificate has (RFC 5480 section 2.2).
            match point.first() {
                Some(2..=4) => $curve::ecdsa::VerifyingKey::from_sec1_bytes(point).ok(),
                _ => None,
            }
        }

        fn $fixed(point: &[u8], hash: &[u8], signature: &[u8]) -> bool {
            let signature = $curve::ecdsa::Signature::from_slice(signature).ok();
            $key(point).zip(signature).is_some_and(|(key, signature)| key.verify_prehash(hash, &signature).is_ok())
        }

        fn $asn1(point: &[u8], hash: &[u8], signature: &[u8]) -> bool {
            let signature = $curve::ecdsa::Signature::from_der(signature).ok();
            $key(point).zip(signature).is_some_and(|(key, signature)| key.verify_prehash(hash, &signature).is_ok())
        }
    };
}

curve! { p256: p256_key, p256_fixed, p256_asn1 }
curve! { p384: p384_key, p384_fixed, p384_asn1 }

fn ed25519(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let key = key.try_into().ok().and_then(|key| ed25519_dalek::VerifyingKey::from_bytes(key).ok());
    let signature = ed25519_dalek::Signature::from_slice(signature).ok();
    key.zip(signature).is_some_and(|(key, signature): (ed25519_dalek::VerifyingKey, _)| {
        key.verify_strict(message, &signature).is_ok()
    })
}

fn rsa_pkcs1<D>(key: &[u8], message: &[u8], signature: &[u8]) -> bool
where
    D: sha2::Digest + rsa::pkcs8::AssociatedOid,
{
    rsa_key(key).is_some_and(|key| key.pkcs1v15_verify::<D>(message, signature).is_ok())
}

/// With a salt as long as the hash.
fn rsa_pss<D>(key: &[u8], message: &[u8], signature: &[u8]) -> bool
where
    D: sha2::Digest + sha2::digest::FixedOutputReset,
{
    rsa_key(key).is_some_and(|key| key.pss_verify::<D>(message, signature).is_ok())
}

fn rsa_key(pkcs1: &[u8]) -> Option<RsaPublicKey> {
    RsaPublicKey::from_pkcs1_der(pkcs1).ok().filter(of_size)
}

/// The sizes that the other backend takes.
fn of_size(key: &RsaPublicKey) -> bool {
    (2048..=8192).contains(&key.n().bit_width())
}
