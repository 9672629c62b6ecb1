//! What may come inside protected records after the handshake: data, alerts, KeyUpdate, tickets. No cryptography:
//! it is handed plaintext.

use rustls::AlertDescription;

use super::record::{ALERT, APPLICATION_DATA, HANDSHAKE, RecordError};

/// Which side of the session we are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Client,
    Server,
}

/// What one record meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Meaning {
    Data,
    KeyUpdate { reply_wanted: bool },
    Ignored,
    CloseNotify,
    Alert(AlertDescription),
}

/// The state that a stream of records builds up: parts of a handshake message, and counts of what does no work.
#[derive(Debug)]
pub(super) struct Inbound {
    role: Role,
    /// The beginning of a handshake message whose end has not come. Empty between messages.
    partial: Vec<u8>,
    empty_records: u8,
    key_updates: u8,
    warnings: u8,
}

impl Inbound {
    pub(super) fn new(role: Role) -> Self {
        Self { role, partial: Vec::new(), empty_records: 0, key_updates: 0, warnings: 0 }
    }

    pub(super) fn is_of_client(&self) -> bool {
        self.role == Role::Client
    }

    /// One record's content, its type and padding taken off.
    pub(super) fn record(&mut self, kind: u8, content: &[u8]) -> Result<Meaning, RecordError> {
        if kind != HANDSHAKE && !self.partial.is_empty() {
            return Err(RecordError::Interleaved(kind));
        }
        match kind {
            APPLICATION_DATA if content.is_empty() => {
                self.empty_records += 1;
                match self.empty_records {
                    1..=MAX_EMPTY_RECORDS => Ok(Meaning::Ignored),
                    _ => Err(RecordError::TooManyEmptyRecords),
                }
            }
            APPLICATION_DATA => {
                self.empty_records = 0;
                self.key_updates = 0;
                Ok(Meaning::Data)
            }
            // RFC 8446 section 5.4: alone application data may be empty.
            HANDSHAKE | ALERT if content.is_empty() => Err(RecordError::EmptyRecord(kind)),
            HANDSHAKE => self.handshake(content),
            ALERT => self.alert(content),
            _ => Err(RecordError::ContentType(kind)),
        }
    }

    /// An alert stands whole and alone in its record (RFC 8446 section 5.1). Its level says nothing (section 6).
    fn alert(&mut self, content: &[u8]) -> Result<Meaning, RecordError> {
        let &[_level, description] = content else { return Err(RecordError::Malformed("alert")) };
        match AlertDescription::from(description) {
            AlertDescription::CloseNotify => Ok(Meaning::CloseNotify),
            // It announces a close_notify, and changes nothing by itself (section 6.1).
            AlertDescription::UserCanceled => {
                self.warnings += 1;
                match self.warnings {
                    1..=MAX_WARNINGS => Ok(Meaning::Ignored),
                    _ => Err(RecordError::TooManyWarnings),
                }
            }
            description => Ok(Meaning::Alert(description)),
        }
    }

    fn handshake(&mut self, content: &[u8]) -> Result<Meaning, RecordError> {
        if self.partial.is_empty() {
            let rest = self.messages(content)?;
            return self.finish(content, rest);
        }
        self.partial.extend_from_slice(content);
        let joined = std::mem::take(&mut self.partial);
        let rest = self.messages(&joined)?;
        self.finish(&joined, rest)
    }

    /// Keeps what is left of `all` after the messages that were whole.
    fn finish(&mut self, all: &[u8], done: Messages) -> Result<Meaning, RecordError> {
        self.partial = all[done.consumed..].to_vec();
        Ok(match done.key_update {
            Some(reply_wanted) => Meaning::KeyUpdate { reply_wanted },
            None => Meaning::Ignored,
        })
    }

