//! What an attacker does, one attack a file: a TLS 1.3 client, or a hop of the test's own, that sends what ours never would.

#![allow(clippy::unwrap_used)] // what a helper of a test cannot do fails the test

#[allow(dead_code, reason = "shared with the tests of quotes")]
#[path = "../quoting/world.rs"]
mod world;

mod fresh_quote_is_no_certificate;
