//! Why a certificate could not be issued.

use super::CertificateError;
use crate::attester::AttesterError;
use crate::evidence::EvidenceError;
use crate::hop_key::HopKeyError;
use crate::{Reason, Timestamp};

/// Why there is no new certificate. Never the peer's fault: the platform's, or the operator's.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    #[error("no quote for the hop key")]
    Attester(#[from] AttesterError),
    #[error("the evidence for the hop key is not what a peer would accept")]
    Evidence(#[from] EvidenceError),
    #[error("the hop key cannot be used")]
    Key(#[from] HopKeyError),
    #[error("a certificate from {now} until {not_after} would have no time to live, or ends after the year 9999")]
    Window { now: Timestamp, not_after: Timestamp },
    #[error("endorsements of {size} bytes: {max} at most")]
    EndorsementsTooLarge { size: usize, max: usize },
    #[error("no random serial number")]
    Random,
    #[error("the certificate cannot be encoded")]
    Encode(#[from] rcgen::Error),
    #[error("the new certificate is not what a peer would accept")]
    Refused(#[from] CertificateError),
}

impl IssueError {
    pub fn reason(&self) -> Reason {
        Reason::Internal
    }
}
