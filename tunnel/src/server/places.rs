//! The places of open connections.
//!
//! Whoever connects is a newcomer until it is known who that is: that ends soon, and newcomers displace one another, so
//! nobody can be kept out by those that say nothing. From then on a connection has a place as a stranger's or as an
//! admitted peer's. Strangers do not get all of them, and no few strangers get all of theirs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use inclavared_config::Limits;
use tokio::sync::Notify;

use crate::error::Error;
use crate::leg::permits::{Holder, Places, Room, Stay, Who};

const WHAT: &str = "open connections";

/// All connections of a process, of all workers.
#[derive(Debug)]
pub struct Connections {
    places: Places,
    newcomers: Arc<Room>,
    settled: Mutex<Settled>,
    /// A place has become free.
    freed: Notify,
}

#[derive(Default, Debug)]
struct Settled {
    all: usize,
    strangers: usize,
    holders: HashMap<Holder, usize>,
}

/// One connection's place; its drop gives it back. Small: it lies in the future of a connection.
#[derive(Debug)]
pub struct Admission(Box<(Arc<Connections>, State)>);

#[derive(Debug)]
enum State {
    Newcomer(Stay),
    Settled(Holder),
    /// While it is dropped.
    Nothing,
}

impl Connections {
    pub fn new(limits: &Limits) -> Arc<Self> {
        let places = Places::new(limits.connections, limits.connections_per_source, limits.kept_for_admitted);
        let newcomers = Room::new("connections of newcomers", limits.connections);
        Arc::new(Self { places, newcomers, settled: Mutex::default(), freed: Notify::new() })
    }

    /// A connection from the network. If there are as many as may be, the oldest newcomer of the busiest source goes.
    pub fn arrive(self: &Arc<Self>, who: Who) -> Result<Admission, Error> {
        let holder = Holder::stranger(who);
        let settled = self.settled();
        let own = settled.holders.get(&holder).copied().unwrap_or(0) + self.newcomers.weight_of(&holder);
        if matches!(who, Who::Address(_)) && own >= self.places.per_holder {
            return Err(full(self.places.per_holder));
        }
        if settled.all + self.newcomers.weight() >= self.places.all && !self.newcomers.displace() {
            return Err(full(self.places.all));
        }
        drop(settled);
        Ok(Admission(Box::new((Arc::clone(self), State::Newcomer(self.newcomers.enter(holder, 1))))))
    }

    /// A connection of a local application, which waits until there is a place. Cancel safe.
    pub async fn local(self: &Arc<Self>, who: Who) -> Admission {
        let holder = Holder::admitted(who);
        loop {
            let freed = self.freed.notified();
            {
                let mut settled = self.settled();
                let full = settled.all + self.newcomers.weight() >= self.places.all;
                if !full || self.newcomers.displace() {
                    settled.add(holder);
                    return Admission(Box::new((Arc::clone(self), State::Settled(holder))));
                }
            }
            freed.await;
        }
    }

    /// How many connections are open now.
    pub fn taken(&self) -> usize {
        self.settled().all + self.newcomers.weight()
    }

    /// Strangers of one address get at most as many places as they leave to others: the first has half of them, the next
    /// a quarter, and the last finds one.
    fn lacks(&self, settled: &Settled, holder: &Holder) -> Option<usize> {
        if !holder.stranger {
            return None;
        }
        let free = self.places.strangers.saturating_sub(settled.strangers);
        let own = settled.holders.get(holder).copied().unwrap_or(0);
        match holder.who {
            _ if free == 0 => Some(self.places.strangers),
            Who::Address(_) if own > free => Some(own),
            _ => None,
        }
    }

    fn settled(&self) -> MutexGuard<'_, Settled> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admission {
    /// It is known for whom this connection is. Refused, it stays what it was.
    pub fn settle(&mut self, holder: Holder) -> Result<(), Error> {
        let (connections, state) = &mut *self.0;
        let mut settled = connections.settled();
        if let Some(limit) = connections.lacks(&settled, &holder) {
            return Err(full(limit));
        }
        settled.add(holder);
        match std::mem::replace(state, State::Settled(holder)) {
            State::Settled(before) => settled.remove(&before),
            // Its room has a lock of its own.
            State::Newcomer(stay) => drop(stay),
            State::Nothing => {}
        }
        Ok(())
    }

