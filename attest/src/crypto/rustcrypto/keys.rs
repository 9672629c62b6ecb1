//! Keys that sign. Signatures of ECDSA draw no random numbers (RFC 6979); keys, and the salts of RSASSA-PSS, do.

use ed25519_dalek::Signer as _;
use p256::elliptic_curve::Generate as _;
use p256::elliptic_curve::common::getrandom;
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use zeroize::Zeroizing;

use crate::crypto::Failed;

/// Random bytes, from the system.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), Failed> {
    getrandom::fill(bytes).map_err(failed)
}

/// An ECDSA key on P-256 that signs with SHA-256.
pub(crate) struct P256Key {
    key: p256::ecdsa::SigningKey,
    /// Not compressed.
    point: Vec<u8>,
    pkcs8: Zeroizing<Vec<u8>>,
}

impl P256Key {
    pub(crate) fn generate() -> Result<Self, Failed> {
        let key = p256::ecdsa::SigningKey::try_generate().map_err(failed)?;
        let document = key.to_pkcs8_der().map_err(failed)?;
        Self::from_pkcs8(document.as_bytes())
    }

    pub(crate) fn from_pkcs8(der: &[u8]) -> Result<Self, Failed> {
        let key = p256::ecdsa::SigningKey::from_pkcs8_der(der).map_err(failed)?;
        let point = key.verifying_key().to_sec1_point(false).as_bytes().to_vec();
        Ok(Self { key, point, pkcs8: Zeroizing::new(der.to_vec()) })
    }

    pub(crate) fn pkcs8(&self) -> &Zeroizing<Vec<u8>> {
        &self.pkcs8
    }

    /// Not compressed: 65 bytes.
    pub(crate) fn point(&self) -> &[u8] {
        &self.point
    }

    pub(crate) fn sign_fixed(&self, message: &[u8]) -> Result<[u8; 64], Failed> {
        let signature: p256::ecdsa::Signature = self.key.try_sign(message).map_err(failed)?;
        Ok(signature.to_bytes().into())
    }

    pub(crate) fn sign_asn1(&self, message: &[u8]) -> Result<Vec<u8>, Failed> {
        let signature: p256::ecdsa::DerSignature = self.key.try_sign(message).map_err(failed)?;
        Ok(signature.as_bytes().to_vec())
    }
}

/// An ECDSA key on P-384 that signs with SHA-384.
pub(crate) struct P384Key {
    key: p384::ecdsa::SigningKey,
    #[cfg(feature = "sim")]
    point: Vec<u8>,
}

impl P384Key {
    pub(crate) fn from_pkcs8(der: &[u8]) -> Result<Self, Failed> {
        let key = p384::ecdsa::SigningKey::from_pkcs8_der(der).map_err(failed)?;
        Ok(Self {
            #[cfg(feature = "sim")]
            point: key.verifying_key().to_sec1_point(false).as_bytes().to_vec(),
            key,
        })
    }

    pub(crate) fn sign_asn1(&self, message: &[u8]) -> Result<Vec<u8>, Failed> {
        let signature: p384::ecdsa::DerSignature = self.key.try_sign(message).map_err(failed)?;
        Ok(signature.as_bytes().to_vec())
    }
}

#[cfg(feature = "sim")]
#[cfg_attr(not(feature = "platform"), allow(dead_code))]
impl P384Key {
    pub(crate) fn generate() -> Result<Self, Failed> {
        let key = p384::ecdsa::SigningKey::try_generate().map_err(failed)?;
        Self::from_pkcs8(key.to_pkcs8_der().map_err(failed)?.as_bytes())
    }

    pub(crate) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, Failed> {
        Ok(Zeroizing::new(self.key.to_pkcs8_der().map_err(failed)?.as_bytes().to_vec()))
    }

    /// Not compressed: 97 bytes.
    pub(crate) fn point(&self) -> &[u8] {
        &self.point
    }

    pub(crate) fn sign_fixed(&self, message: &[u8]) -> Result<[u8; 96], Failed> {
        let signature: p384::ecdsa::Signature = self.key.try_sign(message).map_err(failed)?;
        Ok(signature.to_bytes().into())
    }
}

/// An Ed25519 key.
pub(crate) struct Ed25519Key(ed25519_dalek::SigningKey);

impl Ed25519Key {
    pub(crate) fn from_pkcs8(der: &[u8]) -> Result<Self, Failed> {
        ed25519_dalek::SigningKey::from_pkcs8_der(der).map(Self).map_err(failed)
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).to_bytes().to_vec()
    }
}

/// An RSA key. The library wipes it when it is dropped.
#[cfg(feature = "issue")]
pub(crate) struct RsaKey {
    key: rsa::PrivateKey,
    public: Vec<u8>,
}

#[cfg(feature = "issue")]
impl RsaKey {
    pub(crate) fn pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, Failed> {
        use rsa::pkcs8::EncodePrivateKey as _;
        Ok(Zeroizing::new(self.key.to_pkcs8_der().map_err(failed)?.as_bytes().to_vec()))
    }

    /// The public half: RSAPublicKey of PKCS#1.
    pub(crate) fn public_pkcs1(&self) -> &[u8] {
        &self.public
    }

    fn generate(bits: usize) -> Result<Self, Failed> {
        Self::new(rsa::PrivateKey::new(&mut getrandom::SysRng, bits).map_err(failed)?)
    }

    fn new(key: rsa::PrivateKey) -> Result<Self, Failed> {
        use rsa::pkcs1::EncodeRsaPublicKey as _;
        let public = key.to_public_key().to_pkcs1_der().map_err(failed)?.as_bytes().to_vec();
        Ok(Self { key, public })
    }
}

/// For certificates of the legacy form.
#[cfg(feature = "issue")]
impl RsaKey {
    pub(crate) fn generate_3072() -> Result<Self, Failed> {
        Self::generate(3072)
    }

    /// Blinded: how long it takes says nothing of the key.
    pub(crate) fn sign_pkcs1_sha256(&self, message: &[u8]) -> Result<Vec<u8>, Failed> {
        self.key.pkcs1v15_sign::<sha2::Sha256>(message).map_err(failed)
    }
}

/// For the simulated AMD.
#[cfg(feature = "sim")]
#[cfg_attr(not(feature = "platform"), allow(dead_code))]
impl RsaKey {
    pub(crate) fn generate_2048() -> Result<Self, Failed> {
        Self::generate(2048)
    }

    pub(crate) fn from_pkcs8(der: &[u8]) -> Result<Self, Failed> {
        use rsa::pkcs8::DecodePrivateKey as _;
        Self::new(rsa::PrivateKey::from_pkcs8_der(der).map_err(failed)?)
    }

    pub(crate) fn sign_pss_sha384(&self, message: &[u8]) -> Result<Vec<u8>, Failed> {
        self.key.pss_sign::<sha2::Sha384>(message).map_err(failed)
    }
}

/// The libraries say no more than that they failed, or nothing that a caller could act on.
fn failed<E>(_: E) -> Failed {
    Failed
}
