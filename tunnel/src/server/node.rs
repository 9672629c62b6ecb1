//! What the connections of one process share. One snapshot is taken by each connection, once.

use std::sync::Arc;

use inclavared_attest::Timestamp;
use inclavared_config::{Downstream, Limits, Listen, Route, Upstream};
use rustls::crypto::CryptoProvider;
use tokio::sync::watch;

use crate::error::Error;
use crate::leg::handshake::{PkiClient, PkiError, PkiServer, Turns};
use crate::leg::permits::{Gate, Places, Room, Sources};
use crate::metrics::{ConnectionCounters, Numbers};
use crate::path::quoting::Quoter;
use crate::path::side::Side;
use crate::server::ended::Report;
use crate::server::places::Connections;
use crate::server::warm::Pool;
use crate::trust::identity::{HopIdentity, IdentityService};

/// The process, as a connection sees it.
pub struct Node {
    /// What a path needs of this process.
    pub side: Side,
    pub gates: Gates,
    /// True from the moment that no new connections are let in.
    pub draining: watch::Sender<bool>,
    pub metrics: ConnectionCounters,
    /// Told of every connection that has ended.
    pub ended: Box<dyn Fn(&Report) + Send + Sync>,
}

/// Everything of which there may only be so many.
#[derive(Debug)]
pub struct Gates {
    /// What counts as one source.
    pub sources: Sources,
    pub connections: Arc<Connections>,
    pub handshakes: Turns,
    /// Clients that show evidence which is judged for the first time: they do not fill the queue of the appraisals that
    /// paths rest on.
    pub newcomers: Arc<Gate>,
    pub openings: Arc<Gate>,
    /// Paths that wait for their START.
    pub previewed: Arc<Room>,
    /// Legs of known peers over which nobody has asked for a path for a while.
    pub idle_legs: Arc<Gate>,
}

/// A route with the identity that it shows.
#[derive(Debug)]
pub struct RouteState {
    pub route: Route,
    /// Its place in the configuration.
    pub place: usize,
    /// None where neither side shows evidence.
    pub identity: Option<Arc<IdentityService>>,
    /// Fresh quotes for the legs of this route. Some where there is an identity.
    pub quoter: Option<Quoter>,
    /// Legs to the target that stand ready.
    pub warm: Option<Pool>,
    pub pki: Pki,
    pub serves: Service,
}

/// The certificates of a PKI that a route uses, on the side where it does.
#[derive(Debug, Default)]
pub struct Pki {
    pub upstream: Option<PkiServer>,
    pub downstream: Option<PkiClient>,
}

/// What is at the end of a route.
#[derive(Clone, Debug)]
pub enum Service {
    /// What the route's target names.
    Target,
    /// A workload in this very process.
    InProcess(Arc<dyn crate::server::workload::Workload>),
}

impl Node {
    /// All that is counted, for one look at it.
    pub fn numbers(&self) -> Numbers<'_> {
        Numbers {
            connections: &self.metrics,
            open: self.gates.connections.taken(),
            openings: self.gates.openings.taken(),
            appraisals: &self.side.verifier.counters,
            collateral: &self.side.verifier.collateral,
        }
    }
}

impl Gates {
    pub fn new(limits: &Limits) -> Self {
        let kept = limits.kept_for_admitted;
        let openings = Places::new(limits.openings, limits.openings_per_source, kept);
        let newcomers = Places::new(limits.blocking_queue, limits.blocking_queue.div_ceil(4), kept);
        let idle_legs = Places::new(limits.idle_legs, limits.idle_legs_per_source, 0);
        Self {
            sources: Sources { ipv6_prefix: limits.ipv6_prefix },
            connections: Connections::new(limits),
            handshakes: Turns::new(limits),
            newcomers: Gate::new("appraisals of newcomers", newcomers),
            openings: Gate::new("paths being opened", openings),
            previewed: Room::new("paths that wait for their START", limits.openings),
            idle_legs: Gate::new(
                "legs that wait for an OPEN",
                Places { per_hop: limits.idle_legs_per_source, ..idle_legs },
            ),
        }
    }
}

impl Pki {
    /// Reads the files that a route names.
    pub fn load(route: &Route, provider: &Arc<CryptoProvider>) -> Result<Self, PkiError> {
        let upstream = match &route.upstream {
            Upstream::Pki(side) => Some(PkiServer::load(side, provider)?),
            _ => None,
        };
        let downstream = match &route.downstream {
            Downstream::Pki(side) => Some(PkiClient::load(side, provider)?),
            _ => None,
        };
        Ok(Self { upstream, downstream })
    }
}

impl RouteState {
    /// Only applications on this machine reach it, and what they send is plain: they are nobody's strangers, and wait in
    /// line where others are refused.
    pub fn is_local(&self) -> bool {
        let reached = match &self.route.listen {
            Listen::Unix(_) => true,
            Listen::Tcp(address) => address.ip().to_canonical().is_loopback(),
        };
        reached && matches!(self.route.upstream, Upstream::Plain)
    }

    /// The identity for a new leg of this route.
    pub fn identity(&self) -> Result<Arc<HopIdentity>, Error> {
        let service = self
            .identity
            .as_ref()
            .ok_or_else(|| Error::Internal("this route shows no evidence and was asked for some".to_owned()))?;
        service.current(Timestamp::now())
    }

    /// Makes the fresh quotes for this route.
    pub fn quoter(&self) -> Result<&Quoter, Error> {
        self.quoter
            .as_ref()
            .ok_or_else(|| Error::Internal("this route shows no evidence and was asked for some".to_owned()))
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("side", &self.side).field("gates", &self.gates).finish_non_exhaustive()
    }
}
