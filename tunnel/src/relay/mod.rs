//! The relay: what crosses between the two legs of one connection, and how it ends.
//!
//! Payload is opened and sealed in place (`source`, `sink`); this file has the two directions, their ends, and the
//! watch over both. It owns neither the opening of a path nor what the final record says.

mod session;
mod watch;

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use inclavared_attest::Reason;
use inclavared_attest::path::{CloseReason, Counters, Fault};
use tokio::sync::Notify;

pub use session::{Closed, Session};
pub use watch::Times;

use inclavared_wire::frame::{Admits, Frame, FrameKind};

use crate::error::{Error, PeerMisbehaved};
use crate::leg::Leg;
use crate::leg::batch::Batch;
use crate::leg::sink::Sink;
use crate::leg::source::Source;
use crate::leg::source::{Event, Read};
use watch::{Watch, Writes};

/// How a connection ended, and what crossed it.
#[derive(Debug)]
pub struct Outcome {
    /// Payload bytes, each way.
    pub counters: Counters,
    pub result: Result<Closed, Broken>,
}

/// What broke a relay, and at whose end.
#[derive(Debug)]
pub struct Broken {
    pub error: Error,
    end: End,
    /// Writing failed: what that peer has sent before may still be there to be read.
    writing: bool,
    /// The client has the receipt of a path that broke off, and needs no FAULT.
    receipted: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Client,
    Server,
    /// Ours: a deadline, a limit, a receipt that does not hold.
    Own,
}

impl Broken {
    /// The client has told us, or is not there any more: it need not be told.
    pub fn client_knows(&self) -> bool {
        self.end == End::Client && self.error.is_peers_last_word()
    }

    pub fn server_knows(&self) -> bool {
        self.end == End::Server && self.error.is_peers_last_word()
    }

    /// The client was told by a receipt: its leg ends in order.
    pub fn client_is_receipted(&self) -> bool {
        self.receipted
    }

    fn own(error: Error) -> Self {
        Self { error, end: End::Own, writing: false, receipted: false }
    }
}

/// What a client may send while its stream is open. Once its stream has ended: no DATA, and no other END.
const FROM_CLIENT: Admits = Admits::of(&[FrameKind::Data, FrameKind::Challenge, FrameKind::End, FrameKind::Fault]);

/// The same of the server of a path.
const FROM_SERVER: Admits =
    Admits::of(&[FrameKind::Data, FrameKind::Refresh, FrameKind::End, FrameKind::Trailer, FrameKind::Fault]);

/// How long the last word may take once the half-close timer has ended a stream.
const LAST_WORD: Duration = Duration::from_secs(2);

/// What the two directions tell each other.
#[derive(Debug)]
struct State {
    up: Passage,
    down: Passage,
    /// The last word has gone to the client: it may close.
    receipted: Cell<bool>,
    /// One direction cannot write any more, and the other brings in what is left.
    failed: RefCell<Option<Broken>>,
    changed: Notify,
    watch: Watch,
}

/// What has passed in one direction.
#[derive(Default, Debug)]
struct Passage {
    /// Bytes of payload.
    bytes: Cell<u64>,
    ended: Cell<bool>,
    writes: Writes,
}

/// Relays until both directions have ended and the receipt has passed, or until something is wrong.
///
/// Both legs are left as they are then: the caller closes them, in order or with a FAULT.
///
/// `refused` ends it as well, when it is ready: what the connection rests on does not hold any more.
pub async fn run(
    up: &mut Leg,
    down: &mut Leg,
    session: &impl Session,
    times: &Times,
    refused: Pin<Box<dyn Future<Output = Error> + '_>>,
) -> Outcome {
    up.source.admit(FROM_CLIENT);
    down.source.admit(FROM_SERVER);
    up.sink.begin_stream();
    down.sink.begin_stream();
    let state = State::new(times);
    let result = match both(up, down, session, &state, refused).await {
        Err(broken) => Box::pin(last_word(broken, up, session, &state)).await,
        closed => closed,
    };
    Outcome { counters: state.counters(), result }
}

