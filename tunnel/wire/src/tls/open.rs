//! Records in: each is opened where it lies in the caller's buffer.

use std::fmt;

use super::aead::{TrafficKey, TrafficSecret};
use super::content::{Inbound, Meaning, Role};
use super::record::{APPLICATION_DATA, Content, HEADER, MAX_CIPHERTEXT, MAX_PLAINTEXT, Opened, RecordError, TAG};

/// The receiving half of a session after its handshake.
pub struct Opener {
    key: TrafficKey,
    secret: TrafficSecret,
    inbound: Inbound,
    /// Records that one key of the peer may protect (the AEAD's confidentiality limit).
    limit: u64,
    /// The peer was asked to change its present key.
    asked: bool,
    /// The peer closed, or something was refused.
    ended: bool,
}

impl Opener {
    pub(super) fn new(key: TrafficKey, secret: TrafficSecret, role: Role, limit: u64) -> Self {
        Self { key, secret, inbound: Inbound::new(role), limit, asked: false, ended: false }
    }

    /// It reads what a server sends.
    pub fn is_of_client(&self) -> bool {
        self.inbound.is_of_client()
    }

    /// Opens the record at the start of `buf`, in place: [`Content::Data`] names where in `buf` its payload lies,
    /// and the rest of the record's bytes are of no use any more.
    ///
    /// # Errors
    /// The peer broke the protocol: send [`RecordError::alert`] and end the session. After an error, a
    /// close_notify or an alert, every call gives [`RecordError::Ended`]: what still comes is not looked at.
    pub fn open(&mut self, buf: &mut [u8]) -> Result<Opened, RecordError> {
        if self.ended {
            return Err(RecordError::Ended);
        }
        let opened = self.open_record(buf);
        self.ended = match &opened {
            Ok(Opened::Record { what, .. }) => matches!(what, Content::CloseNotify | Content::Alert(_)),
            Ok(Opened::Incomplete { .. }) => false,
            Err(_) => true,
        };
        opened
    }

    /// The peer's key has served so long that it is time to ask for a new one
    /// ([`Sealer::key_update`](super::Sealer::key_update) with `ask_peer`). True once a key. Some stacks never
    /// change a key by themselves (OpenSSL), and the limit is theirs to keep, but the data is ours as well.
    pub fn peer_update_due(&mut self) -> bool {
        let due = !self.asked && !self.ended && self.key.used() >= self.limit / 2;
        self.asked |= due;
        due
    }

    /// Lowers the number of records after which the peer is asked for a new key. It cannot be raised.
    pub fn lower_limit(&mut self, records: u64) {
        self.limit = self.limit.min(records.max(2));
    }

