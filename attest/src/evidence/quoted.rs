//! A quote and the claims that it covers, whatever they speak of: what is appraised.

use std::ops::Range;
use std::sync::Arc;

use super::reader::Reader;
use super::statement::Statement;
use super::writer::Writer;
use super::{EvidenceError, EvidenceTag, Tee, UserData, error};
use crate::quote::Layout;
use crate::{Digest, EvidenceDigest, quote};

/// Evidence of a key or over legs. What it may be shown for is not decided: [`Quoted::into_evidence`] and
/// [`Quoted::into_fresh`] do. Clones share it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quoted(Arc<Parts>);

#[derive(PartialEq, Eq, Debug)]
struct Parts {
    tag: EvidenceTag,
    statement: Statement,
    /// Of `blob`.
    digest: EvidenceDigest,
    /// Invariant: `quote` lies in it.
    blob: Box<[u8]>,
    quote: Range<usize>,
}

impl Quoted {
    /// In bytes, as it travels. A quote is about 5 KiB; padding is not allowed.
    pub const MAX_LEN: usize = 16 * 1024;

    /// The quote is cut to its parsed length.
    pub(super) fn new(tag: EvidenceTag, quote: &[u8], claims: &[u8]) -> Result<Self, EvidenceError> {
        let quote = match tag {
            EvidenceTag::Null => quote,
            _ => quote::cut(tag, quote)?,
        };
        Self::decode(&Writer::default().tag(tag.number()).array(2).bytes(quote).bytes(claims).finish())
    }

    /// Reads it strictly, and keeps it as it is. The quote's user data are checked against the claims: nothing else ties
    /// the two together.
    pub fn decode(blob: &[u8]) -> Result<Self, EvidenceError> {
        if blob.len() > Self::MAX_LEN {
            return Err(EvidenceError::TooLarge { what: "evidence", size: blob.len(), max: Self::MAX_LEN });
        }
        let mut reader = Reader::new(blob, "evidence");
        let tag = error::tag_of(reader.tag()?)?;
        reader.array(2)?;
        let quote = reader.bytes()?;
        let claims = reader.bytes()?;
        reader.end()?;
        let statement = Statement::decode(claims)?;
        match (tag, &statement) {
            (EvidenceTag::Null, Statement::Legs(_)) => return Err(EvidenceError::NullOverLegs),
            (EvidenceTag::Null, Statement::Key(_)) if quote.is_empty() => (),
            (EvidenceTag::Null, _) => return Err(EvidenceError::NullWithQuote { size: quote.len() }),
            _ => check_quote(tag, quote, Digest::of(claims))?,
        }
        let start = quote.as_ptr() as usize - blob.as_ptr() as usize;
        let quote = start..start + quote.len();
        Ok(Self(Arc::new(Parts { tag, statement, digest: EvidenceDigest::of(blob), blob: blob.into(), quote })))
    }

    /// Which TEE made the quote, as its header says.
    pub fn tee(&self) -> Tee {
        // The quote was read when this was decoded.
        quote::tee(self.tag(), self.quote()).unwrap_or(Tee::None)
    }

    pub fn tag(&self) -> EvidenceTag {
        self.0.tag
    }

    /// The quote, cut to its own length. Empty for [`EvidenceTag::Null`].
    pub fn quote(&self) -> &[u8] {
        &self.0.blob[self.0.quote.clone()]
    }

    /// The whole exactly as it was received.
    pub fn blob(&self) -> &[u8] {
        &self.0.blob
    }

    pub fn digest(&self) -> EvidenceDigest {
        self.0.digest
    }

    pub(super) fn statement(&self) -> &Statement {
        &self.0.statement
    }
}

/// `expected` is the hash of the claims as they were received.
fn check_quote(tag: EvidenceTag, bytes: &[u8], expected: Digest) -> Result<(), EvidenceError> {
    let layout = Layout::read(tag, bytes)?;
    if layout.len != bytes.len() {
        return Err(EvidenceError::TrailingBytes { what: "the quote", count: bytes.len() - layout.len });
    }
    let found = quote::user_data(tag, bytes)?;
    if found == *UserData::over(expected).as_bytes() {
        return Ok(());
    }
    match Digest::from_slice(&found[..32]) {
        Some(found) if found != expected => Err(EvidenceError::UserData { expected, found }),
        _ => Err(EvidenceError::UserDataTail),
    }
}
