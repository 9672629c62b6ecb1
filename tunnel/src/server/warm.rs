//! Legs that stand ready: made before a path asks for them, so that it costs one round trip more and no handshake
//! (docs/PROTOCOL.md section 3).
//!
//! A leg belongs to the hop key that it was made with, serves one stream, and is looked at before it does: a peer that has
//! closed it, or has sent anything but a session ticket, is not spoken to over it. What the other side does with a leg
//! over which nobody has asked for a path yet is here, too.

mod ready;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use inclavared_attest::path::Open;
use inclavared_attest::policy::Policy;
use inclavared_attest::{KeyId, Reason};
use inclavared_config::{Downstream, Upstream, WarmLegs};
use inclavared_wire::tls::Established;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::error::{Error, PeerMisbehaved};
use crate::leg::dial::{dial, server_name};
use crate::leg::handshake::{self, Speaks};
use crate::leg::permits::Holder;
use crate::leg::{AcceptedLeg, DialledLeg};
use crate::path::opening::{self, Asked, OpenedPath, open_path};
use crate::server::node::{Node, RouteState};
use crate::trust::identity::HopIdentity;
use ready::Ready;

/// So many are made at once.
const AT_ONCE: usize = 8;

/// A leg that its peer has closed is missed after this long at the latest.
const LOOK: Duration = Duration::from_secs(1);

/// An OPEN and the end of the leg may cross for this long; what comes later is of the path.
const AT_MOST_CROSSING: Duration = Duration::from_secs(1);

/// A leg that was taken is replaced so much later: the path that took it goes first.
const REFILL: Duration = Duration::from_millis(10);

/// After a failure, and twice as long after each further one in a row.
const RETRY: Duration = Duration::from_millis(100);
const RETRY_MOST: Duration = Duration::from_secs(30);

/// The legs of one route that stand ready. Shared by the workers; one of them [keeps](keep) it filled.
#[derive(Debug)]
pub struct Pool {
    settings: WarmLegs,
    /// The oldest first. Invariant: at most `settings.size`.
    ready: Mutex<VecDeque<Ready>>,
    /// One was taken, or found dead.
    taken: Notify,
    /// Found dead when they were wanted, and found well, since the last look.
    lost: AtomicUsize,
    served: AtomicUsize,
}

/// What a look at the pool has found.
#[derive(Default)]
struct Weeded {
    /// Old, of another key, or of a peer whose evidence ends.
    retired: Vec<Ready>,
    /// Closed by the peer, or of no use to us any more by what it sent.
    lost: usize,
    /// Over which paths were opened since the last look.
    served: usize,
}

/// Opens a path over a leg that stands ready. None: there is none, or none may be used, or the peer was gone: then a new
/// leg has to be made, and nothing has been asked of anybody.
pub async fn open_warm(
    node: &Node,
    route: &RouteState,
    own: Option<&Arc<HopIdentity>>,
    policy: &Arc<Policy>,
    open: &Open,
    limit: Duration,
) -> Result<Option<(DialledLeg, OpenedPath)>, Error> {
    let Some(pool) = route.warm.as_ref().filter(|_| !open.no_warm_legs) else { return Ok(None) };
    let Some((mut leg, age)) = pool.take(own.map(|own| own.key.kid())) else { return Ok(None) };
    let asked = Instant::now();
    match open_path(&node.side, &mut leg, policy, open, limit).await {
        Ok(mut opened) => {
            pool.served.fetch_add(1, Ordering::Relaxed);
            Arc::make_mut(&mut opened.path).warm = Some(age);
            Ok(Some((leg, opened)))
        }
        Err(error) if is_of_the_leg(&error) && asked.elapsed() < AT_MOST_CROSSING => {
            tracing::debug!(route = route.route.name, error = error.one_line(), "a leg that stood ready was gone");
            pool.lost.fetch_add(1, Ordering::Relaxed);
            Ok(None)
        }
        Err(error) => {
            leg.abort(error.reason(), "the path was refused").await;
            Err(error)
        }
    }
}

/// The peer let the leg go before it knew of our OPEN: nothing is wrong with the path.
fn is_of_the_leg(error: &Error) -> bool {
    match error {
        Error::Peer(PeerMisbehaved::Io(_) | PeerMisbehaved::Closed | PeerMisbehaved::Truncated) => true,
        Error::Fault(fault) => {
            fault.distance == 0 && matches!(fault.code, Reason::Deadline | Reason::Shutdown | Reason::Idle)
        }
        _ => false,
    }
}

