//! Records out: each is sealed where its payload lies, between room for a header and room for a tag.

use std::fmt;
use std::ops::Range;

use bytes::BytesMut;
use rustls::AlertDescription;

use super::aead::{TrafficKey, TrafficSecret};
use super::record::{ALERT, APPLICATION_DATA, HANDSHAKE, HEADER, MAX_PLAINTEXT, RecordError, TAG};

/// The sending half of a session after its handshake.
///
/// What it seals must reach the wire in the order in which it was sealed, KeyUpdates and alerts with the rest.
pub struct Sealer {
    key: TrafficKey,
    secret: TrafficSecret,
    /// Records that one key may protect (the AEAD's confidentiality limit).
    limit: u64,
    /// close_notify or a fatal alert was sealed.
    closed: bool,
}

impl Sealer {
    /// Bytes that a record needs before its payload.
    pub const HEAD: usize = HEADER;
    /// Bytes that a record needs after its payload: the inner type and the tag.
    pub const TAIL: usize = 1 + TAG;

    pub(super) fn new(key: TrafficKey, secret: TrafficSecret, limit: u64) -> Self {
        Self { key, secret, limit: limit.max(2), closed: false }
    }

    /// Seals application data in place. `payload` is where in `slot` it lies, at most [`MAX_PLAINTEXT`] bytes, with
    /// [`HEAD`](Self::HEAD) bytes before it and [`TAIL`](Self::TAIL) after it that are written over. Gives the whole
    /// record's range.
    pub fn seal(&mut self, slot: &mut [u8], payload: Range<usize>) -> Result<Range<usize>, RecordError> {
        if self.closed {
            return Err(RecordError::Closed);
        }
        if self.key.used() >= self.limit {
            return Err(RecordError::KeyUsedUp);
        }
        self.seal_as(APPLICATION_DATA, slot, payload)
    }

    /// Seals a copy of `data` at the end of `out`, in as many records as it takes: for what is small.
    pub fn data(&mut self, out: &mut BytesMut, data: &[u8]) -> Result<(), RecordError> {
        if self.closed {
            return Err(RecordError::Closed);
        }
        for payload in data.chunks(MAX_PLAINTEXT) {
            if self.key.used() >= self.limit {
                return Err(RecordError::KeyUsedUp);
            }
            self.append(out, APPLICATION_DATA, payload)?;
        }
        Ok(())
    }

    /// It is time for [`key_update`](Self::key_update): the key has served half of the records that it may. Asked once
    /// a batch of records, it leaves room for a batch of any size: AES-GCM may seal 2^24 records under one key (RFC
    /// 8446 section 5.5).
    pub fn key_update_due(&self) -> bool {
        !self.closed && self.key.used() >= self.limit / 2
    }

    /// Appends a KeyUpdate to `out` and changes the key: every record after it needs the new one. With `ask_peer`, the
    /// peer is asked to change its key too. Nothing happens once the session is closed.
    pub fn key_update(&mut self, out: &mut BytesMut, ask_peer: bool) -> Result<(), RecordError> {
        if self.closed {
            return Ok(());
        }
        let next = self.secret.next()?;
        self.append(out, HANDSHAKE, &[KEY_UPDATE, 0, 0, 1, u8::from(ask_peer)])?;
        self.key = next;
        Ok(())
    }

    /// Appends an alert to `out`; nothing can be sealed after it. A second one is left out.
    pub fn alert(&mut self, out: &mut BytesMut, description: AlertDescription) {
        if self.closed {
            return;
        }
        self.closed = true;
        let level = if description == AlertDescription::CloseNotify { WARNING } else { FATAL };
        let length = out.len();
        if self.append(out, ALERT, &[level, description.into()]).is_err() {
            out.truncate(length);
        }
    }

    /// Appends a close_notify to `out`: we send nothing more. The other direction goes on.
    pub fn close_notify(&mut self, out: &mut BytesMut) {
        self.alert(out, AlertDescription::CloseNotify);
    }

    /// Lowers the number of records that one key may protect. It cannot be raised.
    pub fn lower_limit(&mut self, records: u64) {
        self.limit = self.limit.min(records.max(2));
    }

    fn append(&mut self, out: &mut BytesMut, kind: u8, content: &[u8]) -> Result<(), RecordError> {
        let start = out.len();
        out.reserve(HEADER + content.len() + Self::TAIL);
        out.extend_from_slice(&[0; HEADER]);
        out.extend_from_slice(content);
        out.extend_from_slice(&[0; Self::TAIL]);
        self.seal_as(kind, &mut out[start..], HEADER..HEADER + content.len())?;
        Ok(())
    }

