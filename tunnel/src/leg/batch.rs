//! What one read brought: payload that lies in a buffer, ready to be sealed where it lies and written at once.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::buffer::Buffer;

/// Some payload on its way from one leg to the other.
#[derive(Debug)]
pub(crate) enum Piece {
    /// A whole DATA frame, header and all, as it stood in its record.
    Frame(Range<usize>),
    /// Bytes without a frame, with the room around them that the sink's `Slots` ask for.
    Slot(Range<usize>),
    /// The content of a record without frames, with the room of a record's header and tag around it.
    Record(Range<usize>),
    /// The payload of a DATA frame that came in several records, or beside another in one.
    Assembled(Bytes),
}

/// The pieces that one read brought, and the buffer that they lie in.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) buffer: Option<Buffer>,
    /// What the buffer holds beyond the pieces: the reader goes on there once the batch is written.
    pub(crate) rest: Range<usize>,
    pub(crate) pieces: Vec<Piece>,
}

/// Sealed bytes waiting to be written, in order.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    buffer: Option<Buffer>,
    rest: Range<usize>,
    segments: VecDeque<Segment>,
}

#[derive(Debug)]
enum Segment {
    InBuffer(Range<usize>),
    Own(BytesMut),
}

/// IOV_MAX of Linux.
const MAX_SLICES: usize = 1024;

impl Outgoing {
    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Takes the buffer whose ranges the next [`push_range`](Self::push_range)s name.
    pub(crate) fn hold(&mut self, buffer: Option<Buffer>, rest: Range<usize>) {
        debug_assert!(self.buffer.is_none(), "one batch at a time is in flight");
        self.buffer = buffer;
        self.rest = rest;
    }

    pub(crate) fn buffer_mut(&mut self) -> Option<&mut Buffer> {
        self.buffer.as_mut()
    }

    /// Gives the buffer back when everything is written.
    pub(crate) fn release(&mut self) -> (Option<Buffer>, Range<usize>) {
        (self.buffer.take(), std::mem::take(&mut self.rest))
    }

    pub(crate) fn push_range(&mut self, range: Range<usize>) {
        if let Some(Segment::InBuffer(last)) = self.segments.back_mut()
            && last.end == range.start
        {
            last.end = range.end;
            return;
        }
        self.segments.push_back(Segment::InBuffer(range));
    }

    pub(crate) fn push_own(&mut self, bytes: BytesMut) {
        if !bytes.is_empty() {
            self.segments.push_back(Segment::Own(bytes));
        }
    }

    /// The next bytes to write, as one vectored write takes them.
    pub(crate) fn slices(&self) -> Vec<IoSlice<'_>> {
        self.segments.iter().take(MAX_SLICES).map(|s| IoSlice::new(self.bytes(s))).collect()
    }

    /// Forgets the first `written` bytes.
    pub(crate) fn advance(&mut self, mut written: usize) {
        while written > 0 {
            let Some(first) = self.segments.front_mut() else { return };
            let len = match first {
                Segment::InBuffer(range) => range.len(),
                Segment::Own(bytes) => bytes.len(),
            };
            if written < len {
                match first {
                    Segment::InBuffer(range) => range.start += written,
                    Segment::Own(bytes) => drop(bytes.split_to(written)),
                }
                return;
            }
            written -= len;
            self.segments.pop_front();
        }
    }

    fn bytes<'a>(&'a self, segment: &'a Segment) -> &'a [u8] {
        match segment {
            Segment::InBuffer(range) => {
                &self.buffer.as_ref().expect("a range is pushed only while its buffer is held")[range.clone()]
            }
            Segment::Own(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_writes_keep_the_order() {
        let mut outgoing = Outgoing::default();
        let mut buffer = Buffer::take();
        buffer[10..20].copy_from_slice(b"abcdefghij");
        outgoing.hold(Some(buffer), 0..0);
        outgoing.push_range(10..14);
        outgoing.push_range(14..16);
        outgoing.push_own(BytesMut::from(&b"--"[..]));
        outgoing.push_range(18..20);
        assert_eq!(outgoing.slices().len(), 3);
        let mut seen = Vec::new();
        while !outgoing.is_empty() {
            let first: Vec<u8> = outgoing.slices().iter().flat_map(|s| s.to_vec()).take(3).collect();
            outgoing.advance(first.len());
            seen.extend(first);
        }
        assert_eq!(seen, b"abcdef--ij");
    }
}
