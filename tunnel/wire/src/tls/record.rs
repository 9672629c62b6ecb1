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
    Incomplete {
        /// Bytes from the start of the buffer.
        need: usize,
    },
    /// One record, `consumed` bytes long, was opened in place.
    Record {
        /// Bytes of the buffer that it took.
        consumed: usize,
        /// What was in it.
        what: Content,
    },
}

/// What a record carried.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// Application data: a range within the buffer. Never empty.
    Data(Range<usize>),
    /// The peer changed its key, and the opener followed. With `reply_wanted` the peer asks us to change ours
    /// before our next record: [`Sealer::key_update`](super::Sealer::key_update) with `ask_peer` false. One reply
    /// answers any number of requests that were read before it is sent.
    KeyUpdate {
        /// The peer asks for an update of our key, too.
        reply_wanted: bool,
    },
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
    /// A record longer than TLS allows (RFC 8446 section 5.2), in bytes.
    #[error("a record of {0} bytes is too long")]
    Overflow(usize),
    /// Forged, damaged, or out of order. One ends the session (RFC 8446 section 5.2), so nobody can try twice.
    #[error("a record does not authenticate")]
    BadMac,
    /// Plaintext where everything is protected, by its content type.
    #[error("a record of type {0} without protection, after the handshake")]
    Unprotected(u8),
    /// A content type that TLS 1.3 does not have inside a protected record.
    #[error("a protected record with content of type {0}")]
    ContentType(u8),
    /// No content type was found: all of it is zero.
    #[error("a protected record with nothing but padding")]
    NoContentType,
    /// An empty fragment of a kind that may not be empty (RFC 8446 section 5.1), by its content type.
    #[error("an empty record of type {0}")]
    EmptyRecord(u8),
    /// Empty records without data between them, more than are put up with.
    #[error("too many empty records in a row")]
    TooManyEmptyRecords,
    /// Other content between the parts of a handshake message, by its content type.
    #[error("a record of type {0} inside a handshake message")]
    Interleaved(u8),
    /// A handshake message that may not come any more, by its type.
    #[error("handshake message {0} after the handshake")]
    HandshakeMessage(u8),
    /// A handshake message of so many bytes.
    #[error("a handshake message of {0} bytes is too long")]
    MessageTooLong(usize),
    /// The part that is not in its form.
    #[error("a malformed {0}")]
    Malformed(&'static str),
    /// The value of a KeyUpdate is neither 0 nor 1 (RFC 8446 section 4.6.3).
    #[error("KeyUpdate says {0}")]
    KeyUpdateValue(u8),
    /// What follows it in the record was sealed with the old key.
    #[error("a KeyUpdate that is not the last message of its record")]
    KeyUpdateNotLast,
    /// Key changes that nothing was sent for, more than are put up with.
    #[error("too many KeyUpdates without data between them")]
    TooManyKeyUpdates,
    /// Warning alerts, more than are put up with.
    #[error("too many warning alerts")]
    TooManyWarnings,

    // Ours.
    /// The peer closed, or an error came before: there is nothing to open any more.
    #[error("the receiving side has ended")]
    Ended,
    /// close_notify or a fatal alert was sent: nothing may follow it.
    #[error("the sending side has ended")]
    Closed,
    /// More than one record carries, in bytes.
    #[error("a payload of {0} bytes does not fit in one record")]
    PayloadTooLong(usize),
    /// The caller left too little room before or behind the payload.
    #[error("no room for a record's header and tag around the payload")]
    SlotTooSmall,
    /// [`Sealer::key_update_due`](super::Sealer::key_update_due) was not heeded.
    #[error("the key has sealed as many records as it may")]
    KeyUsedUp,
    /// The library of the ciphers failed.
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
