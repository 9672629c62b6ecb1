//! The process: its workers, its listeners, the rotation of its hop keys, and its end.
//!
//! One current-thread runtime a worker, so that a connection never leaves its core; appraisal and quoting have a
//! bounded pool of threads of their own.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arc_swap::ArcSwap;
use inclavared_attest::Timestamp;
use inclavared_attest::attester::Attester;
use inclavared_attest::named::NamingKey;
use inclavared_config::{Attestation, Config, Deadlines, IdentityFiles, Limits, Listen, Route, TlsSettings, Upstream};
use rustls::crypto::CryptoProvider;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, watch};
use tokio::task::LocalSet;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::leg::handshake::{self, PkiError};
use crate::metrics::ConnectionCounters;
use crate::path::quoting::{OneAtATime, Quoter};
use crate::path::side::Side;
use crate::server::accept::{Bound, Here, Shared, accept, take_over};
use crate::server::admin;
use crate::server::crew::Crew;
use crate::server::ended::Report;
use crate::server::held::Accepted;
use crate::server::node::{Gates, Node, Pki, RouteState, Service};
use crate::server::warm::{self, Pool};
use crate::server::workload::Workload;
use crate::trust::appraise::{APPRAISED_AGAIN, Verifier};
use crate::trust::blocking::BlockingPool;
use crate::trust::identity::{IdentityService, Role};
use crate::trust::select::{self, Appraisal, AttestationError};

/// How soon a rotation that failed is tried again.
const RETRY: Duration = Duration::from_secs(30);

/// How often a drain looks whether the last connection has ended.
const DRAIN_STEP: Duration = Duration::from_millis(20);

/// Why a process does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Attestation(#[from] AttestationError),
    #[error("route `{route}`")]
    Identity {
        route: String,
        #[source]
        source: Box<Error>,
    },
    #[error("route `{route}`")]
    Pki { route: String, source: PkiError },
    #[error("[identity]: {file}")]
    Naming {
        file: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("route `{route}` cannot listen on {address}")]
    Bind {
        route: String,
        address: String,
        #[source]
        source: std::io::Error,
    },
    #[error("`[admin]` cannot listen on {address}")]
    Admin {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("starting a {what}")]
    Thread {
        what: &'static str,
        #[source]
        source: std::io::Error,
    },
}

/// What a process is started with.
pub struct Setup {
    pub config: Config,
    /// In place of the target of every route: a workload in this process.
    pub workload: Option<Arc<dyn Workload>>,
    /// Told of every connection that has ended, on the worker that had it.
    pub ended: Box<dyn Fn(&Report) + Send + Sync>,
}

/// A process that listens. Dropped without [`shutdown`](Self::shutdown), its workers end with the process.
pub struct Process {
    snapshot: Arc<ArcSwap<Snapshot>>,
    /// Dropped when the drain begins: from then on connections are refused, not left waiting.
    bound: Vec<Bound>,
    admin: Option<SocketAddr>,
    workers: Vec<JoinHandle<()>>,
    stop: watch::Sender<Phase>,
    drain: Duration,
    /// Owns the threads of the blocking pool.
    _blocking: Runtime,
}

/// What connections share, in one piece: each takes it once, when it is accepted.
struct Snapshot {
    node: Arc<Node>,
    routes: Vec<Arc<RouteState>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Serving,
    /// No new connections; those there are go on.
    Draining,
    Over,
}

/// The node alone, for a program that verifies and does not listen.
pub fn node(
    attestation: &Attestation,
    tls: &TlsSettings,
    limits: &Limits,
    deadlines: &Deadlines,
    ended: Box<dyn Fn(&Report) + Send + Sync>,
) -> Result<(Node, Runtime), StartError> {
    let metrics = ConnectionCounters::new([]);
    node_with(select::appraisal(attestation, true)?, tls, limits, deadlines, metrics, ended)
}

fn node_with(
    appraisal: Appraisal,
    tls: &TlsSettings,
    limits: &Limits,
    deadlines: &Deadlines,
    metrics: ConnectionCounters,
    ended: Box<dyn Fn(&Report) + Send + Sync>,
) -> Result<(Node, Runtime), StartError> {
    let (pool, blocking) = BlockingPool::new(limits.blocking_threads, limits.blocking_queue)
        .map_err(|source| StartError::Thread { what: "pool of threads", source })?;
    let Appraisal { appraiser, collateral, counters } = appraisal;
    let turns = Arc::new(Semaphore::new(APPRAISED_AGAIN));
    let seen = Arc::default();
    let verifier = Verifier { appraiser, collateral, pool, limit: deadlines.appraisal, counters, turns, seen };
    let node = Node {
        side: Side { provider: handshake::provider(tls), verifier, deadlines: deadlines.clone() },
        gates: Gates::new(limits),
        draining: watch::Sender::new(false),
        metrics,
        ended,
    };
    Ok((node, blocking))
}

impl Process {
    /// Attests, binds every listener, and starts the workers. Blocks for the first quotes.
    pub fn start(setup: Setup) -> Result<Self, StartError> {
        Self::begin(setup, None, None)
    }

