//! What a path needs of the process at one of its ends: an appraiser, its clocks' limits, and the ciphers.

use std::sync::Arc;

use inclavared_config::Deadlines;
use rustls::crypto::CryptoProvider;

use crate::trust::appraise::Verifier;

/// One process, as the protocol sees it.
#[derive(Clone)]
pub struct Side {
    pub provider: Arc<CryptoProvider>,
    pub verifier: Verifier,
    pub deadlines: Deadlines,
}

impl std::fmt::Debug for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Side").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}
