//! Attacks on the real programs, one file each: an attacker that sends what ours never would, and the refusal.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../e2e/bottom.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests")]
mod bottom;
#[path = "../e2e/harness.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests")]
mod harness;
#[path = "../e2e/program.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests")]
mod program;
#[path = "../e2e/protocol.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests")]
mod protocol;
mod strangers;
#[path = "../e2e/stream.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests")]
mod stream;
mod tls13;

mod alpn_taken_back;
mod burst_of_honest;
mod client_without_frames_leaves;
mod dumps;
mod previewed_and_silent;
mod refused_upload;
mod stalled_client_hellos;
mod tickets_keep_nothing_alive;
mod unfinished_preview;
