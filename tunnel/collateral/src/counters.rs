//! What is counted of fetches: who was asked, and what failed. Whoever shows metrics reads it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::{CollateralError, FetchError};

/// Of one process.
#[derive(Debug, Default)]
pub struct CollateralCounters {
    /// By the address of the service: fetches that gave something good, and others. As many as are configured.
    fetches: Mutex<BTreeMap<String, (u64, u64)>>,
    /// Sets that were older than what is known.
    rollbacks: AtomicU64,
}

impl CollateralCounters {
    pub fn count_fetch(&self, endpoint: &str, good: bool) {
        let mut fetches = self.fetches.lock().unwrap_or_else(PoisonError::into_inner);
        let (succeeded, failed) = fetches.entry(endpoint.to_owned()).or_default();
        *if good { succeeded } else { failed } += 1;
    }

    pub fn count_rollback(&self) {
        self.rollbacks.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the rollbacks among what services did.
    pub fn refused(&self, error: &CollateralError) {
        if let CollateralError::Services { failures, .. } = error {
            let rollbacks = failures.iter().filter(|failure| matches!(failure.error, FetchError::Rollback(_)));
            self.rollbacks.fetch_add(rollbacks.count() as u64, Ordering::Relaxed);
        }
    }

    pub fn rollbacks(&self) -> u64 {
        self.rollbacks.load(Ordering::Relaxed)
    }

    /// By the address of the service: fetches that gave something good, and others.
    pub fn all_fetches(&self) -> BTreeMap<String, (u64, u64)> {
        self.fetches.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Of one service: good ones and others.
    pub fn fetches(&self, endpoint: &str) -> (u64, u64) {
        let fetches = self.fetches.lock().unwrap_or_else(PoisonError::into_inner);
        fetches.get(endpoint).copied().unwrap_or_default()
    }
}
