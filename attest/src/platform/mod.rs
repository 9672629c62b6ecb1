//! Blocking drivers of the attesters.
