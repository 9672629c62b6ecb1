//! The watch over a relay: when a half-closed, stalled or too old stream ends.
//!
//! It stands beside both directions, so a write that blocks does not hide it (Dstack-TEE/dstack#1245), and an open
//! stream that is merely quiet is never ended unless `idle` says so.

use std::cell::Cell;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::error::Error;

/// How long a relay may be what.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// After the first direction has ended: how long no byte may pass.
    pub half_close: Duration,
    /// How long no byte may pass at all. None: for ever.
    pub idle: Option<Duration>,
    /// When the evidence of the path is too old to go on.
    pub path_ends: Option<Instant>,
}

/// Counts from the last byte that moved, in either direction.
#[derive(Debug)]
pub(super) struct Watch {
    last: Cell<Instant>,
    half_closed: Cell<bool>,
    changed: Notify,
}

impl Default for Watch {
    fn default() -> Self {
        Self { last: Cell::new(Instant::now()), half_closed: Cell::new(false), changed: Notify::new() }
    }
}

impl Watch {
    pub(super) fn touch(&self) {
        self.last.set(Instant::now());
    }

    /// The first direction has ended: the timer is armed.
    pub(super) fn half_closed(&self) {
        self.touch();
        if !self.half_closed.replace(true) {
            self.changed.notify_one();
        }
    }

    /// Waits until one of the times is over. Cancel safe.
    pub(super) async fn expiry(&self, times: &Times) -> Error {
        loop {
            let half_close = self.half_closed.get().then(|| (self.last.get() + times.half_close, 0));
            let idle = times.idle.map(|idle| (self.last.get() + idle, 1));
            let age = times.path_ends.map(|end| (end, 2));
            let Some((at, which)) = [half_close, idle, age].into_iter().flatten().min() else {
                self.changed.notified().await;
                continue;
            };
            tokio::select! {
                () = sleep_until(at) => {}
                () = self.changed.notified() => continue,
            }
            // A byte may have moved meanwhile: then the timer starts anew.
            match which {
                0 if self.last.get() + times.half_close <= at => return Error::HalfClosed(times.half_close),
                1 if times.idle.is_some_and(|idle| self.last.get() + idle <= at) => {
                    return Error::Idle(times.idle.unwrap_or_default());
                }
                2 => return Error::PathAge,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times { half_close: Duration::from_secs(60), idle: None, path_ends: None };

    #[tokio::test(start_paused = true)]
    async fn a_quiet_open_stream_is_left_alone() {
        let watch = Watch::default();
        let day = tokio::time::timeout(Duration::from_secs(86_400), watch.expiry(&TIMES));
        assert!(day.await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn any_byte_extends_the_half_close_timer() {
        let watch = Watch::default();
        let start = Instant::now();
        let moving = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            watch.half_closed();
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_secs(50)).await;
                watch.touch();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            error = watch.expiry(&TIMES) => assert!(matches!(error, Error::HalfClosed(_))),
            () = moving => {}
        }
        assert_eq!(start.elapsed(), Duration::from_secs(5 + 500 + 60));
    }

    #[tokio::test(start_paused = true)]
    async fn idle_and_age_end_a_stream() {
        let idle = Times { idle: Some(Duration::from_secs(30)), ..TIMES };
        assert!(matches!(Watch::default().expiry(&idle).await, Error::Idle(_)));
        let old = Times { path_ends: Some(Instant::now() + Duration::from_secs(10)), ..idle };
        assert!(matches!(Watch::default().expiry(&old).await, Error::PathAge));
    }
}
