//! A path while it lives: CHALLENGE down, REFRESH up (docs/PROTOCOL.md sections 3 and 4).
//!
//! The relay hands the frames over and goes on with the data; what takes long is done beside it. What is to be done, and
//! when, is the `machine`'s to say. Here are its clock, the leg's links, the quoter and the verifier, and the newest
//! state of the path below.

mod machine;

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use inclavared_attest::Timestamp;
use inclavared_attest::path::{Challenge, Downstream, Path, Stage, Trailer, TrailerLimits};
use inclavared_attest::policy::Binding;
use inclavared_wire::frame::{Frame, FrameKind};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::error::{Error, PeerMisbehaved};
use crate::leg::Leg;
use crate::leg::link::Link;
use crate::path::close::Below;
use crate::path::opening::OpenedPath;
use crate::path::quoting::{Fresh, Quoter};
use crate::path::side::Side;
use crate::path::statement::{Refreshing, Statement};
use crate::trust::appraise::{Due, PathCheck};
use machine::{Action, Audit, Broken, Demands, Event, Machine, Newest, Times};

/// At `key+audit`, the first fresh quote is there this long after START at the latest (PROTOCOL section 3).
pub const AUDIT: Duration = Duration::from_secs(30);

/// One connection's part in keeping its path fresh. Never leaves its worker.
pub struct Live<'a> {
    side: &'a Side,
    below: &'a Below,
    quoter: Option<&'a Quoter>,
    /// Our own part, where the client above understands it.
    pub statement: Option<RefCell<Statement>>,
    up: Option<Rc<Link>>,
    down: Option<Rc<Link>>,
    /// The newest state of the path below.
    path: RefCell<Option<Arc<Path>>>,
    machine: RefCell<Machine<Quoted, Verified>>,
    /// What [`run`](Self::run) has to take up.
    to_verify: Cell<Option<(Bytes, Option<Challenge>)>>,
    to_quote: Cell<Option<Challenge>>,
    /// There is something to take up, or another deadline.
    changed: Notify,
    settled: Cell<bool>,
    is_settled: Notify,
}

/// A quote for our own record in a REFRESH.
type Quoted = (Refreshing, Fresh);

/// A REFRESH from below, and the path as it is by it.
type Verified = (Bytes, Arc<Path>);

type Work<'a, T> = Option<Pin<Box<dyn Future<Output = T> + 'a>>>;

impl<'a> Live<'a> {
    /// On the heap, as it is there for as long as the connection is. `client` and `server` are the legs that are about to be joined.
    pub fn new(
        side: &'a Side,
        quoter: Option<&'a Quoter>,
        statement: Option<Statement>,
        below: &'a Below,
        (client, server): (&Leg, &Leg),
    ) -> Box<Self> {
        let link = |leg: &Leg| leg.sink.link().filter(|_| leg.sink.is_framed()).cloned();
        let (path, beyond) = match below {
            Below::Path(opened) => {
                let demands = demands(opened, statement.as_ref());
                (Some(Arc::clone(&opened.path)), Some((demands, newest(&opened.path))))
            }
            Below::End(_) => (None, None),
        };
        let answers = statement.is_some() && quoter.is_some();
        let times = times(side.deadlines.quote);
        let machine = Machine::new(times, Challenge::generate, beyond, answers, now());
        Box::new(Self {
            side,
            below,
            quoter,
            statement: statement.map(RefCell::new),
            up: link(client),
            down: link(server),
            path: RefCell::new(path),
            machine: RefCell::new(machine),
            to_verify: Cell::default(),
            to_quote: Cell::default(),
            changed: Notify::new(),
            settled: Cell::new(false),
            is_settled: Notify::new(),
        })
    }

    /// Before the first byte: a CHALLENGE that is due at once goes before it, so that it is overtaken by no END.
    pub fn begin(&self) -> Result<(), Error> {
        self.on(Event::Clock)
    }

    /// The newest state of the path below.
    pub fn path(&self) -> Option<Arc<Path>> {
        self.path.borrow().clone()
    }

    /// A CHALLENGE came from the client. Does not block: behind it comes the END that it must not be overtaken by.
    pub fn challenged(&self, payload: &[u8]) -> Result<(), Error> {
        self.on(Event::Challenged(Challenge::decode(payload)?))
    }

    /// A REFRESH came from below. Does not block.
    pub fn refreshed(&self, trailer: Bytes) -> Result<(), Error> {
        let asked = self.path.borrow().as_ref().is_none_or(|path| answers_a_challenge(&trailer, path));
        self.on(Event::Refreshed { trailer, asked })
    }

