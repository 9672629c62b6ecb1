//! Where a SIGSTRUCT stands in a file: alone, or in the metadata of an enclave signed with Intel's SDK (Occlum's are, too).

use super::elf::Elf;
use super::sigstruct::{SigStruct, SigStructError};

/// A SIGSTRUCT, raw (`.sig`, `.ss`) or in a signed enclave (`.signed.so`).
pub fn read_sigstruct(file: &[u8]) -> Result<SigStruct, EnclaveError> {
    if file.starts_with(b"\x7fELF") {
        return Ok(SigStruct::parse(Metadata::of(&Elf::parse(file).ok_or(EnclaveError::Elf)?)?.sigstruct())?);
    }
    if file.len() != SigStruct::LEN {
        return Err(EnclaveError::Unknown { found: file.len() });
    }
    Ok(SigStruct::parse(file)?)
}

/// `metadata_t` of Intel's SDK (`common/inc/internal/metadata.h`), as far as it is the same in all its versions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metadata<'a> {
    pub(super) bytes: &'a [u8],
}

impl<'a> Metadata<'a> {
    /// The note `sgx_metadata` in the section `.note.sgxmeta`.
    pub(super) fn of(elf: &Elf<'a>) -> Result<Self, EnclaveError> {
        let section = elf.section(".note.sgxmeta").ok_or(EnclaveError::NoMetadata)?;
        let note = elf.file().get(section).ok_or(EnclaveError::Elf)?;
        let word = |at: usize| note.get(at..at + 4).and_then(|b| Some(u32::from_le_bytes(b.try_into().ok()?) as usize));
        let (Some(name), Some(size)) = (word(0), word(4)) else { return Err(EnclaveError::Elf) };
        if name != NOTE_NAME.len() || note.get(NOTE_HEADER..NOTE_HEADER + name) != Some(NOTE_NAME) {
            return Err(EnclaveError::NoMetadata);
        }
        let start = NOTE_HEADER + name;
        let bytes = start.checked_add(size).and_then(|end| note.get(start..end)).ok_or(EnclaveError::Elf)?;
        if bytes.len() < SIGSTRUCT + SigStruct::LEN {
            return Err(EnclaveError::Elf);
        }
        if bytes[..8] != MAGIC.to_le_bytes() {
            return Err(EnclaveError::NotSigned);
        }
        Ok(Self { bytes })
    }

    fn sigstruct(&self) -> &'a [u8] {
        // Checked when it was read.
        &self.bytes[SIGSTRUCT..SIGSTRUCT + SigStruct::LEN]
    }
}

/// Why there is no SIGSTRUCT in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EnclaveError {
    #[error("{found} bytes, and no ELF file: neither a SIGSTRUCT (1808 bytes) nor an enclave signed with Intel's SDK")]
    Unknown { found: usize },
    #[error("an ELF file that is damaged, or not of 64 bits and little-endian")]
    Elf,
    #[error("an ELF file without the note `sgx_metadata` in a section `.note.sgxmeta`: no enclave of Intel's SDK")]
    NoMetadata,
    #[error("an enclave that is not signed: its metadata lacks the magic number; sign it first")]
    NotSigned,
    #[error("its SIGSTRUCT cannot be believed")]
    SigStruct(#[from] SigStructError),
}

const MAGIC: u64 = 0x86A8_0294_635D_0E4C;
const NOTE_NAME: &[u8] = b"sgx_metadata\0";
/// namesz, descsz, type.
const NOTE_HEADER: usize = 12;
/// magic 8, version 8, size 4, tcs_policy 4, ssa_frame_size 4, max_save_buffer_size 4, desired_misc_select 4,
/// tcs_min_pool 4, enclave_size 8, attributes 16.
const SIGSTRUCT: usize = 64;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::reference::sigstruct::tests::signed;

    /// An ELF file with nothing but the section of the metadata in it.
    pub(crate) fn enclave(metadata: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        for word in [NOTE_NAME.len() as u32, metadata.len() as u32, 1] {
            note.extend(word.to_le_bytes());
        }
        note.extend(NOTE_NAME);
        note.extend(metadata);
        let names = b"\0.note.sgxmeta\0.shstrtab\0";
        let (note_at, names_at) = (64, 64 + note.len());
        let sections_at = (names_at + names.len()).next_multiple_of(8);
        let mut file = vec![0; 64];
        file[..8].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0]);
        file[16..24].copy_from_slice(&[3, 0, 62, 0, 1, 0, 0, 0]);
        file[40..48].copy_from_slice(&(sections_at as u64).to_le_bytes());
        file[52..64].copy_from_slice(&[64, 0, 56, 0, 0, 0, 64, 0, 3, 0, 2, 0]);
        file.extend(&note);
        file.extend(names);
        file.resize(sections_at + 64, 0);
        for (name, kind, offset, size) in [(1u32, 7u32, note_at, note.len()), (15, 3, names_at, names.len())] {
            let mut header = [0; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[4..8].copy_from_slice(&kind.to_le_bytes());
            header[24..32].copy_from_slice(&(offset as u64).to_le_bytes());
            header[32..40].copy_from_slice(&(size as u64).to_le_bytes());
            file.extend(header);
        }
        file
    }

    fn metadata(sigstruct: &[u8]) -> Vec<u8> {
        let mut metadata = vec![0; 0x6000];
        metadata[..8].copy_from_slice(&MAGIC.to_le_bytes());
        metadata[SIGSTRUCT..SIGSTRUCT + SigStruct::LEN].copy_from_slice(sigstruct);
        metadata
    }

    #[test]
    fn a_sigstruct_alone_and_in_an_enclave() {
        let sigstruct = signed([5; 32], |_| {});
        let alone = read_sigstruct(&sigstruct).unwrap();
        assert_eq!(alone.mrenclave, [5; 32]);
        let file = enclave(&metadata(&sigstruct));
        assert_eq!(read_sigstruct(&file).unwrap(), alone);

        assert_eq!(read_sigstruct(b"hello"), Err(EnclaveError::Unknown { found: 5 }));
        let mut unsigned = metadata(&sigstruct);
        unsigned[..8].fill(0);
        assert_eq!(read_sigstruct(&enclave(&unsigned)), Err(EnclaveError::NotSigned));
        assert_eq!(read_sigstruct(&enclave(&metadata(&sigstruct)[..1000])), Err(EnclaveError::Elf));
        let mut altered = metadata(&sigstruct);
        altered[SIGSTRUCT + 960] ^= 1;
        assert_eq!(read_sigstruct(&enclave(&altered)), Err(SigStructError::Signature.into()));
        let renamed = file.iter().map(|byte| if *byte == b'_' { b'-' } else { *byte }).collect::<Vec<_>>();
        assert_eq!(read_sigstruct(&renamed), Err(EnclaveError::NoMetadata));
        let end = file.len() - 128;
        for end in [4, 8, 63, 64, 100, end, end + 1, file.len() - 1] {
            assert_eq!(read_sigstruct(&file[..end]), Err(EnclaveError::Elf), "cut at {end}");
        }
    }
}
