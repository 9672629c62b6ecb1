//! Why the simulated platform could not do what was asked.

use crate::appraise::AppraisalError;
use crate::tee::Tee;

/// Why the simulated platform could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    #[error("the simulated platform's keys are not here: this copy can verify and cannot attest")]
    NoKeys,
    #[error("a simulated platform has no {0:?} to offer; use SGX or TDX")]
    Tee(Tee),
    #[error("this simulated platform has no SEV-SNP; make it anew (`inclavared sim init DIR`)")]
    NoAmd,
    #[error("a {format} quote cannot have TCB status {status}; {remedy}")]
    Status { format: &'static str, status: String, remedy: &'static str },
    #[error("{field} {what}")]
    Field { field: &'static str, what: &'static str },
    #[error("making a certificate of the simulated platform")]
    Certificate(#[from] rcgen::Error),
    #[error("a key of the simulated platform: {0}")]
    Key(String),
    #[error("the simulated platform's collateral")]
    Collateral(#[from] AppraisalError),
}
