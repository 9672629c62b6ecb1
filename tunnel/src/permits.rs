//! What one process, and one source address, may have under way at once. Every permit is released by its drop.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Error;

/// A number that may not pass a limit, in all and per source. Shared by the workers; taken a few times a
/// connection, never on the byte path.
#[derive(Debug)]
pub struct Gate {
    what: &'static str,
    limit: usize,
    per_source: usize,
    taken: AtomicUsize,
    sources: Mutex<HashMap<IpAddr, usize>>,
}

/// One place behind a [`Gate`].
#[derive(Debug)]
pub struct Permit {
    gate: Arc<Gate>,
    source: Option<IpAddr>,
}

impl Gate {
    /// `what` stands in the error that tells of a full gate.
    pub fn new(what: &'static str, limit: usize, per_source: usize) -> Arc<Self> {
        Arc::new(Self { what, limit, per_source, taken: AtomicUsize::new(0), sources: Mutex::default() })
    }

    /// Takes a place or says which limit is reached. A peer without an address (a Unix socket) counts in all only.
    pub fn take(self: &Arc<Self>, source: Option<IpAddr>) -> Result<Permit, Error> {
        let full = |limit| Error::Overload { what: self.what, limit };
        self.taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n < self.limit).then_some(n + 1))
            .map_err(|_| full(self.limit))?;
        if let Some(source) = source
            && self.per_source < self.limit
        {
            let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
            let taken = sources.entry(source).or_default();
            if *taken >= self.per_source {
                self.taken.fetch_sub(1, Ordering::AcqRel);
                return Err(Error::Overload { what: self.what, limit: self.per_source });
            }
            *taken += 1;
            return Ok(Permit { gate: Arc::clone(self), source: Some(source) });
        }
        Ok(Permit { gate: Arc::clone(self), source: None })
    }

    /// How many places are taken now.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(source) = self.source {
            let mut sources = self.gate.sources.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(taken) = sources.get_mut(&source) {
                *taken -= 1;
                if *taken == 0 {
                    sources.remove(&source);
                }
            }
        }
        self.gate.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_in_all_and_per_source() {
        let gate = Gate::new("openings", 3, 2);
        let (a, b) = ("192.0.2.1".parse().ok(), "192.0.2.2".parse().ok());
        let one = gate.take(a).unwrap();
        let _two = gate.take(a).unwrap();
        assert!(matches!(gate.take(a), Err(Error::Overload { limit: 2, .. })));
        let _three = gate.take(b).unwrap();
        assert!(matches!(gate.take(b), Err(Error::Overload { limit: 3, .. })));
        drop(one);
        assert_eq!(gate.taken(), 2);
        gate.take(a).unwrap();
        assert_eq!(gate.taken(), 2);
        assert_eq!(gate.sources.lock().unwrap().len(), 2);
    }
}
