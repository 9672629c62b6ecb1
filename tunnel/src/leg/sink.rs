//! The writing half of a leg: seals pieces where they lie and writes them at once.

use std::io;
use std::ops::Range;
use std::rc::Rc;

use bytes::BytesMut;
use inclavared_wire::frame::{self, FrameKind, MAX_DATA};
use inclavared_wire::tls::Sealer;

use super::batch::{Batch, Outgoing, Piece};
use super::buffer::{Buffer, SIZE};
use super::link::Link;
use crate::error::Error;
use crate::leg::socket::Socket;
use rustls::AlertDescription;

/// The most that one TLS record carries (RFC 8446 section 5.1).
const MAX_RECORD: usize = 16_384;

/// How a plain source must lay payload into its buffer for this sink.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots {
    pub(crate) head: usize,
    pub(crate) payload: usize,
    pub(crate) tail: usize,
}

impl Slots {
    /// Room for the record header, a frame header and the tag.
    pub(crate) const FRAMED: Self = Self { head: Sealer::HEAD + frame::HEADER, payload: MAX_DATA, tail: Sealer::TAIL };
    pub(crate) const RECORDS: Self = Self { head: Sealer::HEAD, payload: MAX_RECORD, tail: Sealer::TAIL };
    pub(crate) const PLAIN: Self = Self { head: 0, payload: SIZE, tail: 0 };

    pub(crate) const fn stride(self) -> usize {
        self.head + self.payload + self.tail
    }
}

/// The writing half of a leg.
///
/// What is queued stays here until it is written, so dropping a [`flush`](Self::flush) loses nothing.
#[derive(Debug)]
pub struct Sink {
    socket: Rc<Socket>,
    form: Form,
    outgoing: Outgoing,
    /// Nothing may be sent any more.
    ended: bool,
    /// The application's stream has begun and not ended: a close now would cut it short.
    stream: Stream,
}

/// How far the application's stream in this direction has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stream {
    Before,
    In,
    Ended,
}

#[derive(Debug)]
enum Form {
    Plain,
    Tls { sealer: Box<Sealer>, link: Rc<Link>, framed: bool },
}

impl Sink {
    pub fn plain(socket: Rc<Socket>) -> Self {
        Self { socket, form: Form::Plain, outgoing: Outgoing::default(), ended: false, stream: Stream::Before }
    }

    pub fn tls(socket: Rc<Socket>, link: Rc<Link>, sealer: Sealer, framed: bool) -> Self {
        let form = Form::Tls { sealer: Box::new(sealer), link, framed };
        Self { socket, form, outgoing: Outgoing::default(), ended: false, stream: Stream::Before }
    }

    pub(crate) fn slots(&self) -> Slots {
        match &self.form {
            Form::Plain => Slots::PLAIN,
            Form::Tls { framed: true, .. } => Slots::FRAMED,
            Form::Tls { framed: false, .. } => Slots::RECORDS,
        }
    }

    pub fn is_framed(&self) -> bool {
        matches!(self.form, Form::Tls { framed: true, .. })
    }

    pub fn is_plain(&self) -> bool {
        matches!(self.form, Form::Plain)
    }

    /// From now on the application's bytes pass: a leg that ends before they do is cut short.
    pub(crate) fn begin_stream(&mut self) {
        self.stream = Stream::In;
    }

    /// The end of the application's stream has been written.
    pub(crate) fn end_stream(&mut self) -> io::Result<()> {
        if self.is_plain() {
            self.socket.shutdown_write()?;
            self.socket.close_in_order();
        }
        self.stream = Stream::Ended;
        Ok(())
    }

    /// The application's stream has begun and not ended.
    pub fn is_in_stream(&self) -> bool {
        self.stream == Stream::In
    }

    /// The application's stream has come to its end: what was sent of it is whole.
    pub fn has_ended_stream(&self) -> bool {
        self.stream == Stream::Ended
    }

    /// What the reading half of this leg, or the session, wants sent.
    pub fn link(&self) -> Option<&Rc<Link>> {
        match &self.form {
            Form::Plain => None,
            Form::Tls { link, .. } => Some(link),
        }
    }

    /// Seals a batch and queues it. Returns how many bytes of payload it held.
    pub(crate) fn queue(&mut self, batch: Batch) -> Result<u64, Error> {
        let Batch { buffer, rest, pieces } = batch;
        self.outgoing.hold(buffer, rest);
        let framed = self.is_framed();
        let (mut total, mut gathered) = (0, BytesMut::new());
        for piece in pieces {
            total += match piece {
                Piece::Record(range) if framed => self.gather(range, &mut gathered)?,
                piece => self.queue_piece(piece)?,
            } as u64;
        }
        self.queue_gathered(&mut gathered)?;
        Ok(total)
    }

