//! A hop at the end of a chain that does not do what it should: made of the library's parts, with genuine evidence.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use inclavared_attest::path::Open;
use inclavared_attest::policy::TerminalKind;
use inclavared_attest::sim::{SimAttester, SimPlatform, SimSpec};
use inclavared_attest::{ConfigDigest, PolicyDigest, Timestamp};
use inclavared_config::{Limits, TlsSettings};
use inclavared_tunnel::leg::Leg;
use inclavared_tunnel::leg::handshake::{self, ClientCertificate, Turns};
use inclavared_tunnel::leg::socket::Socket;
use inclavared_tunnel::path::close::Below;
use inclavared_tunnel::path::opening::receive_open;
use inclavared_tunnel::path::statement::Statement;
use inclavared_tunnel::trust::identity::{HopIdentity, IdentityService, Role};
use inclavared_wire::frame::FrameKind;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

use crate::harness::World;
use crate::program::PATIENCE;

/// What it does with an OPEN.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    /// Nothing, until the client leaves.
    Never,
    /// The PREVIEW, a byte at a time, so far apart.
    Slowly(Duration),
}

#[derive(Debug)]
pub(crate) enum Event {
    Opened(Open),
    /// The client has left.
    Gone,
}

pub(crate) struct Bottom {
    pub(crate) address: SocketAddr,
    events: Receiver<Event>,
}

impl Bottom {
    pub(crate) fn new(world: &World, answer: Answer) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let now = Timestamp::now();
        let platform = Arc::new(SimPlatform::load(&world.path("platform"), now).unwrap());
        let attester = SimAttester::new(&platform, SimSpec::sgx("bottom")).unwrap();
        let role = Role {
            chain_role: "workload".to_owned(),
            policy_digest: PolicyDigest::of(b""),
            config_digest: ConfigDigest::of(b""),
        };
        let identity = IdentityService::start(Arc::new(attester), role, now).unwrap().current(now).unwrap();
        let (send, events) = channel();
        // It ends with the test binary: there is nothing to free but a port.
        std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            LocalSet::new().block_on(&runtime, async {
                let listener = TcpListener::from_std(listener).unwrap();
                loop {
                    let socket = Socket::tcp(listener.accept().await.unwrap().0);
                    tokio::task::spawn_local(serve(socket, Arc::clone(&identity), answer, send.clone()));
                }
            });
        });
        Self { address, events }
    }

    /// What happens next.
    pub(crate) fn event(&self) -> Event {
        self.events.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("at the bottom: {error}"))
    }

    /// An OPEN comes next.
    pub(crate) fn opened(&self) -> Open {
        match self.event() {
            Event::Opened(open) => open,
            Event::Gone => panic!("no OPEN: the client left"),
        }
    }

    /// The client leaves next. How long that took.
    pub(crate) fn gone(&self) -> Duration {
        let begun = Instant::now();
        match self.event() {
            Event::Gone => begun.elapsed(),
            Event::Opened(open) => panic!("another OPEN: {open:?}"),
        }
    }

    /// What has happened and was not looked at.
    pub(crate) fn rest(&self) -> Vec<Event> {
        self.events.try_iter().collect()
    }
}

async fn serve(socket: Socket, identity: Arc<HopIdentity>, answer: Answer, events: Sender<Event>) {
    let provider = handshake::provider(&TlsSettings::default());
    let (certificate, turns) = (ClientCertificate::Optional, Turns::new(&Limits::default()));
    let accepted =
        handshake::accept(socket, &provider, Arc::clone(&identity), certificate, false, &turns, PATIENCE).await;
    let Ok((mut leg, _)) = accepted else { return };
    let Ok(asked) = receive_open(&mut leg, PATIENCE, |_| false).await else { return };
    let _ = events.send(Event::Opened(asked.open.clone()));
    if let Answer::Slowly(pause) = answer {
        let facts = leg.facts.leg.clone();
        let mut statement = Statement::new(identity, "workload", &asked.open, asked.digest, &facts);
        let preview = statement.preview(&Below::End(TerminalKind::Workload.into()), None).unwrap();
        drip(&mut leg, &preview, pause).await;
    } else {
        let _ = leg.source.frame().await;
    }
    let _ = events.send(Event::Gone);
}

/// Until all of it is out or the client has left.
async fn drip(leg: &mut Leg, payload: &[u8], pause: Duration) {
    let header = [FrameKind::Preview as u8, 0, 0, 0].into_iter();
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    for byte in header.chain(len).chain(payload.iter().copied()) {
        leg.sink.queue_record(&[byte]).unwrap();
        if leg.sink.flush().await.is_err() {
            return;
        }
        // Whatever comes now is that it leaves.
        if tokio::time::timeout(pause, leg.source.frame()).await.is_ok() {
            return;
        }
    }
}
