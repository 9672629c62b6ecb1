//! How often something new is let in: collateral that nobody has asked for before, on the word of an unverified peer.

use std::time::{Duration, Instant};

/// A token bucket.
#[derive(Debug)]
pub(super) struct Admission {
    burst: usize,
    every: Duration,
    tokens: usize,
    since: Instant,
}

impl Admission {
    pub(super) fn new(burst: usize, every: Duration, now: Instant) -> Self {
        Self { burst, every, tokens: burst, since: now }
    }

    pub(super) fn admit(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since);
        let earned = match self.every.as_nanos() {
            0 => usize::MAX,
            every => usize::try_from(passed.as_nanos() / every).unwrap_or(usize::MAX),
        };
        if earned >= self.burst - self.tokens.min(self.burst) {
            (self.tokens, self.since) = (self.burst, now);
        } else {
            self.tokens += earned;
            // What is left of the time counts towards the next one. Invariant: `earned` is below `burst`.
            self.since += self.every * u32::try_from(earned).unwrap_or(u32::MAX);
        }
        let admitted = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_one_at_a_time() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut admission = Admission::new(3, Duration::from_secs(10), start);
        let admitted = |admission: &mut Admission, now| (0..9).filter(|_| admission.admit(now)).count();
        assert_eq!(admitted(&mut admission, at(0)), 3);
        assert_eq!(admitted(&mut admission, at(9)), 0);
        assert_eq!(admitted(&mut admission, at(19)), 1);
        assert_eq!(admitted(&mut admission, at(20)), 1);
        assert_eq!(admitted(&mut admission, at(1_000_000)), 3);
        assert_eq!(admitted(&mut admission, at(0)), 0, "a clock that goes back gives nothing");
        assert_eq!(admitted(&mut Admission::new(0, Duration::from_secs(10), start), at(100)), 0);
    }
}
