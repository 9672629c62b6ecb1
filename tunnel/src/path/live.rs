//! A path while it lives: CHALLENGE down, REFRESH up (docs/PROTOCOL.md sections 3 and 4).
//!
//! The relay hands the frames over and goes on with the data; what takes long is done beside it. As the client of the
//! leg below, this asks for fresh quotes before the path is too old, and verifies them; as the server of the leg above,
//! it answers. It owns the newest state of the path below.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
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
use tokio::time::{Instant, sleep, sleep_until};

use crate::error::{Error, PeerMisbehaved};
use crate::leg::Leg;
use crate::leg::link::Link;
use crate::path::close::Below;
use crate::path::opening::OpenedPath;
use crate::path::quoting::{Fresh, Quoter};
use crate::path::side::Side;
use crate::path::statement::{Refreshing, Statement};
use crate::trust::appraise::{Due, PathCheck};

/// At most one CHALLENGE a second (PROTOCOL section 4).
const SPACING: Duration = Duration::from_secs(1);

/// At `key+audit`, the first fresh quote is there this long after START at the latest (PROTOCOL section 3).
pub const AUDIT: Duration = Duration::from_secs(30);

/// A path is renewed when three quarters of its age have passed, but this long before the end at least: a CHALLENGE and
/// its REFRESH wait in line with the data in every socket, and quotes take seconds. A very short age is halved.
const EARLY: Duration = Duration::from_secs(30);

/// How long a hop whose client audits the path itself leaves that to the client.
const AUDIT_GRACE: Duration = Duration::from_secs(5);

/// REFRESH frames that wait to be verified. One is the answer to a CHALLENGE, one may have come by itself.
const MAX_RECEIVED: usize = 2;

/// An attester that fails is asked again after this long at first, and twice as long each time, up to the most.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(30);

/// One connection's part in keeping its path fresh. Never leaves its worker.
pub struct Live<'a> {
    side: &'a Side,
    below: &'a Below,
    quoter: Option<&'a Quoter>,
    /// Our own part, where the client above understands it.
    pub statement: Option<RefCell<Statement>>,
    up: Option<Rc<Link>>,
    down: Option<Rc<Link>>,
    started: Instant,
    state: State,
}

