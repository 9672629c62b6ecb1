//! One established leg: its socket, its record protection, and what is known of the peer at its other end.

mod attested;
pub(crate) mod batch;
mod buffer;
pub mod dial;
pub(crate) mod farewell;
pub mod handshake;
pub mod link;
pub mod permits;
pub mod sink;
pub mod socket;
pub mod source;

use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use inclavared_attest::Reason;
use inclavared_attest::path::{Abort, Fault};
use inclavared_wire::frame::{ALPN, Admits, Frame, FrameKind};
use inclavared_wire::tls::{Established, MAX_RECORD, Opener, Sealer};

use crate::error::{Error, PeerMisbehaved};
use crate::leg::socket::Socket;
pub use attested::{AcceptedFacts, AcceptedLeg, AttestedLeg, DialledFacts, DialledLeg, LegFacts};
use farewell::FAREWELL;
use link::Link;
use rustls::AlertDescription;
use sink::Sink;
use source::Source;

/// Ciphertext that may wait on a leg which stands ready, in bytes: session tickets, as nobody uses it yet.
pub(crate) const MAX_PARKED: usize = 2 * MAX_RECORD;

/// One end-to-end half of a connection: plain, TLS, or TLS with frames.
#[derive(Debug)]
pub struct Leg {
    pub source: Source,
    pub sink: Sink,
}

impl Leg {
    /// A plain leg. It ends by a reset unless it is [closed](Self::close): plain bytes have no other way to say that
    /// they were cut short, whether by an error or by the end of this process.
    pub fn plain(socket: Socket) -> Self {
        socket.reset_on_close();
        let socket = Rc::new(socket);
        Self { source: Source::plain(Rc::clone(&socket)), sink: Sink::plain(socket) }
    }

    /// A TLS leg from its parts. It speaks frames if that is the protocol that was agreed on.
    pub fn tls(socket: Socket, established: Established) -> Self {
        let Established { opener, sealer, unread, alpn, .. } = established;
        Self::joined(socket, opener, sealer, unread, alpn.as_deref() == Some(ALPN))
    }

    /// The same of a leg that is known to speak frames.
    pub fn framed(socket: Socket, opener: Opener, sealer: Sealer, unread: BytesMut) -> Self {
        Self::joined(socket, opener, sealer, unread, true)
    }

    fn joined(socket: Socket, opener: Opener, sealer: Sealer, unread: BytesMut, framed: bool) -> Self {
        let socket = Rc::new(socket);
        let link = Rc::<Link>::default();
        let source = Source::tls(Rc::clone(&socket), Rc::clone(&link), opener, unread, framed);
        Self { source, sink: Sink::tls(socket, link, sealer, framed) }
    }

    /// Sends one control frame.
    pub async fn send(&mut self, kind: FrameKind, payload: &[u8]) -> Result<(), Error> {
        self.sink.queue_frame(kind, payload)?;
        self.sink.flush().await.map_err(Error::peer_io)
    }

    /// [`send`](Self::send) to a peer that may not read.
    pub async fn send_within(
        &mut self,
        kind: FrameKind,
        payload: &[u8],
        what: &'static str,
        limit: Duration,
    ) -> Result<(), Error> {
        tokio::time::timeout(limit, self.send(kind, payload)).await.map_err(|_| Error::Deadline { what, limit })?
    }

    /// The next frame of a kind that may come now; a FAULT, or the ABORT of a client that may send one, is an error of
    /// its own.
    pub async fn expect(&mut self, expected: FrameKind, what: &'static str, limit: Duration) -> Result<Frame, Error> {
        let admits = match expected {
            FrameKind::Open | FrameKind::Start => Admits::of(&[expected, FrameKind::Abort, FrameKind::Fault]),
            _ => Admits::of(&[expected, FrameKind::Fault]),
        };
        self.expect_one_of(admits, expected, what, limit).await
    }

    /// [`expect`](Self::expect), with a say of what is refused by its header.
    pub(crate) async fn expect_one_of(
        &mut self,
        admits: Admits,
        expected: FrameKind,
        what: &'static str,
        limit: Duration,
    ) -> Result<Frame, Error> {
        self.source.admit(admits);
        let frame =
            tokio::time::timeout(limit, self.source.frame()).await.map_err(|_| Error::Deadline { what, limit })??;
        if frame.kind == expected {
            return Ok(frame);
        }
        Err(out_of_order(&frame, what, expected == FrameKind::Start))
    }

