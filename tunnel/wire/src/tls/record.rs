//! The vocabulary of the record layer: sizes, what opening a record gives, and what can be wrong with one.

use std::ops::Range;

use rustls::AlertDescription;

use super::error::Cause;

/// The most content one record may carry (RFC 8446 section 5.1).
pub const MAX_PLAINTEXT: usize = 1 << 14;

/// The largest record on the wire: header, content, inner type, padding and tag (RFC 8446 section 5.2).
pub const MAX_RECORD: usize = HEADER + MAX_CIPHERTEXT;

pub(super) const HEADER: usize = 5;
pub(super) const TAG: usize = 16;
pub(super) const MAX_CIPHERTEXT: usize = MAX_PLAINTEXT + 256;

pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION_DATA: u8 = 23;

/// What lies at the start of a buffer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Opened {
    /// No whole record yet. Nothing was changed: call again with at least `need` bytes. `need` is the record's
    /// whole length once its header is there, and the header's length until then.
    Incomplete { need: usize },
    /// One record, `consumed` bytes long, was opened in place.
    Record { consumed: usize, what: Content },
}

/// What a record carried.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// Application data: a range within the buffer. Never empty.
    Data(Range<usize>),
    /// The peer changed its key, and the opener followed. With `reply_wanted` the peer asks us to change ours
    /// before our next record: [`Sealer::key_update`](super::Sealer::key_update) with `ask_peer` false. One reply
    /// answers any number of requests that were read before it is sent.
    KeyUpdate { reply_wanted: bool },
    /// Nothing for the application: a ticket, part of a handshake message, an empty record.
    Ignored,
    /// The peer will send nothing more. Without it, an end of the stream is a truncation.
    CloseNotify,
    /// The peer ended the session with an error.
    Alert(AlertDescription),
}

/// Why a record was not opened or sealed. An error of the opener is final: nothing is opened after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    // The peer's fault.
    #[error("a record of {0} bytes is too long")]
    Overflow(usize),
    /// Forged, damaged, or out of order. One is enough to end the session, so the AEAD's limit on failed openings
    /// (RFC 8446 section 5.5, 2^36 and more) is never near.
    #[error("a record does not authenticate")]
    BadMac,
    #[error("a record of type {0} without protection, after the handshake")]
    Unprotected(u8),
    #[error("a protected record with content of type {0}")]
    ContentType(u8),
    #[error("a protected record with nothing but padding")]
    NoContentType,
    #[error("an empty record of type {0}")]
    EmptyRecord(u8),
    #[error("too many empty records in a row")]
    TooManyEmptyRecords,
    #[error("a record of type {0} inside a handshake message")]
    Interleaved(u8),
    #[error("handshake message {0} after the handshake")]
    HandshakeMessage(u8),
    #[error("a handshake message of {0} bytes is too long")]
    MessageTooLong(usize),
    #[error("a malformed {0}")]
    Malformed(&'static str),
    #[error("KeyUpdate says {0}")]
    KeyUpdateValue(u8),
    #[error("a KeyUpdate that is not the last message of its record")]
    KeyUpdateNotLast,
    #[error("too many KeyUpdates without data between them")]
    TooManyKeyUpdates,
    #[error("too many warning alerts")]
    TooManyWarnings,

    // Ours.
    /// The peer closed, or an error came before: there is nothing to open any more.
    #[error("the receiving side has ended")]
    Ended,
    /// close_notify or a fatal alert was sent: nothing may follow it.
    #[error("the sending side has ended")]
    Closed,
    #[error("a payload of {0} bytes does not fit in one record")]
    PayloadTooLong(usize),
    #[error("no room for a record's header and tag around the payload")]
    SlotTooSmall,
    /// [`Sealer::key_update_due`](super::Sealer::key_update_due) was not heeded.
    #[error("the key has sealed as many records as it may")]
    KeyUsedUp,
    #[error("the cipher or the key schedule failed")]
    Crypto,
}

impl RecordError {
    /// The alert to send for it; none once the session has ended.
    pub fn alert(&self) -> Option<AlertDescription> {
        Some(match self {
            Self::Overflow(_) => AlertDescription::RecordOverflow,
            Self::BadMac => AlertDescription::BadRecordMac,
            Self::Unprotected(_)
            | Self::ContentType(_)
            | Self::NoContentType
            | Self::EmptyRecord(_)
            | Self::TooManyEmptyRecords
            | Self::Interleaved(_)
            | Self::HandshakeMessage(_)
            | Self::KeyUpdateNotLast
            | Self::TooManyKeyUpdates
            | Self::TooManyWarnings => AlertDescription::UnexpectedMessage,
            Self::MessageTooLong(_) | Self::Malformed(_) => AlertDescription::DecodeError,
            Self::KeyUpdateValue(_) => AlertDescription::IllegalParameter,
            Self::PayloadTooLong(_) | Self::SlotTooSmall | Self::KeyUsedUp | Self::Crypto => {
                AlertDescription::InternalError
            }
            Self::Ended | Self::Closed => return None,
        })
    }

    /// Whose fault it is: the peer's, or a mistake of this process.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Ended
            | Self::Closed
            | Self::PayloadTooLong(_)
            | Self::SlotTooSmall
            | Self::KeyUsedUp
            | Self::Crypto => Cause::Own,
            _ => Cause::Peer,
        }
    }
}
