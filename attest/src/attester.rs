//! The seam between hop keys and whatever makes quotes.

use std::fmt;

use crate::Reason;
use crate::evidence::Endorsements;
pub use crate::evidence::UserData;
use crate::tee::EvidenceTag;

/// Makes quotes over the claims of this process. Implementations block: they run on a bounded pool of threads.
pub trait Attester: Send + Sync + fmt::Debug {
    /// The name in configuration, logs and metrics (`sgx_ecdsa`, `tdx_ecdsa`, `sev_snp`, `sim`, `null`).
    fn name(&self) -> &'static str;

    /// Which kind of evidence its quotes are.
    fn tag(&self) -> EvidenceTag;

    /// A quote whose user data is exactly `user_data`, cut to its own length.
    fn quote(&self, user_data: &UserData) -> Result<Vec<u8>, AttesterError>;

    /// What the platform handed out with its last quote for peers that cannot fetch it. Ask after [`Self::quote`].
    fn endorsements(&self) -> Option<Endorsements> {
        None
    }
}

/// Why no quote could be had. Always the operator's or the platform's matter, never the peer's.
#[derive(Debug, thiserror::Error)]
pub enum AttesterError {
    #[error("attester `{attester}`: {what} is not there; {remedy}")]
    Missing { attester: &'static str, what: String, remedy: String },
    #[error("attester `{attester}`: {doing}")]
    Io {
        attester: &'static str,
        doing: String,
        #[source]
        source: std::io::Error,
    },
    #[error("attester `{attester}` answered wrongly: {what}")]
    Answer { attester: &'static str, what: String },
    /// The system refused something; what an operator can do about it.
    #[error("attester `{attester}`: {doing} failed; {remedy}")]
    Refused {
        attester: &'static str,
        doing: String,
        remedy: String,
        #[source]
        source: std::io::Error,
    },
    #[error("attester `{attester}`: no quote within {after:?}; at the end of that it was {doing}")]
    Deadline { attester: &'static str, doing: String, after: std::time::Duration },
    /// Each interface that was tried, in order, and why it was not the one.
    #[error("attester `{attester}` has no interface that works: {}", numbered(tried))]
    Interfaces { attester: &'static str, tried: Vec<AttesterError> },
}

/// The errors in one line, each with its sources: they have no one source that `source()` could name.
fn numbered(errors: &[AttesterError]) -> String {
    let mut line = String::new();
    for (n, error) in errors.iter().enumerate() {
        let separator = if n == 0 { "" } else { "; " };
        line.push_str(&format!("{separator}({}) {error}", n + 1));
        let mut source = std::error::Error::source(error);
        while let Some(error) = source {
            line.push_str(&format!(": {error}"));
            source = error.source();
        }
    }
    line
}

impl AttesterError {
    pub fn reason(&self) -> Reason {
        Reason::Internal
    }
}
