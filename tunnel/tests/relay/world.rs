//! Processes of one simulated platform, plain peers on both sides of them, and seeded bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use inclavared_attest::Timestamp;
use inclavared_attest::path::{CloseReason, Counters};
use inclavared_attest::policy::Policy;
use inclavared_attest::sim::SimPlatform;
use inclavared_config::{Config, Listen, TlsSettings};
use inclavared_tunnel::error::Error;
use inclavared_tunnel::leg::handshake;
use inclavared_tunnel::server::ended::Report;
use inclavared_tunnel::server::node::Node;
use inclavared_tunnel::server::process::{self, Process, Setup};
use rustls::crypto::CryptoProvider;
use tempfile::TempDir;

/// No wait of a test is longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Deadlines that a test can wait for.
pub(crate) const QUICK: &str = "half_close = \"1s\"\nopen_to_preview_per_hop = \"200ms\"";

pub(crate) struct World {
    platform: PathBuf,
    _folder: TempDir,
}

/// A process, and how its connections ended.
pub(crate) struct Hop {
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
    ended: Arc<Mutex<Vec<Ended>>>,
}

pub(crate) struct Ended {
    pub(crate) counters: Counters,
    pub(crate) result: Result<CloseReason, Error>,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let platform = folder.path().join("platform");
        SimPlatform::generate(Timestamp::now()).unwrap().save(&platform).unwrap();
        Self { platform, _folder: folder }
    }

    pub(crate) fn config(&self, route: &str, deadlines: &str) -> Config {
        let text = format!(
            r#"
            workers = 1
            [attestation]
            attester = "sim"
            verifier = "sim"
            platform = "{}"
            [attestation.sim]
            tee = "tdx"
            [policy.here]
            allow_simulated = true
            identity = "any-genuine"
            measurements = "not-compared"
            [deadlines]
            {deadlines}
            [[route]]
            name = "route"
            listen = "127.0.0.1:0"
            {route}
            "#,
            self.platform.display()
        );
        inclavared_config::parse("test.toml", &text).unwrap()
    }

    /// The first process of a path: plain to its client, verifier of all that is below.
    pub(crate) fn egress(&self, target: SocketAddr, deadlines: &str) -> Hop {
        self.start(&route("plain", target, "attested"), deadlines)
    }

    /// A hop with another attested one below it.
    pub(crate) fn relay(&self, target: SocketAddr, deadlines: &str) -> Hop {
        self.start(&route("attested", target, "attested"), deadlines)
    }

    /// The last hop: plain to its workload.
    pub(crate) fn last(&self, target: SocketAddr, deadlines: &str) -> Hop {
        self.start(&route("attested", target, "plain"), deadlines)
    }

    /// A plain client's way through two processes to a plain workload. The first of the two is where to connect.
    pub(crate) fn pair(&self, target: SocketAddr, deadlines: &str) -> [Hop; 2] {
        let last = self.last(target, deadlines);
        [self.egress(last.address, deadlines), last]
    }

    fn start(&self, route: &str, deadlines: &str) -> Hop {
        self.start_with(route, deadlines, handshake::provider(&TlsSettings::default()))
    }

    pub(crate) fn start_with(&self, route: &str, deadlines: &str, provider: Arc<CryptoProvider>) -> Hop {
        let ended = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&ended);
        let tell = move |report: &Report| {
            let result = match &report.result {
                Ok(closed) => Ok(closed.reason),
                Err(error) => Err(copy(error)),
            };
            told.lock().unwrap().push(Ended { counters: report.counters, result });
        };
        let setup = Setup { config: self.config(route, deadlines), workload: None, ended: Box::new(tell) };
        let process = Process::start_with(setup, Some(provider)).unwrap();
        let Listen::Tcp(address) = process.addresses()[0].1 else { panic!("not TCP") };
        Hop { address, process, ended }
    }

    /// What a client in this process verifies with.
    pub(crate) fn node(&self) -> (Node, Arc<Policy>, tokio::runtime::Runtime) {
        let config = self.config(&route("plain", "127.0.0.1:9".parse().unwrap(), "attested"), "");
        let policy = Arc::clone(config.routes[0].downstream.policy().unwrap());
        let (node, blocking) =
            process::node(&config.attestation, &config.tls, &config.limits, &config.deadlines, Box::new(|_| {}))
                .unwrap();
        (node, policy, blocking)
    }
}

