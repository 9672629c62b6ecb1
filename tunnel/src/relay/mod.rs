//! The relay: what crosses between the two legs of one connection, and how it ends.
//!
//! Payload is opened and sealed in place (`source`, `sink`); this file has the two directions, their ends, and the
//! watch over both. It owns neither the opening of a path nor what the final record says.

mod batch;
mod buffer;
mod link;
mod sink;
mod source;
mod watch;

use std::cell::Cell;
use std::io;

use bytes::Bytes;
use inclavared_attest::path::{Counters, Fault};
use tokio::sync::Notify;

pub use link::Link;
pub use sink::Sink;
pub use source::Source;
pub use watch::Times;

use crate::close::{Closed, Closing};
use crate::error::{Error, PeerMisbehaved};
use crate::frame::{Frame, FrameKind};
use crate::leg::Leg;
use source::{Event, Read};
use watch::Watch;

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

    fn own(error: Error) -> Self {
        Self { error, end: End::Own }
    }
}

/// What the two directions tell each other.
#[derive(Debug, Default)]
struct State {
    up: Cell<u64>,
    down: Cell<u64>,
    up_ended: Cell<bool>,
    down_ended: Cell<bool>,
    /// The last word has gone to the client: it may close.
    receipted: Cell<bool>,
    changed: Notify,
    watch: Watch,
}

/// Relays until both directions have ended and the receipt has passed, or until something is wrong.
///
/// Both legs are left as they are then: the caller closes them, in order or with a FAULT.
///
/// `refused` ends it as well, when it is ready: what the connection rests on does not hold any more.
pub async fn run(
    up: &mut Leg,
    down: &mut Leg,
    closing: &Closing<'_>,
    times: &Times,
    refused: impl Future<Output = Error>,
) -> Outcome {
    let state = State::default();
    let result = both(up, down, closing, times, &state, refused).await;
    let result = match result {
        Err(Broken { error: Error::HalfClosed(_), .. }) if closing.signs_alone() => {
            close_early(up, closing, &state).await.map_err(Broken::own)
        }
        other => other,
    };
    Outcome { counters: state.counters(), result }
}

async fn both(
    up: &mut Leg,
    down: &mut Leg,
    closing: &Closing<'_>,
    times: &Times,
    state: &State,
    refused: impl Future<Output = Error>,
) -> Result<Closed, Broken> {
    let upward = upward(&mut up.source, &mut down.sink, state);
    let downward = downward(&mut down.source, &mut up.sink, closing, state);
    let watch = state.watch.expiry(times);
    tokio::pin!(upward, downward, watch, refused);
    let mut up_done = false;
    loop {
        tokio::select! {
            result = &mut downward => return result,
            result = &mut upward, if !up_done => {
                result?;
                up_done = true;
            }
            error = &mut watch => return Err(Broken::own(error)),
            error = &mut refused => return Err(Broken::own(error)),
        }
    }
}

/// The half-close timer ended it: the last hop signs what has passed so far.
async fn close_early(up: &mut Leg, closing: &Closing<'_>, state: &State) -> Result<Closed, Error> {
    let (trailer, closed) = closing.expired(state.counters())?;
    up.sink.queue_frame(FrameKind::Trailer, &trailer)?;
    up.sink.flush().await.map_err(Error::peer_io)?;
    Ok(closed)
}

/// From the client toward the workload.
async fn upward(source: &mut Source, sink: &mut Sink, state: &State) -> Result<(), Broken> {
    let ends = Ends { reading: End::Client, writing: End::Server };
    loop {
        match pump(source, sink, ends, &state.up, state).await? {
            Event::Control(frame) => match frame.kind {
                FrameKind::End if !state.up_ended.get() => end(sink, ends, &state.up_ended, state).await?,
                _ => return Err(ends.read(unexpected(&frame, "DATA or END"))),
            },
            // A client that has its receipt may go.
            Event::CloseNotify | Event::EndOfFile if state.receipted.get() => return Ok(()),
            Event::EndOfFile if source.is_plain() => return end(sink, ends, &state.up_ended, state).await,
            Event::CloseNotify if !source.is_framed() => return end(sink, ends, &state.up_ended, state).await,
            Event::CloseNotify | Event::EndOfFile => return Err(ends.read(PeerMisbehaved::Truncated.into())),
        }
    }
}

