//! Transports that behave as badly as they may: short reads and writes, wake-ups for nothing, a byte at a time, an error at
//! any call.
//!
//! `memory` has the handshake and the record layer over streams in memory. The relay works on the readiness of sockets, so
//! that no payload is copied; making it generic would cost the byte path. So `shim` puts the weirdness between two real
//! programs, in a proxy that cuts, stalls and breaks.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../e2e/harness.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests")]
mod harness;
#[path = "../e2e/program.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests")]
mod program;
#[path = "../e2e/stream.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests")]
mod stream;
#[path = "../../../wire/tests/tls/support.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the tests of TLS")]
mod support;

mod io;
mod memory;
mod shim;
