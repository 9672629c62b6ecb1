//! The frames of `inclavared/1` (docs/PROTOCOL.md section 4): their header, and putting frames together that came
//! in several TLS records or several in one.
//!
//! Owns the form of a frame. Which frame may come when is the business of whoever reads them: it says so by [`Admits`],
//! and what it does not name is refused by its header, before any memory is taken for its payload.

use bytes::{Buf, Bytes, BytesMut};

/// The ALPN of this protocol.
pub const ALPN: &[u8] = b"inclavared/1";

/// type u8, flags u8, reserved u16, length u32.
pub const HEADER: usize = 8;

/// Payload of a DATA frame, so that frame and header fill one TLS record: 16384 - 8.
pub const MAX_DATA: usize = 16_376;

/// A trailer with collateral; nothing larger is ever put together.
pub const MAX_CONTROL: usize = 512 * 1024;

/// A START: the largest path behind a client with its evidence, and the client's proof.
pub const MAX_START: usize = 320 * 1024;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $max:expr;)*) => {
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        /// The type of a frame, its number on the wire (docs/PROTOCOL.md section 4).
        pub enum FrameKind { $($(#[$doc])* $name = $code,)* }

        impl FrameKind {
            const ALL: &[Self] = &[$(Self::$name),*];

            fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }

            /// The most that the payload may be, in bytes.
            pub const fn max_len(self) -> usize {
                match self { $(Self::$name => $max,)* }
            }
        }
    };
}

kinds! {
    /// The client asks for a path.
    Open = 1, 4096;
    /// The server shows the path, before a byte crosses it.
    Preview = 2, MAX_CONTROL;
    /// The client accepts the path: bytes may pass.
    Start = 3, MAX_START;
    /// The client does not start the path.
    Abort = 4, 1024;
    /// Bytes of the application.
    Data = 5, MAX_DATA;
    /// The path shown again, with fresh quotes.
    Refresh = 6, MAX_CONTROL;
    /// Asks for a REFRESH.
    Challenge = 7, 64;
    /// This direction has ended.
    End = 8, 0;
    /// The receipts of all hops.
    Trailer = 9, MAX_CONTROL;
    /// What went wrong, and where.
    Fault = 10, 1024;
}

/// One whole frame that is not DATA, or DATA that could not stay where it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// What it is.
    pub kind: FrameKind,
    /// Its bytes, without the header.
    pub payload: Bytes,
}

/// A frame that the protocol does not allow, whatever the state.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// A type that is none of the protocol's.
    #[error("frame type {0} is none of this protocol's")]
    Kind(u8),
    /// Bits that have to be zero are not.
    #[error("flags or reserved bits of a {0:?} frame are not zero")]
    Flags(FrameKind),
    /// A payload of `found` bytes where its kind has `limit` at most.
    #[error("a {kind:?} frame of {found} bytes: at most {limit}")]
    TooLong {
        /// The kind of the frame.
        kind: FrameKind,
        /// Bytes that its header announces.
        found: usize,
        /// Bytes that it may have.
        limit: usize,
    },
    /// DATA carries a byte at least.
    #[error("an empty DATA frame")]
    EmptyData,
    /// Of a kind that [`Admits`] does not name.
    #[error("a {0:?} frame, which may not come now")]
    OutOfPlace(FrameKind),
}

/// The kinds of frames that may come now, and how long each may be. It follows from the side and the state of whoever
/// reads (docs/PROTOCOL.md section 4, "States").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Admits {
    /// A bit for each kind, by its code.
    kinds: u16,
    /// The most that any payload may be, in bytes, below what its kind allows.
    longest: usize,
}

impl Admits {
    /// No frame.
    pub const NOTHING: Self = Self { kinds: 0, longest: MAX_CONTROL };
    /// Whatever the protocol knows.
    pub const ALL: Self = Self::of(FrameKind::ALL);
    /// What a client may send, in whatever state it is.
    pub const OF_CLIENT: Self = Self::of(&[
        FrameKind::Open,
        FrameKind::Start,
        FrameKind::Abort,
        FrameKind::Data,
        FrameKind::Challenge,
        FrameKind::End,
        FrameKind::Fault,
    ]);
    /// What a server may send, in whatever state it is.
    pub const OF_SERVER: Self = Self::of(&[
        FrameKind::Preview,
        FrameKind::Data,
        FrameKind::Refresh,
        FrameKind::End,
        FrameKind::Trailer,
        FrameKind::Fault,
    ]);

