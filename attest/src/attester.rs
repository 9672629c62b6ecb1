//! The seam between hop keys and whatever makes quotes.

use std::fmt;

use crate::Reason;
use crate::evidence::{Claims, EvidenceTag};

/// Makes quotes over the claims of this process. Implementations block: they run on a bounded pool of threads.
pub trait Attester: Send + Sync + fmt::Debug {
    /// The name in configuration, logs and metrics (`sgx_ecdsa`, `tdx_ecdsa`, `sev_snp`, `sim`, `null`).
    fn name(&self) -> &'static str;

    /// Which kind of evidence its quotes are.
    fn tag(&self) -> EvidenceTag;

    /// A quote whose user data is exactly `user_data`, cut to its own length.
    fn quote(&self, user_data: &UserData) -> Result<Vec<u8>, AttesterError>;
}

/// The 64 bytes that a quote covers: SHA-256 of the claims, then 32 zero bytes.
///
/// It can be made from [`Claims`] alone, so that no caller can have bytes of its own choice quoted: a function
/// that quotes what it is given is a signing oracle.
#[derive(Clone, PartialEq, Eq)]
pub struct UserData([u8; 64]);

impl UserData {
    /// `encoded` is the claims as they stand in the evidence, never encoded anew.
    pub fn of(claims: &Claims) -> Self {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(crate::Digest::of(claims.encoded()).as_bytes());
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Debug for UserData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
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
}

impl AttesterError {
    pub fn reason(&self) -> Reason {
        Reason::Internal
    }
}
