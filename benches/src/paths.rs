//! Chains of hops in this process, on one simulated platform, and a verifier that opens paths over them step by step.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use inclavared_attest::attester::{Attester, AttesterError, UserData};
use inclavared_attest::evidence::EvidenceTag;
use inclavared_attest::path::{Nonce, Open, VERSION};
use inclavared_attest::policy::Policy;
use inclavared_attest::sim::{SimAttester, SimPlatform, SimSpec};
use inclavared_attest::{Reason, Timestamp};
use inclavared_config::{Config, Listen, Target};
use inclavared_tunnel::leg::dial::{dial, server_name};
use inclavared_tunnel::leg::handshake;
use inclavared_tunnel::server::node::Node;
use inclavared_tunnel::server::process::{self, Process, Setup};
use inclavared_tunnel::server::workload::{Echo, Workload};
use inclavared_tunnel::trust::appraise::{Due, PathCheck, PathContext};
use inclavared_wire::frame::FrameKind;
use tokio::runtime::Runtime;

use crate::certs;

/// What takes longer has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A folder with certificates and a simulated platform.
pub(crate) struct World {
    folder: tempfile::TempDir,
    platform: Arc<SimPlatform>,
}

/// An attester that makes one quote at a time and takes its time for each, as the devices of machines do.
#[derive(Debug)]
pub(crate) struct Device {
    sim: SimAttester,
    takes: Duration,
    turn: Mutex<()>,
    pub(crate) quotes: AtomicUsize,
}

/// How the processes of a chain are joined, and what they do beside.
#[derive(Clone, Copy)]
pub(crate) struct Joined<'a> {
    pub(crate) server: &'a str,
    pub(crate) client: &'a str,
    /// A plain way in stands before the first hop.
    pub(crate) way_in: bool,
    pub(crate) binding: &'a str,
    /// On the routes of all hops but the last.
    pub(crate) warm: &'a str,
    pub(crate) quote_takes: Duration,
}

/// The processes, the last hop first; they end with this one.
pub(crate) struct Chain {
    pub(crate) address: SocketAddr,
    processes: Vec<Process>,
    pub(crate) devices: Vec<Arc<Device>>,
}

/// A verifier with a cache of its own.
pub(crate) struct Verifier {
    pub(crate) node: Node,
    pub(crate) policy: Arc<Policy>,
    pub(crate) runtime: Runtime,
    _blocking: Runtime,
}

/// One path that was opened, verified and let go.
pub(crate) struct Opening {
    /// From OPEN to PREVIEW.
    pub(crate) wait: Duration,
    /// From before the connect until the path is verified.
    pub(crate) whole: Duration,
    pub(crate) open_bytes: usize,
    pub(crate) preview_bytes: usize,
    /// Legs below the first hop that stood ready.
    pub(crate) warm_legs: usize,
}

impl<'a> Joined<'a> {
    pub(crate) const ATTESTED: Joined<'static> = Joined {
        server: r#"{ tls = "attested" }"#,
        client: r#"{ tls = "mutual", policy = "bench" }"#,
        way_in: false,
        binding: "key",
        warm: "",
        quote_takes: Duration::ZERO,
    };

    /// The same hops with ordinary certificates, demanded on both sides.
    pub(crate) const PKI: Joined<'static> = Joined {
        server: r#"{ tls = "pki", cert = "server.pem", key = "server.key", client_ca = "ca.pem" }"#,
        client: r#"{ tls = "pki", ca = "ca.pem", server_name = "localhost", cert = "client.pem", key = "client.key" }"#,
        way_in: true,
        ..Self::ATTESTED
    };
}