    /// These kinds, as long as each may be.
    pub const fn of(kinds: &[FrameKind]) -> Self {
        let mut admits = Self::NOTHING;
        let mut at = 0;
        while at < kinds.len() {
            admits.kinds |= 1 << kinds[at] as u8;
            at += 1;
        }
        admits
    }

    /// The same but for one kind.
    pub const fn without(self, kind: FrameKind) -> Self {
        Self { kinds: self.kinds & !(1 << kind as u8), longest: self.longest }
    }

    /// The same, of payloads of at most so many bytes.
    pub const fn at_most(self, longest: usize) -> Self {
        Self { kinds: self.kinds, longest }
    }

    fn check(self, kind: FrameKind, len: usize) -> Result<(), FrameError> {
        if self.kinds & 1 << kind as u8 == 0 {
            return Err(FrameError::OutOfPlace(kind));
        }
        if len > self.longest {
            return Err(FrameError::TooLong { kind, found: len, limit: self.longest });
        }
        Ok(())
    }
}

/// The header of a frame with `len` bytes of payload.
pub fn header(kind: FrameKind, len: usize) -> [u8; HEADER] {
    let len = u32::try_from(len).expect("no frame is longer than MAX_CONTROL");
    let [a, b, c, d] = len.to_be_bytes();
    [kind as u8, 0, 0, 0, a, b, c, d]
}

/// Reads a header; `Ok(None)` while there are fewer than eight bytes.
pub fn parse_header(bytes: &[u8]) -> Result<Option<(FrameKind, usize)>, FrameError> {
    let Some(&[kind, flags, r1, r2, a, b, c, d]) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
    let kind = FrameKind::from_code(kind).ok_or(FrameError::Kind(kind))?;
    if (flags, r1, r2) != (0, 0, 0) {
        return Err(FrameError::Flags(kind));
    }
    let len = u32::from_be_bytes([a, b, c, d]) as usize;
    if len > kind.max_len() {
        return Err(FrameError::TooLong { kind, found: len, limit: kind.max_len() });
    }
    if kind == FrameKind::Data && len == 0 {
        return Err(FrameError::EmptyData);
    }
    Ok(Some((kind, len)))
}

/// Whether a record's content is exactly one DATA frame: then it can stay where it lies.
pub fn is_whole_data(record: &[u8]) -> bool {
    matches!(parse_header(record), Ok(Some((FrameKind::Data, len))) if len == record.len() - HEADER)
}

/// Puts frames together from the contents of records.
///
/// Invariant: holds less than one whole frame between calls of [`take`](Self::take) that returned `None`, and only of a
/// kind and length that was admitted: at most that and a header.
#[derive(Debug)]
pub struct Assembler {
    admits: Admits,
    partial: BytesMut,
}

impl Assembler {
    /// One that holds nothing.
    pub fn new(admits: Admits) -> Self {
        Self { admits, partial: BytesMut::new() }
    }

    /// From now on these may come. What is begun and not whole is judged anew.
    pub fn admit(&mut self, admits: Admits) {
        self.admits = admits;
    }

    /// Nothing of an unfinished frame is held: the next record begins a frame.
    pub fn is_empty(&self) -> bool {
        self.partial.is_empty()
    }

    /// Takes a record's content. Call [`take`](Self::take) until it gives `None` before the next push.
    pub fn push(&mut self, content: &[u8]) {
        self.partial.extend_from_slice(content);
    }

