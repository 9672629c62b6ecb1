//! Appraisals, and what is remembered of them.

use std::sync::atomic::{AtomicUsize, Ordering};

use inclavared_attest::Reason;

use super::Counter;
use super::text::Text;

/// Of one process.
#[derive(Debug)]
pub struct AppraisalCounters {
    /// Answered from memory.
    pub hits: Counter,
    /// Appraised, as nothing was remembered.
    pub misses: Counter,
    /// Let go of: its time was over, other collateral took the place of what it rested on, or room was needed.
    pub evictions: Counter,
    /// What is remembered now.
    size: AtomicUsize,
    /// By the code of the reason.
    refused: Box<[Counter]>,
}

impl Default for AppraisalCounters {
    fn default() -> Self {
        Self {
            hits: Counter::default(),
            misses: Counter::default(),
            evictions: Counter::default(),
            size: AtomicUsize::new(0),
            refused: Reason::ALL.iter().map(|_| Counter::default()).collect(),
        }
    }
}

impl AppraisalCounters {
    pub fn refuse(&self, reason: Reason) {
        if let Some(at) = Reason::ALL.iter().position(|known| *known == reason) {
            self.refused[at].increment();
        }
    }

    pub fn refused(&self, reason: Reason) -> u64 {
        Reason::ALL.iter().position(|known| *known == reason).map_or(0, |at| self.refused[at].get())
    }

    pub fn set_size(&self, size: usize) {
        self.size.store(size, Ordering::Relaxed);
    }

    pub fn size(&self) -> usize {
        self.size.load(Ordering::Relaxed)
    }

    pub(super) fn render(&self, text: &mut Text) {
        let one = |counter: &Counter| [(&[][..], counter.get())];
        let hits = "Appraisals that were answered from what was accepted before.";
        text.counter("inclavared_evidence_cache_hits_total", hits, one(&self.hits));
        let misses = "Appraisals of which nothing was remembered.";
        text.counter("inclavared_evidence_cache_misses_total", misses, one(&self.misses));
        let evictions = "Remembered appraisals that were let go of: expired, of older collateral, or for want of room.";
        text.counter("inclavared_evidence_cache_evictions_total", evictions, one(&self.evictions));
        let entries = "Appraisals that are remembered.";
        text.gauge("inclavared_evidence_cache_entries", entries, [(&[][..], self.size())]);
        let refused = Reason::ALL.iter().zip(&self.refused).filter(|(_, counter)| counter.get() > 0);
        let labels: Vec<_> = refused.map(|(reason, counter)| ([("reason", reason.label())], counter.get())).collect();
        let samples = labels.iter().map(|(labels, value)| (&labels[..], *value));
        text.counter("inclavared_appraisals_refused_total", "Evidence that was refused, by reason.", samples);
    }
}
