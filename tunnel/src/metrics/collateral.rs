//! Collateral: who was asked, what failed, how old it is.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use inclavared_attest::Timestamp;
use inclavared_attest::appraise::Root;

use super::Counter;
use super::text::Text;
use crate::collateral::{CollateralError, CollateralService, FetchError};

/// Of one process.
#[derive(Debug, Default)]
pub struct CollateralCounters {
    /// By the address of the service: fetches that gave something good, and others. As many as are configured.
    fetches: Mutex<BTreeMap<String, (u64, u64)>>,
    /// Sets that were older than what is known.
    rollbacks: Counter,
}

impl CollateralCounters {
    pub fn count_fetch(&self, endpoint: &str, good: bool) {
        let mut fetches = self.fetches.lock().unwrap_or_else(PoisonError::into_inner);
        let (succeeded, failed) = fetches.entry(endpoint.to_owned()).or_default();
        *if good { succeeded } else { failed } += 1;
    }

    pub fn count_rollback(&self) {
        self.rollbacks.increment();
    }

    /// Counts the rollbacks among what services did.
    pub fn refused(&self, error: &CollateralError) {
        if let CollateralError::Services { failures, .. } = error {
            let rollbacks = failures.iter().filter(|failure| matches!(failure.error, FetchError::Rollback(_)));
            self.rollbacks.add(rollbacks.count() as u64);
        }
    }

    pub fn rollbacks(&self) -> u64 {
        self.rollbacks.get()
    }

    /// Of one service: good ones and others.
    pub fn fetches(&self, endpoint: &str) -> (u64, u64) {
        let fetches = self.fetches.lock().unwrap_or_else(PoisonError::into_inner);
        fetches.get(endpoint).copied().unwrap_or_default()
    }
}

pub(super) fn render(service: &CollateralService, text: &mut Text) {
    let counters = service.counters();
    let fetches = counters.fetches.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let count = |result: &'static str, of: fn(&(u64, u64)) -> u64| {
        fetches
            .iter()
            .map(move |(endpoint, counts)| ([("endpoint", endpoint.as_str()), ("result", result)], of(counts)))
            .collect::<Vec<_>>()
    };
    let labels = [count("good", |counts| counts.0), count("failed", |counts| counts.1)].concat();
    let samples = labels.iter().map(|(labels, value)| (&labels[..], *value));
    let help = "Fetches of collateral, by service and by whether a good set came.";
    text.counter("inclavared_collateral_fetches_total", help, samples);
    let help = "Collateral that was refused because it is older than what is known.";
    text.counter("inclavared_collateral_rollbacks_refused_total", help, [(&[][..], counters.rollbacks())]);

    let now = Timestamp::now();
    let mut ages = service.ages();
    ages.sort_by_key(|(root, id, ..)| (*root as u8, id.to_string()));
    let ages: Vec<_> =
        ages.iter().map(|(root, id, fetched, expires)| (name(*root), id.to_string(), fetched, expires)).collect();
    let labels: Vec<_> = ages.iter().map(|(root, id, ..)| [("root", *root), ("set", id.as_str())]).collect();
    let seconds = |of: fn(Timestamp, Timestamp, Timestamp) -> u64| {
        labels
            .iter()
            .zip(&ages)
            .map(move |(labels, (_, _, fetched, expires))| (&labels[..], of(now, **fetched, **expires)))
    };
    let age = seconds(|now, fetched, _| now.since(fetched).as_secs());
    text.gauge("inclavared_collateral_age_seconds", "Since a set was fetched, loaded or handed in.", age);
    let left = seconds(|now, _, expires| expires.since(now).as_secs());
    text.gauge("inclavared_collateral_valid_seconds", "Until a set expires; 0 once it has.", left);
}

fn name(root: Root) -> &'static str {
    match root {
        Root::Intel => "intel",
        Root::Amd => "amd",
        Root::Simulated => "simulated",
        Root::None => "none",
    }
}
