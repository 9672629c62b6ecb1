//! Where in a certificate evidence stands, for who wants to look at it before it is judged.

use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{cmw, oid};

/// The forms of evidence in certificates.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvidenceForm {
    /// TCG DICE tagged evidence.
    InteroperableCertificate,
    /// A RATS conceptual message wrapper around the same.
    CmwCertificate,
    /// A raw quote over the key's hash.
    LegacyCertificate,
    CertificateWithoutEvidence,
}

/// The form and the bytes: of tagged evidence, or of a legacy quote. `None` if there are none that can be read. Nothing
/// is checked; the better form is preferred where there are two.
pub(crate) fn locate_evidence(der: &[u8]) -> (EvidenceForm, Option<Vec<u8>>) {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return (EvidenceForm::CertificateWithoutEvidence, None);
    };
    let value = |id: &[u8]| certificate.extensions().iter().find(|e| e.oid.as_bytes() == id).map(|e| e.value);
    if let Some(value) = value(oid::TAGGED_EVIDENCE) {
        return (EvidenceForm::InteroperableCertificate, Some(value.to_vec()));
    }
    if let Some(value) = value(oid::CMW) {
        return (EvidenceForm::CmwCertificate, cmw::unwrap(value).ok().map(<[u8]>::to_vec));
    }
    match value(oid::LEGACY_QUOTE).or_else(|| value(oid::LEGACY_QUOTE_GRAMINE)) {
        Some(value) => (EvidenceForm::LegacyCertificate, Some(value.to_vec())),
        None => (EvidenceForm::CertificateWithoutEvidence, None),
    }
}
