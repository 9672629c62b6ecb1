//! What is said of a connection when it has ended: to the log, to the metrics, to an embedding program.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use inclavared_attest::path::{Counters, Path};

use crate::error::Error;
use crate::metrics::{Ended, How};
use crate::relay::Closed;
use crate::server::node::RouteState;

/// What is said of a connection when it has ended.
#[derive(Debug)]
pub struct Report {
    pub route: Arc<RouteState>,
    pub source: Option<IpAddr>,
    /// The verified path below, with its receipts if it came that far.
    pub path: Option<Arc<Path>>,
    pub counters: Counters,
    pub result: Result<Closed, Error>,
    /// From accept to the first byte that may pass.
    pub opened_after: Option<Duration>,
    pub lasted: Duration,
}

impl Report {
    /// As it is counted.
    pub(super) fn counted(&self) -> Ended {
        let how = match &self.result {
            Ok(closed) => How::Closed(closed.reason),
            Err(error) if error.is_refusal() => How::Refused(error.reason()),
            Err(error) => How::Failed(error.reason()),
        };
        Ended { counters: self.counters, opened_after: self.opened_after, how }
    }
}
