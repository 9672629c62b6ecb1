//! What a set of claims speaks of: a key, or legs. That alone decides what the evidence may be shown for.
//!
//! Evidence of a key is a certificate's; evidence over legs is a fresh quote, and names no key, so that nobody takes it
//! for a certificate's (docs/PROTOCOL.md section 2). The two are told apart here and nowhere else.

use std::sync::Arc;

use super::fresh::FRESH;
use super::reader::Reader;
use super::{Claims, EvidenceError, FreshClaims};

/// What a quote covers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Statement {
    Key(Arc<Claims>),
    Legs(FreshClaims),
}

impl Statement {
    /// Any order; no entry twice. What speaks of legs says nothing else.
    pub(super) fn decode(encoded: &[u8]) -> Result<Self, EvidenceError> {
        let entries = entries(encoded)?;
        let Some((_, fresh)) = entries.iter().find(|(name, _)| *name == FRESH) else {
            return Claims::read(encoded, &entries).map(Arc::new).map(Self::Key);
        };
        match entries.iter().find(|(name, _)| *name != FRESH) {
            Some((other, _)) => Err(EvidenceError::FreshNotAlone((*other).to_owned())),
            None => FreshClaims::read(fresh).map(Self::Legs),
        }
    }
}

impl Claims {
    /// Reads claims of a key and keeps them as they are. Any order; no entry twice. Those of a fresh quote are refused.
    pub fn decode(encoded: &[u8]) -> Result<Self, EvidenceError> {
        match Statement::decode(encoded)? {
            Statement::Key(claims) => Ok(Arc::unwrap_or_clone(claims)),
            Statement::Legs(_) => Err(EvidenceError::NotOfAKey),
        }
    }
}

/// The entries of the map, none twice.
fn entries(encoded: &[u8]) -> Result<Vec<(&str, &[u8])>, EvidenceError> {
    let mut reader = Reader::new(encoded, "the map of claims");
    let count = reader.map()?;
    if count > MAX_CLAIMS as u64 {
        return Err(EvidenceError::TooManyClaims { max: MAX_CLAIMS });
    }
    let mut entries: Vec<(&str, &[u8])> = Vec::new();
    for _ in 0..count {
        let name = reader.text()?;
        if entries.iter().any(|(other, _)| *other == name) {
            return Err(EvidenceError::DuplicateClaim(name.to_owned()));
        }
        entries.push((name, reader.bytes()?));
    }
    reader.end()?;
    Ok(entries)
}

/// Peers write two or three; rats-tls lets an application add its own.
const MAX_CLAIMS: usize = 64;