    /// Every whole message at the start of `bytes`. What is refused is refused by its header, before its body is
    /// waited for.
    fn messages(&mut self, bytes: &[u8]) -> Result<Messages, RecordError> {
        let mut done = Messages { consumed: 0, key_update: None };
        loop {
            let rest = &bytes[done.consumed..];
            let Some(&kind) = rest.first() else { return Ok(done) };
            if kind != KEY_UPDATE && !(kind == NEW_SESSION_TICKET && self.role == Role::Client) {
                return Err(RecordError::HandshakeMessage(kind));
            }
            let Some((header, body)) = rest.split_first_chunk::<4>() else { return Ok(done) };
            let length = usize::from(header[1]) << 16 | usize::from(header[2]) << 8 | usize::from(header[3]);
            if length > MAX_MESSAGE {
                return Err(RecordError::MessageTooLong(length));
            }
            if kind == KEY_UPDATE && length != 1 {
                return Err(RecordError::Malformed("KeyUpdate"));
            }
            let Some(body) = body.get(..length) else { return Ok(done) };
            done.consumed += header.len() + length;
            if kind == KEY_UPDATE {
                let reply_wanted = match body {
                    [0] => false,
                    [1] => true,
                    [value, ..] => return Err(RecordError::KeyUpdateValue(*value)),
                    [] => return Err(RecordError::Malformed("KeyUpdate")),
                };
                // RFC 8446 section 5.1: no handshake message may stand on both sides of a change of key.
                if done.consumed != bytes.len() {
                    return Err(RecordError::KeyUpdateNotLast);
                }
                self.key_updates += 1;
                if self.key_updates > MAX_KEY_UPDATES {
                    return Err(RecordError::TooManyKeyUpdates);
                }
                done.key_update = Some(reply_wanted);
            } else if !is_ticket(body) {
                return Err(RecordError::Malformed("NewSessionTicket"));
            }
        }
    }
}

struct Messages {
    consumed: usize,
    /// Some if a KeyUpdate ended the record: whether a reply is wanted.
    key_update: Option<bool>,
}

/// RFC 8446 section 4.6.1. Sessions are never resumed, so a ticket is checked for its form and forgotten.
fn is_ticket(body: &[u8]) -> bool {
    fn vector(bytes: &[u8], width: usize, minimum: usize) -> Option<&[u8]> {
        let (length, rest) = bytes.split_at_checked(width)?;
        let length = length.iter().fold(0, |all, byte| all << 8 | usize::from(*byte));
        let (vector, rest) = rest.split_at_checked(length)?;
        (vector.len() >= minimum).then_some(rest)
    }
    // ticket_lifetime and ticket_age_add, four bytes each.
    let rest = body.get(8..).and_then(|rest| vector(rest, 1, 0)).and_then(|rest| vector(rest, 2, 1));
    rest.and_then(|rest| vector(rest, 2, 0)).is_some_and(<[u8]>::is_empty)
}

const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

/// As rustls and BoringSSL.
const MAX_EMPTY_RECORDS: u8 = 32;
/// As rustls: every KeyUpdate costs a key derivation, and some ask for one of ours.
const MAX_KEY_UPDATES: u8 = 32;
/// As rustls and BoringSSL.
const MAX_WARNINGS: u8 = 4;
/// The largest post-handshake message, bytes: as rustls.
const MAX_MESSAGE: usize = 0xffff;

