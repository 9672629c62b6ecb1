//! Why a certificate was refused.

use super::cmw::CmwError;
use crate::evidence::EvidenceError;
use crate::quote::QuoteError;
use crate::{Digest, KeyId, Reason, Timestamp};

/// Refusals of a peer's certificate: always the peer's fault, or its clock's.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("a certificate of {size} bytes: {max} at most")]
    TooLarge { size: usize, max: usize },
    #[error("the certificate is not X.509: {0}")]
    Der(String),
    #[error("{0} bytes after the end of the certificate")]
    TrailingBytes(usize),
    #[error("the certificate is of X.509 version {found} instead of 3")]
    Version { found: u64 },
    #[error("the certificate's key is {found}; accepted: {accepted}")]
    Key { found: String, accepted: &'static str },
    #[error("the certificate is signed with algorithm {0}, which does not fit its key")]
    SignatureAlgorithm(String),
    #[error("the certificate's signature by its own key does not hold")]
    SelfSignature,
    #[error("the certificate's issuer is not its subject: it is not self-signed")]
    NotSelfIssued,
    #[error("the certificate is valid only from {not_before}; it is {now} (is a clock wrong?)")]
    NotYetValid { not_before: Timestamp, now: Timestamp },
    #[error("the certificate ended at {not_after}; it is {now}")]
    Expired { not_after: Timestamp, now: Timestamp },
    #[error("the certificate is one of a CA")]
    Ca,
    #[error("the certificate's {extension} does not allow TLS with its key")]
    Usage { extension: &'static str },
    #[error("extension {0} is critical and not known")]
    CriticalExtension(String),
    #[error("extension {0} stands there twice")]
    DuplicateExtension(String),
    #[error("more than {max} extensions")]
    TooManyExtensions { max: usize },

    #[error("two extensions with evidence")]
    TwoEvidences,
    #[error("the certificate's evidence is refused")]
    Evidence(#[source] EvidenceError),
    #[error("the certificate's CMW is refused")]
    Cmw(#[source] CmwError),
    #[error("the certificate's endorsements are refused")]
    Endorsements(#[source] EvidenceError),
    #[error("the certificate's endorsements are not for evidence of its kind")]
    EndorsementsKind,
    #[error("the evidence speaks of key {claimed}; the certificate's is {found}")]
    KeyMismatch { claimed: KeyId, found: KeyId },
    #[error("the certificate is valid until {not_after}, longer than its evidence: {evidence}")]
    OutlivesEvidence { not_after: Timestamp, evidence: Timestamp },

    #[error("the certificate has no legacy evidence (extension 1.2.840.113741.1337.6)")]
    NoLegacyEvidence,
    #[error("legacy evidence of kind {0}; only an SGX quote (1.2.840.113741.1337.6) is accepted")]
    LegacyKind(String),
    #[error("the legacy quote cannot be read")]
    LegacyQuote(#[source] QuoteError),
    #[error("the legacy quote is not of the form that goes with this extension: an SGX quote")]
    LegacyTee,
    #[error("the legacy quote speaks of key {claimed}; the hash of the certificate's is {found}")]
    LegacyKeyMismatch { claimed: Digest, found: Digest },
    #[error("the second half of the legacy quote's user data is not zero")]
    LegacyUserDataTail,
}

impl CertificateError {
    pub fn reason(&self) -> Reason {
        match self {
            Self::Evidence(error) => error.reason(),
            Self::LegacyQuote(error) => error.reason(),
            Self::NotYetValid { .. } | Self::Expired { .. } | Self::OutlivesEvidence { .. } => Reason::Expired,
            Self::KeyMismatch { .. } | Self::LegacyKeyMismatch { .. } | Self::LegacyUserDataTail => Reason::Binding,
            Self::NoLegacyEvidence => Reason::NoEvidence,
            Self::LegacyTee => Reason::Tee,
            Self::TwoEvidences
            | Self::Cmw(_)
            | Self::Endorsements(_)
            | Self::EndorsementsKind
            | Self::LegacyKind(_) => Reason::EvidenceForm,
            Self::TooLarge { .. }
            | Self::Der(_)
            | Self::TrailingBytes(_)
            | Self::Version { .. }
            | Self::Key { .. }
            | Self::SignatureAlgorithm(_)
            | Self::SelfSignature
            | Self::NotSelfIssued
            | Self::Ca
            | Self::Usage { .. }
            | Self::CriticalExtension(_)
            | Self::DuplicateExtension(_)
            | Self::TooManyExtensions { .. } => Reason::Tls,
        }
    }
}
