//! Keys that sign. The library draws random numbers for each signature of ECDSA and of RSASSA-PSS.

#[cfg(feature = "issue")]
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
#[cfg(feature = "issue")]
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _,
};
use zeroize::Zeroizing;

use crate::crypto::Failed;

/// Random bytes, from the system.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), Failed> {
    aws_lc_rs::rand::fill(bytes).map_err(failed)
}

/// An ECDSA key on P-256 that signs with SHA-256.
pub(crate) struct P256Key {
    /// One key, held twice: the library fixes the form of its signatures when a key is loaded.
    fixed: EcdsaKeyPair,
    asn1: EcdsaKeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
}

impl P256Key {
    pub(crate) fn generate() -> Result<Self, Failed> {
        let fixed = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?;
        // The document wipes itself when it is dropped.
        let document = fixed.to_pkcs8v1().map_err(failed)?;
        Self::from_pkcs8(document.as_ref())
    }

    pub(crate) fn from_pkcs8(der: &[u8]) -> Result<Self, Failed> {
        let pair = |form| EcdsaKeyPair::from_pkcs8(form, der).map_err(failed);
        let (fixed, asn1) = (pair(&ECDSA_P256_SHA256_FIXED_SIGNING)?, pair(&ECDSA_P256_SHA256_ASN1_SIGNING)?);
        Ok(Self { fixed, asn1, pkcs8: Zeroizing::new(der.to_vec()) })
    }

    pub(crate) fn pkcs8(&self) -> &Zeroizing<Vec<u8>> {
        &self.pkcs8
    }

    /// Not compressed: 65 bytes.
    pub(crate) fn point(&self) -> &[u8] {
        self.fixed.public_key().as_ref()
    }

    pub(crate) fn sign_fixed(&self, message: &[u8]) -> Result<[u8; 64], Failed> {
        sign(&self.fixed, message)?.try_into().map_err(failed)
    }

    pub(crate) fn sign_asn1(&self, message: &[u8]) -> Result<Vec<u8>, Failed> {
        sign(&self.asn1, message)
    }
}

/// An ECDSA key on P-384 that signs with SHA-384.
pub(crate) struct P384Key {
    asn1: EcdsaKeyPair,
    #[cfg(feature = "sim")]
    fixed: EcdsaKeyPair,
}

impl P384Key {
    pub(crate) fn from_pkcs8(der: &[u8]) -> Result<Self, Failed> {
        let pair = |form: &'static EcdsaSigningAlgorithm| EcdsaKeyPair::from_pkcs8(form, der).map_err(failed);
        Ok(Self {
            asn1: pair(&ECDSA_P384_SHA384_ASN1_SIGNING)?,
            #[cfg(feature = "sim")]
            fixed: pair(&aws_lc_rs::signature::ECDSA_P384_SHA384_FIXED_SIGNING)?,
        })
    }

    pub(crate) fn sign_asn1(&self, message: &[u8]) -> Result<Vec<u8>, Failed> {
        sign(&self.asn1, message)
    }
}

#[cfg(feature = "sim")]
#[cfg_attr(not(feature = "platform"), allow(dead_code))]
impl P384Key {
    pub(crate) fn generate() -> Result<Self, Failed> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).map_err(failed)?;
        Self::from_pkcs8(pair.to_pkcs8v1().map_err(failed)?.as_ref())
    }

    pub(crate) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, Failed> {
        Ok(Zeroizing::new(self.fixed.to_pkcs8v1().map_err(failed)?.as_ref().to_vec()))
    }

    /// Not compressed: 97 bytes.
    pub(crate) fn point(&self) -> &[u8] {
        self.fixed.public_key().as_ref()
    }

    pub(crate) fn sign_fixed(&self, message: &[u8]) -> Result<[u8; 96], Failed> {
        sign(&self.fixed, message)?.try_into().map_err(failed)
    }
}

/// An Ed25519 key.
pub(crate) struct Ed25519Key(Ed25519KeyPair);

impl Ed25519Key {
    pub(crate) fn from_pkcs8(der: &[u8]) -> Result<Self, Failed> {
        Ed25519KeyPair::from_pkcs8(der).map(Self).map_err(failed)
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

/// An RSA key. The library wipes it when it is dropped.
#[cfg(feature = "issue")]
pub(crate) struct RsaKey(RsaKeyPair);

#[cfg(feature = "issue")]
impl RsaKey {
    pub(crate) fn pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, Failed> {
        let der: Pkcs8V1Der<'_> = self.0.as_der().map_err(failed)?;
        Ok(Zeroizing::new(der.as_ref().to_vec()))
    }

    /// The public half: RSAPublicKey of PKCS#1.
    pub(crate) fn public_pkcs1(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn sign(&self, form: &'static dyn aws_lc_rs::signature::RsaEncoding, message: &[u8]) -> Result<Vec<u8>, Failed> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0.sign(form, &SystemRandom::new(), message, &mut signature).map_err(failed)?;
        Ok(signature)
    }
}

/// For certificates of the legacy form.
#[cfg(feature = "issue")]
impl RsaKey {
    pub(crate) fn generate_3072() -> Result<Self, Failed> {
        RsaKeyPair::generate(KeySize::Rsa3072).map(Self).map_err(failed)
    }

    pub(crate) fn sign_pkcs1_sha256(&self, message: &[u8]) -> Result<Vec<u8>, Failed> {
        self.sign(&aws_lc_rs::signature::RSA_PKCS1_SHA256, message)
    }
}

/// For the simulated AMD.
#[cfg(feature = "sim")]
#[cfg_attr(not(feature = "platform"), allow(dead_code))]
impl RsaKey {
    pub(crate) fn generate_2048() -> Result<Self, Failed> {
        RsaKeyPair::generate(KeySize::Rsa2048).map(Self).map_err(failed)
    }

    pub(crate) fn from_pkcs8(der: &[u8]) -> Result<Self, Failed> {
        RsaKeyPair::from_pkcs8(der).map(Self).map_err(failed)
    }

    pub(crate) fn sign_pss_sha384(&self, message: &[u8]) -> Result<Vec<u8>, Failed> {
        self.sign(&aws_lc_rs::signature::RSA_PSS_SHA384, message)
    }
}

fn sign(key: &EcdsaKeyPair, message: &[u8]) -> Result<Vec<u8>, Failed> {
    Ok(key.sign(&SystemRandom::new(), message).map_err(failed)?.as_ref().to_vec())
}

/// The library says no more than that it failed.
fn failed<E>(_: E) -> Failed {
    Failed
}
