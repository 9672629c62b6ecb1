//! Attested TLS, the path on the wire, and the relay.

pub mod collateral;
pub mod tls;