/// What the frames and the work beside them tell each other.
struct State {
    /// The newest state of the path below.
    path: RefCell<Option<Arc<Path>>>,
    /// When it is too old.
    ends: Cell<Option<Instant>>,
    /// REFRESH frames from below.
    received: RefCell<VecDeque<Bytes>>,
    /// The one that was taken out last is not verified yet.
    verifying: Cell<bool>,
    /// The CHALLENGE below that has no answer yet, and whether it is the client's.
    outstanding: Cell<Option<(Challenge, bool)>>,
    /// No CHALLENGE may go down before.
    next: Cell<Instant>,
    /// The client's CHALLENGE that has no answer yet, and when the last came.
    asked: Cell<Option<Challenge>>,
    asked_at: Cell<Option<Instant>>,
    /// It has not gone down yet.
    to_pass: Cell<Option<Challenge>>,
    /// It has to be taken up by [`Live::answers`].
    to_answer: Cell<Option<Challenge>>,
    /// The verified answer from below.
    answer: RefCell<Option<(Bytes, Arc<Path>)>>,
    /// One for each that waits.
    below_changed: Notify,
    was_asked: Notify,
    is_answered: Notify,
    settled: Notify,
}

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
        let path = match below {
            Below::Path(opened) => Some(Arc::clone(&opened.path)),
            Below::End(_) => None,
        };
        let now = Instant::now();
        Box::new(Self {
            side,
            below,
            quoter,
            statement: statement.map(RefCell::new),
            up: link(client),
            down: link(server),
            started: now,
            state: State {
                ends: Cell::new(path.as_deref().map(age_ends)),
                path: RefCell::new(path),
                received: RefCell::default(),
                verifying: Cell::new(false),
                outstanding: Cell::new(None),
                next: Cell::new(now),
                asked: Cell::new(None),
                asked_at: Cell::new(None),
                to_pass: Cell::new(None),
                to_answer: Cell::new(None),
                answer: RefCell::new(None),
                below_changed: Notify::new(),
                was_asked: Notify::new(),
                is_answered: Notify::new(),
                settled: Notify::new(),
            },
        })
    }

    /// Before the first byte: a CHALLENGE that is due at once goes before it, so that it is overtaken by no END.
    pub fn begin(&self) -> Result<(), Error> {
        match self.below {
            Below::Path(opened) if self.challenge_at(opened).is_some_and(|at| at <= Instant::now()) => {
                self.challenge(None)
            }
            _ => Ok(()),
        }
    }

    /// The newest state of the path below.
    pub fn path(&self) -> Option<Arc<Path>> {
        self.state.path.borrow().clone()
    }

    /// A CHALLENGE came from the client. Does not block.
    pub fn challenged(&self, payload: &[u8]) -> Result<(), Error> {
        let challenge = Challenge::decode(payload)?;
        let state = &self.state;
        let now = Instant::now();
        let early = |what: &str| Err(PeerMisbehaved::Protocol(what.to_owned()).into());
        if state.asked.get().is_some() {
            return early("a second CHALLENGE before the REFRESH");
        }
        if state.asked_at.get().is_some_and(|last| now < last + SPACING) {
            return early("a CHALLENGE sooner than a second after the last");
        }
        state.asked.set(Some(challenge));
        state.asked_at.set(Some(now));
        state.to_answer.set(Some(challenge));
        state.was_asked.notify_one();
        if matches!(self.below, Below::Path(_)) {
            if state.outstanding.get().is_none() && state.next.get() <= now {
                // At once: behind it comes the END that it must not be overtaken by.
                return self.challenge(Some(challenge));
            }
            state.to_pass.set(Some(challenge));
            state.below_changed.notify_one();
        }
        Ok(())
    }

    /// A REFRESH came from below. Does not block.
    pub fn refreshed(&self, payload: Bytes) -> Result<(), Error> {
        let mut received = self.state.received.borrow_mut();
        if received.len() >= MAX_RECEIVED {
            let what = "REFRESH frames faster than they can be verified".to_owned();
            return Err(PeerMisbehaved::Protocol(what).into());
        }
        received.push_back(payload);
        self.state.below_changed.notify_one();
        Ok(())
    }

    /// Keeps the path fresh until it cannot.
    ///
    /// Seldom at work, and large while it is: on the heap, and nothing at all where no path is.
    pub fn run(&self) -> Pin<Box<dyn Future<Output = Error> + '_>> {
        match (self.below, &self.statement) {
            (Below::End(_), None) => Box::pin(pending()),
            _ => Box::pin(self.work()),
        }
    }

    async fn work(&self) -> Error {
        let kept = async {
            match self.below {
                Below::Path(opened) => self.keep(opened).await,
                Below::End(_) => pending().await,
            }
        };
        let error: Result<(Infallible, Infallible), Error> = tokio::try_join!(kept, self.answers());
        match error {
            Ok((never, _)) => match never {},
            Err(error) => error,
        }
    }

    /// The last word from below is there, and ours is due: waits until what came before it is verified, and the
    /// client's CHALLENGE is answered if it can be. Needs [`run`](Self::run) beside it.
    pub async fn settle(&self) -> Result<(), Error> {
        let state = &self.state;
        while state.verifying.get() || !state.received.borrow().is_empty() {
            state.settled.notified().await;
        }
        if let Below::Path(opened) = self.below
            && self.lacks_audit(opened)
        {
            return Err(PeerMisbehaved::Unaudited.into());
        }
        let answered = async {
            while state.asked.get().is_some() && !self.waits_for_below() {
                state.settled.notified().await;
            }
        };
        // A CHALLENGE that crossed our END is answered before the TRAILER or not at all.
        let _ = tokio::time::timeout(self.side.deadlines.quote, answered).await;
        Ok(())
    }

    /// The client's CHALLENGE has no answer from below, and after the TRAILER it gets none.
    fn waits_for_below(&self) -> bool {
        self.state.to_pass.get().is_some() || matches!(self.state.outstanding.get(), Some((_, true)))
    }

    // The client's side: the path below.

    async fn keep(&self, opened: &OpenedPath) -> Result<Infallible, Error> {
        let state = &self.state;
        loop {
            let trailer = state.received.borrow_mut().pop_front();
            if let Some(trailer) = trailer {
                state.verifying.set(true);
                Box::pin(self.renew(opened, trailer)).await?;
                state.verifying.set(false);
                state.settled.notify_one();
                continue;
            }
            let now = Instant::now();
            let ends = state.ends.get().unwrap_or(now);
            if ends <= now {
                return Err(Error::PathAge);
            }
            let audit = self.lacks_audit(opened).then(|| self.started + AUDIT);
            if audit.is_some_and(|audit| audit <= now) {
                return Err(Error::Deadline { what: "the REFRESH that `key+audit` asks for", limit: AUDIT });
            }
            let due = self.challenge_at(opened);
            if due.is_some_and(|due| due <= now) {
                self.challenge(state.to_pass.take())?;
                continue;
            }
            let wake = [Some(ends), audit, due].into_iter().flatten().min().unwrap_or(ends);
            tokio::select! {
                () = sleep_until(wake) => {}
                () = state.below_changed.notified() => {}
            }
        }
    }

    /// Verifies a REFRESH under our own policy. It is the path from now on.
    async fn renew(&self, opened: &OpenedPath, trailer: Bytes) -> Result<(), Error> {
        let state = &self.state;
        let Some(path) = self.path() else { return Ok(()) };
        // One that came by itself crosses the answer, and does not stand for it.
        let outstanding = state.outstanding.get().filter(|_| answers_a_challenge(&trailer, &path));
        let challenge = outstanding.map(|(challenge, _)| challenge);
        let due = Due::Refresh { path, challenge };
        let check = PathCheck { context: opened.context.clone(), trailer: trailer.clone(), due };
        let path = Arc::new(self.side.verifier.path(check).await?);
        tracing::debug!(session = %path.session, hops = path.hops.len(), "the path was refreshed");
        state.ends.set(Some(age_ends(&path)));
        *state.path.borrow_mut() = Some(Arc::clone(&path));
        if let Some((_, relayed)) = outstanding {
            state.outstanding.set(None);
            // From here, not from the last CHALLENGE: so the peer, too, sees a second between the two.
            state.next.set(Instant::now() + SPACING);
            if relayed {
                *state.answer.borrow_mut() = Some((trailer, path));
                state.is_answered.notify_one();
            }
        }
        Ok(())
    }

    /// When the next CHALLENGE goes down, as things stand.
    fn challenge_at(&self, opened: &OpenedPath) -> Option<Instant> {
        let state = &self.state;
        if state.outstanding.get().is_some() {
            return None;
        }
        let next = state.next.get();
        if state.to_pass.get().is_some() {
            return Some(next);
        }
        let audit = self.lacks_audit(opened).then(|| {
            let by_client = self.statement.as_ref().is_some_and(|own| own.borrow().binding() >= Binding::KeyAudit);
            if by_client { self.started + AUDIT_GRACE } else { self.started }
        });
        let age = self.renewal_at(opened);
        Some([audit, age].into_iter().flatten().min()?.max(next))
    }

    /// When the path is renewed for its age: whoever verifies it from the beginning does so first, the hops of the path
    /// only if that does not come.
    fn renewal_at(&self, opened: &OpenedPath) -> Option<Instant> {
        let (path, ends) = (self.path()?, self.state.ends.get()?);
        // A peer without records at the end cannot renew itself.
        if path.legacy.is_some() {
            return None;
        }
        let age = opened.context.policy.max_path_age;
        let early = (age / 4).max(EARLY.min(age / 2));
        let margin = if self.statement.is_none() { early } else { early / 2 };
        let due = ends.checked_sub(margin).unwrap_or(self.started);
        // Records without fresh quotes do not make a path younger: they are not asked for in a row.
        let again = if self.state.next.get() > self.started { self.state.next.get() + age / 16 } else { self.started };
        Some(due.max(again))
    }

    fn lacks_audit(&self, opened: &OpenedPath) -> bool {
        let audited = |path: &Arc<Path>| path.hops.iter().all(|hop| hop.fresh_at.is_some());
        opened.context.policy.binding == Binding::KeyAudit && !self.path().as_ref().is_some_and(audited)
    }

    /// Sends a CHALLENGE down: the client's, or one of our own.
    fn challenge(&self, of_client: Option<Challenge>) -> Result<(), Error> {
        let challenge = match of_client {
            Some(challenge) => challenge,
            None => generate()?,
        };
        self.state.outstanding.set(Some((challenge, of_client.is_some())));
        post(self.down.as_ref(), FrameKind::Challenge, challenge.encode())
    }

    // The server's side: what the client asks for.

    async fn answers(&self) -> Result<Infallible, Error> {
        let (Some(statement), Some(quoter)) = (&self.statement, self.quoter) else { return pending().await };
        loop {
            let Some(challenge) = self.state.to_answer.take() else {
                self.state.was_asked.notified().await;
                continue;
            };
            let refreshing = statement.borrow_mut().begin_refresh(challenge);
            Box::pin(self.answer(statement, quoter, refreshing)).await?;
            self.state.asked.set(None);
            self.state.settled.notify_one();
        }
    }

    async fn answer(
        &self,
        statement: &RefCell<Statement>,
        quoter: &Quoter,
        refreshing: Refreshing,
    ) -> Result<(), Error> {
        let below = async {
            match self.below {
                Below::Path(opened) => {
                    let (trailer, path) = self.answer_from_below().await;
                    let downstream = path.as_downstream(opened.context.policy.digest(), opened.binding);
                    (downstream, Some((trailer, path)))
                }
                Below::End(end) => (Downstream::clone(&end.downstream), None),
            }
        };
        // Our quote is made while those below make theirs.
        let (fresh, (downstream, below)) =
            tokio::try_join!(quote(quoter, &refreshing), async { Ok::<_, Error>(below.await) })?;
        let below = below.as_ref().map(|(trailer, path)| (trailer, &**path));
        let refresh = statement.borrow().refresh(&refreshing, fresh, downstream, below)?;
        post(self.up.as_ref(), FrameKind::Refresh, refresh)
    }

    async fn answer_from_below(&self) -> (Bytes, Arc<Path>) {
        loop {
            let answer = self.state.answer.borrow_mut().take();
            match answer {
                Some(answer) => return answer,
                None => self.state.is_answered.notified().await,
            }
        }
    }
}

