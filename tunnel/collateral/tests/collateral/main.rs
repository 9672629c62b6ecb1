//! Collateral over real HTTP on this machine: fetched, kept, served.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod cache;
mod failures;
mod fetch;
mod kds;
mod pccs;
mod support;
