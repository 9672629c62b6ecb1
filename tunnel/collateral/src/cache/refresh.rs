//! Sets are fetched anew well ahead of their end: nobody waits for that, and a service may be down for a while.

use std::sync::Arc;
use std::time::Duration;

use inclavared_attest::Timestamp;
use inclavared_attest::appraise::{Collateral, Root};
use tokio::time::{sleep, timeout};

use super::{Key, Shared};

impl Shared {
    /// When to fetch a set again that was fetched now: once a period, and at half of what is left of its life if that
    /// is sooner.
    pub(super) fn next_refresh(&self, root: Root, set: &Collateral) -> Timestamp {
        if self.endpoints(root).is_empty() {
            return Timestamp(u64::MAX);
        }
        let cache = &self.settings.cache;
        let now = self.settings.clock.now();
        let wait = cache.refresh_every.min(set.expires().since(now) / 2).max(cache.refresh_retry);
        now.plus(jitter(wait))
    }

    /// Never ends.
    pub(super) async fn refresh(self: Arc<Self>) {
        loop {
            let wait = self.next_due().since(self.settings.clock.now()).clamp(TICK, LONGEST_SLEEP);
            // The clock on the wall may jump, so that no sleep is long.
            if timeout(wait, self.due.notified()).await.is_ok() {
                sleep(TICK).await;
            }
            self.refresh_amd();
            for key in self.all_due() {
                let flight = {
                    let mut state = self.state();
                    match state.flight(key) {
                        Some(flight) => flight,
                        None => self.start(&mut state, key),
                    }
                };
                tokio::spawn(Arc::clone(&self).watch(key, flight));
            }
        }
    }

    fn next_due(&self) -> Timestamp {
        let state = self.state();
        let intel = state.entries.values().map(|entry| entry.refresh_at).min();
        intel.into_iter().chain(state.amd.next_due()).min().unwrap_or(Timestamp(u64::MAX))
    }

    /// A few at a time. Each is put off meanwhile, so that it does not come up again while it is under way.
    fn all_due(&self) -> Vec<Key> {
        let now = self.settings.clock.now();
        let mut state = self.state();
        let limit = self.settings.cache.max_fetches.saturating_sub(state.flights.len());
        let due = state.entries.iter_mut().filter(|(_, entry)| entry.refresh_at <= now).take(limit);
        due.map(|(key, entry)| {
            entry.refresh_at = now.plus(self.settings.fetch.set_deadline + self.settings.cache.refresh_retry);
            *key
        })
        .collect()
    }

    /// Puts the next try off after one that failed. One that was good has set the time itself.
    async fn watch(self: Arc<Self>, key: Key, mut flight: tokio::sync::watch::Receiver<Option<super::Outcome>>) {
        let failed = flight.wait_for(Option::is_some).await.map_or(true, |outcome| matches!(&*outcome, Some(Err(_))));
        if failed {
            let cache = &self.settings.cache;
            let now = self.settings.clock.now();
            if let Some(entry) = self.state().entries.get_mut(&key) {
                let wait = cache.refresh_retry.saturating_mul(1 << entry.failed_refreshes.min(MAX_DOUBLINGS));
                entry.failed_refreshes += 1;
                entry.refresh_at = now.plus(jitter(wait.min(cache.refresh_every)));
            }
            self.due.notify_one();
        }
    }
}

/// A minute becomes an hour, no more.
pub(super) const MAX_DOUBLINGS: u32 = 6;

const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// The refresher does nothing more often than this.
const TICK: Duration = Duration::from_millis(200);

/// Between four and six fifths: a fleet that starts together does not ask together.
pub(super) fn jitter(wait: Duration) -> Duration {
    let mut random = [0; 4];
    // Without randomness everybody asks at once, which is a pity and no error.
    let _ = aws_lc_rs::rand::fill(&mut random);
    let share = f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX);
    wait.mul_f64(0.8 + 0.4 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_near() {
        let wait = Duration::from_secs(1000);
        for _ in 0..1000 {
            assert!((Duration::from_secs(800)..=Duration::from_secs(1200)).contains(&jitter(wait)));
        }
    }
}