async fn both(
    up: &mut Leg,
    down: &mut Leg,
    session: &impl Session,
    state: &State,
    mut refused: Pin<Box<dyn Future<Output = Error> + '_>>,
) -> Result<Closed, Broken> {
    session.begin().map_err(Broken::own)?;
    // Pinned where they are made: each move would leave room for a copy in the future of every connection.
    let mut upward = pin!(upward(&mut up.source, &mut down.sink, session, state));
    let mut downward = pin!(downward(&mut down.source, &mut up.sink, session, state));
    let mut watch = pin!(state.watch.expiry([&state.up.writes, &state.down.writes]));
    let mut kept = session.run();
    let (mut up_done, mut down_done) = (false, false);
    loop {
        tokio::select! {
            result = &mut downward, if !down_done => match result {
                Err(broken) if broken.writing && !up_done => {
                    state.fail(broken);
                    down_done = true;
                }
                result => return result.map_err(|broken| state.first(broken)),
            },
            result = &mut upward, if !up_done => match result {
                Ok(()) => {
                    up_done = true;
                    if let Some(broken) = state.failed.take() {
                        return Err(broken);
                    }
                }
                Err(broken) if broken.writing && !down_done => {
                    state.fail(broken);
                    up_done = true;
                }
                Err(broken) => return Err(state.first(broken)),
            },
            error = &mut watch => return Err(state.first(Broken::own(error))),
            error = &mut kept => return Err(state.first(Broken::own(error))),
            error = &mut refused => return Err(state.first(Broken::own(error))),
        }
    }
}

/// What broke, and what can still be signed of it. Who reads nothing gets no receipt: then it is told as any failure is.
async fn last_word(broken: Broken, up: &mut Leg, session: &impl Session, state: &State) -> Result<Closed, Broken> {
    let early = match broken.error {
        Error::HalfClosed(_) => Some(CloseReason::HalfClose),
        Error::Idle(_) => Some(CloseReason::Idle),
        _ => None,
    };
    if let (Some(reason), true) = (early, session.signs_alone()) {
        let signed = session.expired(state.counters(), reason);
        let (trailer, closed) = signed.map_err(Broken::own)?;
        return match tokio::time::timeout(LAST_WORD, send_last(up, &trailer)).await {
            Ok(sent) => sent.map(|()| closed).map_err(Broken::own),
            Err(_) => Err(broken),
        };
    }
    let Some(reason) = state.severed(&broken) else { return Err(broken) };
    match session.severed(state.counters(), reason).map_err(Broken::own)? {
        Some(trailer) => {
            let sent = tokio::time::timeout(LAST_WORD, send_last(up, &trailer)).await;
            Err(Broken { receipted: matches!(sent, Ok(Ok(()))), ..broken })
        }
        None => Err(broken),
    }
}

async fn send_last(up: &mut Leg, trailer: &[u8]) -> Result<(), Error> {
    up.sink.queue_frame(FrameKind::Trailer, trailer)?;
    up.sink.flush().await.map_err(Error::peer_io)
}

