//! The watch over a relay: when a half-closed, an idle or a stalled stream ends.
//!
//! It stands beside both directions, so a write that blocks does not hide it (Dstack-TEE/dstack#1245), and an open
//! stream that is merely quiet, or whose reader is slow, is never ended unless `idle` or `write_stall` says so.

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
    /// How long one write may take no byte at all. None: for ever, as long as the stream is open both ways.
    pub write_stall: Option<Duration>,
    /// How long no byte may pass at all. None: for ever.
    pub idle: Option<Duration>,
}

/// Counts from the last byte that moved, in either direction.
#[derive(Debug)]
pub(super) struct Watch {
    times: Times,
    last: Cell<Instant>,
    half_closed: Cell<bool>,
    changed: Notify,
}

/// The writes of one direction, as the watch sees them.
#[derive(Default, Debug)]
pub(super) struct Writes {
    /// Since when the write that is under way has taken nothing.
    blocked: Cell<Option<Instant>>,
}

impl Watch {
    pub(super) fn new(times: Times) -> Self {
        Self { times, last: Cell::new(Instant::now()), half_closed: Cell::new(false), changed: Notify::new() }
    }

    pub(super) fn touch(&self) {
        self.last.set(Instant::now());
    }

    /// A direction has ended: with the first one the timer is armed.
    pub(super) fn half_closed(&self) {
        self.touch();
        if !self.half_closed.replace(true) {
            self.changed.notify_one();
        }
    }

    /// A write took some bytes.
    pub(super) fn written(&self, writes: &Writes) {
        writes.blocked.set(None);
    }

    /// A write would block.
    pub(super) fn blocked(&self, writes: &Writes) {
        if self.times.write_stall.is_some() && writes.blocked.get().is_none() {
            writes.blocked.set(Some(Instant::now()));
            self.changed.notify_one();
        }
    }

    /// Waits until one of the times is over. Cancel safe.
    pub(super) async fn expiry(&self, writes: [&Writes; 2]) -> Error {
        loop {
            // A byte may have moved since the last look: then the time is later now.
            let Some((at, error)) = self.next(writes) else {
                self.changed.notified().await;
                continue;
            };
            if at <= Instant::now() {
                return error;
            }
            tokio::select! {
                () = sleep_until(at) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    /// What ends the stream first, if nothing moves any more.
    fn next(&self, writes: [&Writes; 2]) -> Option<(Instant, Error)> {
        let Times { half_close, write_stall, idle } = self.times;
        let last = self.last.get();
        let half_close = self.half_closed.get().then(|| (last + half_close, Error::HalfClosed(half_close)));
        let idle = idle.map(|idle| (last + idle, Error::Idle(idle)));
        let since = writes.into_iter().filter_map(|writes| writes.blocked.get()).min();
        let stall = write_stall.zip(since).map(|(stall, since)| (since + stall, Error::WriteStall(stall)));
        [half_close, stall, idle].into_iter().flatten().min_by_key(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times { half_close: Duration::from_secs(60), write_stall: None, idle: None };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    async fn expiry(watch: &Watch) -> Error {
        watch.expiry([&Writes::default(), &Writes::default()]).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_open_stream_is_left_alone() {
        let watch = Watch::new(TIMES);
        let day = tokio::time::timeout(seconds(86_400), expiry(&watch));
        assert!(day.await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn any_byte_extends_the_half_close_timer() {
        let watch = Watch::new(TIMES);
        let start = Instant::now();
        let moving = async {
            tokio::time::sleep(seconds(5)).await;
            watch.half_closed();
            for _ in 0..10 {
                tokio::time::sleep(seconds(50)).await;
                watch.touch();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            error = expiry(&watch) => assert!(matches!(error, Error::HalfClosed(_))),
            () = moving => {}
        }
        assert_eq!(start.elapsed(), seconds(5 + 500 + 60));
    }

    #[tokio::test(start_paused = true)]
    async fn idle_ends_a_stream() {
        let idle = Times { idle: Some(seconds(30)), ..TIMES };
        assert!(matches!(expiry(&Watch::new(idle)).await, Error::Idle(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_blocked_write_is_left_alone_for_an_hour() {
        let (watch, up, down) = (Watch::new(TIMES), Writes::default(), Writes::default());
        watch.blocked(&down);
        let hour = tokio::time::timeout(seconds(3600), watch.expiry([&up, &down]));
        assert!(hour.await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_write_ends_a_stream_where_that_is_configured() {
        let watch = Watch::new(Times { write_stall: Some(seconds(60)), ..TIMES });
        let (up, down) = (Writes::default(), Writes::default());
        let start = Instant::now();
        let writing = async {
            tokio::time::sleep(seconds(100)).await;
            for _ in 0..5 {
                watch.blocked(&down);
                tokio::time::sleep(seconds(50)).await;
                watch.written(&down);
            }
            watch.blocked(&down);
            // What the other direction moves does not help this one.
            loop {
                tokio::time::sleep(seconds(7)).await;
                watch.blocked(&up);
                watch.written(&up);
            }
        };
        tokio::select! {
            error = watch.expiry([&up, &down]) => assert!(matches!(error, Error::WriteStall(_)), "{error:?}"),
            () = writing => {}
        }
        assert_eq!(start.elapsed(), seconds(100 + 5 * 50 + 60));
    }
}
