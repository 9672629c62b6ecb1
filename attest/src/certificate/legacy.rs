//! Certificates of early RA-TLS and enclave-tls: a raw SGX quote over the hash of the key. Read only where a route
//! names them; nothing in `parse` comes here.

use super::x509::{Form, KeyAlgorithm, Rules};
use super::{CertificateError, oid};
use crate::quote::{self, Layout};
use crate::tee::{EvidenceTag, Tee};
use crate::{Digest, KeyId, Timestamp};

/// What a legacy certificate says. It has no claims: its evidence binds the key and nothing else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LegacyCertificate {
    /// The SubjectPublicKeyInfo in DER. The handshake's signature is to be verified with it directly: the TLS library
    /// refuses certificates of version 4.
    pub spki: Vec<u8>,
    /// SHA-256 of it.
    pub kid: KeyId,
    pub key: KeyAlgorithm,
    /// What the quote speaks of: SHA-256 of the SubjectPublicKeyInfo for EC keys, of the PKCS#1 RSAPublicKey for RSA.
    pub key_hash: Digest,
    /// The SGX quote, cut to its parsed length.
    pub quote: Vec<u8>,
    /// X.509 version: 3, or enclave-tls' 4.
    pub version: u8,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

/// Reads a legacy certificate: as strict as `parse`, but for its version, its keys and its form of evidence.
pub fn parse_legacy(der: &[u8], now: Timestamp) -> Result<LegacyCertificate, CertificateError> {
    let form = Form::read(der, now, &Rules { hop: false, version_4: true })?;
    let padded = legacy_quote(&form)?;
    let layout = Layout::read(EvidenceTag::IntelQuote, padded).map_err(CertificateError::LegacyQuote)?;
    if layout.tee != Tee::Sgx {
        return Err(CertificateError::LegacyTee);
    }
    let quote = quote::cut(EvidenceTag::IntelQuote, padded).map_err(CertificateError::LegacyQuote)?;
    let user_data = quote::user_data(EvidenceTag::IntelQuote, quote).map_err(CertificateError::LegacyQuote)?;

    let key_hash = match form.key {
        KeyAlgorithm::EcdsaP256 | KeyAlgorithm::EcdsaP384 => Digest::of(form.spki()),
        KeyAlgorithm::Rsa => Digest::of(&form.certificate.public_key().subject_public_key.data),
    };
    match Digest::from_slice(&user_data[..32]) {
        Some(claimed) if claimed != key_hash => {
            return Err(CertificateError::LegacyKeyMismatch { claimed, found: key_hash });
        }
        _ if user_data[32..] != [0; 32] => return Err(CertificateError::LegacyUserDataTail),
        _ => (),
    }
    Ok(LegacyCertificate {
        spki: form.spki().to_vec(),
        kid: KeyId::of(form.spki()),
        key: form.key,
        key_hash,
        quote: quote.to_vec(),
        version: if form.certificate.version().0 == 2 { 3 } else { 4 },
        not_before: form.not_before,
        not_after: form.not_after,
    })
}

/// Gramine's certificates have interoperable evidence beside it: that is not looked at.
fn legacy_quote<'a>(form: &Form<'a>) -> Result<&'a [u8], CertificateError> {
    match (form.extension(oid::LEGACY_QUOTE), form.extension(oid::LEGACY_QUOTE_GRAMINE)) {
        (Some(_), Some(_)) => Err(CertificateError::TwoEvidences),
        (Some(quote), None) | (None, Some(quote)) => Ok(quote),
        (None, None) => Err(match form.extensions().find(|e| e.oid.as_bytes().starts_with(oid::LEGACY_ARC)) {
            Some(other) => CertificateError::LegacyKind(oid::dotted(other.oid.as_bytes())),
            None => CertificateError::NoLegacyEvidence,
        }),
    }
}

#[cfg(test)]
mod tests;