/// From the client toward the workload.
async fn upward(source: &mut Source, sink: &mut Sink, session: &impl Session, state: &State) -> Result<(), Broken> {
    let way = Way { reading: End::Client, writing: End::Server, passage: &state.up, state };
    loop {
        match way.pump(source, sink).await? {
            // A client that has its receipt may say what it likes, and go.
            _ if state.receipted.get() => return Ok(()),
            Event::Control(frame) => match frame.kind {
                FrameKind::End if !state.up.ended.get() => {
                    source.admit(FROM_CLIENT.without(FrameKind::Data).without(FrameKind::End));
                    way.end(sink).await?;
                }
                // It crossed the server's END: it needs no answer any more.
                FrameKind::Challenge if state.both_ended() => {}
                FrameKind::Challenge => session.challenged(&frame.payload).map_err(|error| way.misread(error))?,
                _ => return Err(way.misread(unexpected(&frame, "DATA or END"))),
            },
            Event::EndOfFile if source.is_plain() => {
                way.trust_end_of_file()?;
                break way.end(sink).await?;
            }
            Event::CloseNotify if !source.is_framed() => break way.end(sink).await?,
            // All that it had to say is said.
            Event::CloseNotify if state.up.ended.get() => break,
            Event::CloseNotify | Event::EndOfFile => return Err(way.misread(PeerMisbehaved::Truncated.into())),
        }
    }
    // The path below may have to be asked for fresh quotes until the other direction has ended, too.
    way.beside_link(sink, Box::pin(state.until_failed())).await
}

/// From the workload toward the client, and then the receipt.
async fn downward(
    source: &mut Source,
    sink: &mut Sink,
    session: &impl Session,
    state: &State,
) -> Result<Closed, Broken> {
    let way = Way { reading: End::Server, writing: End::Client, passage: &state.down, state };
    let below = loop {
        match way.pump(source, sink).await? {
            Event::Control(frame) => match frame.kind {
                FrameKind::End if !state.down.ended.get() => {
                    source.admit(FROM_SERVER.without(FrameKind::Data).without(FrameKind::End));
                    way.end(sink).await?;
                }
                FrameKind::Trailer => break Some(frame.payload),
                FrameKind::Refresh => session.refreshed(frame.payload).map_err(|error| way.misread(error))?,
                _ => return Err(way.misread(unexpected(&frame, "DATA, END or TRAILER"))),
            },
            Event::EndOfFile if source.is_plain() => {
                way.trust_end_of_file()?;
                break None;
            }
            Event::CloseNotify if !source.is_framed() => break None,
            Event::CloseNotify | Event::EndOfFile if source.is_framed() && state.down.ended.get() => {
                return Err(way.misread(PeerMisbehaved::Unreceipted.into()));
            }
            Event::CloseNotify | Event::EndOfFile => return Err(way.misread(PeerMisbehaved::Truncated.into())),
        }
    };
    if below.is_none() {
        way.end(sink).await?;
        while !state.up.ended.get() {
            way.send_waiting(sink).await?;
            state.up_ended_or_work(sink).await?;
        }
    }
    way.beside_link(sink, Box::pin(session.settle())).await?.map_err(Broken::own)?;
    // The last step is large and short, as the opening is: on the heap while it lasts.
    Box::pin(way.receipt(below, sink, session)).await
}

/// What a write is to the idle timer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    /// It moves what the applications sent, or ends their stream.
    Prolonged,
    /// Key updates and control frames: a peer could have them written for as long as it likes.
    Unchanged,
}

/// One direction: which peer is at which end of it.
#[derive(Clone, Copy)]
struct Way<'a> {
    reading: End,
    writing: End,
    passage: &'a Passage,
    state: &'a State,
}

