//! One quote at a time over one interface, each with a deadline.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::attester::AttesterError;

/// The one place for a quote in flight. Every driver of this process that uses the same interface shares it.
#[derive(Clone, Default, Debug)]
pub(super) struct Gate(Arc<Slot>);

#[derive(Default, Debug)]
struct Slot {
    taken: Mutex<bool>,
    freed: Condvar,
}

impl Gate {
    /// The gate of an interface, by its path.
    pub(super) fn of(interface: &Path) -> Self {
        static GATES: Mutex<BTreeMap<PathBuf, Gate>> = Mutex::new(BTreeMap::new());
        lock(&GATES).entry(interface.to_path_buf()).or_default().clone()
    }

    /// Does `work` on a thread of its own and returns by the deadline, whatever the kernel does.
    ///
    /// A system call that blocks in the kernel cannot be taken back (the TDX driver waits for its host for up to 30
    /// seconds, the SEV-SNP driver for 60). At the deadline the caller is let go; the thread stays, keeps the place
    /// until the kernel lets go of it, and cleans up after itself. So there is at most one such thread for an interface,
    /// and what comes meanwhile fails by its own deadline instead of piling up.
    pub(super) fn run<T: Send + 'static>(
        &self,
        attester: &'static str,
        limit: Duration,
        work: impl FnOnce(&Deadline) -> Result<T, AttesterError> + Send + 'static,
    ) -> Result<T, AttesterError> {
        let deadline = Deadline {
            attester,
            limit,
            ends: Instant::now() + limit,
            doing: Arc::new(Mutex::new("waiting for the quote before this one".into())),
        };
        let permit = self.enter(&deadline)?;
        let (sender, receiver) = mpsc::sync_channel(1);
        let of_the_thread = deadline.clone();
        let work = move || {
            let result = work(&of_the_thread);
            drop(permit);
            // The caller may have left at its deadline.
            let _ = sender.send(result);
        };
        thread::Builder::new().name("quote".into()).spawn(work).map_err(|source| AttesterError::Io {
            attester,
            doing: "a thread for the quote cannot be started".into(),
            source,
        })?;
        match receiver.recv_timeout(deadline.left()) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => Err(deadline.passed()),
            Err(RecvTimeoutError::Disconnected) => {
                Err(AttesterError::Answer { attester, what: "its driver ended without an answer".into() })
            }
        }
    }

    fn enter(&self, deadline: &Deadline) -> Result<Permit, AttesterError> {
        let waiting = self.0.freed.wait_timeout_while(lock(&self.0.taken), deadline.left(), |taken| *taken);
        let (mut taken, _) = waiting.unwrap_or_else(PoisonError::into_inner);
        if *taken {
            return Err(deadline.passed());
        }
        *taken = true;
        Ok(Permit(self.clone()))
    }
}

/// The place, while it is held.
struct Permit(Gate);

impl Drop for Permit {
    fn drop(&mut self) {
        *lock(&self.0.0.taken) = false;
        self.0.0.freed.notify_one();
    }
}

/// When a quote must be there, and what is being done for it meanwhile.
#[derive(Clone, Debug)]
pub(super) struct Deadline {
    attester: &'static str,
    limit: Duration,
    ends: Instant,
    doing: Arc<Mutex<String>>,
}

impl Deadline {
    pub(super) fn attester(&self) -> &'static str {
        self.attester
    }

    /// Says what comes next, for the error if it takes too long.
    pub(super) fn doing(&self, what: impl Into<String>) {
        *lock(&self.doing) = what.into();
    }

    pub(super) fn left(&self) -> Duration {
        self.ends.saturating_duration_since(Instant::now())
    }

    /// [`Self::left`], and an error when that is nothing.
    pub(super) fn some_left(&self) -> Result<Duration, AttesterError> {
        match self.left() {
            Duration::ZERO => Err(self.passed()),
            left => Ok(left),
        }
    }

    pub(super) fn passed(&self) -> AttesterError {
        AttesterError::Deadline { attester: self.attester, doing: lock(&self.doing).clone(), after: self.limit }
    }

    /// Waits before the next attempt. An error when the deadline falls into the wait.
    pub(super) fn pause(&self, backoff: &mut Backoff) -> Result<(), AttesterError> {
        let pause = backoff.next();
        if pause >= self.left() {
            return Err(self.passed());
        }
        #[allow(clippy::disallowed_methods, reason = "this is the quote's own thread: no stream waits behind it")]
        thread::sleep(pause);
        Ok(())
    }
}

/// Pauses that double: short at first, because most quotes of others are done in milliseconds.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(5);
    const LONGEST: Duration = Duration::from_millis(500);

    pub(super) fn new() -> Self {
        Self(Self::FIRST)
    }

    fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(Self::LONGEST);
        pause
    }
}

/// What the locks guard is a flag or a text: never half-changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn one_at_a_time() {
        let gate = Gate::default();
        let inside = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..8)
            .map(|n| {
                let (gate, inside) = (gate.clone(), inside.clone());
                thread::spawn(move || {
                    let work = move |_: &Deadline| {
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        thread::yield_now();
                        assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1);
                        Ok(n)
                    };
                    gate.run("test", LONG, work).unwrap()
                })
            })
            .collect();
        let sum: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(sum, 28);
    }

    #[test]
    fn whoever_waits_too_long_is_let_go_and_the_place_stays_taken() {
        let gate = Gate::default();
        let (release, released) = mpsc::channel::<()>();
        let short = Duration::from_millis(50);
        let error = gate
            .run("test", short, move |deadline| {
                deadline.doing("reading outblob");
                released.recv().unwrap();
                Ok(())
            })
            .unwrap_err();
        assert!(matches!(&error, AttesterError::Deadline { doing, .. } if doing == "reading outblob"), "{error}");
        let error = gate.run("test", short, |_| Ok(())).unwrap_err();
        assert!(matches!(&error, AttesterError::Deadline { doing, .. } if doing.starts_with("waiting")), "{error}");
        release.send(()).unwrap();
        gate.run("test", LONG, |_| Ok(())).unwrap();
    }

    #[test]
    fn a_panic_frees_the_place() {
        let gate = Gate::default();
        let error = gate.run::<()>("test", LONG, |_| panic!("on purpose")).unwrap_err();
        assert!(matches!(error, AttesterError::Answer { .. }), "{error}");
        gate.run("test", LONG, |_| Ok(())).unwrap();
    }

    #[test]
    fn pauses_double_and_end_with_the_deadline() {
        let mut backoff = Backoff::new();
        let pauses: Vec<_> = (0..9).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 500, 500]);
        let error = Gate::default().run::<()>("test", Duration::from_millis(40), |deadline| {
            let mut backoff = Backoff::new();
            loop {
                deadline.pause(&mut backoff)?;
            }
        });
        assert!(matches!(error, Err(AttesterError::Deadline { .. })));
    }

    #[test]
    fn one_interface_one_gate() {
        let (a, b) = (Gate::of(Path::new("/a")), Gate::of(Path::new("/b")));
        assert!(Arc::ptr_eq(&a.0, &Gate::of(Path::new("/a")).0));
        assert!(!Arc::ptr_eq(&a.0, &b.0));
    }
}
