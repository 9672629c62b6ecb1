//! How many handshakes a server has under way: what is computed takes a turn, and what is waited for takes none.
//!
//! A client that stalls in the middle holds up nobody, for the turn ends with our answer. What it has sent of a message
//! that is not whole is memory, though: beyond a little, that is bounded for all handshakes together, and the oldest of
//! the busiest source give way to newcomers.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::BytesMut;
use inclavared_config::Limits;
use inclavared_wire::tls::{Accepting, ClientHello, ClientHelloReader, Established, Next, TlsError};
use tokio::io::{AsyncRead, AsyncWrite};

use super::tls_error;
use crate::error::Error;
use crate::leg::permits::{Gate, Holder, Permit, Places, Room, Sources, Stay};

/// What a client may have sent of a message that is not whole before it is counted, in bytes: a ClientHello, or the
/// answer of a client without evidence.
const UNCOUNTED: usize = 4 * 1024;

/// The handshakes of one process, in which it is the server.
#[derive(Debug)]
pub struct Turns {
    gate: Arc<Gate>,
    /// Of bytes.
    room: Arc<Room>,
    sources: Sources,
}

/// A client in its handshake.
pub(super) struct Guest<'a> {
    turns: &'a Turns,
    holder: Holder,
    /// Some once it has sent more than is not counted.
    stay: Option<Stay>,
}

impl Turns {
    pub fn new(limits: &Limits) -> Self {
        // Nobody has shown anything yet: nothing is kept for anybody.
        let places = Places::new(limits.handshakes_in_flight, limits.handshakes_per_source, 0);
        Self {
            gate: Gate::new("handshakes in flight", places),
            room: Room::new("bytes of unfinished handshakes", limits.handshake_kib.saturating_mul(1024)),
            sources: Sources { ipv6_prefix: limits.ipv6_prefix },
        }
    }

    /// `address` is the client's, if it has one.
    pub(super) fn guest(&self, address: Option<IpAddr>) -> Guest<'_> {
        Guest { turns: self, holder: Holder::stranger(self.sources.of(address)), stay: None }
    }
}

impl Guest<'_> {
    /// Reads the ClientHello. Takes no turn: who is silent holds none.
    pub(super) async fn hear<S>(&mut self, io: &mut S, received: &mut BytesMut) -> Result<ClientHello, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut reader = ClientHelloReader::default();
        loop {
            self.holds(received.len());
            let read = async { reader.read(io, received).await.map_err(tls_error) };
            if let Some(hello) = self.unless_displaced(read).await? {
                return Ok(hello);
            }
        }
    }

    /// Waits for the turn to compute our answer to the ClientHello, as long as the caller waits: sources take turns.
    pub(super) async fn turn(&self) -> Result<Permit, Error> {
        self.unless_displaced(self.turns.gate.turn(self.holder)).await
    }

    /// Ends the turn with our answer, and goes on to the end of the handshake.
    pub(super) async fn finish<S>(
        mut self,
        mut accepting: Accepting<'_, S>,
        turn: Permit,
        error: impl Fn(TlsError) -> Error,
    ) -> Result<Established, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut next = accepting.compute().map_err(&error)?;
        // Those that have come to their second flight go before the newcomers that wait for this turn.
        tokio::task::yield_now().await;
        drop(turn);
        loop {
            match next {
                Next::Established(established) => return Ok(*established),
                Next::Exchange => {
                    self.holds(accepting.held());
                    let exchange = async { accepting.exchange().await.map_err(&error) };
                    self.unless_displaced(exchange).await?;
                    next = accepting.compute().map_err(&error)?;
                }
            }
        }
    }

    /// So many bytes of this client's are held now.
    fn holds(&mut self, bytes: usize) {
        let counted = bytes.saturating_sub(UNCOUNTED);
        match &self.stay {
            Some(stay) => stay.weigh(counted),
            None if counted > 0 => self.stay = Some(self.turns.room.enter(self.holder, counted)),
            None => {}
        }
    }

    async fn unless_displaced<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        match &self.stay {
            Some(stay) => stay.beside(work).await,
            None => work.await,
        }
    }
}
