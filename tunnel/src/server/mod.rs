//! The process: what it holds, how it accepts, and what becomes of each connection.

pub mod accept;
pub mod admin;
pub mod compat;
pub mod connection;
pub mod crew;
pub mod ended;
pub mod log;
pub mod node;
pub mod places;
pub mod process;
pub mod proxy_protocol;
pub mod warm;
pub mod workload;
