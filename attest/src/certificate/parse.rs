//! A peer's certificate: strictly read, its evidence tied to its key. Nothing here says that the evidence is true.

use super::x509::{Form, KeyAlgorithm, Rules};
use super::{CertificateError, cmw, oid};
use crate::evidence::{Endorsements, Evidence};
use crate::{KeyId, Timestamp};

/// What a peer's certificate says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerCertificate {
    /// The SubjectPublicKeyInfo in DER, as it was received.
    pub spki: Vec<u8>,
    /// SHA-256 of it. Invariant: the key that `evidence` speaks of.
    pub kid: KeyId,
    pub key: KeyAlgorithm,
    /// `None` only if the certificate has no evidence extension at all.
    pub evidence: Option<Evidence>,
    /// Invariant: of the same kind as `evidence`. To be verified like any collateral.
    pub endorsements: Option<Endorsements>,
    /// There is legacy evidence too, which is not read here: a route must name it (see `parse_legacy`).
    pub has_legacy_evidence: bool,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

/// Reads the certificate of a peer that speaks this protocol: only a P-256 key signed with SHA-256.
pub fn parse(der: &[u8], now: Timestamp) -> Result<PeerCertificate, CertificateError> {
    read(der, now, &Rules { hop: true, version_4: false })
}

/// Reads the certificate of a peer that does not speak this protocol, but has interoperable evidence (rats-tls,
/// Gramine, Intel's SDK): as strict as [`parse`], with the keys that those use.
pub fn parse_interoperable(der: &[u8], now: Timestamp) -> Result<PeerCertificate, CertificateError> {
    read(der, now, &Rules { hop: false, version_4: false })
}

fn read(der: &[u8], now: Timestamp, rules: &Rules) -> Result<PeerCertificate, CertificateError> {
    let form = Form::read(der, now, rules)?;
    let kid = KeyId::of(form.spki());
    let evidence = evidence(&form)?;
    if let Some(evidence) = &evidence {
        let claims = evidence.claims();
        if claims.key() != kid {
            return Err(CertificateError::KeyMismatch { claimed: claims.key(), found: kid });
        }
        if let Some(hop) = claims.hop()
            && form.not_after > hop.not_after
        {
            let (not_after, evidence) = (form.not_after, hop.not_after);
            return Err(CertificateError::OutlivesEvidence { not_after, evidence });
        }
    }
    let endorsements = form
        .extension(oid::ENDORSEMENTS)
        .map(|value| Endorsements::decode(value).map_err(CertificateError::Endorsements))
        .transpose()?;
    if let Some(endorsements) = &endorsements
        && evidence.as_ref().map(|evidence| evidence.tag()) != Some(endorsements.tag())
    {
        return Err(CertificateError::EndorsementsKind);
    }
    Ok(PeerCertificate {
        spki: form.spki().to_vec(),
        kid,
        key: form.key,
        evidence,
        endorsements,
        has_legacy_evidence: form
            .extensions()
            .any(|e| e.oid.as_bytes().starts_with(oid::LEGACY_ARC) || e.oid.as_bytes() == oid::LEGACY_QUOTE_GRAMINE),
        not_before: form.not_before,
        not_after: form.not_after,
    })
}

fn evidence(form: &Form<'_>) -> Result<Option<Evidence>, CertificateError> {
    let tagged = match (form.extension(oid::TAGGED_EVIDENCE), form.extension(oid::CMW)) {
        (Some(_), Some(_)) => return Err(CertificateError::TwoEvidences),
        (Some(value), None) => value,
        (None, Some(value)) => cmw::unwrap(value).map_err(CertificateError::Cmw)?,
        (None, None) => return Ok(None),
    };
    Evidence::decode(tagged).map(Some).map_err(CertificateError::Evidence)
}

#[cfg(test)]
mod tests;
