//! As much of ELF as an enclave's file needs: sections by name and program headers, 64 bits, little-endian.
//!
//! Every read is bounds-checked: the file is somebody else's.

use std::ops::Range;

/// An ELF file whose headers lie within it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Elf<'a> {
    file: &'a [u8],
}

impl<'a> Elf<'a> {
    /// `None` for everything else than ELF of 64 bits and little-endian.
    pub(super) fn parse(file: &'a [u8]) -> Option<Self> {
        let elf = Self { file };
        let header = file.get(..64)?;
        let known = header.starts_with(&[0x7f, b'E', b'L', b'F', 2, 1]);
        // e_phentsize only where there are program headers.
        let sizes = (elf.half(56)? == 0 || elf.half(54)? == 56) && elf.half(58)? == 64;
        let count = u64::from(elf.half(60)?);
        // The last header lies within the file, so all of them do.
        let whole = count == 0 || elf.section_header(count - 1).is_some();
        (known && sizes && whole).then_some(elf)
    }

    pub(super) fn file(&self) -> &'a [u8] {
        self.file
    }

    /// Where the first section of that name lies in the file.
    pub(super) fn section(&self, name: &str) -> Option<Range<usize>> {
        let count = u64::from(self.half(60)?);
        let names = self.section_header(self.half(62)?.into())?;
        for index in 0..count {
            let at = self.section_header(index)?;
            let start = self.range(names)?.start.checked_add(self.word(at)? as usize)?;
            let end = start.checked_add(name.len())?;
            if self.file.get(start..end) == Some(name.as_bytes()) && self.file.get(end) == Some(&0) {
                return self.range(at);
            }
        }
        None
    }

    /// Where the header of a section begins.
    fn section_header(&self, index: u64) -> Option<usize> {
        let at = self.long(40)?.checked_add(index.checked_mul(64)?)?;
        let at = usize::try_from(at).ok()?;
        self.file.get(at..at.checked_add(64)?)?;
        Some(at)
    }

    fn range(&self, header: usize) -> Option<Range<usize>> {
        let start = usize::try_from(self.long(header + 24)?).ok()?;
        let end = start.checked_add(usize::try_from(self.long(header + 32)?).ok()?)?;
        (end <= self.file.len()).then_some(start..end)
    }

    pub(super) fn half(&self, at: usize) -> Option<u16> {
        Some(u16::from_le_bytes(self.file.get(at..at.checked_add(2)?)?.try_into().ok()?))
    }

    pub(super) fn word(&self, at: usize) -> Option<u32> {
        Some(u32::from_le_bytes(self.file.get(at..at.checked_add(4)?)?.try_into().ok()?))
    }

    pub(super) fn long(&self, at: usize) -> Option<u64> {
        Some(u64::from_le_bytes(self.file.get(at..at.checked_add(8)?)?.try_into().ok()?))
    }
}
