//! The reading half of a leg: from the socket to whole pieces of payload, opened where they lie.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use inclavared_wire::frame::{self, Admits, Assembler, Frame, FrameKind, MAX_DATA};
use inclavared_wire::tls::{self, Content, MAX_RECORD, Opened, Opener, RecordError};
use tokio::io::Interest;

use super::batch::{Batch, Piece};
use super::buffer::{self, Buffer, SIZE};
use super::link::Link;
use super::sink::Slots;
use crate::error::{Error, PeerMisbehaved};
use crate::leg::socket::{FarEnd, Socket};

/// What a client without frames may have sent before it has left while its path is opened, in bytes, so that it is found
/// out: an empty stream and a small request.
const MAX_EARLY: usize = MAX_RECORD;

/// What ended a batch besides its payload.
#[derive(Debug)]
pub(crate) enum Event {
    /// A frame that is not DATA.
    Control(Frame),
    /// The peer's close_notify.
    CloseNotify,
    /// End of file without a close_notify before it; of a plain socket, its proper end.
    EndOfFile,
}

/// What one look at the source brought.
#[derive(Debug)]
pub(crate) enum Read {
    /// Nothing was there: wait until the socket is readable.
    Nothing,
    Batch(Batch, Option<Event>),
}

/// The reading half of a leg.
#[derive(Debug)]
pub struct Source {
    socket: Rc<Socket>,
    form: Form,
    /// What came before it was asked for: together with a frame that [`frame`](Self::frame) gave, or from a peer that then
    /// ended its direction.
    taken: VecDeque<Frame>,
}

#[derive(Debug)]
enum Form {
    Plain,
    Tls(Box<Tls>),
}

#[derive(Debug)]
struct Tls {
    opener: Opener,
    link: Rc<Link>,
    /// Some where the leg speaks frames.
    assembler: Option<Assembler>,
    held: Held,
    /// The socket has given its end of file, or the peer its close_notify.
    at_end: bool,
    /// It was the latter.
    closed: bool,
}

/// Bytes received and not yet opened.
///
/// Invariant: `Small` while the stream is idle, so that a peer that sends half a record holds no big buffer.
#[derive(Debug)]
enum Held {
    Small(BytesMut),
    Big(Buffer, Range<usize>),
}

/// The stream is over: nothing of it stays in the buffers that the next one takes.
impl Drop for Source {
    fn drop(&mut self) {
        // A buffer that is still held goes to the pool first.
        if let Form::Tls(tls) = &mut self.form {
            tls.held = Held::Small(BytesMut::new());
        }
        buffer::wipe();
    }
}

impl Source {
    pub fn plain(socket: Rc<Socket>) -> Self {
        Self { socket, form: Form::Plain, taken: VecDeque::new() }
    }

    /// `received` is what the handshake left unread: ciphertext, of at most [`tls::MAX_UNREAD`] bytes, or
    /// `MAX_PARKED` where the leg stood ready.
    pub fn tls(socket: Rc<Socket>, link: Rc<Link>, opener: Opener, received: BytesMut, framed: bool) -> Self {
        let all = if opener.is_of_client() { Admits::OF_SERVER } else { Admits::OF_CLIENT };
        let assembler = framed.then(|| Assembler::new(all));
        let tls = Tls { opener, link, assembler, held: Held::Small(received), at_end: false, closed: false };
        Self { socket, form: Form::Tls(Box::new(tls)), taken: VecDeque::new() }
    }

    /// Which frames may come from now on: others are refused by their headers. Before it is called, all that the peer's
    /// side may ever send.
    pub fn admit(&mut self, admits: Admits) {
        if let Form::Tls(tls) = &mut self.form
            && let Some(assembler) = &mut tls.assembler
        {
            assembler.admit(admits);
        }
    }

    /// Gives back what the frames of an opening took.
    pub(crate) fn shrink(&mut self) {
        self.taken.shrink_to_fit();
    }

    pub fn is_framed(&self) -> bool {
        matches!(&self.form, Form::Tls(tls) if tls.assembler.is_some())
    }

    pub fn is_plain(&self) -> bool {
        matches!(self.form, Form::Plain)
    }

    /// Waits until a read may bring something. Cancel safe.
    pub async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Whether a peer without frames has left: its transport was reset, or has ended without the end of its stream. Waits
    /// for nothing, and keeps what it reads for the relay.
    ///
    /// A peer that has ended its own direction in order may still wait for an answer. Plain TCP ends both ways alike.
    pub(crate) fn has_left(&mut self) -> bool {
        match (self.socket.far_end(), &self.form) {
            (FarEnd::Gone, _) => true,
            (FarEnd::Open, _) | (FarEnd::HasEnded, Form::Plain) => false,
            (FarEnd::HasEnded, Form::Tls(tls)) if tls.at_end => !tls.closed,
            // Who has sent more than this, and then left, is found out by the relay.
            (FarEnd::HasEnded, Form::Tls(_)) if self.socket.unread().is_ok_and(|unread| unread <= MAX_EARLY) => {
                self.has_ended_without_a_word()
            }
            (FarEnd::HasEnded, Form::Tls(_)) => false,
        }
    }

