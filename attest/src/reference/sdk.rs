//! MRENCLAVE of an enclave signed with Intel's SDK, loaded as the SDK's untrusted runtime loads it: the segments of the ELF
//! file with the metadata's patches in them, then heap, stacks and threads by the metadata's layout.
//!
//! Sources: Intel's `linux-sgx`, `common/inc/internal/metadata.h`, `psw/urts/loader.cpp`, `psw/urts/parser/elfparser.cpp`.
//! Metadata of versions 1.3 to 3 are covered. Not covered, and refused: text relocations, an ELRANGE of its own
//! (version 11 and later), a shared object within the enclave (FIPS), and images of 32 bits.

use std::ops::Range;

use super::elf::{Elf, Segment};
use super::enclave::{EnclaveError, Metadata};
use super::image::{Image, ImageForm};
use super::measured::{Measurement, PAGE};

pub(super) fn measure(file: &[u8]) -> Result<Image, SdkError> {
    let elf = Elf::parse(file).ok_or(EnclaveError::Elf)?;
    let metadata = Metadata::of(&elf)?;
    let (major, minor) = (metadata.word(12)?, metadata.word(8)?);
    let version = (major, minor);
    if !(1..=3).contains(&major) || version < (1, 3) {
        return Err(SdkError::Version { major, minor });
    }
    if elf.half(18) != Some(X86_64) {
        return Err(SdkError::NotCovered("an image for another processor"));
    }
    if metadata.dir(EXTENSIONS)?.is_some_and(|dir| !dir.is_empty()) && (major == 3 || version >= (1, 5) && major == 1) {
        return Err(SdkError::NotCovered("extended metadata (a shared object within the enclave)"));
    }
    let segments = elf.segments().ok_or(EnclaveError::Elf)?;
    if has_text_relocations(&elf, &segments)? {
        return Err(SdkError::NotCovered("text relocations"));
    }
    let size = metadata.long(40)?;
    if !size.is_power_of_two() || size < 2 * PAGE as u64 || size > MAX_SIZE {
        return Err(SdkError::Form("its size is no power of two, or too large"));
    }
    let mut loader = Loader {
        measurement: Measurement::create(ImageForm::Sdk, metadata.word(24)?, size),
        metadata,
        size,
        image: patched(file, &metadata)?,
    };
    loader.segments(&segments, version == (1, 3))?;
    let layout = metadata.dir(LAYOUT)?.unwrap_or(0..0);
    loader.layout(layout)?;
    let mut image = loader.measurement.finish();
    image.signed = Some(metadata.enclave_hash());
    Ok(image)
}

/// The file with what the metadata replaces in it.
fn patched(file: &[u8], metadata: &Metadata<'_>) -> Result<Vec<u8>, SdkError> {
    let mut image = file.to_vec();
    for at in metadata.dir(PATCHES)?.unwrap_or(0..0).step_by(ENTRY) {
        let (to, from, size) = (metadata.long(at)?, metadata.word(at + 8)?, metadata.word(at + 12)?);
        let source = metadata.slice(from as usize, size as usize)?;
        let start = usize::try_from(to).map_err(|_| SdkError::Form(PATCH))?;
        let end = start.checked_add(source.len()).ok_or(SdkError::Form(PATCH))?;
        image.get_mut(start..end).ok_or(SdkError::Form(PATCH))?.copy_from_slice(source);
    }
    Ok(image)
}

struct Loader<'a> {
    measurement: Measurement,
    metadata: Metadata<'a>,
    size: u64,
    image: Vec<u8>,
}

