//! The three commands, as a library: their command lines, what they tell people, and what they do besides relaying.
//!
//! Nothing imports it but the binaries in `bin/` and their tests.

pub mod cli;
pub mod demo;
pub mod greeting;
pub mod hardening;
pub mod offline;
pub mod pccs;
pub mod reference_values;
pub mod relying_party;
pub mod report;
pub mod signals;
