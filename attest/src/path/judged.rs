//! What the judgement of one hop comes to.

use std::sync::Arc;

use crate::Timestamp;
use crate::appraise::Appraised;
use crate::evidence::Evidence;
use crate::policy::Verdict;

/// A hop that was admitted.
pub(super) struct Judged {
    pub(super) evidence: Arc<Evidence>,
    pub(super) appraised: Arc<Appraised>,
    pub(super) verdict: Verdict,
    pub(super) not_after: Timestamp,
    pub(super) fresh_at: Option<Timestamp>,
}

/// A fresh quote that was admitted.
pub(super) struct Renewed {
    pub(super) appraised: Arc<Appraised>,
    pub(super) verdict: Verdict,
    pub(super) not_after: Timestamp,
}
