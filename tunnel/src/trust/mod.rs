//! Who we are and whom we believe: our identity and its keys, appraisal off the workers, and what is known already.

pub mod appraise;
pub mod blocking;
pub mod identity;
pub mod known_evidence;
pub mod legacy_identity;
pub mod select;