    /// Keeps the path fresh until it cannot.
    ///
    /// Seldom at work, and large while it is: on the heap, and nothing at all where no path is.
    pub fn run(&self) -> Pin<Box<dyn Future<Output = Error> + '_>> {
        match self.machine.borrow().is_idle() {
            true => Box::pin(pending()),
            false => Box::pin(async { self.work().await.unwrap_or_else(|error| error) }),
        }
    }

    /// The last word from below is there, and ours is due: waits until what came before it is verified, and the
    /// client's CHALLENGE is answered if it can be. Needs [`run`](Self::run) beside it.
    pub async fn settle(&self) -> Result<(), Error> {
        self.on(Event::Last)?;
        while !self.settled.get() {
            self.is_settled.notified().await;
        }
        Ok(())
    }

    async fn work(&self) -> Result<Error, Error> {
        let (mut verifying, mut quoting): (Work<'_, _>, Work<'_, _>) = (None, None);
        loop {
            if let Some((trailer, challenge)) = self.to_verify.take() {
                verifying = Some(Box::pin(self.verify(trailer, challenge)));
            }
            if let Some(challenge) = self.to_quote.take() {
                quoting = Some(Box::pin(self.quote(challenge)));
            }
            let due = self.machine.borrow().due();
            let event = tokio::select! {
                () = self.changed.notified() => continue,
                () = until(due) => Event::Clock,
                verified = outcome(&mut verifying) => self.verified(verified)?,
                quoted = outcome(&mut quoting) => Event::Quoted(quoted?),
            };
            self.on(event)?;
        }
    }

    /// Tells the machine, and does what it says.
    fn on(&self, event: Event<Quoted, Verified>) -> Result<(), Error> {
        let actions = self.machine.borrow_mut().on(event, now())?;
        for action in actions {
            match action {
                Action::Challenge(challenge) => {
                    post(self.down.as_ref(), FrameKind::Challenge, challenge.encode())?;
                }
                Action::Verify { trailer, challenge } => self.to_verify.set(Some((trailer, challenge))),
                Action::Quote(challenge) => self.to_quote.set(Some(challenge)),
                Action::Refresh { own, beyond } => self.refresh(own, beyond)?,
                Action::Settled => {
                    self.settled.set(true);
                    self.is_settled.notify_one();
                }
            }
        }
        self.changed.notify_one();
        Ok(())
    }

    /// Verifies a REFRESH under our own policy.
    async fn verify(&self, trailer: Bytes, challenge: Option<Challenge>) -> Result<Verified, Error> {
        let (Below::Path(opened), Some(path)) = (self.below, self.path()) else {
            return Err(Error::Internal("a REFRESH of no path".to_owned()));
        };
        let due = Due::Refresh { path, challenge };
        let check = PathCheck { context: opened.context.clone(), trailer: trailer.clone(), due };
        Ok((trailer, Arc::new(self.side.verifier.path(check).await?)))
    }

    /// It is the path from now on.
    fn verified(&self, verified: Result<Verified, Error>) -> Result<Event<Quoted, Verified>, Error> {
        let Ok(trailer) = &verified else {
            self.on(Event::Refused)?;
            return verified.map(|_| Event::Refused);
        };
        let path = Arc::clone(&trailer.1);
        tracing::debug!(session = %path.session, hops = path.hops.len(), "the path was refreshed");
        self.path.replace(Some(Arc::clone(&path)));
        verified.map(|trailer| Event::Verified { newest: newest(&path), trailer })
    }

    /// None: the attester failed, and may do better. An attester that never quotes ends the path.
    async fn quote(&self, challenge: Challenge) -> Result<Option<Quoted>, Error> {
        let (Some(statement), Some(quoter)) = (&self.statement, self.quoter) else { return Ok(None) };
        let refreshing = statement.borrow_mut().begin_refresh(challenge);
        let made = match quoter.ask(refreshing.leaf.clone()) {
            Ok(pending) => pending.done().await,
            Err(error) => Err(error),
        };
        match made {
            Ok(fresh) => Ok(Some((refreshing, fresh))),
            Err(error @ Error::NeverQuotes) => Err(error),
            Err(error) => {
                tracing::debug!(error = error.one_line(), "a REFRESH is late");
                Ok(None)
            }
        }
    }

    /// Our own record, in front of those from below.
    fn refresh(&self, (refreshing, fresh): Quoted, below: Option<Verified>) -> Result<(), Error> {
        let Some(statement) = &self.statement else { return Ok(()) };
        let downstream = match (self.below, &below) {
            (Below::Path(opened), Some((_, path))) => {
                path.as_downstream(opened.context.policy.digest(), opened.binding)
            }
            (Below::Path(opened), None) => opened.as_downstream(),
            (Below::End(end), _) => Downstream::clone(&end.downstream),
        };
        let below = below.as_ref().map(|(trailer, path)| (trailer, &**path));
        let refresh = statement.borrow().refresh(&refreshing, fresh, downstream, below)?;
        post(self.up.as_ref(), FrameKind::Refresh, refresh)
    }
}

