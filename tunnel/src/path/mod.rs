//! What is said over a leg, from OPEN to TRAILER, from both sides (docs/PROTOCOL.md).

pub mod behind;
pub mod client;
pub mod close;
pub mod live;
pub mod opening;
pub mod quoting;
pub mod reappraise;
pub mod side;
pub mod statement;
