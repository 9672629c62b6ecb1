//! Room for those on whom we wait: a peer that says nothing costs a place and no work.
//!
//! Nobody is kept out by those that wait: when it is full, the oldest stay of the holder that has most ends. A crowd
//! displaces itself; of strangers and of the admitted, strangers go first.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Holder;
use crate::error::Error;

/// What many stays may weigh in all: their number, or bytes.
#[derive(Debug)]
pub struct Room {
    /// Stands in the error of a stay that was displaced.
    what: &'static str,
    limit: usize,
    state: Mutex<State>,
}

#[derive(Default, Debug)]
struct State {
    weight: usize,
    holders: HashMap<Holder, Stays>,
    /// The number of the next stay.
    number: u64,
}

/// Those of one holder, the oldest first. Invariant: not empty, and `weight` is their sum.
#[derive(Default, Debug)]
struct Stays {
    weight: usize,
    each: BTreeMap<u64, (usize, Arc<Notify>)>,
}

/// One stay; its drop ends it.
#[derive(Debug)]
pub struct Stay {
    room: Arc<Room>,
    holder: Holder,
    number: u64,
    ended: Arc<Notify>,
}

impl Room {
    pub fn new(what: &'static str, limit: usize) -> Arc<Self> {
        Arc::new(Self { what, limit, state: Mutex::default() })
    }

    /// Comes in. If that is too much, others go, or this one.
    pub fn enter(self: &Arc<Self>, holder: Holder, weight: usize) -> Stay {
        let mut state = self.state();
        let (number, ended) = (state.number, Arc::<Notify>::default());
        state.number += 1;
        state.weight += weight;
        let stays = state.holders.entry(holder).or_default();
        stays.weight += weight;
        stays.each.insert(number, (weight, Arc::clone(&ended)));
        self.make_room(&mut state);
        drop(state);
        Stay { room: Arc::clone(self), holder, number, ended }
    }

    /// What all stays weigh now.
    pub fn weight(&self) -> usize {
        self.state().weight
    }

    /// What those of one holder weigh.
    pub fn weight_of(&self, holder: &Holder) -> usize {
        self.state().holders.get(holder).map_or(0, |stays| stays.weight)
    }

    /// Ends the stay that gives way first. False: there is none.
    pub fn displace(&self) -> bool {
        self.state().displace()
    }

    fn make_room(&self, state: &mut State) {
        while state.weight > self.limit && state.displace() {}
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn displace(&mut self) -> bool {
        let busiest = self.holders.iter().max_by_key(|(holder, stays)| (holder.stranger, stays.weight));
        let Some((holder, stays)) = busiest else { return false };
        let (holder, oldest) = (*holder, stays.each.first_key_value().map(|(number, _)| *number));
        match oldest.and_then(|number| self.remove(&holder, number)) {
            Some(ended) => {
                ended.notify_one();
                true
            }
            None => false,
        }
    }

    fn remove(&mut self, holder: &Holder, number: u64) -> Option<Arc<Notify>> {
        let stays = self.holders.get_mut(holder)?;
        let (weight, ended) = stays.each.remove(&number)?;
        stays.weight -= weight;
        self.weight -= weight;
        if stays.each.is_empty() {
            self.holders.remove(holder);
        }
        Some(ended)
    }
}

impl Stay {
    /// It weighs so much from now on.
    pub fn weigh(&self, weight: usize) {
        let mut state = self.room.state();
        let Some(stays) = state.holders.get_mut(&self.holder) else { return };
        let Some((old, _)) = stays.each.get_mut(&self.number) else { return };
        let before = std::mem::replace(old, weight);
        stays.weight = stays.weight - before + weight;
        state.weight = state.weight - before + weight;
        self.room.make_room(&mut state);
    }

    /// Does `work`, unless this stay has to give way first.
    pub async fn beside<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::select! {
            biased;
            () = self.ended.notified() => Err(Error::Displaced { what: self.room.what, limit: self.room.limit }),
            done = work => done,
        }
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.room.state().remove(&self.holder, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leg::permits::{Sources, Who};

    fn from(address: &str) -> Holder {
        Holder::stranger(Sources { ipv6_prefix: 64 }.of(Some(address.parse().unwrap())))
    }

    /// Whether it had to give way.
    async fn has_ended(stay: &Stay) -> bool {
        stay.beside(async {
            tokio::task::yield_now().await;
            Ok(())
        })
        .await
        .is_err()
    }

    #[tokio::test]
    async fn a_crowd_displaces_itself() {
        let room = Room::new("stays", 4);
        let crowd: Vec<_> = (0..4).map(|_| room.enter(from("192.0.2.1"), 1)).collect();
        let single = room.enter(from("192.0.2.2"), 1);
        assert!(has_ended(&crowd[0]).await);
        let more = room.enter(from("192.0.2.1"), 1);
        assert!(has_ended(&crowd[1]).await);
        assert!(!has_ended(&crowd[2]).await && !has_ended(&more).await && !has_ended(&single).await);
        assert_eq!((room.weight(), room.weight_of(&from("192.0.2.1"))), (4, 3));
        drop((crowd, single, more));
        assert_eq!(room.weight(), 0);
        assert!(room.state().holders.is_empty() && !room.displace());
    }

    #[tokio::test]
    async fn strangers_give_way_before_the_admitted() {
        let room = Room::new("stays", 4);
        let hop = Holder::admitted(Who::Hop(inclavared_attest::KeyId::from_bytes([1; 32])));
        let admitted: Vec<_> = (0..3).map(|_| room.enter(hop, 1)).collect();
        let stranger = room.enter(from("192.0.2.1"), 1);
        let one_more = room.enter(hop, 1);
        assert!(has_ended(&stranger).await);
        // Among themselves they are as everybody.
        let last = room.enter(hop, 1);
        assert!(has_ended(&admitted[0]).await && !has_ended(&one_more).await && !has_ended(&last).await);
    }

    #[tokio::test]
    async fn weight_counts_and_not_number() {
        let room = Room::new("bytes", 100);
        let light: Vec<_> = (0..10).map(|_| room.enter(from("192.0.2.1"), 5)).collect();
        let heavy = room.enter(from("192.0.2.2"), 10);
        heavy.weigh(40);
        assert_eq!(room.weight(), 90);
        heavy.weigh(60);
        assert!(has_ended(&heavy).await, "the heaviest gives way, and that is who grew");
        assert_eq!(room.weight(), 50);
        heavy.weigh(90);
        assert_eq!(room.weight(), 50, "what has ended weighs nothing");
        assert!(!has_ended(&light[0]).await);
    }
}