/// The client's half of `key+audit` for a program that moves no data meanwhile: asks for fresh quotes, and waits.
pub async fn audit(side: &Side, leg: &mut Leg, opened: &mut OpenedPath) -> Result<(), Error> {
    let challenge = Challenge::generate().map_err(|_| Broken::Random)?;
    leg.send(FrameKind::Challenge, &challenge.encode()).await?;
    let trailer = leg.expect(FrameKind::Refresh, "the REFRESH", AUDIT).await?.payload;
    let due = Due::Refresh { path: Arc::clone(&opened.path), challenge: Some(challenge) };
    let check = PathCheck { context: opened.context.clone(), trailer, due };
    opened.path = Arc::new(side.verifier.path(check).await?);
    Ok(())
}

fn times(quote: Duration) -> Times {
    let seconds = Duration::from_secs;
    Times {
        spacing: seconds(1),
        audit: AUDIT,
        audit_grace: seconds(5),
        // A CHALLENGE and its REFRESH wait in line with the data in every socket, and quotes take seconds.
        early: seconds(30),
        retry: seconds(1),
        retry_most: seconds(30),
        answer: quote,
    }
}

fn demands(opened: &OpenedPath, statement: Option<&Statement>) -> Demands {
    let policy = &opened.context.policy;
    let by_peer = statement.is_some_and(|own| own.binding() >= Binding::KeyAudit);
    Demands {
        audit: (policy.binding == Binding::KeyAudit).then_some(if by_peer { Audit::AlsoPeers } else { Audit::Ours }),
        max_age: policy.max_path_age,
        renews: opened.path.legacy.is_none(),
    }
}

fn newest(path: &Path) -> Newest {
    let ends = now() + path.ages_at.since(Timestamp::now());
    Newest { ends, fresh: path.hops.iter().all(|hop| hop.fresh_at.is_some()) }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

async fn until(due: Option<std::time::Instant>) {
    match due {
        Some(due) => sleep_until(due.into()).await,
        None => pending().await,
    }
}

/// What comes of work that is under way; never, if none is. Cancel safe.
async fn outcome<T>(work: &mut Work<'_, T>) -> T {
    let outcome = match work {
        Some(work) => work.await,
        None => pending().await,
    };
    *work = None;
    outcome
}

/// What its first record says; it is judged with all the rest.
fn answers_a_challenge(trailer: &[u8], path: &Path) -> bool {
    let known = |name: &_| {
        let hop = path.hops.iter().map(|hop| &hop.evidence).chain(path.legacy.iter().map(|peer| &peer.evidence));
        hop.into_iter().find(|evidence| evidence.digest() == *name).map(|evidence| evidence.blob().into())
    };
    match Trailer::decode(trailer, &TrailerLimits::DEFAULT, &known) {
        Ok(trailer) => !matches!(trailer.records()[0].record().stage, Stage::Refresh { challenge: None, .. }),
        Err(_) => true,
    }
}

fn post(link: Option<&Rc<Link>>, kind: FrameKind, payload: Vec<u8>) -> Result<(), Error> {
    let link = link.ok_or_else(|| Error::Internal(format!("a {kind:?} frame for a leg without frames")))?;
    if link.post(Frame { kind, payload: payload.into() }) {
        return Ok(());
    }
    let what = "control frames are asked for faster than they are read".to_owned();
    Err(PeerMisbehaved::Protocol(what).into())
}

impl From<Broken> for Error {
    fn from(broken: Broken) -> Self {
        let protocol = |what: &str| PeerMisbehaved::Protocol(what.to_owned()).into();
        match broken {
            Broken::ChallengedTwice => protocol("a second CHALLENGE before the REFRESH"),
            Broken::ChallengedSoon => protocol("a CHALLENGE sooner than a second after the last"),
            Broken::ChallengedInVain => protocol("a CHALLENGE where no evidence was shown"),
            Broken::RefreshedOften => protocol("REFRESH frames faster than they can be verified"),
            Broken::Age => Self::PathAge,
            Broken::AuditLate => Self::Deadline { what: "the REFRESH that `key+audit` asks for", limit: AUDIT },
            Broken::Unaudited => PeerMisbehaved::Unaudited.into(),
            Broken::Random => Self::Internal("the system gave no random bytes".to_owned()),
        }
    }
}

impl std::fmt::Debug for Live<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("below", &self.below).finish_non_exhaustive()
    }
}
