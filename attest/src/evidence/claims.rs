//! The claims that a quote covers: a CBOR map of text to byte strings, kept as it was received.

use crate::{ConfigDigest, Digest, KeyId, PolicyDigest, Timestamp};

/// The claims of one piece of evidence, with their encoding as received: digests are over that, never over an
/// encoding made anew.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claims {
    encoded: Vec<u8>,
    key: KeyId,
    hop: Option<HopClaims>,
    nonce: Option<Digest>,
    unknown: Vec<(String, Vec<u8>)>,
}

/// What an `inclavared` process says of itself in its evidence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HopClaims {
    pub version: u64,
    pub chain_role: String,
    pub policy_digest: PolicyDigest,
    /// When the certificate that carries this evidence ends.
    pub not_after: Timestamp,
    pub config_digest: ConfigDigest,
}

impl Claims {
    /// The bytes that the quote's user data is the hash of.
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// The key that the evidence speaks of.
    pub fn key(&self) -> KeyId {
        self.key
    }

    pub fn hop(&self) -> Option<&HopClaims> {
        self.hop.as_ref()
    }

    pub fn nonce(&self) -> Option<Digest> {
        self.nonce
    }

    /// Entries that this version does not know: shown, never trusted.
    pub fn unknown(&self) -> &[(String, Vec<u8>)] {
        &self.unknown
    }
}
