//! One leg that stands ready, and the look at it before it is used.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use inclavared_attest::{KeyId, Timestamp};
use inclavared_wire::tls::{Content, Opened, Opener, Sealer};
use tokio::time::Instant;

use crate::leg::socket::Parked;
use crate::leg::{AttestedLeg, DialledFacts, DialledLeg, Leg, MAX_PARKED};

/// Evidence that ends sooner is not worth a leg: the path has to be opened and started before.
const EVIDENCE_LEFT: Duration = Duration::from_secs(60);

/// An established leg, apart from any worker's runtime.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) socket: Parked,
    pub(super) opener: Opener,
    pub(super) sealer: Sealer,
    pub(super) unread: BytesMut,
    pub(super) facts: DialledFacts,
    /// The hop key that was offered, whether the peer wanted to see it or not.
    pub(super) own: Option<KeyId>,
    pub(super) made: Instant,
    /// Somewhat less than `max_age` after: a pool that was filled at once is not emptied at once.
    pub(super) until: Instant,
}

impl Ready {
    /// Nothing has come but session tickets, and the peer has not closed. Waits for nothing.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut chunk = [0; 2048];
        loop {
            match self.socket.read(&mut chunk) {
                Ok(0) => return false,
                Ok(read) if self.unread.len() + read <= MAX_PARKED => self.unread.extend_from_slice(&chunk[..read]),
                Ok(_) => return false,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        while !self.unread.is_empty() {
            match self.opener.open(&mut self.unread) {
                Ok(Opened::Record { consumed, what: Content::Ignored }) => drop(self.unread.split_to(consumed)),
                Ok(Opened::Incomplete { .. }) => break,
                Ok(Opened::Record { .. }) | Err(_) => return false,
            }
        }
        true
    }

    pub(super) fn evidence_lasts(&self) -> bool {
        let end =
            self.facts.peer.evidence.as_ref().and_then(|evidence| evidence.claims().hop()).map(|hop| hop.not_after);
        end.is_none_or(|end| Timestamp::now().plus(EVIDENCE_LEFT) < end)
    }

    /// Must be called inside a runtime.
    pub(super) fn into_leg(self) -> io::Result<DialledLeg> {
        let Self { socket, opener, sealer, unread, facts, .. } = self;
        Ok(AttestedLeg::new(Leg::framed(socket.resume()?, opener, sealer, unread), facts))
    }
}