/// [`opening::receive_open`] of a server whose peer may keep legs ready: one whose evidence was admitted may take its time,
/// as long as there is room for its like. Its evidence has to stand when it asks, too.
pub async fn receive_open(
    node: &Node,
    route: &RouteState,
    client: &mut AcceptedLeg,
    holder: Holder,
    is_mine: impl Fn(&KeyId) -> bool,
) -> Result<Asked, Error> {
    let soon = opening::receive_open(client, node.side.deadlines.handshake_to_open, &is_mine).await;
    let (Upstream::Mutual { policy }, Err(late @ Error::Deadline { .. })) = (&route.route.upstream, &soon) else {
        return soon.map_err(never_asked);
    };
    let left = node.side.deadlines.idle_leg.saturating_sub(node.side.deadlines.handshake_to_open);
    let Ok(place) = node.gates.idle_legs.take(holder).inspect_err(|full| tracing::debug!(%full, %late)) else {
        return soon;
    };
    let mut draining = node.draining.subscribe();
    let asked = tokio::select! {
        asked = opening::receive_open(client, left, is_mine) => asked.map_err(never_asked)?,
        _ = draining.wait_for(|draining| *draining) => return Err(Error::Shutdown),
    };
    drop(place);
    if let Some(peer) = &client.facts.peer {
        node.side.verifier.admit(peer, policy, false).await?;
    }
    Ok(asked)
}

/// A peer that closes a leg which it had ready does nothing wrong.
fn never_asked(error: Error) -> Error {
    match error {
        Error::Peer(PeerMisbehaved::Closed) => PeerMisbehaved::NeverAsked.into(),
        other => other,
    }
}

impl Pool {
    pub fn new(settings: WarmLegs) -> Self {
        Self {
            settings,
            ready: Mutex::default(),
            taken: Notify::new(),
            lost: AtomicUsize::new(0),
            served: AtomicUsize::new(0),
        }
    }

