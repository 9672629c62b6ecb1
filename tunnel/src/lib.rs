//! Attested TLS, the path on the wire, and the relay.

pub mod cli;
pub mod report;
pub mod tls;
