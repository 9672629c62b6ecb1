//! An accepted connection, and what it holds of what the process has only so much of.

use std::net::IpAddr;
use std::sync::Arc;

use crate::leg::permits::Permit;
use crate::leg::socket::Parked;
use crate::server::crew::Place;
use crate::server::node::RouteState;
use crate::server::places::Admission;

/// What a connection holds for as long as it lives.
#[derive(Debug)]
pub struct Held {
    /// Among all connections.
    pub admission: Admission,
    /// The turn to open a path, where the listener has waited for it.
    pub opening: Option<Permit>,
    /// With its worker.
    pub place: Place,
}

/// An accepted connection that no worker serves yet.
#[derive(Debug)]
pub struct Accepted {
    pub(super) socket: Parked,
    pub(super) source: Option<IpAddr>,
    pub(super) route: Arc<RouteState>,
    pub(super) held: Held,
}