    /// [`start`](Self::start), with an attester of the caller's in place of the one that the configuration names.
    pub fn start_attesting(setup: Setup, attester: Arc<dyn Attester>) -> Result<Self, StartError> {
        Self::begin(setup, None, Some(attester))
    }

    /// With other suites than the usual: a test's, whose keys are used up sooner.
    #[doc(hidden)]
    pub fn start_with(setup: Setup, provider: Option<Arc<CryptoProvider>>) -> Result<Self, StartError> {
        Self::begin(setup, provider, None)
    }

    fn begin(
        setup: Setup,
        provider: Option<Arc<CryptoProvider>>,
        attester: Option<Arc<dyn Attester>>,
    ) -> Result<Self, StartError> {
        let Setup { config, workload, ended } = setup;
        crate::server::accept::raise_descriptor_limit();
        let appraises = |route: &Route| route.upstream.policy().is_some() || route.downstream.policy().is_some();
        let appraisal = select::appraisal(&config.attestation, config.routes.iter().any(appraises))?;
        let metrics = ConnectionCounters::new(config.routes.iter().map(|route| route.name.as_str()));
        let (mut node, blocking) =
            node_with(appraisal, &config.tls, &config.limits, &config.deadlines, metrics, ended)?;
        if let Some(provider) = provider {
            node.side.provider = provider;
        }
        let routes = routes(&config, workload, attester, &node)?;
        let bound = config
            .routes
            .iter()
            .map(|route| {
                Bound::new(&route.listen, matches!(route.upstream, Upstream::Plain)).map_err(|source| {
                    StartError::Bind { route: route.name.clone(), address: route.listen.to_string(), source }
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let node = Arc::new(node);
        let admin = config.admin.map(|listen| start_admin(listen, &node)).transpose()?;
        let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot { node, routes }));
        let (stop, stopped) = watch::channel(Phase::Serving);
        let (ready, are_ready) = mpsc::channel();
        let mut workers = Vec::new();
        let (crew, inboxes) = Crew::new(config.workers.get());
        for (index, inbox) in inboxes.into_iter().enumerate() {
            let part = Part { index, crew: Arc::clone(&crew), inbox };
            let (snapshot, stopped, ready) = (Arc::clone(&snapshot), stopped.clone(), ready.clone());
            let listeners = bound.iter().map(Bound::share).collect::<std::io::Result<Vec<_>>>();
            let listeners = listeners.map_err(|source| StartError::Thread { what: "worker's listener", source })?;
            let worker = thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || worker(part, &snapshot, listeners, stopped, &ready))
                .map_err(|source| StartError::Thread { what: "worker", source })?;
            workers.push(worker);
        }
        drop(ready);
        for _ in &workers {
            if let Ok(Err(source)) = are_ready.recv() {
                return Err(StartError::Thread { what: "worker", source });
            }
        }
        Ok(Self { snapshot, bound, admin, workers, stop, drain: config.deadlines.drain, _blocking: blocking })
    }

    /// Where each route listens: port 0 has become the port that the kernel gave.
    pub fn addresses(&self) -> Vec<(String, Listen)> {
        let snapshot = self.snapshot.load();
        let named = snapshot.routes.iter().zip(&self.bound);
        named.map(|(route, bound)| (route.route.name.clone(), bound.address.clone())).collect()
    }

    /// Where metrics are served, if they are.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Stops accepting, lets the connections there are go on for the drain time, then ends. Blocks until then.
    /// `hurry` is asked now and then whether to end at once.
    pub fn shutdown(self, hurry: impl Fn() -> bool) {
        drop(self.bound);
        self.stop.send_replace(Phase::Draining);
        let end = std::time::Instant::now() + self.drain;
        let gates = Arc::clone(&self.snapshot.load().node);
        gates.draining.send_replace(true);
        while gates.gates.connections.taken() > 0 && std::time::Instant::now() < end && !hurry() {
            thread::park_timeout(DRAIN_STEP);
        }
        self.stop.send_replace(Phase::Over);
        for worker in self.workers {
            if worker.join().is_err() {
                tracing::error!("a worker ended by a panic");
            }
        }
    }
}

fn start_admin(listen: SocketAddr, node: &Arc<Node>) -> Result<SocketAddr, StartError> {
    let failed = |source| StartError::Admin { address: listen, source };
    let listener = TcpListener::bind(listen).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    admin::serve(listener, node).map_err(failed)?;
    Ok(bound)
}

fn routes(
    config: &Config,
    workload: Option<Arc<dyn Workload>>,
    attester: Option<Arc<dyn Attester>>,
    node: &Node,
) -> Result<Vec<Arc<RouteState>>, StartError> {
    let attests = |route: &Route| route.upstream.shows_evidence() || route.downstream.shows_evidence();
    let attester = match config.routes.iter().any(attests) {
        true => {
            let attester = match attester {
                Some(attester) => attester,
                None => select::attester(&config.attestation, config.deadlines.quote)?,
            };
            Some(Arc::new(OneAtATime::new(attester)) as Arc<dyn Attester>)
        }
        false => None,
    };
    // One for all routes: they share the attester, and so its quotes in flight.
    let quoter = attester
        .as_ref()
        .map(|attester| Quoter::new(Arc::clone(attester), node.side.verifier.pool.clone(), node.side.deadlines.quote));
    let naming = config.identity.as_ref().map(naming).transpose()?;
    config
        .routes
        .iter()
        .enumerate()
        .map(|(place, route)| {
            let identity = match (&attester, attests(route)) {
                (Some(attester), true) => {
                    let policy = route.downstream.policy().or(route.upstream.policy());
                    let role = Role {
                        chain_role: route.role.clone(),
                        // A route without any policy says so: the digest of nothing.
                        policy_digest: policy
                            .map_or_else(|| inclavared_attest::PolicyDigest::of(b""), |policy| policy.digest()),
                        config_digest: config.digest,
                    };
                    let failed = |source| StartError::Identity { route: route.name.clone(), source: Box::new(source) };
                    let service =
                        IdentityService::start_named(Arc::clone(attester), role, naming.clone(), Timestamp::now())
                            .map_err(failed)?;
                    if route.compat.is_some() {
                        service.start_legacy(Timestamp::now()).map_err(failed)?;
                    }
                    Some(Arc::new(service))
                }
                _ => None,
            };
            let serves = workload.clone().map_or(Service::Target, Service::InProcess);
            let pki = Pki::load(route, &node.side.provider)
                .map_err(|source| StartError::Pki { route: route.name.clone(), source })?;
            let quoter = quoter.clone().filter(|_| identity.is_some());
            let warm = route.warm.filter(|_| matches!(serves, Service::Target)).map(Pool::new);
            Ok(Arc::new(RouteState { route: route.clone(), place, identity, quoter, warm, pki, serves }))
        })
        .collect()
}

/// What names every hop key of the process.
fn naming(files: &IdentityFiles) -> Result<Arc<NamingKey>, StartError> {
    let failed = |file: &Path, source| StartError::Naming { file: file.display().to_string(), source };
    let read = |file: &Path| std::fs::read(file).map_err(|error| failed(file, error.into()));
    let (chain, key) = (read(&files.cert)?, Zeroizing::new(read(&files.key)?));
    NamingKey::from_pem(&chain, &key).map(Arc::new).map_err(|error| failed(&files.cert, error.into()))
}

/// What is one worker's alone.
struct Part {
    index: usize,
    crew: Arc<Crew>,
    inbox: tokio::sync::mpsc::Receiver<Accepted>,
}

fn worker(
    Part { index, crew, inbox }: Part,
    snapshot: &Arc<ArcSwap<Snapshot>>,
    listeners: Vec<Shared>,
    mut stop: watch::Receiver<Phase>,
    ready: &mpsc::Sender<std::io::Result<()>>,
) {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    let tasks = LocalSet::new();
    let serve = async {
        let current = snapshot.load_full();
        let (down, is_down) = watch::channel(false);
        let here = Here { worker: index, crew, node: Arc::clone(&current.node) };
        tokio::task::spawn_local(take_over(inbox, here.clone(), is_down.clone()));
        for (shared, route) in listeners.into_iter().zip(&current.routes) {
            let listener = match shared.listener() {
                Ok(listener) => listener,
                Err(error) => {
                    let _ = ready.send(Err(error));
                    return;
                }
            };
            tokio::task::spawn_local(accept(listener, here.clone(), Arc::clone(route), is_down.clone()));
        }
        if index == 0 {
            for identity in current.routes.iter().filter_map(|route| route.identity.clone()) {
                tokio::task::spawn_local(rotate(Arc::clone(&current.node), identity));
            }
            for route in current.routes.iter().filter(|route| route.warm.is_some()) {
                tokio::task::spawn_local(warm::keep(Arc::clone(&current.node), Arc::clone(route), is_down.clone()));
            }
        }
        drop(current);
        let _ = ready.send(Ok(()));
        let _ = stop.wait_for(|phase| *phase != Phase::Serving).await;
        down.send_replace(true);
        let _ = stop.wait_for(|phase| *phase == Phase::Over).await;
    };
    runtime.block_on(tasks.run_until(serve));
}

/// Replaces a hop key in time; a failure is said and tried again, and the old key serves until it expires.
async fn rotate(node: Arc<Node>, identity: Arc<IdentityService>) {
    let life = node.side.deadlines.hop_key;
    let mut wait = life;
    loop {
        tokio::time::sleep(wait).await;
        let service = Arc::clone(&identity);
        let limit = node.side.deadlines.quote;
        let made = node.side.verifier.pool.run("a quote", limit, move || service.rotate(Timestamp::now())).await;
        wait = match made.and_then(|made| made) {
            Ok(()) => life,
            Err(error) => {
                tracing::error!(error = error.one_line(), "no new hop key; the old one serves until it expires");
                RETRY.min(life)
            }
        };
    }
}
