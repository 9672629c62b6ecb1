//! Verification of a name: the authority's chain, the signature over the hop key, and both ends in time.

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::KeyUsage;

use super::NameError;
use super::statement::{MAX_CERTIFICATES, MAX_STATEMENT, VERSION, end_entity, message, signed_by};
use crate::crypto;
use crate::dcbor::{FormError, Item, Limits};
use crate::{KeyId, Timestamp};
use rustls_pki_types::pem::PemObject as _;

/// What an authority says of the holder of a name. Checked in full.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Named {
    /// URIs among the subject's alternative names: a SPIFFE id is one.
    pub uris: Vec<String>,
    /// When the certificate or the statement ends, whichever is first.
    pub expires: Timestamp,
}

/// The certificates of authorities, in DER, from a PEM text.
pub fn authorities(pem: &[u8]) -> Result<Vec<Vec<u8>>, NameError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(|error| NameError::Certificate(error.to_string()))?;
    if certificates.is_empty() {
        return Err(NameError::Certificate("no PEM block".to_owned()));
    }
    for certificate in &certificates {
        webpki::anchor_from_trusted_cert(certificate).map_err(|error| NameError::Certificate(error.to_string()))?;
    }
    Ok(certificates.into_iter().map(|certificate| certificate.to_vec()).collect())
}

/// Verifies a statement about the hop key `kid`, under an authority's certificates in DER.
pub fn verify_name(statement: &[u8], kid: KeyId, roots: &[Vec<u8>], now: Timestamp) -> Result<Named, NameError> {
    let [version, chain, not_after, signature] =
        Item::parse(statement, &Limits::bytes(MAX_STATEMENT)).map_err(FormError::from)?.tuple("name")?;
    version.uint_in("version", VERSION, VERSION)?;
    let chain = chain.array("certificates", MAX_CERTIFICATES)?;
    let chain: Result<Vec<_>, FormError> =
        chain.into_iter().map(|der| Ok(CertificateDer::from(der.bytes("certificate", MAX_STATEMENT)?))).collect();
    let chain = chain?;
    let not_after = Timestamp(not_after.uint("not_after")?);
    let signature = signature.bytes("signature", 256)?;
    let Some((holder, intermediates)) = chain.split_first() else {
        return Err(NameError::Certificate("none".to_owned()));
    };
    let certificate = end_entity(holder)?;
    let roots: Vec<_> = roots.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let anchors: Result<Vec<TrustAnchor<'_>>, _> = roots.iter().map(webpki::anchor_from_trusted_cert).collect();
    let anchors = anchors.map_err(|error| NameError::Certificate(format!("the CA: {error}")))?;
    certificate
        .verify_for_usage(
            crypto::chain_algorithms(),
            &anchors,
            intermediates,
            UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.0)),
            KeyUsage::client_auth(),
            None,
            None,
        )
        .map_err(|error| NameError::Certificate(error.to_string()))?;
    if !signed_by(holder, &message(kid, not_after, holder), signature) {
        return Err(NameError::Signature);
    }
    if not_after < now {
        return Err(NameError::Expired(not_after));
    }
    let ends = crate::appraise::certificate_window(holder);
    let (_, ends) = ends.map_err(|error| NameError::Certificate(error.to_string()))?;
    Ok(Named { uris: certificate.valid_uri_names().map(str::to_owned).collect(), expires: ends.min(not_after) })
}
