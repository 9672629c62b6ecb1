//! What one process, and one source address, may have under way at once. Every permit is released by its drop.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Error;

/// A number that may not pass a limit, in all and per source. Shared by the workers; taken a few times a
/// connection, never on the byte path.
#[derive(Debug)]
pub struct Gate {
    what: &'static str,
    limit: usize,
    per_source: usize,
    places: Arc<Semaphore>,
    sources: Mutex<HashMap<IpAddr, Source>>,
}

/// One place behind a [`Gate`]. Small: it lies in the future of a connection.
#[derive(Debug)]
pub struct Permit {
    _held: Box<Held>,
}

#[derive(Debug)]
struct Held {
    // In this order: the gate's bookkeeping of a source comes last.
    _place: OwnedSemaphorePermit,
    _of_source: Option<OwnedSemaphorePermit>,
    _share: Option<Share>,
}

/// The places of one source.
#[derive(Debug)]
struct Source {
    places: Arc<Semaphore>,
    /// Who has one of them, or waits for one. Invariant: not zero.
    shares: usize,
}

/// Somebody's part in the places of one source. The last one's drop forgets the source.
#[derive(Debug)]
struct Share {
    gate: Arc<Gate>,
    source: IpAddr,
    places: Arc<Semaphore>,
}

impl Gate {
    /// `what` stands in the error that tells of a full gate.
    pub fn new(what: &'static str, limit: usize, per_source: usize) -> Arc<Self> {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        let places = Arc::new(Semaphore::new(limit));
        Arc::new(Self { what, limit, per_source, places, sources: Mutex::default() })
    }

    /// Takes a place or says which limit is reached. A peer without an address (a Unix socket) counts in all only.
    pub fn take(self: &Arc<Self>, source: Option<IpAddr>) -> Result<Permit, Error> {
        let share = self.share(source);
        let of_source = match &share {
            Some(share) => Some(Arc::clone(&share.places).try_acquire_owned().map_err(|_| self.full(self.per_source))?),
            None => None,
        };
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| self.full(self.limit))?;
        Ok(Permit { _held: Box::new(Held { _place: place, _of_source: of_source, _share: share }) })
    }

    /// Waits for a place, as long as the caller waits: those of one source first for one another. Cancel safe.
    ///
    /// Whoever waits is a connection, and those are bounded.
    pub async fn turn(self: &Arc<Self>, source: Option<IpAddr>) -> Result<Permit, Error> {
        let share = self.share(source);
        let of_source = match &share {
            Some(share) => Some(Arc::clone(&share.places).acquire_owned().await.map_err(|_| Error::Shutdown)?),
            None => None,
        };
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| Error::Shutdown)?;
        Ok(Permit { _held: Box::new(Held { _place: place, _of_source: of_source, _share: share }) })
    }

    /// [`turn`](Self::turn), for at most `wait`.
    pub async fn turn_within(self: &Arc<Self>, source: Option<IpAddr>, wait: Duration) -> Result<Permit, Error> {
        match tokio::time::timeout(wait, self.turn(source)).await {
            Ok(turn) => turn,
            Err(_) if self.places.available_permits() == 0 => Err(self.full(self.limit)),
            Err(_) => Err(self.full(self.per_source)),
        }
    }

    /// How many places are taken now.
    pub fn taken(&self) -> usize {
        self.limit - self.places.available_permits()
    }

    fn full(&self, limit: usize) -> Error {
        Error::Overload { what: self.what, limit }
    }

    fn share(self: &Arc<Self>, source: Option<IpAddr>) -> Option<Share> {
        let source = source.filter(|_| self.per_source < self.limit)?;
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Source { places: Arc::new(Semaphore::new(self.per_source)), shares: 0 };
        let entry = sources.entry(source).or_insert_with(new);
        entry.shares += 1;
        Some(Share { gate: Arc::clone(self), source, places: Arc::clone(&entry.places) })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut sources = self.gate.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = sources.get_mut(&self.source) {
            source.shares -= 1;
            if source.shares == 0 {
                sources.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> (Option<IpAddr>, Option<IpAddr>) {
        ("192.0.2.1".parse().ok(), "192.0.2.2".parse().ok())
    }

    #[test]
    fn limits_in_all_and_per_source() {
        let gate = Gate::new("openings", 3, 2);
        let (a, b) = sources();
        let one = gate.take(a).unwrap();
        let _two = gate.take(a).unwrap();
        assert!(matches!(gate.take(a), Err(Error::Overload { limit: 2, .. })));
        let three = gate.take(b).unwrap();
        assert!(matches!(gate.take(b), Err(Error::Overload { limit: 3, .. })));
        drop(one);
        assert_eq!(gate.taken(), 2);
        gate.take(a).unwrap();
        assert_eq!(gate.taken(), 2);
        assert_eq!(gate.sources.lock().unwrap().len(), 2);
        drop(three);
        assert_eq!(gate.sources.lock().unwrap().len(), 1, "a source that has nothing under way is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_waits_for_its_own_and_takes_no_others_place() {
        let gate = Gate::new("handshakes", 3, 2);
        let (a, b) = sources();
        let held = [gate.take(a).unwrap(), gate.take(a).unwrap()];
        let wait = Duration::from_secs(2);
        let late = gate.turn_within(a, wait).await;
        assert!(matches!(late, Err(Error::Overload { limit: 2, .. })), "{late:?}");
        // Those of `a` that wait hold none of the places of the others.
        let mut waiting = std::pin::pin!(gate.turn(a));
        assert!(tokio::time::timeout(wait, &mut waiting).await.is_err());
        let other = gate.turn_within(b, wait).await.unwrap();
        let [first, _second] = held;
        drop(other);
        drop(first);
        assert!(waiting.await.is_ok());
        drop(gate.take(None).unwrap());
    }
}
