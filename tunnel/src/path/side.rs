//! What a path needs of the process at one of its ends: an appraiser, its clocks' limits, and the ciphers.

use std::sync::Arc;

use inclavared_attest::path::Path;
use inclavared_config::Deadlines;
use rustls::crypto::CryptoProvider;

use crate::relay::Times;
use crate::trust::appraise::Verifier;

/// One process, as the protocol sees it.
#[derive(Clone)]
pub struct Side {
    pub provider: Arc<CryptoProvider>,
    pub verifier: Verifier,
    pub deadlines: Deadlines,
}

impl Side {
    /// How long a stream may be what, with `path` below this process. A stranger's may be idle for less.
    pub(crate) fn times(&self, path: Option<&Path>, stranger: bool) -> Times {
        let Deadlines { idle, stranger_idle, .. } = self.deadlines;
        let idle = if stranger { Some(idle.map_or(stranger_idle, |idle| idle.min(stranger_idle))) } else { idle };
        let depth = path.map_or(0, |path| path.hops.len());
        let margin = self.deadlines.open_to_preview_per_hop * u32::try_from(depth).unwrap_or(u32::MAX);
        Times {
            // The hop nearest to the workload ends a half-closed stream, and signs for it; those above wait for that.
            half_close: self.deadlines.half_close + margin,
            write_stall: self.deadlines.write_stall,
            idle: idle.map(|idle| idle + margin),
        }
    }
}

impl std::fmt::Debug for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Side").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}
