//! The TLS of `inclavared_wire::tls` against TLS stacks that are not ours.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod damage;
mod gnutls;
mod openssl;
mod process;
mod refusals;
mod rustls_peer;
mod support;