pub(crate) fn route(upstream: &str, target: SocketAddr, downstream: &str) -> String {
    let policy = if downstream == "plain" { "" } else { ", policy = \"here\"" };
    format!(
        "xfer = \"{target}\"\nupstream = {{ tls = \"{upstream}\" }}\ndownstream = {{ tls = \"{downstream}\"{policy} }}"
    )
}

impl Hop {
    /// How the next connection ended. Waits for it.
    pub(crate) fn ended(&self) -> Ended {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(ended) = self.ended.lock().unwrap().pop() {
                return ended;
            }
            assert!(Instant::now() < end, "the connection has not ended");
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn all_ended(&self) -> Vec<Ended> {
        std::mem::take(&mut *self.ended.lock().unwrap())
    }

    /// As a process that is killed: nothing is said to anybody.
    pub(crate) fn kill(self) {
        self.process.shutdown(|| true);
    }
}

impl Ended {
    #[track_caller]
    pub(crate) fn assert_complete(&self, up: usize, down: usize) {
        assert_eq!(self.result.as_ref().ok(), Some(&CloseReason::Complete), "{:?}", self.result);
        assert_eq!(self.counters, Counters { up: up as u64, down: down as u64 });
    }

    #[track_caller]
    pub(crate) fn error(self) -> Error {
        self.result.expect_err("an error was to come")
    }
}

/// Errors are not `Clone`: those that the tests look at are made anew, the others are told by their text.
fn copy(error: &Error) -> Error {
    use inclavared_tunnel::error::{PeerMisbehaved as Peer, Refused};
    match error {
        Error::Fault(fault) => Error::Fault(fault.clone()),
        Error::Idle(limit) => Error::Idle(*limit),
        Error::HalfClosed(limit) => Error::HalfClosed(*limit),
        Error::WriteStall(limit) => Error::WriteStall(*limit),
        Error::Peer(peer) => match peer {
            Peer::Truncated => Peer::Truncated.into(),
            Peer::Unreceipted => Peer::Unreceipted.into(),
            Peer::Closed => Peer::Closed.into(),
            Peer::Io(error) => Peer::Io(error.kind().into()).into(),
            Peer::Frame(error) => Peer::Frame(error.clone()).into(),
            Peer::Order { expected, found } => Peer::Order { expected, found: found.clone() }.into(),
            Peer::Aborted(abort) => Peer::Aborted(abort.clone()).into(),
            Peer::Protocol(what) => Peer::Protocol(what.clone()).into(),
            other => Error::Internal(format!("not looked at by these tests: {other}")),
        },
        Error::Refused(Refused::Path(error)) => Refused::Path(error.clone()).into(),
        other => Error::Internal(format!("not looked at by these tests: {}", other.one_line())),
    }
}

/// Bytes that anybody with the seed can make again (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn bytes(seed: u64, len: usize) -> Vec<u8> {
        let mut random = Self::new(seed);
        let mut bytes = vec![0; len];
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&random.next().to_le_bytes()[..chunk.len()]);
        }
        bytes
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `end - 1`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }
}

/// A workload that serves one stream in a thread of its own.
pub(crate) fn workload<T: Send + 'static>(
    serve: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (SocketAddr, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let stream = listener.accept().unwrap().0;
        bounded(&stream);
        serve(stream)
    });
    (address, thread)
}

pub(crate) fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    bounded(&stream);
    stream
}

fn bounded(stream: &TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
}

/// Writes until the peer takes no more for a moment. Gives how much it took.
pub(crate) fn fill(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(more) => written += more,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(error) => panic!("{error}"),
        }
    }
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    written
}

/// Everything up to the end of the file.
pub(crate) fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Everything up to a reset; an end of file, or nothing for long, fails the test.
#[track_caller]
pub(crate) fn read_until_reset(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => bytes,
        other => panic!("{other:?} after {} bytes, not a reset", bytes.len()),
    }
}

/// Makes the drop of a stream a reset.
pub(crate) fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}
