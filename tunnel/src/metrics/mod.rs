//! What is counted, and the text in which Prometheus reads it.
//!
//! Counters are atomics: taken a few times a connection, never on the byte path, and without a lock. What has a label that
//! is not known beforehand (the address of a collateral service) is behind a lock that only fetches take. The admin
//! listener serves them (`[admin]` in the configuration); nobody counts anything for a process without one but the atomics.

mod admin;
mod appraisal;
mod collateral;
mod connections;
mod text;

pub use admin::serve;
pub use appraisal::AppraisalCounters;
pub use collateral::CollateralCounters;
pub use connections::{ConnectionCounters, RouteCounters};

use std::sync::atomic::{AtomicU64, Ordering};

use crate::node::Node;
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

/// All of a process, in the text format of Prometheus, version 0.0.4.
pub fn render(node: &Node) -> String {
    let mut text = Text::default();
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    text.gauge("inclavared_build_info", "The version that runs.", [(&version[..], 1)]);
    node.metrics.render(&node.gates, &mut text);
    node.verifier.counters.render(&mut text);
    collateral::render(&node.verifier.collateral, &mut text);
    text.finish()
}