    /// Nothing may have come that was not asked for. Looks at what is there, and waits for nothing.
    pub fn expect_nothing(&mut self, before: &'static str) -> Result<(), Error> {
        self.source.admit(Admits::of(&[FrameKind::Fault]));
        match self.source.try_frame()? {
            None => Ok(()),
            Some(frame) => Err(out_of_order(&frame, before, false)),
        }
    }

    /// Ends a leg whose path was not started: an ABORT says why.
    pub async fn abort(mut self, code: Reason, text: &str) {
        let abort = Abort::new(code, Some(text)).encode();
        if self.sink.is_framed() && self.sink.queue_frame(FrameKind::Abort, &abort).is_err() {
            return;
        }
        self.close().await;
    }

    /// Ends a leg in order: what is queued, close_notify, then waits a little for the peer to close, so that a reset
    /// does not overtake our last bytes.
    ///
    /// Where the application's stream has not come to its end and no TRAILER can say so, the peer sees it cut short: a
    /// reset where it is plain, an alert where it is TLS.
    pub async fn close(mut self) {
        if self.sink.is_in_stream() && !self.sink.is_framed() {
            if self.sink.queue_alert(AlertDescription::InternalError).is_ok() {
                let _ = tokio::time::timeout(FAREWELL, self.sink.flush()).await;
            }
            return;
        }
        self.sink.socket().close_in_order();
        let farewell = async {
            self.sink.queue_close_notify().ok()?;
            self.sink.flush().await.ok()?;
            farewell::until_closed(self.sink.socket()).await;
            Some(())
        };
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }

    /// [`fail`](Self::fail), as far as it can be done without a wait: nobody reads away what the peer still sends.
    pub fn fail_at_once(mut self, error: &Error) {
        self.sink.socket().reset_on_close();
        if self.sink.is_framed() && self.sink.queue_frame(FrameKind::Fault, &error.to_fault(false).encode()).is_ok() {
            self.sink.socket().close_in_order();
            // Whether there is room for it or not.
            let _ = self.sink.write();
        }
    }

    /// [`fail`](Self::fail), unless the peer has had the last word itself.
    pub async fn fail_unless(self, knows: bool, error: &Error, disclose: bool) {
        if knows {
            self.sink.socket().reset_on_close();
        } else {
            self.fail(error, disclose).await;
        }
    }

    /// Ends a leg that failed: a FAULT where frames are spoken, an alert to another TLS peer, a reset where it is plain.
    pub async fn fail(mut self, error: &Error, disclose: bool) {
        if self.sink.is_plain() {
            if self.sink.has_ended_stream() {
                // Our direction had its end: what is still on its way is not taken back.
                let _ = tokio::time::timeout(FAREWELL, farewell::until_closed(self.sink.socket())).await;
            }
            self.sink.socket().reset_on_close();
            return;
        }
        let farewell = async {
            if self.sink.is_framed() {
                self.sink.queue_frame(FrameKind::Fault, &error.to_fault(disclose).encode()).ok()?;
                self.sink.queue_close_notify().ok()?;
            } else {
                self.sink.queue_alert(alert_for(error)).ok()?;
            }
            self.sink.flush().await.ok()?;
            farewell::until_closed(self.sink.socket()).await;
            Some(())
        };
        // Who has not taken it by then may be behind a link that is down: what the kernel holds, it goes on to deliver.
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }
}

/// What a frame means that may not come now. `may_abort`: it comes from a client that waits for its path.
pub(crate) fn out_of_order(frame: &Frame, expected: &'static str, may_abort: bool) -> Error {
    match frame.kind {
        FrameKind::Fault => Fault::decode(&frame.payload).map_or_else(Error::from, Error::Fault),
        FrameKind::Abort if may_abort => {
            Abort::decode(&frame.payload).map_or_else(Error::from, |abort| PeerMisbehaved::Aborted(abort).into())
        }
        kind => PeerMisbehaved::Order { expected, found: format!("{kind:?} frame") }.into(),
    }
}

/// The alert that comes nearest to why a stock peer is refused (RFC 8446 section 6.2).
pub(crate) fn alert_for(error: &Error) -> AlertDescription {
    match error {
        Error::Peer(PeerMisbehaved::Record(record)) => record.alert().unwrap_or(AlertDescription::InternalError),
        Error::Refused(_) | Error::Collateral { .. } => AlertDescription::AccessDenied,
        _ => AlertDescription::InternalError,
    }
}
