//! The end of a connection: the receipt from below is verified, ours is signed and put on top.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use inclavared_attest::Reason;
use inclavared_attest::path::{Close, CloseReason, Counters, Downstream, Path, Receipt};
use inclavared_attest::policy::TerminalKind;

use crate::error::{Error, PeerMisbehaved};
use crate::path::live::Live;
use crate::path::opening::OpenedPath;
use crate::path::side::Side;
use crate::relay::{Closed, Session};
use crate::trust::appraise::{Due, PathCheck};

/// What lies below this process on one connection.
#[derive(Debug)]
pub enum Below {
    /// A path of attested hops that speak the protocol.
    Path(OpenedPath),
    /// Something that ends the path: our record says what.
    End(Ending),
}

/// The end of a path, as our record states it.
#[derive(Debug)]
pub struct Ending {
    pub downstream: Downstream,
    /// Of an attested peer that speaks no frames: the verifier appraises it itself.
    pub evidence: Option<Arc<[u8]>>,
}

impl From<TerminalKind> for Ending {
    fn from(kind: TerminalKind) -> Self {
        Self { downstream: Downstream::Terminal(kind), evidence: None }
    }
}

/// What the relay needs to end a connection.
#[derive(Debug)]
pub struct Closing<'a> {
    pub side: &'a Side,
    pub below: &'a Below,
    /// Has our own part, where the client above understands it, and the newest state of the path below.
    pub live: &'a Live<'a>,
}

impl Session for Closing<'_> {
    fn begin(&self) -> Result<(), Error> {
        self.live.begin()
    }

    fn challenged(&self, payload: &[u8]) -> Result<(), Error> {
        self.live.challenged(payload)
    }

    fn refreshed(&self, payload: Bytes) -> Result<(), Error> {
        self.live.refreshed(payload)
    }

    fn run(&self) -> Pin<Box<dyn Future<Output = Error> + '_>> {
        self.live.run()
    }

    async fn settle(&self) -> Result<(), Error> {
        self.live.settle().await
    }

    /// The receipt is ours alone to sign: nobody below gives one.
    fn signs_alone(&self) -> bool {
        self.live.statement.is_some() && matches!(self.below, Below::End(_))
    }

    /// Verifies `below`'s receipt, where there is one, against our own counters, and makes ours.
    async fn finish(
        &self,
        below: Option<Bytes>,
        counters: Counters,
        both_ended: bool,
    ) -> Result<(Option<Vec<u8>>, Closed), Error> {
        match (self.below, below) {
            (Below::Path(opened), Some(trailer)) => {
                let path = self.live.path().unwrap_or_else(|| Arc::clone(&opened.path));
                let due = Due::Final { path, counters };
                let check = PathCheck { context: opened.context.clone(), trailer: trailer.clone(), due };
                let path = Arc::new(self.side.verifier.path(check).await?);
                let reason = match path.close {
                    Some(Close::Complete { .. }) if !both_ended => {
                        let what = "a receipt for the whole stream before its END".to_owned();
                        return Err(PeerMisbehaved::Protocol(what).into());
                    }
                    Some(Close::Complete { .. }) => CloseReason::Complete,
                    Some(Close::Partial { reason }) => reason,
                    Some(Close::Severed { .. }) | None => CloseReason::Severed,
                };
                let downstream = path.as_downstream(opened.context.policy.digest(), opened.binding);
                let receipt = Receipt { counters, close: reason };
                let ours = self.sign(downstream, Some((&trailer, &path)), receipt)?;
                Ok((ours, Closed { reason, path: Some(path) }))
            }
            (Below::End(end), None) => {
                let receipt = Receipt { counters, close: CloseReason::Complete };
                let ours = self.sign(end.downstream.clone(), None, receipt)?;
                Ok((ours, Closed { reason: CloseReason::Complete, path: None }))
            }
            (Below::Path(_), None) => Err(PeerMisbehaved::Unreceipted.into()),
            (Below::End(_), Some(_)) => {
                Err(PeerMisbehaved::Protocol("a TRAILER from what is no hop".to_owned()).into())
            }
        }
    }

    /// The receipt of a stream that a timer ended.
    fn expired(&self, counters: Counters, reason: CloseReason) -> Result<(Vec<u8>, Closed), Error> {
        let Below::End(end) = self.below else {
            return Err(Error::Internal("a receipt of our own for a path below".to_owned()));
        };
        let ours = self.sign(end.downstream.clone(), None, Receipt { counters, close: reason })?;
        Ok((ours.unwrap_or_default(), Closed { reason, path: None }))
    }

    /// The receipt of a stream whose path below broke off: how far it went, and what had crossed this hop. None where no
    /// hop was below, or the client speaks no frames.
    fn severed(&self, counters: Counters, reason: Reason) -> Result<Option<Vec<u8>>, Error> {
        let Below::Path(opened) = self.below else { return Ok(None) };
        let path = self.live.path().unwrap_or_else(|| Arc::clone(&opened.path));
        self.sign(path.as_severed(reason), None, Receipt { counters, close: CloseReason::Severed })
    }
}

impl Closing<'_> {
    fn sign(
        &self,
        downstream: Downstream,
        below: Option<(&Bytes, &Arc<Path>)>,
        receipt: Receipt,
    ) -> Result<Option<Vec<u8>>, Error> {
        let Some(statement) = &self.live.statement else { return Ok(None) };
        let below = below.map(|(bytes, path)| (bytes, &**path));
        statement.borrow_mut().close(downstream, below, receipt).map(Some)
    }
}
