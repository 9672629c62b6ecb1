//! Attested TLS, the path on the wire, and the relay.
//!
//! One connection goes through these modules in this order: [`accept`], [`handshake`], [`appraise`], [`open`],
//! [`connect`], [`relay`], [`close`]; [`connection`] tells the whole of it.

pub mod accept;
pub mod appraise;
pub mod attestation;
pub mod blocking;
pub mod cli;
pub mod client;
pub mod close;
pub mod collateral;
pub mod compat;
pub mod connect;
pub mod connection;
pub mod crew;
pub mod demo;
pub mod error;
pub mod forward;
pub mod frame;
pub mod greeting;
pub mod handshake;
pub mod have;
pub mod identity;
pub mod leg;
pub mod live;
pub mod log;
pub mod metrics;
pub mod node;
pub mod offline;
pub mod open;
pub mod pccs_program;
pub mod permits;
pub mod process;
pub mod proxy_protocol;
pub mod quoting;
pub mod reappraise;
pub mod reference_values;
pub mod relay;
pub mod relying_party;
pub mod report;
pub mod signals;
pub mod socket;
pub mod statement;
pub mod tls;
pub mod warm;
pub mod workload;
