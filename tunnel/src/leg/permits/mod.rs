//! What one process, and one holder, may have under way at once.
//!
//! A [`Gate`] is for work of our own: whoever finds it full waits, and holders take turns. A [`Room`] is for waiting on
//! peers: whoever finds it full takes the place of the oldest of the busiest holder. Both are shared by the workers and
//! used a few times a connection, never on the byte path. This file owns the gate; who holds a place is in `holder`.

mod holder;
mod room;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

pub use holder::{Holder, Sources, Who};
pub use room::{Room, Stay};

use crate::error::Error;

/// How many places there are, and for whom.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    pub all: usize,
    /// Of one address, or of one listener.
    pub per_holder: usize,
    /// Of one hop that was admitted, in each of its classes.
    pub per_hop: usize,
    /// Of all strangers together: what is beyond it is kept for those that are none.
    pub strangers: usize,
}

impl Places {
    /// `kept` of a hundred are kept for those that were admitted, and strangers have one at least. A hop stands for many
    /// clients: it takes turns with others, and has no limit of its own.
    pub fn new(all: usize, per_holder: usize, kept: u8) -> Self {
        let strangers = all - all.saturating_mul(kept.into()) / 100;
        Self { all, per_holder, per_hop: all, strangers: strangers.max(1) }
    }

    /// The most that one holder may have, whatever the others have.
    fn of(&self, holder: &Holder) -> usize {
        match holder.who {
            Who::Address(_) | Who::Listener(_) => self.per_holder,
            Who::Hop(_) => self.per_hop,
            Who::Local => self.all,
        }
    }
}

/// Places that are taken for work, and waited for in turn.
///
/// Holders that wait take turns, one place each, so that nobody waits behind another's crowd; strangers and the admitted
/// take turns with one another.
#[derive(Debug)]
pub struct Gate {
    /// Stands in the error that tells of a full gate.
    what: &'static str,
    places: Places,
    state: Mutex<State>,
}

/// One place behind a [`Gate`]; its drop gives it back. Small: it lies in the future of a connection.
#[derive(Debug)]
pub struct Permit(Option<Box<(Arc<Gate>, Holder)>>);

#[derive(Default, Debug)]
struct State {
    taken: usize,
    taken_by_strangers: usize,
    holders: HashMap<Holder, Line>,
    /// Holders that wait and may have one more place, by whether they are strangers. Invariant: each at most once.
    next: [VecDeque<Holder>; 2],
    /// Whose turn it is.
    strangers_turn: bool,
    /// The number of the next that waits.
    number: u64,
}

/// The places of one holder, and who waits for one. Invariant: not empty in both.
#[derive(Default, Debug)]
struct Line {
    taken: usize,
    waiting: BTreeMap<u64, oneshot::Sender<Permit>>,
    /// It stands in `next`.
    listed: bool,
}

/// Somebody's place in a line. Gone, it is waited for no more.
struct Waiting<'a> {
    gate: &'a Gate,
    holder: Holder,
    number: u64,
}

impl Gate {
    pub fn new(what: &'static str, places: Places) -> Arc<Self> {
        Arc::new(Self { what, places, state: Mutex::default() })
    }

    /// Takes a place or says which limit is reached. Nobody who waits is overtaken.
    pub fn take(self: &Arc<Self>, holder: Holder) -> Result<Permit, Error> {
        let mut state = self.state();
        if state.next.iter().any(|line| !line.is_empty()) {
            return Err(self.full(self.places.all));
        }
        match self.lacks(&state, &holder) {
            None => Ok(self.give(&mut state, holder)),
            Some(limit) => Err(self.full(limit)),
        }
    }

    /// Waits for a place until the caller gives up. Cancel safe.
    ///
    /// Whoever waits is a connection, and those are bounded.
    pub async fn turn(self: &Arc<Self>, holder: Holder) -> Result<Permit, Error> {
        let (place, waiting) = {
            let mut state = self.state();
            let (send, place) = oneshot::channel();
            let number = state.number;
            state.number += 1;
            state.holders.entry(holder).or_default().waiting.insert(number, send);
            self.list(&mut state, holder);
            self.grant(&mut state);
            (place, Waiting { gate: self, holder, number })
        };
        let permit = place.await.map_err(|_| Error::Shutdown);
        drop(waiting);
        permit
    }

