//! A name for a hop key, given by an authority beside the evidence (docs/PROTOCOL.md section 2).
//!
//! Evidence says what runs; a certificate of a CA says whose it is. Its key signs one hop key and an end, and the claims
//! that the quote covers hold that signature. So the name is worth something with this key, in this evidence, alone.

#[cfg(feature = "os")]
mod key;
mod statement;
mod verify;

#[cfg(feature = "os")]
pub use key::NamingKey;
pub use statement::{MAX_STATEMENT, NameError};
pub use verify::{Named, authorities, verify_name};

#[cfg(test)]
mod tests;
