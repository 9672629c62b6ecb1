//! The key of a hop: ECDSA P-256, made in the process, in memory only.
//!
//! Verifiers need its public half and [`verify_es256`] alone; the private half comes with the feature `os`.

mod error;
#[cfg(feature = "os")]
mod key;
mod verify;

pub use error::HopKeyError;
#[cfg(feature = "os")]
pub use key::HopKey;
pub use verify::{p256_point, verify_es256};

#[cfg(test)]
mod tests;