    /// [`turn`](Self::turn), for at most `wait`.
    pub async fn turn_within(self: &Arc<Self>, holder: Holder, wait: Duration) -> Result<Permit, Error> {
        match tokio::time::timeout(wait, self.turn(holder)).await {
            Ok(turn) => turn,
            Err(_) => {
                let limit = self.lacks(&self.state(), &holder);
                Err(self.full(limit.unwrap_or(self.places.all)))
            }
        }
    }

    /// How many places are taken now.
    pub fn taken(&self) -> usize {
        self.state().taken
    }

    fn full(&self, limit: usize) -> Error {
        Error::Overload { what: self.what, limit }
    }

    /// The limit that keeps a place from a holder.
    fn lacks(&self, state: &State, holder: &Holder) -> Option<usize> {
        if self.has_its_share(state, holder) {
            return Some(self.places.of(holder));
        }
        match holder.stranger && state.taken_by_strangers >= self.places.strangers {
            true => Some(self.places.strangers),
            false => (state.taken >= self.places.all).then_some(self.places.all),
        }
    }

    fn has_its_share(&self, state: &State, holder: &Holder) -> bool {
        state.holders.get(holder).is_some_and(|line| line.taken >= self.places.of(holder))
    }

    fn give(self: &Arc<Self>, state: &mut State, holder: Holder) -> Permit {
        state.taken += 1;
        state.taken_by_strangers += usize::from(holder.stranger);
        state.holders.entry(holder).or_default().taken += 1;
        Permit(Some(Box::new((Arc::clone(self), holder))))
    }

    fn take_back(&self, state: &mut State, holder: Holder) {
        state.taken -= 1;
        state.taken_by_strangers -= usize::from(holder.stranger);
        if let Some(line) = state.holders.get_mut(&holder) {
            line.taken -= 1;
        }
        self.forget(state, holder);
    }

    fn forget(&self, state: &mut State, holder: Holder) {
        if state.holders.get(&holder).is_some_and(|line| line.taken == 0 && line.waiting.is_empty() && !line.listed) {
            state.holders.remove(&holder);
        }
    }

    /// A holder that waits, and may have a place more, stands in line.
    fn list(&self, state: &mut State, holder: Holder) {
        if self.has_its_share(state, &holder) {
            return;
        }
        if let Some(line) = state.holders.get_mut(&holder)
            && !line.listed
            && !line.waiting.is_empty()
        {
            line.listed = true;
            state.next[usize::from(holder.stranger)].push_back(holder);
        }
    }

    /// Gives away what is free, a place a turn.
    fn grant(self: &Arc<Self>, state: &mut State) {
        while state.taken < self.places.all {
            let strangers_may = state.taken_by_strangers < self.places.strangers && !state.next[1].is_empty();
            let is_stranger = match (state.next[0].is_empty(), strangers_may) {
                (true, false) => return,
                (false, true) => state.strangers_turn,
                (_, strangers) => strangers,
            };
            let Some(holder) = state.next[usize::from(is_stranger)].pop_front() else { return };
            state.strangers_turn = !is_stranger;
            let Some(line) = state.holders.get_mut(&holder) else { continue };
            line.listed = false;
            if let Some((_, waits)) = line.waiting.pop_first() {
                let permit = self.give(state, holder);
                if let Err(mut unwanted) = waits.send(permit) {
                    // Not by its drop: the state is locked.
                    unwanted.0 = None;
                    self.take_back(state, holder);
                }
            }
            self.list(state, holder);
            self.forget(state, holder);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(held) = self.0.take() {
            let (gate, holder) = *held;
            let mut state = gate.state();
            gate.take_back(&mut state, holder);
            gate.list(&mut state, holder);
            gate.grant(&mut state);
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        if let Some(line) = state.holders.get_mut(&self.holder) {
            line.waiting.remove(&self.number);
        }
        self.gate.forget(&mut state, self.holder);
    }
}

#[cfg(test)]
mod tests;