    /// The oldest that serves, and how long it has stood. Nobody else gets it. Must be called inside a runtime.
    fn take(&self, own: Option<KeyId>) -> Option<(DialledLeg, Duration)> {
        loop {
            let mut ready = {
                let mut all = self.ready();
                let place = all.iter().position(|ready| ready.own == own)?;
                all.remove(place)?
            };
            self.taken.notify_one();
            if Instant::now() >= ready.until || !ready.evidence_lasts() {
                continue;
            }
            if !ready.is_quiet() {
                self.lost.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let age = ready.made.elapsed();
            if let Ok(leg) = ready.into_leg() {
                return Some((leg, age));
            }
        }
    }

    /// Takes out whatever does not serve any more. `own` is the hop key now in service.
    fn weed(&self, own: Option<KeyId>) -> Weeded {
        let (lost, served) = (self.lost.swap(0, Ordering::Relaxed), self.served.swap(0, Ordering::Relaxed));
        let mut weeded = Weeded { retired: Vec::new(), lost, served };
        let mut all = self.ready();
        for mut ready in std::mem::take(&mut *all) {
            if ready.own != own || Instant::now() >= ready.until || !ready.evidence_lasts() {
                weeded.retired.push(ready);
            } else if !ready.is_quiet() {
                weeded.lost += 1;
            } else {
                all.push_back(ready);
            }
        }
        weeded
    }

    /// Collateral has changed: whoever does not stand up to it is let go.
    async fn judge_again(&self, node: &Node) {
        let peers: Vec<_> = self.ready().iter().map(|ready| (ready.facts.leg.id, ready.facts.peer.clone())).collect();
        for (id, peer) in peers {
            if let Err(error @ (Error::Refused(_) | Error::Collateral { .. })) = node.side.verifier.genuine(&peer).await
            {
                tracing::warn!(error = error.one_line(), "a leg that stood ready is let go");
                let mut all = self.ready();
                if let Some(place) = all.iter().position(|ready| ready.facts.leg.id == id) {
                    drop(all.remove(place));
                }
            }
        }
    }

    fn lacking(&self) -> usize {
        self.settings.size.saturating_sub(self.ready().len())
    }

    fn put(&self, ready: Ready) {
        let mut all = self.ready();
        if all.len() < self.settings.size {
            all.push_back(ready);
        }
    }

    fn ready(&self) -> MutexGuard<'_, VecDeque<Ready>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the pool of a route filled until the process drains, then lets its legs go. One task a route, on one worker.
pub async fn keep(node: Arc<Node>, route: Arc<RouteState>, mut down: watch::Receiver<bool>) {
    let Some(pool) = &route.warm else { return };
    let mut changes = node.side.verifier.changes();
    let mut pause = RETRY;
    let mut not_before = Instant::now();
    let look = jitter(LOOK.min(pool.settings.max_age / 4));
    let (mut look_at, mut of_key) = (Instant::now(), None);
    loop {
        let own = identity(&route).ok().flatten().map(|own| own.key.kid());
        // Taking a leg wakes this task up: all of them are looked at now and then only, or when the key is another.
        let weeded = if Instant::now() >= look_at || own != of_key {
            look_at = Instant::now() + look;
            of_key = own;
            pool.weed(own)
        } else {
            Weeded::default()
        };
        if weeded.lost > 0 {
            // A peer that lets legs go as fast as they are made is not asked as fast.
            tracing::debug!(route = route.route.name, legs = weeded.lost, "legs that stood ready were lost");
            not_before = Instant::now() + jitter(pause);
            pause = (pause * 2).min(RETRY_MOST);
        } else if weeded.served > 0 || !weeded.retired.is_empty() {
            pause = RETRY;
        }
        weeded.retired.into_iter().for_each(let_go);
        if pool.lacking() > 0 && Instant::now() >= not_before {
            let filled = tokio::select! {
                filled = fill(&node, &route, pool) => filled,
                _ = down.wait_for(|down| *down) => break,
            };
            match filled {
                Ok(()) if pool.lacking() > 0 => continue,
                Ok(()) => {}
                Err(error) => {
                    if pause == RETRY {
                        tracing::warn!(route = route.route.name, error = error.one_line(), "no leg stands ready");
                    }
                    not_before = Instant::now() + jitter(pause);
                    pause = (pause * 2).min(RETRY_MOST);
                }
            }
        }
        let next = if pool.lacking() > 0 { look_at.min(not_before) } else { look_at };
        tokio::select! {
            () = sleep_until(next) => {}
            () = pool.taken.notified() => {
                let now = Instant::now();
                if not_before <= now {
                    not_before = now + jitter(REFILL);
                }
            }
            changed = changes.changed() => match changed {
                Ok(()) => pool.judge_again(&node).await,
                // Nobody changes collateral any more.
                Err(_) => sleep_until(next).await,
            },
            _ = down.wait_for(|down| *down) => break,
        }
    }
    std::mem::take(&mut *pool.ready()).into_iter().for_each(let_go);
}

/// Makes a few of those that are missing. An error, if none could be made.
async fn fill(node: &Arc<Node>, route: &Arc<RouteState>, pool: &Pool) -> Result<(), Error> {
    let own = identity(route)?;
    let mut making = JoinSet::new();
    for _ in 0..pool.lacking().min(AT_ONCE) {
        let (node, route, own) = (Arc::clone(node), Arc::clone(route), own.clone());
        making.spawn_local(async move { make(&node, &route, own).await });
    }
    let mut failed = None;
    let mut made = 0;
    while let Some(done) = making.join_next().await {
        match done {
            Ok(Ok(ready)) => {
                pool.put(ready);
                made += 1;
            }
            Ok(Err(error)) => failed = Some(error),
            Err(error) => failed = Some(Error::Internal(format!("making a leg: {error}"))),
        }
    }
    tracing::debug!(route = route.route.name, made, ready = pool.ready().len(), "legs stand ready");
    match failed {
        Some(error) if made == 0 => Err(error),
        _ => Ok(()),
    }
}

async fn make(node: &Node, route: &RouteState, own: Option<Arc<HopIdentity>>) -> Result<Ready, Error> {
    let target = &route.route.target;
    let kid = own.as_ref().map(|own| own.key.kid());
    let socket = dial(target, node.side.deadlines.dial).await?;
    let limit = node.side.deadlines.handshake;
    let met = handshake::meet_server(socket, &node.side.provider, own, server_name(target), limit).await?;
    let (socket, Established { opener, sealer, unread, .. }, facts, speaks) = met;
    if speaks == Speaks::Bytes {
        return Err(PeerMisbehaved::Protocol("the target speaks no `inclavared/1`: no leg stands ready".into()).into());
    }
    node.side.verifier.genuine(&facts.peer).await?;
    let max_age = route.warm.as_ref().map_or(Duration::ZERO, |pool| pool.settings.max_age);
    let made = Instant::now();
    let until = made + max_age.mul_f64(0.75 + 0.25 * random());
    let socket = socket.park().map_err(|error| Error::Internal(format!("a leg to stand ready: {error}")))?;
    Ok(Ready { socket, opener, sealer, unread, facts, own: kid, made, until })
}

/// The identity of the paths that the pool is for: where clients are met with evidence, their legs and those below are of
/// one key.
fn identity(route: &RouteState) -> Result<Option<Arc<HopIdentity>>, Error> {
    match (route.route.upstream.shows_evidence(), &route.route.downstream) {
        (true, _) | (_, Downstream::Mutual { .. }) => route.identity().map(Some),
        (false, _) => Ok(None),
    }
}

/// Closes in order, beside whatever else goes on.
fn let_go(ready: Ready) {
    if let Ok(leg) = ready.into_leg() {
        tokio::task::spawn_local(leg.close());
    }
}

fn jitter(wait: Duration) -> Duration {
    wait.mul_f64(0.75 + 0.5 * random())
}

/// 0 to 1. Without randomness everything happens at once, which is a pity and no error.
fn random() -> f64 {
    let mut random = [0; 4];
    let _ = aws_lc_rs::rand::fill(&mut random);
    f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests;
