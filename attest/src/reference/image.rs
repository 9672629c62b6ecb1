//! Images of enclaves: what the processor will measure when one is loaded.

use super::enclave::EnclaveError;
use super::sdk::SdkError;
use super::sgxs::StreamError;
use super::{sdk, sgxs};

/// What an image builds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    pub form: ImageForm,
    pub mrenclave: [u8; 32],
    /// What the SIGSTRUCT in the image says it should be, where it has one. Its signature is not looked at here.
    pub signed: Option<[u8; 32]>,
    /// In bytes.
    pub size: u64,
    /// In pages.
    pub ssa_frame_size: u32,
    pub pages: u64,
    /// Of 256 bytes each.
    pub measured_chunks: u64,
    /// Loaded and not measured: the host may change them before launch.
    pub unmeasured_chunks: u64,
}

/// The forms of images that can be measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ImageForm {
    /// An SGX stream (`.sgxs`).
    Stream,
    /// An enclave signed with Intel's SDK (`.signed.so`).
    Sdk,
}

impl ImageForm {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stream => "sgx-stream",
            Self::Sdk => "intel-sdk",
        }
    }
}

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