/// From the workload toward the client, and then the receipt.
async fn downward(
    source: &mut Source,
    sink: &mut Sink,
    closing: &Closing<'_>,
    state: &State,
) -> Result<Closed, Broken> {
    let ends = Ends { reading: End::Server, writing: End::Client };
    let below = loop {
        match pump(source, sink, ends, &state.down, state).await? {
            Event::Control(frame) => match frame.kind {
                FrameKind::End if !state.down_ended.get() => end(sink, ends, &state.down_ended, state).await?,
                FrameKind::Trailer => break Some(frame.payload),
                _ => return Err(ends.read(unexpected(&frame, "DATA, END or TRAILER"))),
            },
            Event::EndOfFile if source.is_plain() => break None,
            Event::CloseNotify if !source.is_framed() => break None,
            Event::CloseNotify | Event::EndOfFile if source.is_framed() && state.down_ended.get() => {
                return Err(ends.read(PeerMisbehaved::Unreceipted.into()));
            }
            Event::CloseNotify | Event::EndOfFile => return Err(ends.read(PeerMisbehaved::Truncated.into())),
        }
    };
    if below.is_none() {
        end(sink, ends, &state.down_ended, state).await?;
        state.until_up_ended().await;
    }
    receipt(below, sink, closing, state).await.map_err(Broken::own)
}

/// Verifies the receipt from below, where there is one, and adds ours for the client that understands it.
async fn receipt(below: Option<Bytes>, sink: &mut Sink, closing: &Closing<'_>, state: &State) -> Result<Closed, Error> {
    let (trailer, closed) = closing.finish(below, state.counters(), state.both_ended()).await?;
    if let Some(trailer) = trailer {
        sink.queue_frame(FrameKind::Trailer, &trailer)?;
        sink.queue_close_notify()?;
        state.receipted.set(true);
        sink.flush().await.map_err(Error::peer_io)?;
    }
    Ok(closed)
}

/// Ends one direction: END, close_notify or an end of file, whichever the leg understands.
async fn end(sink: &mut Sink, ends: Ends, ended: &Cell<bool>, state: &State) -> Result<(), Broken> {
    let queued = if sink.is_framed() { sink.queue_frame(FrameKind::End, &[]) } else { sink.queue_close_notify() };
    queued.map_err(Broken::own)?;
    sink.flush().await.map_err(|error| ends.written(error))?;
    if sink.is_plain() {
        sink.shutdown_write().map_err(|error| ends.written(error))?;
    }
    ended.set(true);
    state.watch.half_closed();
    state.changed.notify_waiters();
    Ok(())
}

/// Which peer is at which end of a direction.
#[derive(Clone, Copy)]
struct Ends {
    reading: End,
    writing: End,
}

impl Ends {
    fn read(self, error: Error) -> Broken {
        Broken { error, end: self.reading }
    }

    fn written(self, error: io::Error) -> Broken {
        Broken { error: Error::peer_io(error), end: self.writing }
    }
}

/// Moves payload until something else comes. Cancel safe: what was read stays queued in the sink.
async fn pump(
    source: &mut Source,
    sink: &mut Sink,
    ends: Ends,
    counter: &Cell<u64>,
    state: &State,
) -> Result<Event, Broken> {
    loop {
        if sink.link().is_some_and(|link| link.has_work()) {
            sink.queue_waiting().map_err(Broken::own)?;
            sink.flush().await.map_err(|error| ends.written(error))?;
        }
        let (batch, event) = match source.read(sink.slots()).map_err(|error| ends.read(error))? {
            Read::Batch(batch, event) => (batch, event),
            Read::Nothing => {
                wait(source, sink).await.map_err(|error| ends.read(error))?;
                continue;
            }
        };
        state.watch.touch();
        if !batch.pieces.is_empty() {
            let payload = sink.queue(batch).map_err(Broken::own)?;
            counter.set(counter.get() + payload);
            sink.flush().await.map_err(|error| ends.written(error))?;
            state.watch.touch();
            let (buffer, rest) = sink.release();
            source.restore(buffer, rest);
            // A stream that always has data lets the others of its worker have their turn.
            tokio::task::consume_budget().await;
        }
        if let Some(event) = event {
            if let Event::Control(Frame { kind: FrameKind::Fault, payload }) = &event {
                let fault = Fault::decode(payload).map_or_else(Error::from, Error::Fault);
                return Err(ends.read(fault));
            }
            return Ok(event);
        }
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

fn unexpected(frame: &Frame, expected: &'static str) -> Error {
    PeerMisbehaved::Order { expected, found: format!("{:?} frame", frame.kind) }.into()
}

impl State {
    fn counters(&self) -> Counters {
        Counters { up: self.up.get(), down: self.down.get() }
    }

    fn both_ended(&self) -> bool {
        self.up_ended.get() && self.down_ended.get()
    }

    async fn until_up_ended(&self) {
        while !self.up_ended.get() {
            self.changed.notified().await;
        }
    }
}
