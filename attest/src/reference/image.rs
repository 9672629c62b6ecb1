//! What an image of an enclave comes to once it is measured.

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
