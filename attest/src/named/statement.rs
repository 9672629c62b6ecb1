//! What an authority's certificate signs, and why it may not be believed.

use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::crypto::{ECDSA_P256_SHA256, ECDSA_P384_SHA384, ED25519};
use crate::dcbor::{FormError, Writer};
use crate::{Digest, KeyId, Timestamp};

/// A statement, in bytes: the certificates are most of it.
pub const MAX_STATEMENT: usize = 6 * 1024;
pub(super) const MAX_CERTIFICATES: usize = 4;
pub(super) const VERSION: u64 = 1;

/// Why there is no name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameError {
    #[error(transparent)]
    Form(#[from] FormError),
    #[error("the certificate of the name: {0}")]
    Certificate(String),
    #[error("the key of the name: {0}")]
    Key(String),
    #[error("the signature of another hop key, another end or another holder")]
    Signature,
    #[error("the statement ended at {0}")]
    Expired(Timestamp),
}

pub(super) fn end_entity<'a>(der: &'a CertificateDer<'a>) -> Result<EndEntityCert<'a>, NameError> {
    EndEntityCert::try_from(der).map_err(|error| NameError::Certificate(error.to_string()))
}

/// What is signed: which key is named, until when, and by which certificate.
pub(super) fn message(kid: KeyId, not_after: Timestamp, holder: &[u8]) -> Vec<u8> {
    let mut w = Writer::new();
    w.array(5).text("inclavared/name").uint(VERSION).bytes(kid.as_bytes()).uint(not_after.0);
    w.bytes(Digest::of(holder).as_bytes());
    w.finish()
}

/// Whether the holder of this certificate signed `message`.
pub(super) fn signed_by(holder: &CertificateDer<'_>, message: &[u8], signature: &[u8]) -> bool {
    let Ok(certificate) = EndEntityCert::try_from(holder) else { return false };
    [ECDSA_P256_SHA256, ECDSA_P384_SHA384, ED25519]
        .into_iter()
        .any(|algorithm| certificate.verify_signature(algorithm, message, signature).is_ok())
}