/// For the fuzz target: `bytes` as records of a peer, `type, length, content` each, in both roles.
pub fn fuzz_content(bytes: &[u8]) {
    for role in [Role::Client, Role::Server] {
        let mut inbound = Inbound::new(role);
        let mut rest = bytes;
        while let Some((&[kind, length], more)) = rest.split_first_chunk() {
            let (content, more) = more.split_at(usize::from(length).min(more.len()));
            if inbound.record(kind, content).is_err() {
                break;
            }
            assert!(inbound.partial.len() <= MAX_MESSAGE + 4, "a message over the limit is refused by its header");
            rest = more;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// lifetime, age_add, nonce of 1, ticket of 3, no extensions.
    const TICKET: &[u8] = &[4, 0, 0, 17, 0, 0, 0, 9, 1, 2, 3, 4, 1, 5, 0, 3, 6, 7, 8, 0, 0];
    const UPDATE: &[u8] = &[24, 0, 0, 1, 0];

    fn client() -> Inbound {
        Inbound::new(Role::Client)
    }

    #[test]
    fn key_update_with_and_without_a_request() {
        assert_eq!(client().record(HANDSHAKE, UPDATE), Ok(Meaning::KeyUpdate { reply_wanted: false }));
        assert_eq!(client().record(HANDSHAKE, &[24, 0, 0, 1, 1]), Ok(Meaning::KeyUpdate { reply_wanted: true }));
        assert_eq!(client().record(HANDSHAKE, &[24, 0, 0, 1, 2]), Err(RecordError::KeyUpdateValue(2)));
        assert_eq!(client().record(HANDSHAKE, &[24, 0, 0, 2, 0, 0]), Err(RecordError::Malformed("KeyUpdate")));
        assert_eq!(client().record(HANDSHAKE, &[24, 0, 0, 0]), Err(RecordError::Malformed("KeyUpdate")));
    }

    #[test]
    fn key_update_ends_its_record() {
        let two = [UPDATE, UPDATE].concat();
        assert_eq!(client().record(HANDSHAKE, &two), Err(RecordError::KeyUpdateNotLast));
        let one_and_a_part = [UPDATE, &[4]].concat();
        assert_eq!(client().record(HANDSHAKE, &one_and_a_part), Err(RecordError::KeyUpdateNotLast));
        let after_a_ticket = [TICKET, UPDATE].concat();
        assert_eq!(client().record(HANDSHAKE, &after_a_ticket), Ok(Meaning::KeyUpdate { reply_wanted: false }));
    }

    #[test]
    fn messages_in_parts_are_put_together_byte_by_byte() {
        let mut inbound = client();
        let stream = [TICKET, TICKET, UPDATE].concat();
        let (last, head) = stream.split_last().unwrap();
        for byte in head {
            assert_eq!(inbound.record(HANDSHAKE, &[*byte]), Ok(Meaning::Ignored));
        }
        assert_eq!(inbound.record(HANDSHAKE, &[*last]), Ok(Meaning::KeyUpdate { reply_wanted: false }));
        assert_eq!(inbound.record(APPLICATION_DATA, b"x"), Ok(Meaning::Data));
    }

    #[test]
    fn nothing_comes_between_the_parts_of_a_message() {
        for kind in [ALERT, APPLICATION_DATA, 24] {
            let mut inbound = client();
            assert_eq!(inbound.record(HANDSHAKE, &TICKET[..7]), Ok(Meaning::Ignored));
            assert_eq!(inbound.record(kind, &[1, 0]), Err(RecordError::Interleaved(kind)));
        }
    }

    #[test]
    fn tickets_are_for_clients_and_must_be_well_formed() {
        assert_eq!(client().record(HANDSHAKE, TICKET), Ok(Meaning::Ignored));
        assert_eq!(Inbound::new(Role::Server).record(HANDSHAKE, TICKET), Err(RecordError::HandshakeMessage(4)));
        let mut long = TICKET.to_vec();
        long[15] = 2; // the ticket's length
        assert_eq!(client().record(HANDSHAKE, &long), Err(RecordError::Malformed("NewSessionTicket")));
        let mut empty = TICKET[..TICKET.len() - 5].to_vec();
        empty[3] = 14;
        empty[15] = 0;
        empty.extend([0, 0]);
        assert_eq!(client().record(HANDSHAKE, &empty[..18]), Err(RecordError::Malformed("NewSessionTicket")));
    }

    #[test]
    fn other_handshake_messages_are_refused_by_their_first_byte() {
        // HelloRequest, ClientHello, ServerHello, EndOfEarlyData, Certificate, CertificateRequest, Finished, ...
        for kind in [0, 1, 2, 5, 8, 11, 13, 15, 20, 25, 254] {
            for role in [Role::Client, Role::Server] {
                let refused = Inbound::new(role).record(HANDSHAKE, &[kind]);
                assert_eq!(refused, Err(RecordError::HandshakeMessage(kind)));
            }
        }
        assert_eq!(client().record(HANDSHAKE, &[4, 1, 0, 0]), Err(RecordError::MessageTooLong(0x1_0000)));
    }

    #[test]
    fn what_does_no_work_is_bounded_in_a_row() {
        let mut inbound = client();
        for _ in 0..3 {
            for _ in 0..MAX_EMPTY_RECORDS {
                assert_eq!(inbound.record(APPLICATION_DATA, &[]), Ok(Meaning::Ignored));
            }
            for _ in 0..MAX_KEY_UPDATES {
                assert!(inbound.record(HANDSHAKE, UPDATE).is_ok());
            }
            assert_eq!(inbound.record(APPLICATION_DATA, b"x"), Ok(Meaning::Data));
        }
        for _ in 0..MAX_EMPTY_RECORDS {
            assert!(inbound.record(APPLICATION_DATA, &[]).is_ok());
        }
        assert_eq!(inbound.record(APPLICATION_DATA, &[]), Err(RecordError::TooManyEmptyRecords));
        for _ in 0..MAX_KEY_UPDATES {
            assert!(inbound.record(HANDSHAKE, UPDATE).is_ok());
        }
        assert_eq!(inbound.record(HANDSHAKE, UPDATE), Err(RecordError::TooManyKeyUpdates));
    }

    #[test]
    fn alerts() {
        for level in [0, 1, 2, 3] {
            assert_eq!(client().record(ALERT, &[level, 0]), Ok(Meaning::CloseNotify));
            let fatal = Meaning::Alert(AlertDescription::BadCertificate);
            assert_eq!(client().record(ALERT, &[level, 42]), Ok(fatal));
        }
        let unknown = Meaning::Alert(AlertDescription::Unknown(250));
        assert_eq!(client().record(ALERT, &[2, 250]), Ok(unknown));
        for malformed in [&[1][..], &[1, 0, 1], &[1, 0, 1, 0]] {
            assert_eq!(client().record(ALERT, malformed), Err(RecordError::Malformed("alert")));
        }
        let mut inbound = client();
        for _ in 0..MAX_WARNINGS {
            assert_eq!(inbound.record(ALERT, &[1, 90]), Ok(Meaning::Ignored));
        }
        assert_eq!(inbound.record(ALERT, &[1, 90]), Err(RecordError::TooManyWarnings));
    }

    #[test]
    fn empty_and_unknown_records_are_refused() {
        assert_eq!(client().record(ALERT, &[]), Err(RecordError::EmptyRecord(ALERT)));
        assert_eq!(client().record(HANDSHAKE, &[]), Err(RecordError::EmptyRecord(HANDSHAKE)));
        for kind in [0, 1, 19, 20, 24, 255] {
            assert_eq!(client().record(kind, &[1]), Err(RecordError::ContentType(kind)));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            fuzz_content(&bytes);
        }

        /// However a stream of messages is cut into records, it means the same.
        #[test]
        fn cutting_changes_nothing(cuts in proptest::collection::vec(1usize..30, 1..20), tickets in 0usize..6) {
            let mut stream = TICKET.repeat(tickets);
            stream.extend_from_slice(UPDATE);
            let (mut inbound, mut rest, mut updates) = (client(), &stream[..], 0);
            let mut cuts = cuts.into_iter().cycle();
            while !rest.is_empty() {
                let (record, more) = rest.split_at(cuts.next().unwrap_or(1).min(rest.len()));
                match inbound.record(HANDSHAKE, record) {
                    Ok(Meaning::Ignored) => {}
                    Ok(Meaning::KeyUpdate { reply_wanted: false }) => updates += 1,
                    other => prop_assert!(false, "{other:?}"),
                }
                rest = more;
            }
            prop_assert_eq!(updates, 1);
            prop_assert!(inbound.partial.is_empty());
        }
    }
}
