//! Signatures over files of reference values: ECDSA P-256 with SHA-256 over the file's bytes, beside the file.
//!
//! The form is the one that `openssl dgst -sha256 -sign` makes (ASN.1), raw or in base64, so that a release process can
//! sign with what it has.

#[cfg(feature = "os")]
mod signing;
mod trusted;

#[cfg(feature = "os")]
pub use signing::SigningKey;
pub use trusted::{KeyFormError, SignatureError, TrustedKey, check};

#[cfg(test)]
mod tests;
