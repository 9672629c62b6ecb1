//! What is counted, and the text in which Prometheus reads it.
//!
//! Counters are atomics: taken a few times a connection, never on the byte path, and without a lock. What has a label that
//! is not known beforehand (the address of a collateral service) is behind a lock that only fetches take. The admin
//! listener serves them (`[admin]` in the configuration); nobody counts anything for a process without one but the atomics.

mod appraisal;
mod collateral;
mod connections;
mod text;

pub use appraisal::AppraisalCounters;
pub use connections::{ConnectionCounters, Ended, How, RouteCounters};

use std::sync::atomic::{AtomicU64, Ordering};

use inclavared_collateral::CollateralService;

use text::Text;

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub fn increment(&self) {
        self.add(1);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The numbers of a process, lent for one rendering: this room counts, and asks nobody.
#[derive(Debug)]
pub struct Numbers<'a> {
    pub connections: &'a ConnectionCounters,
    /// Connections that are open.
    pub open: usize,
    /// Paths that are being opened.
    pub openings: usize,
    pub appraisals: &'a AppraisalCounters,
    pub collateral: &'a CollateralService,
}

/// All of a process, in the text format of Prometheus, version 0.0.4.
pub fn render(numbers: &Numbers<'_>) -> String {
    let mut text = Text::default();
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    text.gauge("inclavared_build_info", "The version that runs.", [(&version[..], 1)]);
    numbers.connections.render(numbers, &mut text);
    numbers.appraisals.render(&mut text);
    collateral::render(numbers.collateral, &mut text);
    text.finish()
}