impl World {
    pub(crate) fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        certs::write(folder.path())?;
        let platform = SimPlatform::generate(Timestamp::now())?;
        platform.save(&folder.path().join("platform"))?;
        Ok(Self { folder, platform: Arc::new(platform) })
    }

    pub(crate) fn device(&self, label: &str, takes: Duration) -> Result<Arc<Device>> {
        let sim = SimAttester::new(&self.platform, SimSpec::sgx(label))?;
        Ok(Arc::new(Device { sim, takes, turn: Mutex::default(), quotes: AtomicUsize::new(0) }))
    }

    pub(crate) fn chain(&self, hops: usize, joined: Joined<'_>) -> Result<Chain> {
        let plain = r#"{ tls = "plain" }"#;
        // The echo is in the last process: its target is never dialled.
        let mut chain =
            Chain { address: SocketAddr::from(([127, 0, 0, 1], 9)), processes: Vec::new(), devices: Vec::new() };
        for i in 0..hops + usize::from(joined.way_in) {
            let upstream = if i < hops { joined.server } else { plain };
            let downstream = if i == 0 { plain } else { joined.client };
            let warm = if i == 0 { "" } else { joined.warm };
            let text =
                format!("upstream = {upstream}\ndownstream = {downstream}\nxfer = \"{}\"\n{warm}", chain.address);
            let config = self.config(&text, joined.binding)?;
            let workload = (i == 0).then(|| Arc::new(Echo::default()) as Arc<dyn Workload>);
            let device = self.device(&format!("hop-{i}"), joined.quote_takes)?;
            let setup = Setup { config, workload, ended: Box::new(|_| {}) };
            let process = Process::start_attesting(setup, Arc::clone(&device) as Arc<dyn Attester>)?;
            let Some((_, Listen::Tcp(bound))) = process.addresses().first().cloned() else {
                bail!("a process of the chain listens nowhere")
            };
            chain.address = bound;
            chain.processes.push(process);
            chain.devices.push(device);
        }
        Ok(chain)
    }

    pub(crate) fn verifier(&self, binding: &str) -> Result<Verifier> {
        let text =
            "upstream = \"plain\"\nxfer = \"127.0.0.1:9\"\ndownstream = { tls = \"attested\", policy = \"bench\" }";
        let config = self.config(text, binding)?;
        let policy = config.routes[0].downstream.policy().context("a policy")?;
        let (node, blocking) =
            process::node(&config.attestation, &config.tls, &config.limits, &config.deadlines, Box::new(|_| {}))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Verifier { node, policy: Arc::clone(policy), runtime, _blocking: blocking })
    }

    fn config(&self, route: &str, binding: &str) -> Result<Config> {
        let mut text = String::from("workers = 1\n");
        write!(
            text,
            r#"
            [[route]]
            name = "bench"
            listen = "127.0.0.1:0"
            {route}
            [tls]
            groups = ["X25519"]
            [limits]
            handshakes_in_flight = 1024
            handshakes_per_source = 1024
            openings = 4096
            openings_per_source = 4096
            blocking_queue = 4096
            [attestation]
            attester = "sim"
            verifier = "sim"
            platform = "platform"
            [policy.bench]
            allow_simulated = true
            identity = "any-genuine"
            measurements = "not-compared"
            binding = "{binding}"
            "#
        )?;
        inclavared_config::parse(self.path("bench.toml"), &text).map_err(|e| anyhow!("{e}"))
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::join(self.folder.path(), name)
    }
}

impl Chain {
    pub(crate) fn quotes(&self) -> usize {
        self.devices.iter().map(|device| device.quotes.load(Ordering::Relaxed)).sum()
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        for process in self.processes.drain(..) {
            process.shutdown(|| true);
        }
    }
}

/// Opens a path, verifies it, and lets it go.
pub(crate) async fn open(node: &Node, policy: &Arc<Policy>, to: SocketAddr) -> Result<Opening> {
    let begun = Instant::now();
    let target = Target::from(to);
    let socket = dial(&target, PATIENCE).await?;
    let connected = handshake::connect(socket, &node.side.provider, None, server_name(&target), PATIENCE);
    let (mut leg, _) = connected.await?;
    let peer = &leg.facts.peer;
    let evidence = node.side.verifier.genuine(peer).await?;
    let held = node.side.verifier.seen.hold(peer.kid, &evidence, &*node.side.verifier.appraiser);
    let nonce = Nonce::generate().map_err(|error| anyhow!("{error}"))?;
    let payload = Open {
        versions: vec![VERSION],
        nonce,
        binding: policy.binding,
        route: None,
        policy: Some(policy.digest()),
        ttl: 8,
        visited: Vec::new(),
        have: held.digests(),
        no_warm_legs: policy.refuse_warm_legs,
        stranger: false,
    }
    .encode();
    let (policy, own, spki) = (Arc::clone(policy), leg.facts.leg.client, peer.spki.clone());
    let context =
        PathContext { policy, nonce, leg: leg.facts.leg.id, spki, evidence, own, open: Open::digest(&payload), held };
    let asked = Instant::now();
    leg.send(FrameKind::Open, &payload).await?;
    let preview = leg.expect(FrameKind::Preview, "the PREVIEW", PATIENCE).await?.payload;
    let wait = asked.elapsed();
    let check = PathCheck { context, trailer: preview.clone(), due: Due::Preview };
    let path = node.side.verifier.path(check).await?;
    let whole = begun.elapsed();
    node.side.verifier.seen.note(&path);
    leg.abort(Reason::Cancelled, "measured").await;
    let is_warm = |hop: &&inclavared_attest::path::PathHop| {
        matches!(hop.downstream, inclavared_attest::path::Downstream::Attested { warm_ms: Some(_), .. })
    };
    let warm_legs = path.hops.iter().filter(is_warm).count();
    Ok(Opening { wait, whole, open_bytes: payload.len(), preview_bytes: preview.len(), warm_legs })
}

/// The figure below which that part of them lies.
pub(crate) fn quantile(figures: &mut [f64], part: f64) -> f64 {
    figures.sort_by(f64::total_cmp);
    let at = (figures.len() as f64 * part) as usize;
    figures.get(at.min(figures.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

impl Attester for Device {
    fn name(&self) -> &'static str {
        "device"
    }

    fn tag(&self) -> EvidenceTag {
        self.sim.tag()
    }

    fn quote(&self, user_data: &UserData) -> Result<Vec<u8>, AttesterError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = Instant::now();
        let made = self.sim.quote(user_data);
        std::thread::sleep(self.takes.saturating_sub(begun.elapsed()));
        self.quotes.fetch_add(1, Ordering::Relaxed);
        made
    }
}
