//! Which worker has a connection: the one that has the fewest.
//!
//! All workers accept from one listener, so none that is busy keeps clients waiting in a queue of its own, as it would with
//! a listener each (SO_REUSEPORT deals by hash). But a connection stays where it is put for as long as it lives, and
//! whoever happened to wake first may have many already: so it is handed to the worker with the fewest.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

use crate::server::held::Accepted;

/// Accepted sockets on their way to one worker. One that has so many to take gets no more: who accepted serves it.
const WAITING: usize = 64;

/// The workers of one process.
#[derive(Debug)]
pub struct Crew(Vec<Member>);

#[derive(Debug)]
struct Member {
    /// Connections that it has, or that are on their way to it.
    open: AtomicUsize,
    inbox: mpsc::Sender<Accepted>,
}

/// A connection counts for its worker until this is dropped.
#[derive(Debug)]
pub struct Place {
    crew: Arc<Crew>,
    worker: usize,
}

impl Crew {
    /// With what each worker receives.
    pub fn new(workers: usize) -> (Arc<Self>, Vec<mpsc::Receiver<Accepted>>) {
        let (members, inboxes) = (0..workers.max(1))
            .map(|_| {
                let (inbox, receives) = mpsc::channel(WAITING);
                (Member { open: AtomicUsize::new(0), inbox }, receives)
            })
            .unzip();
        (Arc::new(Self(members)), inboxes)
    }

    /// A place with the worker that has the fewest connections; with `here`, if no other has fewer.
    pub fn place(self: &Arc<Self>, here: usize) -> Place {
        let open = |worker: &usize| self.0[*worker].open.load(Ordering::Relaxed);
        let fewest = (0..self.0.len()).min_by_key(open).filter(|worker| open(worker) < open(&here));
        self.place_at(fewest.unwrap_or(here))
    }

    fn place_at(self: &Arc<Self>, worker: usize) -> Place {
        // An estimate that two workers make at once may be one off: nothing but the balance depends on it.
        self.0[worker].open.fetch_add(1, Ordering::Relaxed);
        Place { crew: Arc::clone(self), worker }
    }

    /// Hands a connection over; gives it back if that worker takes no more.
    pub(crate) fn hand_over(&self, worker: usize, accepted: Accepted) -> Result<(), Accepted> {
        self.0[worker].inbox.try_send(accepted).map_err(|error| match error {
            mpsc::error::TrySendError::Full(accepted) | mpsc::error::TrySendError::Closed(accepted) => accepted,
        })
    }
}

impl Place {
    pub fn worker(&self) -> usize {
        self.worker
    }

    /// The same for another worker.
    pub fn moved(self, worker: usize) -> Self {
        self.crew.place_at(worker)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crew.0[self.worker].open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_spread_evenly_whoever_accepts_them() {
        let (crew, _inboxes) = Crew::new(4);
        let mut places: Vec<_> = (0..64).map(|_| crew.place(2)).collect();
        let of = |places: &[Place], worker| places.iter().filter(|place| place.worker() == worker).count();
        assert_eq!([0, 1, 2, 3].map(|worker| of(&places, worker)), [16; 4]);

        // Those of one worker end: it gets the next ones.
        places.retain(|place| place.worker() != 1);
        let next: Vec<_> = (0..16).map(|_| crew.place(0)).collect();
        assert_eq!(of(&next, 1), 16);
    }

    #[test]
    fn at_a_draw_who_accepted_keeps_it() {
        let (crew, _inboxes) = Crew::new(3);
        for here in [2, 0, 1] {
            let place = crew.place(here);
            assert_eq!(place.worker(), here);
            std::mem::forget(place);
        }
    }

    #[test]
    fn a_place_that_moves_counts_once() {
        let (crew, _inboxes) = Crew::new(2);
        let place = crew.place(0).moved(1);
        assert_eq!((crew.0[0].open.load(Ordering::Relaxed), crew.0[1].open.load(Ordering::Relaxed)), (0, 1));
        drop(place);
        assert_eq!(crew.0[1].open.load(Ordering::Relaxed), 0);
    }
}
