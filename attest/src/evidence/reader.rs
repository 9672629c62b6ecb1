//! CBOR as evidence needs it: definite lengths, no trailing bytes, and any order and width that peers write.
//!
//! Not the strict deterministic form of records: rats-tls pads integers to fixed widths, and evidence is kept and
//! hashed as it was received, so that its encoding never matters.

use minicbor::Decoder;
use minicbor::data::{Tag, Type};

use super::EvidenceError;

/// Reads one CBOR item; `what` names it in errors.
pub(super) struct Reader<'b> {
    decoder: Decoder<'b>,
    what: &'static str,
}

impl<'b> Reader<'b> {
    pub(super) fn new(bytes: &'b [u8], what: &'static str) -> Self {
        Self { decoder: Decoder::new(bytes), what }
    }

    pub(super) fn tag(&mut self) -> Result<u64, EvidenceError> {
        let tag: Tag = self.decoder.tag().map_err(|e| self.error(&e))?;
        Ok(tag.as_u64())
    }

    /// An array of exactly `expected` items.
    pub(super) fn array(&mut self, expected: u64) -> Result<(), EvidenceError> {
        match self.decoder.array().map_err(|e| self.error(&e))? {
            None => Err(EvidenceError::Indefinite { what: self.what }),
            Some(found) if found != expected => Err(EvidenceError::Count { what: self.what, expected, found }),
            Some(_) => Ok(()),
        }
    }

    /// The number of items of the array that comes next; it is still to be read.
    pub(super) fn array_len(&self) -> Result<u64, EvidenceError> {
        let mut ahead = self.decoder.clone();
        ahead.array().map_err(|e| self.error(&e))?.ok_or(EvidenceError::Indefinite { what: self.what })
    }

    /// The number of entries of a map.
    pub(super) fn map(&mut self) -> Result<u64, EvidenceError> {
        self.decoder.map().map_err(|e| self.error(&e))?.ok_or(EvidenceError::Indefinite { what: self.what })
    }

    pub(super) fn uint(&mut self) -> Result<u64, EvidenceError> {
        self.decoder.u64().map_err(|e| self.error(&e))
    }

    pub(super) fn bytes(&mut self) -> Result<&'b [u8], EvidenceError> {
        self.refuse_indefinite(Type::BytesIndef)?;
        self.decoder.bytes().map_err(|e| self.error(&e))
    }

    pub(super) fn text(&mut self) -> Result<&'b str, EvidenceError> {
        self.refuse_indefinite(Type::StringIndef)?;
        self.decoder.str().map_err(|e| self.error(&e))
    }

    /// Nothing may follow.
    pub(super) fn end(self) -> Result<(), EvidenceError> {
        match self.decoder.input().len().saturating_sub(self.decoder.position()) {
            0 => Ok(()),
            count => Err(EvidenceError::TrailingBytes { what: self.what, count }),
        }
    }

    fn refuse_indefinite(&self, kind: Type) -> Result<(), EvidenceError> {
        match self.decoder.datatype() {
            Ok(found) if found == kind => Err(EvidenceError::Indefinite { what: self.what }),
            _ => Ok(()),
        }
    }

    fn error(&self, error: &minicbor::decode::Error) -> EvidenceError {
        EvidenceError::Cbor { what: self.what, detail: error.to_string() }
    }
}