/// The client's half of `key+audit` for a program that moves no data meanwhile: asks for fresh quotes, and waits.
pub async fn audit(side: &Side, leg: &mut Leg, opened: &mut OpenedPath) -> Result<(), Error> {
    let challenge = generate()?;
    leg.send(FrameKind::Challenge, &challenge.encode()).await?;
    let trailer = leg.expect(FrameKind::Refresh, "the REFRESH", AUDIT).await?.payload;
    let due = Due::Refresh { path: Arc::clone(&opened.path), challenge: Some(challenge) };
    let check = PathCheck { context: opened.context.clone(), trailer, due };
    opened.path = Arc::new(side.verifier.path(check).await?);
    Ok(())
}

/// A quote, from an attester that may fail for a while. Whoever waits for it has a limit of its own: the path's age.
async fn quote(quoter: &Quoter, refreshing: &Refreshing) -> Result<Fresh, Error> {
    let mut wait = RETRY;
    loop {
        let made = match quoter.ask(refreshing.leaf.clone()) {
            Ok(pending) => pending.done().await,
            Err(error) => Err(error),
        };
        match made {
            Ok(fresh) => return Ok(fresh),
            Err(error @ Error::NeverQuotes) => return Err(error),
            Err(error) => tracing::debug!(error = error.one_line(), ?wait, "a REFRESH is late"),
        }
        sleep(wait).await;
        wait = (wait * 2).min(RETRY_MOST);
    }
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

fn age_ends(path: &Path) -> Instant {
    Instant::now() + path.ages_at.since(Timestamp::now())
}

fn generate() -> Result<Challenge, Error> {
    Challenge::generate().map_err(|error| Error::Internal(format!("randomness: {error}")))
}

fn post(link: Option<&Rc<Link>>, kind: FrameKind, payload: Vec<u8>) -> Result<(), Error> {
    let link = link.ok_or_else(|| Error::Internal(format!("a {kind:?} frame for a leg without frames")))?;
    if link.post(Frame { kind, payload: payload.into() }) {
        return Ok(());
    }
    let what = "control frames are asked for faster than they are read".to_owned();
    Err(PeerMisbehaved::Protocol(what).into())
}

impl std::fmt::Debug for Live<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("below", &self.below).finish_non_exhaustive()
    }
}