impl Loader<'_> {
    /// The first version of the metadata has one page more behind a segment that ends close to a page's end.
    fn segments(&mut self, segments: &[Segment], extra_page: bool) -> Result<(), SdkError> {
        let mut last: Option<(Segment, u64)> = None;
        let loaded = segments.iter().filter(|segment| segment.kind == PT_LOAD);
        for segment in loaded {
            let flags = flags_of(segment.flags);
            if flags == REGULAR {
                return Err(SdkError::Form("a segment without any permission"));
            }
            if extra_page {
                self.extra_page(last, Some(segment.address))?;
            }
            if last.is_none_or(|(last, _)| segment.address > last.address) {
                last = Some((*segment, flags));
            }
            let content = segment
                .offset
                .checked_add(segment.file_size)
                .and_then(|end| Some(usize::try_from(segment.offset).ok()?..usize::try_from(end).ok()?))
                .and_then(|range| self.image.get(range))
                .ok_or(SdkError::Form("a segment outside of the file"))?
                .to_vec();
            self.region(&content, segment.address, segment.memory_size, flags)?;
        }
        if extra_page { self.extra_page(last, None) } else { Ok(()) }
    }

    fn extra_page(&mut self, last: Option<(Segment, u64)>, next: Option<u64>) -> Result<(), SdkError> {
        let Some((last, flags)) = last else { return Ok(()) };
        let end = last.address.checked_add(last.memory_size).and_then(to_page);
        let rounded = to_page(last.memory_size).and_then(|size| to_page(size.checked_add(last.address)?));
        let (Some(end), Some(rounded)) = (end, rounded) else { return Err(SdkError::Form(OUTSIDE)) };
        if end < rounded && next.is_none_or(|next| end < next & !PAGE_MASK) {
            self.page(end, flags, &[0; PAGE], true)?;
        }
        Ok(())
    }

    /// Content, which may begin within a page, and zeros behind it.
    fn region(&mut self, content: &[u8], address: u64, memory_size: u64, flags: u64) -> Result<(), SdkError> {
        let end = address.checked_add(memory_size.max(content.len() as u64)).ok_or(SdkError::Form(OUTSIDE))?;
        if end > self.size {
            return Err(SdkError::Form(OUTSIDE));
        }
        let mut rest = content;
        let mut at = address;
        while !rest.is_empty() {
            let within = (at & PAGE_MASK) as usize;
            let (head, tail) = rest.split_at(rest.len().min(PAGE - within));
            let mut page = [0; PAGE];
            page[within..within + head.len()].copy_from_slice(head);
            self.page(at & !PAGE_MASK, flags, &page, true)?;
            at = (at & !PAGE_MASK) + PAGE as u64;
            rest = tail;
        }
        // Where the content ends in the middle of a page, `at` is the next one.
        let mut page = at & !PAGE_MASK;
        while at - address < memory_size && page < address + memory_size {
            self.page(page, flags, &[0; PAGE], true)?;
            page += PAGE as u64;
        }
        Ok(())
    }

    fn layout(&mut self, entries: Range<usize>) -> Result<(), SdkError> {
        for (index, at) in entries.clone().step_by(ENTRY).enumerate() {
            let id = self.metadata.half(at)?;
            if id & GROUP == 0 {
                self.entry(at, 0)?;
                continue;
            }
            let (count, times) = (usize::from(self.metadata.half(at + 2)?), self.metadata.word(at + 4)?);
            let step = self.metadata.long(at + 8)?;
            if count > index || (times > 0 && (step == 0 || step & PAGE_MASK != 0)) {
                return Err(SdkError::Form("a group of its layout that cannot be"));
            }
            let mut delta = 0u64;
            for _ in 0..times {
                delta = delta.checked_add(step).filter(|delta| *delta <= self.size).ok_or(SdkError::Form(OUTSIDE))?;
                for member in (index - count)..index {
                    let member = entries.start + member * ENTRY;
                    if self.metadata.half(member)? & GROUP != 0 {
                        return Err(SdkError::Form("a group of its layout within another"));
                    }
                    self.entry(member, delta)?;
                }
            }
        }
        Ok(())
    }

    fn entry(&mut self, at: usize, delta: u64) -> Result<(), SdkError> {
        let metadata = self.metadata;
        let (attributes, pages) = (metadata.half(at + 2)?, u64::from(metadata.word(at + 4)?));
        let address = metadata.long(at + 8)?.checked_add(delta).ok_or(SdkError::Form(OUTSIDE))?;
        let (content_size, content_offset) = (metadata.word(at + 16)?, metadata.word(at + 20)? as usize);
        let flags = metadata.long(at + 24)?;
        if attributes & ADD == 0 {
            return Ok(());
        }
        let length = pages << 12;
        if address & PAGE_MASK != 0 || address.checked_add(length).is_none_or(|end| end > self.size) {
            return Err(SdkError::Form(OUTSIDE));
        }
        let measured = attributes & EXTEND != 0;
        let mut page = [0; PAGE];
        if content_offset != 0 {
            let content = metadata.slice(content_offset, content_size as usize)?;
            if flags != TCS {
                return self.region(content, address, length, flags);
            }
            page.get_mut(..content.len()).ok_or(SdkError::Form("a TCS larger than a page"))?.copy_from_slice(content);
            // OSSA, OFSBASE and OGSBASE are relative to the TCS.
            for field in [16, 48, 56] {
                let mut offset = [0; 8];
                offset.copy_from_slice(&page[field..field + 8]);
                let absolute = u64::from_le_bytes(offset).wrapping_add(address);
                page[field..field + 8].copy_from_slice(&absolute.to_le_bytes());
            }
        } else if flags == 0 {
            // A gap that guards what is beside it.
            return Ok(());
        } else {
            page.chunks_exact_mut(4).for_each(|word| word.copy_from_slice(&content_size.to_le_bytes()));
        }
        (0..pages).try_for_each(|index| self.page(address + (index << 12), flags, &page, measured))
    }

    fn page(&mut self, offset: u64, flags: u64, content: &[u8; PAGE], measured: bool) -> Result<(), SdkError> {
        // An enclave has no more pages than fit in: the work is bounded by its size, whatever the tables say.
        if offset >= self.size || self.measurement.image().pages >= self.size / PAGE as u64 {
            return Err(SdkError::Form(OUTSIDE));
        }
        self.measurement.page(offset, flags, content, measured);
        Ok(())
    }
}

