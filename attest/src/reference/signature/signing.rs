//! The private half: who releases reference values signs them.

use std::fmt;

use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use super::trusted::{KeyFormError, TrustedKey};
use crate::crypto::{P256_SPKI_PREFIX, P256Key};

/// Signs files of reference values. Its bytes are wiped by the library when it is dropped.
pub struct SigningKey {
    pair: P256Key,
    key: TrustedKey,
}

impl SigningKey {
    /// From PKCS#8 in PEM (`-----BEGIN PRIVATE KEY-----`).
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyFormError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| KeyFormError::Private)?;
        let der = Zeroizing::new(der.secret_pkcs8_der().to_vec());
        let pair = P256Key::from_pkcs8(&der).map_err(|_| KeyFormError::Private)?;
        let spki = [P256_SPKI_PREFIX, pair.point()].concat();
        Ok(Self { pair, key: TrustedKey::of(spki) })
    }

    /// The public half.
    pub fn trusted(&self) -> &TrustedKey {
        &self.key
    }

    pub fn sign(&self, file: &[u8]) -> Result<Vec<u8>, KeyFormError> {
        self.pair.sign_asn1(file).map_err(|_| KeyFormError::Sign)
    }
}

impl fmt::Debug for SigningKey {
    /// The name of the key alone: nothing of the private half may reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.key.kid())
    }
}