    /// Queues a control frame, over as many records as it takes.
    pub fn queue_frame(&mut self, kind: FrameKind, payload: &[u8]) -> Result<(), Error> {
        let mut frame = BytesMut::with_capacity(frame::HEADER + payload.len());
        frame.extend_from_slice(&frame::header(kind, payload.len()));
        frame.extend_from_slice(payload);
        for chunk in frame.chunks(MAX_RECORD) {
            self.queue_copied(&[chunk])?;
        }
        Ok(())
    }

    /// Queues one record with this content, whatever it is: a test's frames in parts, or several in one.
    #[doc(hidden)]
    pub fn queue_record(&mut self, content: &[u8]) -> Result<(), Error> {
        self.queue_copied(&[content])
    }

    /// Queues what waits in the link: key updates and control frames.
    pub fn queue_waiting(&mut self) -> Result<(), Error> {
        let Form::Tls { link, .. } = &self.form else { return Ok(()) };
        let link = Rc::clone(link);
        let ask_peer = link.take_peer_update();
        if link.take_key_update() || ask_peer {
            self.queue_key_update(ask_peer)?;
        }
        while let Some(frame) = link.take_frame() {
            self.queue_frame(frame.kind, &frame.payload)?;
        }
        Ok(())
    }

    /// Queues the proper end of a TLS leg. Nothing can be queued behind it.
    pub fn queue_close_notify(&mut self) -> Result<(), Error> {
        if let (Form::Tls { sealer, .. }, false) = (&mut self.form, self.ended) {
            let mut out = BytesMut::new();
            sealer.close_notify(&mut out);
            self.outgoing.push_own(out);
            self.ended = true;
        }
        Ok(())
    }

    /// Queues a fatal alert. Nothing can be queued behind it.
    pub fn queue_alert(&mut self, alert: AlertDescription) -> Result<(), Error> {
        if let (Form::Tls { sealer, .. }, false) = (&mut self.form, self.ended) {
            let mut out = BytesMut::new();
            sealer.alert(&mut out, alert);
            self.outgoing.push_own(out);
            self.ended = true;
        }
        Ok(())
    }

    /// Writes all that is queued. Cancel safe: what is left stays queued, and goes out whole with the next call.
    pub async fn flush(&mut self) -> io::Result<()> {
        while !self.is_flushed() {
            if !self.write()? {
                self.writable().await?;
            }
        }
        Ok(())
    }

    pub(crate) fn is_flushed(&self) -> bool {
        self.outgoing.is_empty()
    }

    /// Writes once. `false`: nothing can be written now.
    pub(crate) fn write(&mut self) -> io::Result<bool> {
        match self.socket.try_write_vectored(&self.outgoing.slices()) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                self.outgoing.advance(written);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits until a write may do something. Cancel safe.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.socket.writable().await
    }

    /// Gives the buffer of the batch back, once it is flushed.
    pub(crate) fn release(&mut self) -> (Option<Buffer>, Range<usize>) {
        self.outgoing.release()
    }

    pub fn shutdown_write(&self) -> io::Result<()> {
        self.socket.shutdown_write()
    }

    pub fn socket(&self) -> &Rc<Socket> {
        &self.socket
    }

    fn queue_piece(&mut self, piece: Piece) -> Result<usize, Error> {
        self.update_keys_if_due()?;
        let framed = match &self.form {
            Form::Plain => return Ok(self.queue_plain(piece)),
            Form::Tls { framed, .. } => *framed,
        };
        match piece {
            Piece::Frame(range) if framed => {
                let len = range.len() - frame::HEADER;
                self.seal_in_place(range)?;
                Ok(len)
            }
            Piece::Frame(Range { start, end }) => {
                self.seal_in_place(start + frame::HEADER..end)?;
                Ok(end - start - frame::HEADER)
            }
            Piece::Slot(Range { start, end }) if framed => {
                let framed = start - frame::HEADER..end;
                let buffer = self.outgoing.buffer_mut().expect("a slot lies in the buffer of its batch");
                buffer[framed.start..start].copy_from_slice(&frame::header(FrameKind::Data, end - start));
                self.seal_in_place(framed)?;
                Ok(end - start)
            }
            Piece::Slot(range) => {
                let len = range.len();
                self.seal_in_place(range)?;
                Ok(len)
            }
            Piece::Record(range) => {
                let len = range.len();
                self.seal_in_place(range)?;
                Ok(len)
            }
            Piece::Assembled(bytes) => {
                let header = frame::header(FrameKind::Data, bytes.len());
                self.queue_copied(&[if framed { &header[..] } else { &[] }, &bytes])?;
                Ok(bytes.len())
            }
        }
    }

