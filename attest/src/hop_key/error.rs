//! Why a hop key could not be made, or not be used.

use crate::Reason;

/// The library's random generator or signer failed: ours, or the machine's, never the peer's.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HopKeyError {
    #[error("no hop key could be made")]
    Generate,
    #[error("the hop key could not sign")]
    Sign,
}

impl HopKeyError {
    pub fn reason(&self) -> Reason {
        Reason::Internal
    }
}