    /// The next whole frame.
    pub fn take(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some((kind, len)) = parse_header(&self.partial)? else { return Ok(None) };
        self.admits.check(kind, len)?;
        if self.partial.len() < HEADER + len {
            return Ok(None);
        }
        self.partial.advance(HEADER);
        let payload = self.partial.split_to(len).freeze();
        if self.partial.is_empty() {
            // An idle stream keeps no buffer.
            self.partial = BytesMut::new();
        }
        Ok(Some(Frame { kind, payload }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_whole_however_they_are_cut() {
        let mut wire = Vec::new();
        for (kind, payload) in
            [(FrameKind::Data, &b"one"[..]), (FrameKind::End, b""), (FrameKind::Fault, b"two"), (FrameKind::Data, b"3")]
        {
            wire.extend_from_slice(&header(kind, payload.len()));
            wire.extend_from_slice(payload);
        }
        for step in 1..wire.len() {
            let mut assembler = Assembler::new(Admits::ALL);
            let mut seen = Vec::new();
            for chunk in wire.chunks(step) {
                assembler.push(chunk);
                while let Some(frame) = assembler.take().unwrap() {
                    seen.push((frame.kind, frame.payload.to_vec()));
                }
            }
            assert!(assembler.is_empty());
            assert_eq!(
                seen,
                [
                    (FrameKind::Data, b"one".to_vec()),
                    (FrameKind::End, vec![]),
                    (FrameKind::Fault, b"two".to_vec()),
                    (FrameKind::Data, b"3".to_vec())
                ]
            );
        }
    }

    #[test]
    fn refuses_what_no_state_allows() {
        assert_eq!(parse_header(&[11, 0, 0, 0, 0, 0, 0, 0]), Err(FrameError::Kind(11)));
        assert_eq!(parse_header(&[5, 1, 0, 0, 0, 0, 0, 1]), Err(FrameError::Flags(FrameKind::Data)));
        assert_eq!(parse_header(&[8, 0, 0, 9, 0, 0, 0, 0]), Err(FrameError::Flags(FrameKind::End)));
        assert_eq!(parse_header(&[5, 0, 0, 0, 0, 0, 0, 0]), Err(FrameError::EmptyData));
        assert_eq!(
            parse_header(&header(FrameKind::Data, MAX_DATA + 1)),
            Err(FrameError::TooLong { kind: FrameKind::Data, found: MAX_DATA + 1, limit: MAX_DATA })
        );
        assert!(parse_header(&[5, 0, 0]).unwrap().is_none());
    }

    #[test]
    fn what_may_not_come_is_refused_by_its_header() {
        let mut assembler = Assembler::new(Admits::OF_CLIENT);
        assembler.push(&header(FrameKind::Preview, MAX_CONTROL));
        assert_eq!(assembler.take(), Err(FrameError::OutOfPlace(FrameKind::Preview)));

        let mut assembler = Assembler::new(Admits::of(&[FrameKind::Start, FrameKind::Abort]).at_most(100));
        assembler.push(&header(FrameKind::Start, 101));
        let long = FrameError::TooLong { kind: FrameKind::Start, found: 101, limit: 100 };
        assert_eq!(assembler.take(), Err(long));

        // A state that changes in the middle of a frame.
        let mut assembler = Assembler::new(Admits::OF_SERVER);
        assembler.push(&header(FrameKind::Data, 3));
        assert_eq!(assembler.take(), Ok(None));
        assembler.admit(Admits::OF_SERVER.without(FrameKind::Data));
        assembler.push(b"abc");
        assert_eq!(assembler.take(), Err(FrameError::OutOfPlace(FrameKind::Data)));
    }

    #[test]
    fn each_kind_is_one_sides_or_both() {
        for kind in FrameKind::ALL {
            let by = [Admits::OF_CLIENT, Admits::OF_SERVER].map(|side| side.check(*kind, 0).is_ok());
            assert!(by.contains(&true), "{kind:?} is nobody's");
            assert_eq!(Admits::ALL.check(*kind, 0), Ok(()));
            assert_eq!(Admits::NOTHING.check(*kind, 0), Err(FrameError::OutOfPlace(*kind)));
        }
    }

    #[test]
    fn knows_a_record_that_can_stay_in_place() {
        let mut record = header(FrameKind::Data, 3).to_vec();
        record.extend_from_slice(b"abc");
        assert!(is_whole_data(&record));
        record.push(0);
        assert!(!is_whole_data(&record));
        assert!(!is_whole_data(&header(FrameKind::End, 0)));
        assert!(!is_whole_data(b""));
    }
}
