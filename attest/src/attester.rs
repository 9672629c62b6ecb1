//! The seam between hop keys and whatever makes quotes.

use std::fmt;

use crate::Reason;
use crate::certificate::LegacyKey;
use crate::evidence::{Claims, Endorsements, EvidenceTag};

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

/// The 64 bytes that a quote covers: SHA-256 of the claims, then 32 zero bytes.
///
/// It can be made from [`Claims`] alone, or from a key of the legacy form, so that no caller can have bytes of its own choice quoted: a function
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

    /// SHA-256 of the public key, as enclave-tls has it. Of a key that was made here: this, too, quotes nobody's bytes.
    pub fn of_legacy_key(key: &LegacyKey) -> Self {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(crate::Digest::of(key.public_pkcs1()).as_bytes());
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