    /// Nobody knows for whom it is.
    pub fn is_newcomer(&self) -> bool {
        matches!(self.0.1, State::Newcomer(_))
    }

    /// Does `work`, unless this connection has to give way to a newcomer first.
    pub async fn beside<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        match &self.0.1 {
            State::Newcomer(stay) => stay.beside(work).await,
            State::Settled(_) | State::Nothing => work.await,
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let (connections, state) = &mut *self.0;
        match std::mem::replace(state, State::Nothing) {
            State::Settled(holder) => connections.settled().remove(&holder),
            State::Newcomer(stay) => drop(stay),
            State::Nothing => {}
        }
        connections.freed.notify_waiters();
    }
}

impl Settled {
    fn add(&mut self, holder: Holder) {
        self.all += 1;
        self.strangers += usize::from(holder.stranger);
        *self.holders.entry(holder).or_default() += 1;
    }

    fn remove(&mut self, holder: &Holder) {
        self.all -= 1;
        self.strangers -= usize::from(holder.stranger);
        if let Some(held) = self.holders.get_mut(holder) {
            *held -= 1;
            if *held == 0 {
                self.holders.remove(holder);
            }
        }
    }
}

fn full(limit: usize) -> Error {
    Error::Overload { what: WHAT, limit }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inclavared_attest::KeyId;

    fn connections(all: usize, per_source: usize, kept: u8) -> Arc<Connections> {
        let limits = Limits {
            connections: all,
            connections_per_source: per_source,
            kept_for_admitted: kept,
            ..Limits::default()
        };
        Connections::new(&limits)
    }

    fn from(last: u8) -> Who {
        Who::Address(std::net::Ipv4Addr::new(192, 0, 2, last).into())
    }

    /// So many streams as strangers may have, one after the other.
    fn streams(connections: &Arc<Connections>, who: Who) -> Vec<Admission> {
        let stream = || {
            let mut admission = connections.arrive(who).ok()?;
            admission.settle(Holder::stranger(who)).ok()?;
            Some(admission)
        };
        std::iter::from_fn(stream).collect()
    }

    #[test]
    fn two_addresses_leave_something_to_the_third_and_admitted_peers_their_share() {
        let connections = connections(100, 50, 20);
        let streams: Vec<_> = (1..=3).map(|last| streams(&connections, from(last))).collect();
        let counts: Vec<_> = streams.iter().map(Vec::len).collect();
        // Of the 80 that strangers may have.
        assert_eq!(counts, [41, 20, 10]);
        let hop = Holder::admitted(Who::Hop(KeyId::from_bytes([1; 32])));
        let admitted: Vec<_> = (0..29)
            .map(|_| {
                let mut admission = connections.arrive(from(9)).unwrap();
                admission.settle(hop).unwrap();
                admission
            })
            .collect();
        assert_eq!(connections.taken(), 100);
        assert!(connections.arrive(from(9)).is_err());
        drop((admitted, streams));
        assert_eq!(connections.taken(), 0);
        assert!(connections.settled().holders.is_empty());
    }

    #[tokio::test]
    async fn newcomers_that_say_nothing_keep_nobody_out() {
        let connections = connections(10, 5, 0);
        let silent: Vec<_> = [1, 1, 1, 1, 1, 2, 2, 2, 2, 2].map(|last| connections.arrive(from(last)).unwrap()).into();
        assert!(connections.arrive(from(1)).is_err(), "one source has no more than its limit");
        let newcomer = connections.arrive(from(3)).unwrap();
        assert_eq!(connections.taken(), 10);
        let quick = || async {
            tokio::task::yield_now().await;
            Ok(())
        };
        let mut ended = 0;
        for admission in &silent {
            ended += usize::from(matches!(admission.beside(quick()).await, Err(Error::Displaced { .. })));
        }
        assert_eq!(ended, 1);
        assert!(newcomer.beside(quick()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_local_application_waits_for_a_place() {
        let connections = connections(2, 2, 0);
        let held = [connections.local(Who::Listener(0)).await, connections.local(Who::Listener(0)).await];
        let waiting = tokio::time::timeout(std::time::Duration::from_secs(5), connections.local(Who::Listener(0)));
        let (waited, ()) = tokio::join!(waiting, async {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            drop(held);
        });
        assert!(waited.is_ok());
    }
}
