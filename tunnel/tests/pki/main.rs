//! Routes with certificates of an ordinary PKI, by the real process, against stock peers.

#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)] // what a helper of a test cannot do fails the test

mod openssl;
mod renewal;
mod rustls_peers;
mod support;