    fn open_record(&mut self, buf: &mut [u8]) -> Result<Opened, RecordError> {
        let Some(&header) = buf.first_chunk::<HEADER>() else { return Ok(Opened::Incomplete { need: HEADER }) };
        let [kind, _, _, high, low] = header;
        // Alerts, ChangeCipherSpec and all else that is not protected: the peer's Finished has been.
        if kind != APPLICATION_DATA {
            return Err(RecordError::Unprotected(kind));
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > MAX_CIPHERTEXT {
            return Err(RecordError::Overflow(length));
        }
        if length < TAG {
            return Err(RecordError::BadMac);
        }
        let consumed = HEADER + length;
        let Some(body) = buf.get_mut(HEADER..consumed) else { return Ok(Opened::Incomplete { need: consumed }) };

        let inner = self.key.open(header, body)?;
        // Content, one byte of type, and padding.
        if inner > MAX_PLAINTEXT + 1 {
            return Err(RecordError::Overflow(inner));
        }
        let end = body[..inner].iter().rposition(|byte| *byte != 0).ok_or(RecordError::NoContentType)?;
        let what = match self.inbound.record(body[end], &body[..end])? {
            Meaning::Data => Content::Data(HEADER..HEADER + end),
            Meaning::KeyUpdate { reply_wanted } => {
                self.key = self.secret.next()?;
                self.asked = false;
                Content::KeyUpdate { reply_wanted }
            }
            Meaning::Ignored => Content::Ignored,
            Meaning::CloseNotify => Content::CloseNotify,
            Meaning::Alert(description) => Content::Alert(description),
        };
        Ok(Opened::Record { consumed, what })
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("opened", &self.key.used()).field("ended", &self.ended).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Algorithm, CHACHA20_POLY1305};
    use bytes::BytesMut;
    use proptest::prelude::*;
    use rustls::AlertDescription;

    use super::super::seal::Sealer;
    use super::*;

    /// A sender that can say anything, and the opener at the other end.
    struct Peer {
        key: TrafficKey,
        opener: Opener,
    }

    impl Peer {
        fn new(algorithm: &'static Algorithm) -> Self {
            let key = || TrafficKey::from_parts(algorithm, &vec![9; algorithm.key_len()], [3; 12], 0).unwrap();
            let secret = TrafficSecret::for_test(algorithm);
            Self { key: key(), opener: Opener::new(key(), secret, Role::Client, 1 << 24) }
        }

        fn record(&mut self, inner: &[u8]) -> Vec<u8> {
            let length = u16::try_from(inner.len() + TAG).unwrap().to_be_bytes();
            let header = [APPLICATION_DATA, 3, 3, length[0], length[1]];
            let mut body = inner.to_vec();
            let tag = self.key.seal(header, &mut body).unwrap();
            [&header[..], &body, &tag].concat()
        }

        fn send(&mut self, inner: &[u8]) -> Result<Opened, RecordError> {
            let mut record = self.record(inner);
            self.opener.open(&mut record)
        }
    }

    fn opened(what: Content, consumed: usize) -> Result<Opened, RecordError> {
        Ok(Opened::Record { consumed, what })
    }

    #[test]
    fn every_suite_opens_data_and_strips_padding() {
        for algorithm in [&AES_128_GCM, &AES_256_GCM, &CHACHA20_POLY1305] {
            let mut peer = Peer::new(algorithm);
            assert_eq!(peer.send(b"hello\x17"), opened(Content::Data(5..10), 27));
            let mut record = peer.record(b"padded\x17\0\0\0\0");
            let Ok(Opened::Record { what: Content::Data(range), consumed }) = peer.opener.open(&mut record) else {
                panic!("not data");
            };
            assert_eq!((&record[range], consumed), (&b"padded"[..], record.len()));
        }
    }

    #[test]
    fn incomplete_says_how_much_is_needed_and_changes_nothing() {
        let mut peer = Peer::new(&AES_128_GCM);
        let mut record = peer.record(b"hello\x17");
        for length in 0..record.len() {
            let need = if length < HEADER { HEADER } else { record.len() };
            assert_eq!(peer.opener.open(&mut record[..length]), Ok(Opened::Incomplete { need }));
        }
        assert_eq!(peer.opener.open(&mut record), opened(Content::Data(5..10), 27));
    }

    #[test]
    fn refusals_name_their_alert_and_are_final() {
        let cases: &[(&[u8], RecordError, AlertDescription)] = &[
            (b"\0\0\0", RecordError::NoContentType, AlertDescription::UnexpectedMessage),
            (b"", RecordError::NoContentType, AlertDescription::UnexpectedMessage),
            (b"\x01\x14", RecordError::ContentType(20), AlertDescription::UnexpectedMessage),
            (b"\x16", RecordError::EmptyRecord(22), AlertDescription::UnexpectedMessage),
            (b"\x0d\x16", RecordError::HandshakeMessage(13), AlertDescription::UnexpectedMessage),
            (b"\x18\0\0\x01\x07\x16", RecordError::KeyUpdateValue(7), AlertDescription::IllegalParameter),
            (b"\x01\x15", RecordError::Malformed("alert"), AlertDescription::DecodeError),
        ];
        for (inner, error, alert) in cases {
            let mut peer = Peer::new(&AES_128_GCM);
            assert_eq!(peer.send(inner), Err(*error));
            assert_eq!(error.alert(), Some(*alert));
            assert_eq!(peer.send(b"hello\x17"), Err(RecordError::Ended));
        }
        assert_eq!(RecordError::Ended.alert(), None);
    }

    #[test]
    fn unprotected_records_are_refused() {
        // An alert in the clear is what an attacker on the path can make; ChangeCipherSpec is over.
        for kind in [20, 21, 22, 24, 0, 255] {
            let mut peer = Peer::new(&AES_128_GCM);
            let mut record = [kind, 3, 3, 0, 2, 1, 0];
            assert_eq!(peer.opener.open(&mut record), Err(RecordError::Unprotected(kind)));
        }
    }

    #[test]
    fn sizes_are_bounded() {
        let mut peer = Peer::new(&AES_128_GCM);
        let mut largest = vec![7; MAX_PLAINTEXT];
        largest.push(APPLICATION_DATA);
        assert_eq!(peer.send(&largest), opened(Content::Data(5..5 + MAX_PLAINTEXT), MAX_PLAINTEXT + 22));
        // One byte more is an overflow, whether content or padding.
        largest.push(0);
        assert_eq!(peer.send(&largest), Err(RecordError::Overflow(MAX_PLAINTEXT + 2)));

        let mut peer = Peer::new(&AES_128_GCM);
        let over = u16::try_from(MAX_CIPHERTEXT + 1).unwrap().to_be_bytes();
        // By its header alone: the body is never waited for.
        let refused = peer.opener.open(&mut [APPLICATION_DATA, 3, 3, over[0], over[1]]).unwrap_err();
        assert_eq!(refused, RecordError::Overflow(MAX_CIPHERTEXT + 1));
        assert_eq!(refused.alert(), Some(AlertDescription::RecordOverflow));

        let mut peer = Peer::new(&AES_128_GCM);
        assert_eq!(peer.opener.open(&mut [APPLICATION_DATA, 3, 3, 0, 15]), Err(RecordError::BadMac));
    }

    #[test]
    fn one_forgery_ends_the_session() {
        let mut peer = Peer::new(&AES_128_GCM);
        let record = peer.record(b"hello\x17");
        for (place, _) in record.iter().enumerate().filter(|(place, _)| *place != 0 && *place != 3 && *place != 4) {
            let mut forged = record.clone();
            forged[place] ^= 1;
            let mut peer = Peer::new(&AES_128_GCM);
            assert_eq!(peer.opener.open(&mut forged), Err(RecordError::BadMac), "byte {place}");
            assert_eq!(peer.opener.open(&mut record.clone()), Err(RecordError::Ended));
        }
    }

    #[test]
    fn replay_loss_and_reordering_are_forgeries() {
        let mut peer = Peer::new(&AES_128_GCM);
        let (mut first, mut second) = (peer.record(b"first\x17"), peer.record(b"second\x17"));
        let fresh = || Peer::new(&AES_128_GCM).opener;
        let mut replayed = fresh();
        assert!(replayed.open(&mut first.clone()).is_ok());
        assert_eq!(replayed.open(&mut first), Err(RecordError::BadMac));
        assert_eq!(fresh().open(&mut second), Err(RecordError::BadMac));
    }

    #[test]
    fn key_update_changes_the_key_at_once() {
        let mut peer = Peer::new(&AES_256_GCM);
        let mut sent = TrafficSecret::for_test(&AES_256_GCM);
        assert_eq!(peer.send(b"\x18\0\0\x01\x01\x16"), opened(Content::KeyUpdate { reply_wanted: true }, 27));
        peer.key = sent.next().unwrap();
        assert_eq!(peer.send(b"hello\x17"), opened(Content::Data(5..10), 27));
        // A record under the old key after the change is a forgery.
        let mut stale = Peer::new(&AES_256_GCM);
        let mut old = (stale.record(b"\x18\0\0\x01\x00\x16"), stale.record(b"old\x17"));
        let mut opener = Peer::new(&AES_256_GCM).opener;
        assert!(opener.open(&mut old.0).is_ok());
        assert_eq!(opener.open(&mut old.1), Err(RecordError::BadMac));
    }

    #[test]
    fn nothing_is_opened_after_close_notify_or_an_alert() {
        for (inner, what) in [
            (b"\x01\x00\x15", Content::CloseNotify),
            (b"\x02\x28\x15", Content::Alert(AlertDescription::HandshakeFailure)),
        ] {
            let mut peer = Peer::new(&AES_128_GCM);
            assert_eq!(peer.send(inner), opened(what, 24));
            assert_eq!(peer.send(b"hello\x17"), Err(RecordError::Ended));
        }
    }

    #[test]
    fn a_peer_that_keeps_its_key_too_long_is_asked_once() {
        let mut peer = Peer::new(&AES_128_GCM);
        peer.opener.lower_limit(8);
        let mut asked = Vec::new();
        for record in 0..10 {
            if peer.opener.peer_update_due() {
                asked.push(record);
            }
            peer.send(b"x\x17").unwrap();
        }
        assert_eq!(asked, [4]);
        peer.send(b"\x18\0\0\x01\x00\x16").unwrap();
        assert!(!peer.opener.peer_update_due(), "the new key has served no record");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), protect in any::<bool>()) {
            let mut peer = Peer::new(&AES_128_GCM);
            if protect {
                let _ = peer.send(&bytes);
            } else {
                if let Some(first) = bytes.first_mut() {
                    *first = APPLICATION_DATA;
                }
                let _ = peer.opener.open(&mut bytes);
            }
        }

