//! A simulated platform, a clock that is set by hand, and services of every kind.

use std::future::pending;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use inclavared_attest::Timestamp;
use inclavared_attest::appraise::{Collateral, CollateralId, PckCa, Root, TrustRoots};
use inclavared_attest::evidence::Tee;
use inclavared_attest::sim::{CollateralSpec, SimPlatform};
use inclavared_collateral::{
    Clock, CollateralSettings, CollateralSource, Endpoint, FetchSettings, Part, PartAnswer, PccsSettings, SourceFuture,
    StaticSource, serve,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub(crate) const NOW: Timestamp = Timestamp(1_800_000_000);
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) platform: SimPlatform,
    now: Arc<AtomicU64>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { platform: SimPlatform::generate(NOW).unwrap(), now: Arc::new(AtomicU64::new(NOW.0)) }
    }

    pub(crate) fn roots(&self) -> TrustRoots {
        TrustRoots::intel().with_simulated(self.platform.root_der())
    }

    pub(crate) fn clock(&self) -> Clock {
        let now = Arc::clone(&self.now);
        Clock::new(move || Timestamp(now.load(Ordering::SeqCst)))
    }

    pub(crate) fn set_clock(&self, now: Timestamp) {
        self.now.store(now.0, Ordering::SeqCst);
    }

    pub(crate) fn id(&self, tee: Tee) -> CollateralId {
        CollateralId { tee, fmspc: self.platform.fmspc(), ca: PckCa::Platform }
    }

    pub(crate) fn set(&self, tee: Tee) -> Collateral {
        self.platform.collateral(tee).unwrap().clone()
    }

    /// A set that was issued some seconds after the others.
    pub(crate) fn later(&self, seconds: i64) -> Arc<Collateral> {
        let at = Timestamp(NOW.0.saturating_add_signed(seconds));
        Arc::new(self.platform.collateral_with(&CollateralSpec::at(Tee::Sgx, at)).unwrap())
    }

    /// A set for another model.
    pub(crate) fn model(&self, fmspc: [u8; 6]) -> Arc<Collateral> {
        let spec = CollateralSpec { fmspc: Some(fmspc), ..CollateralSpec::at(Tee::Sgx, NOW) };
        Arc::new(self.platform.collateral_with(&spec).unwrap())
    }

    pub(crate) fn settings(&self, endpoints: &[&Endpoint]) -> CollateralSettings {
        let mut settings = CollateralSettings {
            simulated: endpoints.iter().map(|endpoint| (*endpoint).clone()).collect(),
            fetch: fetch_settings(),
            clock: self.clock(),
            ..CollateralSettings::default()
        };
        settings.cache.negative = Duration::from_secs(600);
        settings
    }

    /// A PCCS of ours that serves the platform.
    pub(crate) async fn pccs(&self) -> Pccs {
        Pccs::start(vec![Arc::new(self.set(Tee::Sgx)), Arc::new(self.set(Tee::Tdx))], self.clock()).await
    }
}

pub(crate) fn fetch_settings() -> FetchSettings {
    FetchSettings {
        connect_deadline: Duration::from_millis(500),
        request_deadline: Duration::from_secs(5),
        set_deadline: Duration::from_secs(10),
        ..FetchSettings::default()
    }
}

pub(crate) fn simulated(root: &TrustRoots) -> &[u8] {
    root.der(Root::Simulated).unwrap()
}

/// Our own server over sets that can be exchanged, with a count of what was asked.
pub(crate) struct Pccs {
    pub(crate) endpoint: Endpoint,
    pub(crate) address: SocketAddr,
    source: Arc<Counted>,
    task: JoinHandle<()>,
}

impl Pccs {
    pub(crate) async fn start(sets: Vec<Arc<Collateral>>, clock: Clock) -> Self {
        Self::start_with(sets, clock, PccsSettings::default(), "http").await
    }

    pub(crate) async fn start_with(
        sets: Vec<Arc<Collateral>>,
        clock: Clock,
        settings: PccsSettings,
        scheme: &str,
    ) -> Self {
        let source = Arc::new(Counted { sets: Mutex::new(sets), clock, asked: AtomicUsize::new(0) });
        let (address, task) = start(Arc::<Counted>::clone(&source), settings).await;
        Self { endpoint: endpoint(scheme, address), address, source, task }
    }

    pub(crate) fn serve_instead(&self, sets: Vec<Arc<Collateral>>) {
        *self.source.sets.lock().unwrap() = sets;
    }

    /// Parts that were asked for so far.
    pub(crate) fn asked(&self) -> usize {
        self.source.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Pccs {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Any source behind a server of ours.
pub(crate) async fn start(source: Arc<dyn CollateralSource>, settings: PccsSettings) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move { serve(listener, source, settings, pending()).await.unwrap() });
    (address, task)
}

struct Counted {
    sets: Mutex<Vec<Arc<Collateral>>>,
    clock: Clock,
    asked: AtomicUsize,
}

impl CollateralSource for Counted {
    fn part(&self, part: Part) -> SourceFuture<'_, PartAnswer> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let source = StaticSource::new(self.sets.lock().unwrap().clone(), self.clock.clone());
        Box::pin(async move { source.part(part).await })
    }
}