    /// Copies what came without frames into full frames: around it there is room for a record's header alone. The one
    /// shape that is copied.
    fn gather(&mut self, range: Range<usize>, gathered: &mut BytesMut) -> Result<usize, Error> {
        const HEAD: usize = Sealer::HEAD + frame::HEADER;
        let (mut start, end) = (range.start, range.end);
        while start < end {
            if gathered.is_empty() {
                gathered.reserve(HEAD + MAX_DATA + Sealer::TAIL);
                gathered.extend_from_slice(&[0; HEAD]);
            }
            let len = (end - start).min(HEAD + MAX_DATA - gathered.len());
            let buffer = self.outgoing.buffer_mut().expect("a record lies in the buffer of its batch");
            gathered.extend_from_slice(&buffer[start..start + len]);
            start += len;
            if gathered.len() == HEAD + MAX_DATA {
                self.queue_gathered(gathered)?;
            }
        }
        Ok(range.len())
    }

    /// Seals what was gathered as one frame in one record.
    fn queue_gathered(&mut self, gathered: &mut BytesMut) -> Result<(), Error> {
        if gathered.is_empty() {
            return Ok(());
        }
        self.update_keys_if_due()?;
        let Form::Tls { sealer, .. } = &mut self.form else { unreachable!("only for a framed leg is it gathered") };
        let end = gathered.len();
        let header = frame::header(FrameKind::Data, end - Sealer::HEAD - frame::HEADER);
        gathered[Sealer::HEAD..Sealer::HEAD + frame::HEADER].copy_from_slice(&header);
        gathered.extend_from_slice(&[0; Sealer::TAIL]);
        sealer.seal(gathered, Sealer::HEAD..end).map_err(Error::seal)?;
        self.outgoing.push_own(std::mem::take(gathered));
        Ok(())
    }

    fn queue_plain(&mut self, piece: Piece) -> usize {
        let range = match piece {
            Piece::Frame(Range { start, end }) => start + frame::HEADER..end,
            Piece::Slot(range) | Piece::Record(range) => range,
            Piece::Assembled(bytes) => {
                let len = bytes.len();
                self.outgoing.push_own(BytesMut::from(bytes));
                return len;
            }
        };
        let len = range.len();
        self.outgoing.push_range(range);
        len
    }

    fn seal_in_place(&mut self, payload: Range<usize>) -> Result<(), Error> {
        let (Form::Tls { sealer, .. }, Some(buffer)) = (&mut self.form, self.outgoing.buffer_mut()) else {
            unreachable!("only a TLS leg seals, and only what lies in the buffer of its batch")
        };
        let record = sealer.seal(buffer, payload).map_err(Error::seal)?;
        self.outgoing.push_range(record);
        Ok(())
    }

    /// Seals the parts, one after the other, as one record in memory of its own.
    fn queue_copied(&mut self, parts: &[&[u8]]) -> Result<(), Error> {
        self.update_keys_if_due()?;
        let Form::Tls { sealer, .. } = &mut self.form else { unreachable!("frames are queued on framed legs alone") };
        let len: usize = parts.iter().map(|p| p.len()).sum();
        let mut slot = BytesMut::with_capacity(Sealer::HEAD + len + Sealer::TAIL);
        slot.extend_from_slice(&[0; Sealer::HEAD]);
        for part in parts {
            slot.extend_from_slice(part);
        }
        slot.extend_from_slice(&[0; Sealer::TAIL]);
        let record = sealer.seal(&mut slot, Sealer::HEAD..Sealer::HEAD + len).map_err(Error::seal)?;
        slot.truncate(record.end);
        self.outgoing.push_own(slot);
        Ok(())
    }

    fn update_keys_if_due(&mut self) -> Result<(), Error> {
        match &self.form {
            Form::Tls { sealer, .. } if sealer.key_update_due() => self.queue_key_update(false),
            _ => Ok(()),
        }
    }

    fn queue_key_update(&mut self, ask_peer: bool) -> Result<(), Error> {
        if let (Form::Tls { sealer, .. }, false) = (&mut self.form, self.ended) {
            let mut out = BytesMut::new();
            sealer.key_update(&mut out, ask_peer).map_err(Error::seal)?;
            self.outgoing.push_own(out);
        }
        Ok(())
    }
}
