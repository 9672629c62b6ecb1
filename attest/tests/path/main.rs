//! The attested path from the outside: whole chains with real keys, certificates and (simulated) quotes, and for every
//! check of the verification a chain that fails exactly that one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "the builders are test code, outside of test functions")]

mod bytes;
mod chain;
mod document;
mod forward;
mod fresh;
mod later;
mod preview;
mod records;
mod sev_snp;
mod vectors;
mod world;
