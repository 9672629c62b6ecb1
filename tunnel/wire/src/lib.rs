//! TLS 1.3 records and the frames of `inclavared/1`, over buffers that the caller owns.
//!
//! No sockets beyond the handshake's transport trait, no trust, no configuration: what a reviewer of cryptography, and
//! the fuzzer, have to read is here.

#![warn(missing_docs)]

pub mod frame;
pub mod tls;