    /// Nothing more will come: reads what is there.
    fn has_ended_without_a_word(&mut self) -> bool {
        loop {
            let Form::Tls(tls) = &mut self.form else { return false };
            match tls.read(&self.socket) {
                Err(_) => return true,
                Ok(Read::Nothing) => return false,
                Ok(Read::Batch(batch, event)) => {
                    self.keep(batch);
                    match event {
                        Some(Event::EndOfFile) => return true,
                        Some(Event::CloseNotify) => return false,
                        Some(Event::Control(frame)) => self.taken.push_back(frame),
                        None => {}
                    }
                }
            }
        }
    }

    /// Copies payload out of its buffer, for a read to come.
    fn keep(&mut self, Batch { buffer, rest, pieces }: Batch) {
        for payload in pieces.iter().filter_map(|piece| payload(piece, buffer.as_deref())) {
            let frames = (0..payload.len()).step_by(MAX_DATA).map(|start| Frame {
                kind: FrameKind::Data,
                payload: payload.slice(start..payload.len().min(start + MAX_DATA)),
            });
            self.taken.extend(frames);
        }
        self.restore(buffer, rest);
    }

    /// Waits until the peer is gone: its transport was reset. Cancel safe.
    pub(crate) async fn is_gone(&self) {
        if !self.socket.ready(Interest::ERROR).await.is_ok_and(|ready| ready.is_error()) {
            // An error of the wait itself tells nothing of the peer: the next read will.
            std::future::pending::<()>().await;
        }
    }

    /// Reads once and opens what is whole. `slots` says how the sink wants payload to lie.
    pub(crate) fn read(&mut self, slots: Slots) -> Result<Read, Error> {
        if let Some(frame) = self.taken.pop_front() {
            let mut batch = Batch::default();
            return Ok(match frame.kind {
                FrameKind::Data => {
                    batch.pieces.push(Piece::Assembled(frame.payload));
                    Read::Batch(batch, None)
                }
                _ => Read::Batch(batch, Some(Event::Control(frame))),
            });
        }
        match &mut self.form {
            Form::Plain => read_plain(&self.socket, slots),
            Form::Tls(tls) => tls.read(&self.socket),
        }
    }

    /// Takes the buffer of a batch back once it is written.
    pub(crate) fn restore(&mut self, buffer: Option<Buffer>, rest: Range<usize>) {
        if let (Form::Tls(tls), Some(buffer)) = (&mut self.form, buffer)
            && !rest.is_empty()
        {
            tls.held = Held::Big(buffer, rest);
        }
    }

    /// The next frame, outside the relay: whatever is DATA comes as a frame too. Cancel safe.
    pub async fn frame(&mut self) -> Result<Frame, Error> {
        loop {
            match self.try_frame()? {
                Some(frame) => return Ok(frame),
                None => self.readable().await.map_err(Error::peer_io)?,
            }
        }
    }

    /// The next frame, if it has come already.
    pub fn try_frame(&mut self) -> Result<Option<Frame>, Error> {
        while self.taken.is_empty() {
            let Read::Batch(batch, event) = self.read(Slots::FRAMED)? else { return Ok(None) };
            let Batch { buffer, rest, pieces } = batch;
            let payloads = pieces.iter().filter_map(|piece| payload(piece, buffer.as_deref()));
            self.taken.extend(payloads.map(|payload| Frame { kind: FrameKind::Data, payload }));
            self.restore(buffer, rest);
            match event {
                Some(Event::Control(frame)) => self.taken.push_back(frame),
                // The end comes again with the next read.
                Some(Event::CloseNotify | Event::EndOfFile) if self.taken.is_empty() => {
                    return Err(PeerMisbehaved::Closed.into());
                }
                _ => {}
            }
        }
        Ok(self.taken.pop_front())
    }
}

fn payload(piece: &Piece, buffer: Option<&[u8]>) -> Option<Bytes> {
    match piece {
        Piece::Frame(range) => Some(Bytes::copy_from_slice(&buffer?[range.start + frame::HEADER..range.end])),
        Piece::Slot(range) | Piece::Record(range) => Some(Bytes::copy_from_slice(&buffer?[range.clone()])),
        Piece::Assembled(bytes) => Some(bytes.clone()),
    }
}

/// `readv` into slots with room for header and tag around each.
fn read_plain(socket: &Socket, slots: Slots) -> Result<Read, Error> {
    let mut buffer = Buffer::take();
    let mut into: Vec<IoSliceMut<'_>> = Vec::with_capacity(SIZE / slots.stride() + 1);
    for slot in buffer.chunks_exact_mut(slots.stride()) {
        into.push(IoSliceMut::new(&mut slot[slots.head..slots.head + slots.payload]));
    }
    let read = match socket.try_read_vectored(&mut into) {
        Ok(0) => return Ok(Read::Batch(Batch::default(), Some(Event::EndOfFile))),
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Read::Nothing),
        Err(error) => return Err(Error::peer_io(error)),
    };
    let pieces = (0..read.div_ceil(slots.payload))
        .map(|i| {
            let start = i * slots.stride() + slots.head;
            Piece::Slot(start..start + slots.payload.min(read - i * slots.payload))
        })
        .collect();
    Ok(Read::Batch(Batch { buffer: Some(buffer), rest: 0..0, pieces }, None))
}