fn has_text_relocations(elf: &Elf<'_>, segments: &[Segment]) -> Result<bool, SdkError> {
    let Some(dynamic) = segments.iter().find(|segment| segment.kind == PT_DYNAMIC) else { return Ok(false) };
    let damaged = || SdkError::from(EnclaveError::Elf);
    let start = usize::try_from(dynamic.offset).map_err(|_| damaged())?;
    let size = usize::try_from(dynamic.file_size).map_err(|_| damaged())?;
    for at in (start..start.checked_add(size).ok_or_else(damaged)?).step_by(16) {
        match elf.long(at).ok_or_else(damaged)? {
            0 => break,
            DT_TEXTREL => return Ok(true),
            _ => {}
        }
    }
    Ok(false)
}

fn flags_of(permissions: u32) -> u64 {
    let flag = |bit: u32, flag: u64| if permissions & bit != 0 { flag } else { 0 };
    REGULAR | flag(4, 1) | flag(2, 2) | flag(1, 4)
}

/// The next page's begin, unless it is one already.
fn to_page(address: u64) -> Option<u64> {
    Some(address.checked_add(PAGE_MASK)? & !PAGE_MASK)
}

/// Why an enclave of Intel's SDK has no measurement here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SdkError {
    #[error("its metadata")]
    Enclave(#[from] EnclaveError),
    #[error("its metadata is of version {major}.{minor}: 1.3 to 3 are covered")]
    Version { major: u32, minor: u32 },
    #[error("{0}: this is not covered; import its SIGSTRUCT instead")]
    NotCovered(&'static str),
    #[error("{0}")]
    Form(&'static str),
}

const OUTSIDE: &str = "its layout goes beyond its size";
const PATCH: &str = "a patch outside of the file";

/// The loader's own limit for 64 bits is 2^37 bytes.
const MAX_SIZE: u64 = 1 << 37;
const PAGE_MASK: u64 = PAGE as u64 - 1;

const X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const DT_TEXTREL: u64 = 22;

/// SECINFO.FLAGS: a regular page, and a TCS.
const REGULAR: u64 = 0x200;
const TCS: u64 = 0x100;

/// Bytes of an entry of a layout or of a patch table.
const ENTRY: usize = 32;
/// Data directories of the metadata.
const PATCHES: usize = 0;
const LAYOUT: usize = 1;
const EXTENSIONS: usize = 3;
const GROUP: u16 = 1 << 12;
/// Attributes of a layout's entry.
const ADD: u16 = 1;
const EXTEND: u16 = 2;

#[cfg(test)]
mod tests;
