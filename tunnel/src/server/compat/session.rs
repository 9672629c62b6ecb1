//! The session with such a client: one question in, one answer out, over the record layer. No frames, no relay.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use inclavared_attest::Timestamp;
use inclavared_wire::tls::{Content, Established, MAX_RECORD, Opened};
use rustls::AlertDescription;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::error::{Error, PeerMisbehaved};
use crate::leg::alert_for;
use crate::leg::farewell::{self, FAREWELL};
use crate::leg::handshake;
use crate::leg::socket::Socket;
use crate::server::node::{Node, RouteState};

pub(super) struct Session {
    socket: Socket,
    established: Established,
}

impl Session {
    /// The handshake, with the certificate in the old form. The client is asked for none.
    pub(super) async fn accept(node: &Node, route: &RouteState, mut socket: Socket) -> Result<Self, Error> {
        let service = route.identity.as_ref().and_then(|identity| identity.legacy());
        let service = service.ok_or_else(|| Error::Internal("a route without the certificate it serves".to_owned()))?;
        let key = service.current(Timestamp::now(), &node.side.verifier.pool)?;
        let config = Arc::new(handshake::config_with(&node.side.provider, key)?);
        let limit = node.side.deadlines.handshake;
        let established = handshake::accept_with(&mut socket, config, &node.gates.handshakes, limit).await?;
        Ok(Self { socket, established })
    }

    /// Hears the client until `whole` makes something of what it said, which may have `longest` bytes.
    pub(super) async fn hear<T>(
        &mut self,
        longest: usize,
        limit: Duration,
        whole: impl Fn(&[u8]) -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        let hear = async {
            let mut heard = Vec::new();
            loop {
                self.record(&mut heard).await?;
                if heard.len() > longest {
                    let what = format!("a question of more than {longest} bytes");
                    return Err(PeerMisbehaved::Protocol(what).into());
                }
                if let Some(understood) = whole(&heard)? {
                    return Ok(understood);
                }
            }
        };
        let late = Error::Deadline { what: "the question", limit };
        tokio::time::timeout(limit, hear).await.map_err(|_| late)?
    }

    /// One record; its payload is added to `heard`.
    async fn record(&mut self, heard: &mut Vec<u8>) -> Result<(), Error> {
        let Established { opener, sealer, unread, .. } = &mut self.established;
        loop {
            match opener.open(unread).map_err(PeerMisbehaved::Record)? {
                Opened::Incomplete { need } => {
                    unread.reserve(need.min(MAX_RECORD));
                    if self.socket.read_buf(unread).await.map_err(Error::peer_io)? == 0 {
                        return Err(PeerMisbehaved::Truncated.into());
                    }
                }
                Opened::Record { consumed, what } => {
                    let mut answer = BytesMut::new();
                    match what {
                        Content::Data(range) => heard.extend_from_slice(&unread[range]),
                        Content::KeyUpdate { reply_wanted: true } => {
                            sealer.key_update(&mut answer, false).map_err(Error::seal)?;
                        }
                        Content::KeyUpdate { reply_wanted: false } | Content::Ignored => {}
                        Content::CloseNotify => return Err(PeerMisbehaved::Closed.into()),
                        Content::Alert(alert) => return Err(PeerMisbehaved::Alert(alert).into()),
                    }
                    unread.advance(consumed);
                    return self.socket.write_all(&answer).await.map_err(Error::peer_io);
                }
            }
        }
    }

    pub(super) async fn say(&mut self, text: &[u8], limit: Duration) -> Result<(), Error> {
        let mut records = BytesMut::new();
        self.established.sealer.data(&mut records, text).map_err(Error::seal)?;
        let late = Error::Deadline { what: "taking the answer", limit };
        let written = tokio::time::timeout(limit, self.socket.write_all(&records)).await.map_err(|_| late)?;
        written.map_err(Error::peer_io)
    }

    pub(super) async fn close(self) {
        self.end(None).await;
    }

    /// The client is told by an alert alone: it takes whatever it can read for an answer.
    pub(super) async fn fail(self, error: &Error) {
        if !error.is_peers_last_word() {
            self.end(Some(alert_for(error))).await;
        }
    }

    async fn end(mut self, alert: Option<AlertDescription>) {
        let mut last = BytesMut::new();
        match alert {
            Some(alert) => self.established.sealer.alert(&mut last, alert),
            None => self.established.sealer.close_notify(&mut last),
        }
        let farewell = async {
            self.socket.write_all(&last).await.ok()?;
            farewell::until_closed(&self.socket).await;
            Some(())
        };
        // Who does not read it does not get it.
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }
}