        /// What the sealer sealed, the opener opens, however long, wherever a KeyUpdate comes in between.
        #[test]
        fn sealed_is_opened(
            payloads in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 1..3000), any::<bool>()), 1..12),
            suite in 0usize..3,
        ) {
            let algorithm = [&AES_128_GCM, &AES_256_GCM, &CHACHA20_POLY1305][suite];
            let Peer { key, mut opener } = Peer::new(algorithm);
            let mut sealer = Sealer::new(key, TrafficSecret::for_test(algorithm), 1 << 24);
            let mut wire = BytesMut::new();
            for (payload, update) in &payloads {
                sealer.data(&mut wire, payload).unwrap();
                if *update {
                    sealer.key_update(&mut wire, false).unwrap();
                }
            }
            let (mut at, mut read) = (0, Vec::new());
            while at < wire.len() {
                match opener.open(&mut wire[at..]) {
                    Ok(Opened::Record { consumed, what }) => {
                        if let Content::Data(range) = what {
                            read.extend_from_slice(&wire[at..][range]);
                        }
                        at += consumed;
                    }
                    other => return Err(TestCaseError::fail(format!("{other:?}"))),
                }
            }
            let sent: Vec<u8> = payloads.into_iter().flat_map(|(payload, _)| payload).collect();
            prop_assert_eq!(read, sent);
        }
    }
}