/// What a hand-made service does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Answer {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    },
    /// Takes the request and says nothing.
    Silence,
    /// A good head, and a body that never ends.
    Endless,
    /// A good head, and then a byte now and then.
    Drip,
    /// After a while.
    Late(Duration, Box<Reply>),
    /// These bytes and the end.
    Bytes(&'static [u8]),
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self::Answer { status, headers: Vec::new(), body: b"no".to_vec() }
    }
}

/// A service that answers by what `reply` makes of path and query; one request a connection.
pub(crate) struct HandMade {
    pub(crate) endpoint: Endpoint,
    pub(crate) requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl HandMade {
    pub(crate) async fn start(reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = endpoint("http", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let (count, reply) = (Arc::clone(&requests), Arc::new(reply));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (count, reply) = (Arc::clone(&count), Arc::clone(&reply));
                tokio::spawn(async move {
                    let _ = hand_made(stream, &count, &*reply).await;
                });
            }
        });
        Self { endpoint, requests, task }
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for HandMade {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn hand_made(
    mut stream: TcpStream,
    count: &AtomicUsize,
    reply: &(impl Fn(&str) -> Reply + ?Sized),
) -> std::io::Result<()> {
    let head = read_head(&mut stream).await?;
    count.fetch_add(1, Ordering::SeqCst);
    let path = head.split(' ').nth(1).unwrap_or_default();
    let mut reply = reply(path);
    if let Reply::Late(wait, then) = reply {
        tokio::time::sleep(wait).await;
        reply = *then;
    }
    match reply {
        Reply::Late(..) => (),
        Reply::Answer { status, headers, body } => {
            let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let length = body.len();
            let head = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&body).await?;
        }
        Reply::Silence => pending().await,
        Reply::Endless => {
            stream.write_all(b"HTTP/1.1 200 X\r\nConnection: close\r\n\r\n").await?;
            loop {
                stream.write_all(&[b'a'; 65536]).await?;
            }
        }
        Reply::Drip => {
            stream.write_all(b"HTTP/1.1 200 X\r\nConnection: close\r\n\r\n").await?;
            loop {
                stream.write_all(b"a").await?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Reply::Bytes(bytes) => stream.write_all(bytes).await?,
    }
    stream.shutdown().await
}

async fn read_head(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// A set as an old PCCS hands it out: hexadecimal CRLs whatever was asked, chains under the names of version 3.
pub(crate) fn old_pccs(set: &Collateral) -> impl Fn(&str) -> Reply + use<> {
    let set = set.clone();
    move |path| {
        let set = set.as_set();
        let signed = |name: &str, object: &str, signature: &[u8]| {
            format!("{{ \"signature\" : \"{}\", \"{name}\":\n{object} }}\n", hex::encode_upper(signature)).into_bytes()
        };
        let answer = |headers, body| Reply::Answer { status: 200, headers, body };
        let chain = |name, pem: &str| vec![(name, pem.replace('\n', "%0A").replace(' ', "%20"))];
        match path.rsplit("/certification/v4/").next().unwrap_or_default() {
            crl if crl.starts_with("pckcrl?ca=") => {
                answer(chain("sgx-pck-crl-issuer-chain", &set.pck_crl_issuer_chain), hex::encode(&set.pck_crl).into())
            }
            tcb if tcb.starts_with("tcb?fmspc=") => answer(
                chain("SGX-TCB-Info-Issuer-Chain", &set.tcb_info_issuer_chain),
                signed("tcbInfo", &set.tcb_info, &set.tcb_info_signature),
            ),
            "qe/identity" => answer(
                chain("SGX-Enclave-Identity-Issuer-Chain", &set.qe_identity_issuer_chain),
                signed("enclaveIdentity", &set.qe_identity, &set.qe_identity_signature),
            ),
            "rootcacrl" => answer(Vec::new(), hex::encode(&set.root_ca_crl).into()),
            _ => Reply::status(404),
        }
    }
}

pub(crate) fn endpoint(scheme: &str, address: SocketAddr) -> Endpoint {
    Endpoint::parse(&format!("{scheme}://localhost:{}/sgx/certification/v4/", address.port())).unwrap().0
}

/// A port that nobody listens at.
pub(crate) async fn down() -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    endpoint("http", listener.local_addr().unwrap())
}

/// Genuine collateral: the samples that the quote library comes with.
pub(crate) fn sample(name: &str) -> Collateral {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(["metadata", "--format-version", "1"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let package = metadata["packages"].as_array().unwrap().iter().find(|package| package["name"] == "dcap-qvl");
    let manifest = Path::new(package.unwrap()["manifest_path"].as_str().unwrap());
    let found = manifest.parent().unwrap().join("sample").join(name);
    Collateral::from_json(&std::fs::read(found).unwrap()).unwrap()
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("done in time")
}

/// That a set says what the platform's own does. The CRLs may come from either of its sets: they are as new.
pub(crate) fn assert_same(set: &Collateral, own: &Collateral) {
    assert_eq!(set.id(), own.id());
    let (set, own) = (set.as_set(), own.as_set());
    assert_eq!((&set.tcb_info, &set.qe_identity), (&own.tcb_info, &own.qe_identity));
    assert_eq!(set.tcb_info_signature, own.tcb_info_signature);
}

/// Waits for what another task is about to do.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("{what}"));
}
