//! One hop of an attested path: its legs, the path over them, the relay between them, and the process that holds them.
//!
//! One connection goes through these rooms in this order: [`server`] accepts it, [`leg`] makes the handshake, [`trust`]
//! appraises the peer, [`path`] opens what lies below, [`relay`] moves the bytes, and [`path`] closes with a receipt.
//! `server::connection` tells the whole of it.

pub mod error;
pub mod leg;
pub mod metrics;
pub mod path;
pub mod relay;
pub mod server;
pub mod trust;

pub use path::client;
pub use server::{process, workload};
