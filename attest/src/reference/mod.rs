//! Reference values beside a path: who signed them, and where else than from evidence they come from.
//!
//! Pure: bytes in, values out. Files are opened by the caller, and their form in TOML is `inclavared-config`'s.

mod elf;
mod enclave;
mod image;
mod measure;
mod measured;
mod sdk;
mod sgxs;
pub mod signature;
pub mod sigstruct;

pub use enclave::{EnclaveError, read_sigstruct};
pub use image::{Image, ImageForm};
pub use measure::{ImageError, measure_sgx};
pub use sdk::SdkError;
pub use sgxs::StreamError;
