//! The hash that becomes MRENCLAVE, fed as the instructions ECREATE, EADD and EEXTEND feed it (Intel SDM volume 3D).

use super::image::{Image, ImageForm};
use crate::crypto::Sha256;

/// The state between ECREATE and EINIT.
pub(super) struct Measurement {
    hash: Sha256,
    image: Image,
}

impl Measurement {
    /// ECREATE: the size of an SSA frame in pages, and of the enclave in bytes.
    pub(super) fn create(form: ImageForm, ssa_frame_size: u32, size: u64) -> Self {
        let mut hash = Sha256::new();
        let mut record = [0; RECORD];
        record[..8].copy_from_slice(b"ECREATE\0");
        record[8..12].copy_from_slice(&ssa_frame_size.to_le_bytes());
        record[12..20].copy_from_slice(&size.to_le_bytes());
        hash.update(&record);
        let (pages, measured_chunks, unmeasured_chunks) = (0, 0, 0);
        let (mrenclave, signed) = ([0; 32], None);
        let image = Image { form, mrenclave, signed, size, ssa_frame_size, pages, measured_chunks, unmeasured_chunks };
        Self { hash, image }
    }

    /// EADD: a page at an offset, with the flags of its SECINFO.
    pub(super) fn add(&mut self, offset: u64, flags: u64) {
        let mut record = [0; RECORD];
        record[..8].copy_from_slice(b"EADD\0\0\0\0");
        record[8..16].copy_from_slice(&offset.to_le_bytes());
        record[16..24].copy_from_slice(&flags.to_le_bytes());
        self.hash.update(&record);
        self.image.pages += 1;
    }

    /// EEXTEND over 256 bytes.
    pub(super) fn extend(&mut self, offset: u64, chunk: &[u8; CHUNK]) {
        let mut record = [0; RECORD];
        record[..8].copy_from_slice(b"EEXTEND\0");
        record[8..16].copy_from_slice(&offset.to_le_bytes());
        self.hash.update(&record);
        self.hash.update(chunk);
        self.image.measured_chunks += 1;
    }

    /// 256 bytes that are loaded and not measured.
    pub(super) fn skip(&mut self) {
        self.image.unmeasured_chunks += 1;
    }

    /// A page at once: added, and measured in full or not at all.
    pub(super) fn page(&mut self, offset: u64, flags: u64, content: &[u8; PAGE], measured: bool) {
        self.add(offset, flags);
        for (at, chunk) in (offset..).step_by(CHUNK).zip(content.as_chunks::<CHUNK>().0) {
            if measured { self.extend(at, chunk) } else { self.skip() }
        }
    }

    pub(super) fn image(&self) -> &Image {
        &self.image
    }

    pub(super) fn finish(mut self) -> Image {
        self.image.mrenclave = self.hash.finish();
        self.image
    }
}

pub(super) const PAGE: usize = 4096;
pub(super) const RECORD: usize = 64;
pub(super) const CHUNK: usize = 256;