impl Way<'_> {
    /// Moves payload until something else comes.
    async fn pump(self, source: &mut Source, sink: &mut Sink) -> Result<Event, Broken> {
        loop {
            self.send_waiting(sink).await?;
            let (batch, event) = match source.read(sink.slots()).map_err(|error| self.misread(error))? {
                Read::Batch(batch, event) => (batch, event),
                Read::Nothing => {
                    wait(source, sink).await.map_err(|error| self.misread(error))?;
                    continue;
                }
            };
            if !batch.pieces.is_empty() {
                self.pass(batch, source, sink).await?;
                // A stream that always has data lets the others of its worker have their turn.
                tokio::task::consume_budget().await;
            }
            if let Some(event) = event {
                if let Event::Control(Frame { kind: FrameKind::Fault, payload }) = &event {
                    let fault = Fault::decode(payload).map_or_else(Error::from, Error::Fault);
                    return Err(self.misread(fault));
                }
                return Ok(event);
            }
        }
    }

    async fn pass(self, batch: Batch, source: &mut Source, sink: &mut Sink) -> Result<(), Broken> {
        if self.passage.ended.get() {
            let found = "Data frame after the END".to_owned();
            return Err(self.misread(PeerMisbehaved::Order { expected: "no more DATA", found }.into()));
        }
        let bytes = &self.passage.bytes;
        let payload = sink.queue(batch).map_err(Broken::own)?;
        bytes.set(bytes.get() + payload);
        if payload > 0 {
            // Alone what the applications send keeps a stream alive: no session ticket, no key update, no challenge.
            self.state.watch.touch();
        }
        self.flush_for(source, sink).await?;
        let (buffer, rest) = sink.release();
        source.restore(buffer, rest);
        Ok(())
    }

    /// Key updates and control frames, which go between two DATA frames.
    async fn send_waiting(self, sink: &mut Sink) -> Result<(), Broken> {
        if sink.link().is_some_and(|link| link.has_work()) {
            sink.queue_waiting().map_err(Broken::own)?;
            self.write(sink, Life::Unchanged).await?;
        }
        Ok(())
    }

    /// Waits for `work` while what the session wants sent on the leg goes out.
    async fn beside_link<T>(self, sink: &mut Sink, work: impl Future<Output = T>) -> Result<T, Broken> {
        let mut work = pin!(work);
        loop {
            self.send_waiting(sink).await?;
            tokio::select! {
                done = &mut work => return Ok(done),
                () = link_work(sink) => {}
            }
        }
    }

    /// [`flush`](Self::flush), with an eye on where the bytes came from: a peer that is gone does not hold a relay
    /// whose other peer stalls. What it had sent still passes, if it does so within the half-close time.
    async fn flush_for(self, source: &Source, sink: &mut Sink) -> Result<(), Broken> {
        let mut flush = pin!(self.flush(sink));
        tokio::select! {
            biased;
            flushed = &mut flush => return flushed,
            () = source.is_gone() => self.state.watch.half_closed(),
        }
        flush.await
    }

    /// Writes all that is queued. The watch sees each step of it: a slow reader is not a stalled one.
    async fn flush(self, sink: &mut Sink) -> Result<(), Broken> {
        self.write(sink, Life::Prolonged).await
    }

    async fn write(self, sink: &mut Sink, life: Life) -> Result<(), Broken> {
        let (watch, writes) = (&self.state.watch, &self.passage.writes);
        while !sink.is_flushed() {
            if sink.write().map_err(|error| self.unwritten(error))? {
                if life == Life::Prolonged {
                    watch.touch();
                }
                watch.written(writes);
            } else {
                watch.blocked(writes);
                sink.writable().await.map_err(|error| self.unwritten(error))?;
            }
        }
        Ok(())
    }

    /// Ends this direction: END, close_notify or an end of file, whichever the leg understands.
    async fn end(self, sink: &mut Sink) -> Result<(), Broken> {
        self.state.watch.half_closed();
        let queued = if sink.is_framed() { sink.queue_frame(FrameKind::End, &[]) } else { sink.queue_close_notify() };
        queued.map_err(Broken::own)?;
        self.flush(sink).await?;
        sink.end_stream().map_err(|error| self.unwritten(error))?;
        self.passage.ended.set(true);
        self.state.changed.notify_waiters();
        Ok(())
    }

    /// Verifies the receipt from below, where there is one, and adds ours for the client that understands it.
    async fn receipt(self, below: Option<Bytes>, sink: &mut Sink, session: &impl Session) -> Result<Closed, Broken> {
        let state = self.state;
        let receipt = session.finish(below, state.counters(), state.both_ended()).await;
        let (trailer, closed) = receipt.map_err(Broken::own)?;
        if let Some(trailer) = trailer {
            sink.queue_waiting().map_err(Broken::own)?;
            sink.queue_frame(FrameKind::Trailer, &trailer).map_err(Broken::own)?;
            sink.queue_close_notify().map_err(Broken::own)?;
            state.receipted.set(true);
            self.flush(sink).await?;
        }
        Ok(closed)
    }

    /// A plain socket tells of a reset once: after a write that failed of it, a read finds an end of file in its place.
    fn trust_end_of_file(self) -> Result<(), Broken> {
        self.state.failed.take().map_or(Ok(()), Err)
    }

    fn misread(self, error: Error) -> Broken {
        Broken { error, end: self.reading, writing: false, receipted: false }
    }

    fn unwritten(self, error: io::Error) -> Broken {
        Broken { error: Error::peer_io(error), end: self.writing, writing: true, receipted: false }
    }
}

