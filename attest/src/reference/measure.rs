//! Images of enclaves: what the processor will measure when one is loaded.

use super::enclave::EnclaveError;
use super::image::Image;
use super::sdk::SdkError;
use super::sgxs::StreamError;
use super::{sdk, sgxs};

/// Measures an SGX enclave's image.
pub fn measure_sgx(file: &[u8]) -> Result<Image, ImageError> {
    if file.starts_with(b"\x7fELF") {
        return Ok(sdk::measure(file)?);
    }
    match sgxs::measure(file) {
        Err(StreamError::NoStream | StreamError::Short { at: ..64 }) => Err(ImageError::Unknown),
        measured => Ok(measured?),
    }
}

/// Why an image has no measurement.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ImageError {
    #[error(
        "neither an SGX stream (`.sgxs`) nor an enclave signed with Intel's SDK (`.signed.so`); of Gramine, whose manifests \
         are not measured here, import the `.sig`"
    )]
    Unknown,
    #[error("an SGX stream that is not whole or not canonical")]
    Stream(#[from] StreamError),
    #[error("an enclave of Intel's SDK that cannot be measured")]
    Sdk(#[from] SdkError),
}

impl From<EnclaveError> for ImageError {
    fn from(error: EnclaveError) -> Self {
        Self::Sdk(error.into())
    }
}