    fn seal_as(&mut self, kind: u8, slot: &mut [u8], payload: Range<usize>) -> Result<Range<usize>, RecordError> {
        let length = payload.end.checked_sub(payload.start).ok_or(RecordError::SlotTooSmall)?;
        if length > MAX_PLAINTEXT {
            return Err(RecordError::PayloadTooLong(length));
        }
        let start = payload.start.checked_sub(HEADER).ok_or(RecordError::SlotTooSmall)?;
        let end = payload.end.checked_add(Self::TAIL).ok_or(RecordError::SlotTooSmall)?;
        let record = slot.get_mut(start..end).ok_or(RecordError::SlotTooSmall)?;

        // At most 2^14 + 17: it fits.
        let [high, low] = ((length + Self::TAIL) as u16).to_be_bytes();
        let header = [APPLICATION_DATA, 3, 3, high, low];
        record[..HEADER].copy_from_slice(&header);
        let (body, tag) = record[HEADER..].split_at_mut(length + 1);
        body[length] = kind;
        tag.copy_from_slice(&self.key.seal(header, body)?);
        Ok(start..end)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("sealed", &self.key.used()).field("closed", &self.closed).finish_non_exhaustive()
    }
}

const KEY_UPDATE: u8 = 24;
const WARNING: u8 = 1;
const FATAL: u8 = 2;

#[cfg(test)]
mod tests {
    use aws_lc_rs::aead::AES_128_GCM;

    use super::*;

    fn sealer(limit: u64) -> Sealer {
        let key = TrafficKey::from_parts(&AES_128_GCM, &[9; 16], [3; 12], 0).unwrap();
        Sealer::new(key, TrafficSecret::for_test(&AES_128_GCM), limit)
    }

    #[test]
    fn a_record_is_sealed_around_its_payload() {
        let mut slot = vec![0xaa; 64];
        slot[20..25].copy_from_slice(b"hello");
        let range = sealer(100).seal(&mut slot, 20..25).unwrap();
        assert_eq!(range, 15..42);
        assert_eq!(slot[15..20], [23, 3, 3, 0, 22]);
        assert!(slot[..15].iter().chain(&slot[42..]).all(|byte| *byte == 0xaa), "written outside of the record");
        assert_ne!(&slot[20..25], b"hello");
    }

    #[test]
    fn slots_and_payloads_that_do_not_fit_are_refused() {
        let mut slot = vec![0; MAX_PLAINTEXT + 100];
        let whole = slot.len();
        for payload in [4..10, 5..whole, 5..usize::MAX, whole..whole + 1] {
            let refused = sealer(100).seal(&mut slot[..100], payload).unwrap_err();
            assert!(matches!(refused, RecordError::SlotTooSmall | RecordError::PayloadTooLong(_)), "{refused:?}");
        }
        #[allow(clippy::reversed_empty_ranges)]
        let reversed = sealer(100).seal(&mut slot, 20..10);
        assert_eq!(reversed, Err(RecordError::SlotTooSmall));
        assert_eq!(
            sealer(100).seal(&mut slot, 5..6 + MAX_PLAINTEXT),
            Err(RecordError::PayloadTooLong(MAX_PLAINTEXT + 1))
        );
        assert!(sealer(100).seal(&mut slot, 5..5 + MAX_PLAINTEXT).is_ok());
        assert!(sealer(100).seal(&mut slot, 5..5).is_ok());
    }

    #[test]
    fn the_limit_is_announced_early_and_kept() {
        let mut sealer = sealer(1 << 24);
        sealer.lower_limit(6);
        sealer.lower_limit(1 << 30);
        let mut slot = [0; 64];
        for sealed in 0..6 {
            assert_eq!(sealer.key_update_due(), sealed >= 3);
            sealer.seal(&mut slot, 5..10).unwrap();
        }
        assert_eq!(sealer.seal(&mut slot, 5..10), Err(RecordError::KeyUsedUp));
        let mut out = BytesMut::new();
        assert_eq!(sealer.data(&mut out, b"x"), Err(RecordError::KeyUsedUp));
        // A KeyUpdate can always be sealed, and is what helps.
        sealer.key_update(&mut out, false).unwrap();
        assert!(!sealer.key_update_due());
        assert!(sealer.seal(&mut slot, 5..10).is_ok());
    }

    #[test]
    fn nothing_follows_an_alert() {
        let mut sealer = sealer(100);
        let mut out = BytesMut::new();
        sealer.close_notify(&mut out);
        assert_eq!(out.len(), HEADER + 2 + Sealer::TAIL);
        sealer.alert(&mut out, AlertDescription::InternalError);
        sealer.key_update(&mut out, true).unwrap();
        assert_eq!(out.len(), HEADER + 2 + Sealer::TAIL);
        assert_eq!(sealer.seal(&mut [0; 64], 5..10), Err(RecordError::Closed));
        assert_eq!(sealer.data(&mut out, b"x"), Err(RecordError::Closed));
        assert!(!sealer.key_update_due());
    }
}