impl Tls {
    fn read(&mut self, socket: &Socket) -> Result<Read, Error> {
        let (mut buffer, mut filled) = self.take_held();
        let mut batch = Batch::default();
        // Records that came with the last read come first: an event may have stopped the batch before them.
        let mut event = self.open_all(&mut buffer, &mut filled, &mut batch)?;
        if event.is_none() && batch.pieces.is_empty() {
            match self.receive(socket, &mut buffer, &mut filled) {
                Ok(0) => {
                    event = Some(if self.closed { Event::CloseNotify } else { Event::EndOfFile });
                    self.at_end = true;
                }
                Ok(_) => event = self.open_all(&mut buffer, &mut filled, &mut batch)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.held = Held::Small(BytesMut::from(&buffer[filled]));
                    return Ok(Read::Nothing);
                }
                Err(error) => return Err(Error::peer_io(error)),
            }
        }
        if batch.pieces.is_empty() {
            self.held = if filled.is_empty() { Held::Small(BytesMut::new()) } else { Held::Big(buffer, filled) };
        } else {
            batch.buffer = Some(buffer);
            batch.rest = filled;
        }
        Ok(Read::Batch(batch, event))
    }

    fn take_held(&mut self) -> (Buffer, Range<usize>) {
        match std::mem::replace(&mut self.held, Held::Small(BytesMut::new())) {
            Held::Big(buffer, range) => (buffer, range),
            Held::Small(bytes) => {
                const { assert!(tls::MAX_UNREAD <= SIZE && super::MAX_PARKED <= SIZE, "what is held has room") };
                let mut buffer = Buffer::take();
                let len = bytes.len();
                buffer[..len].copy_from_slice(&bytes);
                (buffer, 0..len)
            }
        }
    }

    fn receive(&mut self, socket: &Socket, buffer: &mut Buffer, filled: &mut Range<usize>) -> io::Result<usize> {
        if self.at_end {
            return Ok(0);
        }
        // Less than one record is left over: moving it is cheap, and the next read finds the whole buffer.
        buffer.copy_within(filled.clone(), 0);
        *filled = 0..filled.len();
        let read = socket.try_read(&mut buffer[filled.end..])?;
        filled.end += read;
        Ok(read)
    }

    /// Opens whole records until one brings an event.
    fn open_all(
        &mut self,
        buffer: &mut Buffer,
        filled: &mut Range<usize>,
        batch: &mut Batch,
    ) -> Result<Option<Event>, Error> {
        // Frames that came together in one record, behind one that was an event.
        if let Some(event) = self.assembled(batch)? {
            return Ok(Some(event));
        }
        while filled.start < filled.end {
            let start = filled.start;
            let (consumed, content) = match self.opener.open(&mut buffer[filled.clone()]).map_err(fatal)? {
                Opened::Incomplete { .. } => return Ok(None),
                Opened::Record { consumed, what } => (consumed, what),
            };
            filled.start += consumed;
            let event = match content {
                Content::Data(range) => {
                    if self.opener.peer_update_due() {
                        self.link.want_peer_update();
                    }
                    self.sort(buffer, start + range.start..start + range.end, batch)?
                }
                Content::KeyUpdate { reply_wanted } => {
                    if reply_wanted {
                        self.link.want_key_update();
                    }
                    None
                }
                Content::Ignored => None,
                Content::CloseNotify => {
                    // What may come behind it is nobody's (RFC 8446 section 6.1).
                    *filled = 0..0;
                    (self.at_end, self.closed) = (true, true);
                    Some(Event::CloseNotify)
                }
                Content::Alert(alert) => return Err(PeerMisbehaved::Alert(alert).into()),
            };
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    fn sort(&mut self, buffer: &Buffer, content: Range<usize>, batch: &mut Batch) -> Result<Option<Event>, Error> {
        let Some(assembler) = &mut self.assembler else {
            batch.pieces.push(Piece::Record(content));
            return Ok(None);
        };
        if assembler.is_empty() && frame::is_whole_data(&buffer[content.clone()]) {
            batch.pieces.push(Piece::Frame(content));
            return Ok(None);
        }
        assembler.push(&buffer[content]);
        self.assembled(batch)
    }

    /// Takes what the assembler has whole, up to the next event.
    fn assembled(&mut self, batch: &mut Batch) -> Result<Option<Event>, Error> {
        let Some(assembler) = &mut self.assembler else { return Ok(None) };
        while let Some(frame) = assembler.take().map_err(PeerMisbehaved::Frame)? {
            match frame.kind {
                FrameKind::Data => batch.pieces.push(Piece::Assembled(frame.payload)),
                _ => return Ok(Some(Event::Control(frame))),
            }
        }
        Ok(None)
    }
}

fn fatal(error: RecordError) -> Error {
    PeerMisbehaved::Record(error).into()
}
