//! What the relay asks of the session whose bytes it moves. `path` implements it; the relay knows no trust.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use inclavared_attest::Reason;
use inclavared_attest::path::{CloseReason, Counters, Path};

use crate::error::Error;

/// The control frames of one stream, and its receipt. Frames are handed over at once and never wait; what takes long is
/// done by [`run`](Self::run) beside the bytes.
pub trait Session {
    /// Before the first byte: what is due at once goes before it.
    fn begin(&self) -> Result<(), Error>;

    /// A CHALLENGE came from the client.
    fn challenged(&self, payload: &[u8]) -> Result<(), Error>;

    /// A REFRESH came from the server.
    fn refreshed(&self, payload: Bytes) -> Result<(), Error>;

    /// Keeps the session until it cannot be kept. Boxed: seldom at work, and large while it is.
    fn run(&self) -> Pin<Box<dyn Future<Output = Error> + '_>>;

    /// The last word from the server is there: waits until what came before it is verified. Needs [`run`](Self::run)
    /// beside it.
    fn settle(&self) -> impl Future<Output = Result<(), Error>>;

    /// The receipt is ours alone to sign: nobody below gives one.
    fn signs_alone(&self) -> bool;

    /// Verifies the server's receipt, where there is one, against our own counters, and makes ours.
    fn finish(
        &self,
        below: Option<Bytes>,
        counters: Counters,
        both_ended: bool,
    ) -> impl Future<Output = Result<(Option<Vec<u8>>, Closed), Error>>;

    /// The receipt of a stream that a timer ended.
    fn expired(&self, counters: Counters, reason: CloseReason) -> Result<(Vec<u8>, Closed), Error>;

    /// The receipt of a stream whose server broke off, where one can be given.
    fn severed(&self, counters: Counters, reason: Reason) -> Result<Option<Vec<u8>>, Error>;
}

/// How a connection closed in order.
#[derive(Clone, Debug)]
pub struct Closed {
    pub reason: CloseReason,
    /// The verified path below with its receipts, where there is one.
    pub path: Option<Arc<Path>>,
}
