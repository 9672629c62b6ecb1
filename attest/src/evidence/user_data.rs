//! The bytes that a quote covers.

use std::fmt;

use super::{Claims, FreshClaims};
use crate::Digest;

/// The 64 bytes that a quote covers: a SHA-256, then 32 zero bytes.
///
/// It can be made from claims alone, or from a key of the legacy form, so that no caller can have bytes of its own choice
/// quoted: a function that quotes what it is given is a signing oracle.
#[derive(Clone, PartialEq, Eq)]
pub struct UserData([u8; 64]);

impl UserData {
    /// Over the hash of the claims as they stand in the evidence; they are never encoded anew.
    pub fn of(claims: &Claims) -> Self {
        Self::over(Digest::of(claims.encoded()))
    }

    /// Over the hash of the claims of a fresh quote.
    pub fn of_fresh(claims: &FreshClaims) -> Self {
        Self::over(Digest::of(&claims.encode()))
    }

    /// Whoever calls this answers for what was hashed: it must be nothing that a peer chose.
    pub(crate) fn over(digest: Digest) -> Self {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(digest.as_bytes());
        Self(bytes)
    }

    /// As they stand in the quote.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Debug for UserData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}