async fn wait(source: &Source, sink: &Sink) -> Result<(), Error> {
    match sink.link() {
        Some(link) => tokio::select! {
            ready = source.readable() => ready.map_err(Error::peer_io),
            () = link.work() => Ok(()),
        },
        None => source.readable().await.map_err(Error::peer_io),
    }
}

async fn link_work(sink: &Sink) {
    match sink.link() {
        Some(link) => link.work().await,
        None => std::future::pending().await,
    }
}

fn unexpected(frame: &Frame, expected: &'static str) -> Error {
    PeerMisbehaved::Order { expected, found: format!("{:?} frame", frame.kind) }.into()
}

impl State {
    fn new(times: &Times) -> Self {
        Self {
            up: Passage::default(),
            down: Passage::default(),
            receipted: Cell::new(false),
            failed: RefCell::default(),
            changed: Notify::new(),
            watch: Watch::new(*times),
        }
    }

    fn counters(&self) -> Counters {
        Counters { up: self.up.bytes.get(), down: self.down.bytes.get() }
    }

    fn both_ended(&self) -> bool {
        self.up.ended.get() && self.down.ended.get()
    }

    /// One direction cannot write any more. The other brings in what that peer had sent before, so that an answer, or
    /// a FAULT, is not lost with it; the half-close timer bounds that.
    fn fail(&self, broken: Broken) {
        self.failed.replace(Some(broken));
        self.watch.half_closed();
        self.changed.notify_waiters();
    }

    /// What broke first is what is reported, unless a FAULT tells why it broke.
    fn first(&self, broken: Broken) -> Broken {
        match self.failed.take() {
            Some(first) if !matches!(broken.error, Error::Fault(_)) => first,
            _ => broken,
        }
    }

    /// The path below is lost, and the client has no receipt yet. What a peer said itself, and what it did wrong, is told
    /// as a FAULT instead: it says more.
    fn severed(&self, broken: &Broken) -> Option<Reason> {
        if self.receipted.get() {
            return None;
        }
        match (&broken.error, broken.end) {
            (Error::Peer(lost), End::Server) if lost.is_loss() => Some(lost.reason()),
            // Nothing more is due from the client: what was waited for is the path below.
            (Error::HalfClosed(_), End::Own) if self.up.ended.get() => Some(broken.error.reason()),
            _ => None,
        }
    }

    /// Waits until a direction cannot write any more.
    async fn until_failed(&self) {
        while self.failed.borrow().is_none() {
            self.changed.notified().await;
        }
    }

    /// Waits until the way up has ended, or there is something to send on `sink`. The way up may fail instead.
    async fn up_ended_or_work(&self, sink: &Sink) -> Result<(), Broken> {
        if let Some(broken) = self.failed.take() {
            return Err(broken);
        }
        match sink.link() {
            Some(link) => tokio::select! {
                () = self.changed.notified() => {}
                () = link.work() => {}
            },
            None => self.changed.notified().await,
        }
        Ok(())
    }
}
