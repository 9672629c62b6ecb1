//! Blocking drivers of the attesters.

pub mod sim;
