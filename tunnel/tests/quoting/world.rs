//! Hops in this process, on one simulated platform, with an attester that can be slow and can fail.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use inclavared_attest::attester::{Attester, AttesterError, UserData};
use inclavared_attest::evidence::EvidenceTag;
use inclavared_attest::path::Path;
use inclavared_attest::policy::Policy;
use inclavared_attest::sim::{SimAttester, SimPlatform, SimSpec};
use inclavared_attest::{Reason, Timestamp};
use inclavared_config::{Config, Target};
use inclavared_tunnel::server::ended::Report;
use inclavared_tunnel::server::node::Node;
use inclavared_tunnel::server::process::{self, Process, Setup};
use inclavared_tunnel::server::workload::Echo;
use tokio::runtime::Runtime;

/// A simulated attester that makes one quote at a time, as a device does, and counts them.
#[derive(Debug)]
pub(crate) struct Device {
    sim: SimAttester,
    takes: Duration,
    turn: Mutex<()>,
    pub(crate) quotes: AtomicUsize,
    /// The quotes that it has begun to make.
    pub(crate) begun: AtomicUsize,
    /// How often it was asked while it made a quote. Processes that share a device do not know of one another.
    pub(crate) overlaps: AtomicUsize,
    pub(crate) broken: AtomicBool,
}

impl Attester for Device {
    fn name(&self) -> &'static str {
        "device"
    }

    fn tag(&self) -> EvidenceTag {
        self.sim.tag()
    }

    fn quote(&self, user_data: &UserData) -> Result<Vec<u8>, AttesterError> {
        let turn = self.turn.try_lock();
        if turn.is_err() {
            self.overlaps.fetch_add(1, Ordering::SeqCst);
        }
        let _turn = turn.unwrap_or_else(|_| self.turn.lock().unwrap());
        self.begun.fetch_add(1, Ordering::SeqCst);
        #[allow(clippy::disallowed_methods)] // a device blocks; attesters run on threads of their own
        std::thread::sleep(self.takes);
        if self.broken.load(Ordering::SeqCst) {
            return Err(AttesterError::Answer { attester: "device", what: "broken".to_owned() });
        }
        self.quotes.fetch_add(1, Ordering::SeqCst);
        self.sim.quote(user_data)
    }
}

impl Device {
    /// Waits until it has begun to make that many quotes.
    pub(crate) async fn is_busy(&self, quotes: usize) {
        while self.begun.load(Ordering::SeqCst) < quotes {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// How a connection of some hop ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) role: String,
    pub(crate) path: Option<Arc<Path>>,
    pub(crate) error: Option<(Reason, String)>,
}

pub(crate) struct World {
    folder: tempfile::TempDir,
    platform: Arc<SimPlatform>,
    ended: Arc<Mutex<Vec<Ended>>>,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let platform = SimPlatform::generate(Timestamp::now()).unwrap();
        platform.save(&folder.path().join("platform")).unwrap();
        Self { folder, platform: Arc::new(platform), ended: Arc::default() }
    }

    pub(crate) fn device(&self, takes: Duration) -> Arc<Device> {
        let sim = self.attester(|_| {});
        Arc::new(Device {
            sim,
            takes,
            turn: Mutex::default(),
            quotes: AtomicUsize::new(0),
            overlaps: AtomicUsize::new(0),
            begun: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
        })
    }

    pub(crate) fn attester(&self, change: impl FnOnce(&mut SimSpec)) -> SimAttester {
        let mut spec = SimSpec::sgx("hop");
        change(&mut spec);
        SimAttester::new(&self.platform, spec).unwrap()
    }

    /// `policy` is what the policy says besides.
    fn config(&self, role: &str, target: &str, policy: &str) -> Config {
        let platform: PathBuf = self.folder.path().join("platform");
        let (attester, upstream) = match role {
            "egress" => ("", "plain"),
            _ => ("attester = \"sim\"", "attested"),
        };
        let text = format!(
            r#"
            [attestation]
            {attester}
            verifier = "sim"
            platform = "{}"
            [limits]
            openings_per_source = 512
            [deadlines]
            appraisal = "10s"
            drain = "1s"
            [policy.here]
            allow_simulated = true
            identity = "any-genuine"
            measurements = "not-compared"
            {policy}
            [[route]]
            name = "{role}"
            role = "{role}"
            listen = "127.0.0.1:0"
            xfer = "{target}"
            upstream = {{ tls = "{upstream}" }}
            downstream = {{ tls = "attested", policy = "here" }}
            "#,
            platform.display()
        );
        inclavared_config::parse("here.toml", &text).unwrap()
    }

    /// A hop that sends on to `target`, or echoes if its role is `workload`.
    pub(crate) fn hop(&self, role: &str, target: &str, policy: &str, device: &Arc<Device>) -> Hop {
        let config = self.config(role, target, policy);
        let ended = Arc::clone(&self.ended);
        let ended = Box::new(move |report: &Report| {
            ended.lock().unwrap().push(Ended {
                role: report.route.route.role.clone(),
                path: report.path.clone(),
                error: report.result.as_ref().err().map(|error| (error.reason(), error.one_line())),
            });
        });
        let workload = (role == "workload").then(|| Arc::new(Echo::default()) as _);
        let device = Arc::clone(device);
        let process = Process::start_attesting(Setup { config, workload, ended }, device).unwrap();
        let address = process.addresses()[0].1.to_string().trim_start_matches("tcp://").to_owned();
        Hop { process, address }
    }

    /// A workload behind a relay, both with the same policy.
    pub(crate) fn chain(&self, policy: &str, device: &Arc<Device>) -> [Hop; 2] {
        let workload = self.hop("workload", "127.0.0.1:9", policy, device);
        let relay = self.hop("relay", &workload.address, policy, device);
        [relay, workload]
    }

    /// A verifier in this very thread.
    pub(crate) fn verifier(&self, policy: &str) -> Verifier {
        let config = self.config("egress", "127.0.0.1:9", policy);
        let policy = Arc::clone(config.routes[0].downstream.policy().unwrap());
        let (node, blocking) =
            process::node(&config.attestation, &config.tls, &config.limits, &config.deadlines, Box::new(|_| {}))
                .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Verifier { node, policy, runtime, _blocking: blocking }
    }

    /// Waits until a connection of that role has ended.
    pub(crate) fn ended(&self, role: &str) -> Ended {
        let begun = Instant::now();
        loop {
            let mut ended = self.ended.lock().unwrap();
            if let Some(place) = ended.iter().position(|ended| ended.role == role) {
                return ended.remove(place);
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "no connection of role {role} ended: {ended:?}");
            drop(ended);
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
}

pub(crate) struct Verifier {
    pub(crate) node: Node,
    pub(crate) policy: Arc<Policy>,
    pub(crate) runtime: Runtime,
    _blocking: Runtime,
}

pub(crate) struct Hop {
    process: Process,
    pub(crate) address: String,
}

impl Hop {
    pub(crate) fn target(&self) -> Target {
        self.address.parse().unwrap()
    }

    pub(crate) fn stop(self) {
        self.process.shutdown(|| true);
    }

    pub(crate) fn stream(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }
}

/// Sends something and waits for it to come back.
pub(crate) fn ping(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"ping")?;
    let mut back = [0; 4];
    stream.read_exact(&mut back)?;
    assert_eq!(&back, b"ping");
    Ok(())
}
