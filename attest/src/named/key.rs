//! The key of an authority's certificate, which names hop keys.

use std::fmt;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::NameError;
use super::statement::{MAX_CERTIFICATES, VERSION, end_entity, message, signed_by};
use crate::crypto::{Ed25519Key, P256Key, P384Key};
use crate::dcbor::Writer;
use crate::{KeyId, Timestamp};

/// The key of a name, with the certificates from it up to the CA.
pub struct NamingKey {
    pub(super) chain: Vec<CertificateDer<'static>>,
    key: Key,
}

enum Key {
    P256(Box<P256Key>),
    P384(Box<P384Key>),
    Ed25519(Box<Ed25519Key>),
}

impl NamingKey {
    /// `chain` in PEM, the holder's certificate first; `key` in PEM, PKCS#8, ECDSA on P-256 or P-384, or Ed25519.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, NameError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
        let chain = chain.map_err(|error| NameError::Certificate(error.to_string()))?;
        if chain.is_empty() {
            return Err(NameError::Certificate("no PEM block".to_owned()));
        }
        if chain.len() > MAX_CERTIFICATES {
            return Err(NameError::Certificate(format!("{} of them, at most {MAX_CERTIFICATES}", chain.len())));
        }
        let der = PrivateKeyDer::from_pem_slice(key).map_err(|error| NameError::Key(error.to_string()))?;
        let PrivateKeyDer::Pkcs8(der) = der else {
            return Err(NameError::Key("not PKCS#8: convert it with `openssl pkcs8 -topk8 -nocrypt`".to_owned()));
        };
        let der = der.secret_pkcs8_der();
        let key = (P256Key::from_pkcs8(der).map(Box::new).map(Key::P256))
            .or_else(|_| P384Key::from_pkcs8(der).map(Box::new).map(Key::P384))
            .or_else(|_| Ed25519Key::from_pkcs8(der).map(Box::new).map(Key::Ed25519))
            .map_err(|_| NameError::Key("neither ECDSA on P-256 or P-384 nor Ed25519".to_owned()))?;
        let naming = Self { chain, key };
        // A key that is not the certificate's is found here, not by every verifier.
        let probe = message(KeyId::of(b""), Timestamp(0), &naming.chain[0]);
        let signature = naming.signature(&probe)?;
        end_entity(&naming.chain[0])?;
        if !signed_by(&naming.chain[0], &probe, &signature) {
            return Err(NameError::Key("not that of the certificate".to_owned()));
        }
        Ok(naming)
    }

    /// Names a hop key until `not_after`.
    pub fn name(&self, kid: KeyId, not_after: Timestamp) -> Result<Vec<u8>, NameError> {
        let signature = self.signature(&message(kid, not_after, &self.chain[0]))?;
        let mut w = Writer::new();
        w.array(4).uint(VERSION).array(self.chain.len());
        self.chain.iter().for_each(|certificate| _ = w.bytes(certificate));
        w.uint(not_after.0).bytes(&signature);
        Ok(w.finish())
    }

    pub(super) fn signature(&self, message: &[u8]) -> Result<Vec<u8>, NameError> {
        let signature = match &self.key {
            Key::P256(key) => key.sign_asn1(message),
            Key::P384(key) => key.sign_asn1(message),
            Key::Ed25519(key) => Ok(key.sign(message)),
        };
        signature.map_err(|_| NameError::Key("it does not sign".to_owned()))
    }
}

impl fmt::Debug for NamingKey {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamingKey").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}
