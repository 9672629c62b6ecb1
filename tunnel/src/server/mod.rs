//! The process: what it holds, how it accepts, and what becomes of each connection.

pub mod accept;
pub mod admin;
mod below;
pub mod compat;
pub mod connection;
pub mod crew;
pub mod ended;
pub mod held;
mod join;
pub mod log;
mod meet;
pub mod node;
mod open;
pub mod places;
pub mod process;
pub mod proxy_protocol;
pub mod warm;
pub mod workload;
