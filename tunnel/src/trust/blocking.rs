//! The bounded pool for what takes long: appraisal, quoting, verifying a path. Relays never wait behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::error::Error;

/// A pool of threads with a bounded queue. Clones share it.
#[derive(Clone, Debug)]
pub struct BlockingPool {
    handle: Handle,
    waiting: Arc<AtomicUsize>,
    queue: usize,
}

impl BlockingPool {
    /// `threads` work at once, `queue` calls may wait. The runtime owns the threads: keep it as long as the pool is used.
    pub fn new(threads: usize, queue: usize) -> std::io::Result<(Self, Runtime)> {
        // Nothing runs on this runtime but its blocking threads.
        let runtime = Builder::new_current_thread().max_blocking_threads(threads).thread_name("blocking").build()?;
        let pool =
            Self { handle: runtime.handle().clone(), waiting: Arc::default(), queue: queue.saturating_add(threads) };
        Ok((pool, runtime))
    }

    /// Runs `work` on a thread of the pool and waits for it, at most `limit`. Work that is too late is finished and
    /// its result dropped: it cannot be interrupted, and it is bounded itself.
    pub async fn run<T: Send + 'static>(
        &self,
        what: &'static str,
        limit: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let place = Place::take(&self.waiting, self.queue)
            .ok_or(Error::Overload { what: "calls waiting for the blocking pool", limit: self.queue })?;
        let task = self.handle.spawn_blocking(move || {
            let result = work();
            drop(place);
            result
        });
        match tokio::time::timeout(limit, task).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(error)) => Err(Error::Internal(format!("{what}: {error}"))),
            Err(_) => Err(Error::Deadline { what, limit }),
        }
    }
}

impl BlockingPool {
    /// Has `work` done on a thread of the pool; nobody waits for it.
    pub fn spawn(&self, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        let place = Place::take(&self.waiting, self.queue)
            .ok_or(Error::Overload { what: "calls waiting for the blocking pool", limit: self.queue })?;
        self.handle.spawn_blocking(move || {
            work();
            drop(place);
        });
        Ok(())
    }
}

struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(waiting: &Arc<AtomicUsize>, limit: usize) -> Option<Self> {
        let free = |n| (n < limit).then_some(n + 1);
        waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, free).ok()?;
        Some(Self(Arc::clone(waiting)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_full_queue_and_a_late_answer_are_errors() {
        let (pool, _threads) = BlockingPool::new(1, 0).unwrap();
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        let (release, hold) = mpsc::channel::<()>();
        runtime.block_on(async {
            let slow = pool.run("slow", Duration::from_millis(20), move || hold.recv());
            assert!(matches!(slow.await, Err(Error::Deadline { what: "slow", .. })));
            // The thread is still busy, so is the only place.
            let refused = pool.run("next", Duration::from_secs(5), || ()).await;
            assert!(matches!(refused, Err(Error::Overload { .. })));
            release.send(()).unwrap();
            while pool.waiting.load(Ordering::Acquire) > 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!(pool.run("next", Duration::from_secs(5), || 7).await.unwrap(), 7);
        });
    }
}
