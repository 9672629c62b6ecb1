//! Why bytes are no evidence. Always the fault of who made them.

use crate::quote::QuoteError;
use crate::tee::EvidenceTag;
use crate::{Digest, Reason};

/// Refusals of evidence, claims and endorsements by their form; nothing here is about what a quote says.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EvidenceError {
    #[error("{what} of {size} bytes: {max} at most")]
    TooLarge { what: &'static str, size: usize, max: usize },
    #[error("{what} is not the CBOR that it should be: {detail}")]
    Cbor { what: &'static str, detail: String },
    #[error("{what} has an indefinite length")]
    Indefinite { what: &'static str },
    #[error("{what} has {found} entries instead of {expected}")]
    Count { what: &'static str, expected: u64, found: u64 },
    #[error("{count} bytes after the end of {what}")]
    TrailingBytes { what: &'static str, count: usize },
    #[error("evidence with tag {tag:#x} ({name}) is not accepted")]
    UnknownTag { tag: u64, name: &'static str },

    #[error("the claim `{0}` stands there twice")]
    DuplicateClaim(String),
    #[error("the claim `{0}` is missing")]
    MissingClaim(&'static str),
    #[error("more than {max} claims")]
    TooManyClaims { max: usize },
    #[error("the claim `{claim}` has {found} bytes instead of {expected}")]
    ClaimLength { claim: &'static str, expected: usize, found: usize },
    #[error("`pubkey-hash` by hash algorithm {id} ({name}); only SHA-256 (1) is accepted")]
    HashAlgorithm { id: u64, name: &'static str },
    #[error("claims of a fresh quote over legs, which is no evidence of a key")]
    NotOfAKey,
    #[error("claims of a key where those of a fresh quote over legs belong")]
    NotOverLegs,
    #[error("the claim `inclavared-fresh` has `{0}` beside it; it stands alone")]
    FreshNotAlone(String),
    #[error("the claims `inclavared` and `nonce` stand in one set")]
    NonceOfAHop,
    #[error("the claim `inclavared-fresh` has version {version}; this is version 1")]
    FreshVersion { version: u64 },
    #[error("the claim `inclavared` has version {version}; this is version 1")]
    HopVersion { version: u64 },
    #[error("a claim of ours: key {found} where key {expected} belongs")]
    HopKeyOrder { expected: u64, found: u64 },
    #[error("a chain role of {size} bytes, or with control characters: {max} bytes of text at most")]
    Role { size: usize, max: usize },

    #[error("the quote cannot be read")]
    Quote(#[from] QuoteError),
    /// `expected` is the hash of the claims, `found` what the quote was made over.
    #[error("the quote was not made over these claims: their hash is {expected}, its user data say {found}")]
    UserData { expected: Digest, found: Digest },
    #[error("the second half of the quote's user data is not zero")]
    UserDataTail,
    #[error("evidence of the null attester with a quote of {size} bytes in it")]
    NullWithQuote { size: usize },
    #[error("claims over legs of the null attester, which has no fresh quote")]
    NullOverLegs,
}

impl EvidenceError {
    pub fn reason(&self) -> Reason {
        match self {
            Self::UserData { .. } | Self::UserDataTail => Reason::Binding,
            Self::HopVersion { .. } | Self::FreshVersion { .. } => Reason::Version,
            Self::NullOverLegs => Reason::Null,
            Self::Quote(error) => error.reason(),
            _ => Reason::EvidenceForm,
        }
    }
}

/// The form that a CBOR tag names; where it names another, the refusal says which, if it is known.
pub(super) fn tag_of(tag: u64) -> Result<EvidenceTag, EvidenceError> {
    let name = match tag {
        60001 => "a TEE report, which only its own machine can verify",
        60002 => "a legacy SGX report, which only its own machine can verify",
        0x1A_7505 => "rats-tls' AMD SEV",
        0x1A_7506 => "rats-tls' Hygon CSV",
        _ => "unknown",
    };
    EvidenceTag::from_number(tag).ok_or(EvidenceError::UnknownTag { tag, name })
}
