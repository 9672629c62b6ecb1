//! MRENCLAVE of an SGX stream (`.sgxs`): the records that the processor hashes, with the content of pages between them.
//!
//! Records have 64 bytes: ECREATE once, at the start; EADD for each page; EEXTEND for each 256 bytes that are measured,
//! with those bytes behind it; UNMEASRD for 256 bytes that are loaded and not measured. A stream whose size is not yet known
//! begins with UNSIZED: it has no measurement.

use aws_lc_rs::digest::{Context, SHA256};

/// What an SGX stream builds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SgxStream {
    pub mrenclave: [u8; 32],
    /// In pages.
    pub ssa_frame_size: u32,
    /// In bytes.
    pub size: u64,
    pub pages: u64,
    /// Of 256 bytes each.
    pub measured_chunks: u64,
    /// Loaded and not measured: the host may change them before launch.
    pub unmeasured_chunks: u64,
}

impl SgxStream {
    /// Measures a whole stream in its canonical form.
    pub fn measure(bytes: &[u8]) -> Result<Self, StreamError> {
        let mut rest = bytes;
        let mut at = 0;
        let mut hash = Context::new(&SHA256);
        let mut stream = Self::begin(take(&mut rest, &mut at)?)?;
        hash.update(&bytes[..RECORD]);
        // The offset of the page that was added last, and its chunks so far, one bit each.
        let mut page: Option<(u64, u16)> = None;
        while !rest.is_empty() {
            let here = at;
            let record: [u8; RECORD] = take(&mut rest, &mut at)?;
            let (tag, offset) = (long(&record, 0), long(&record, 8));
            let refused = |what| StreamError::Form { at: here, what };
            match tag {
                EADD => {
                    if offset % PAGE != 0 || offset.checked_add(PAGE).is_none_or(|end| end > stream.size) {
                        return Err(refused("a page that is not aligned, or outside of the enclave"));
                    }
                    if page.is_some_and(|(last, _)| offset <= last) {
                        return Err(refused("a page that does not come behind the one before"));
                    }
                    if long(&record, 16) & !KNOWN_FLAGS != 0 || record[24..] != [0; 40] {
                        return Err(refused("a page with flags that are not known"));
                    }
                    hash.update(&record);
                    page = Some((offset, 0));
                    stream.pages += 1;
                }
                EEXTEND | UNMEASURED => {
                    let content: [u8; CHUNK] = take(&mut rest, &mut at)?;
                    if record[16..] != [0; 48] {
                        return Err(refused("content with something in its reserved bytes"));
                    }
                    let Some((added, seen)) = &mut page else { return Err(refused("content before the first page")) };
                    let chunk = offset.checked_sub(*added).filter(|within| within % CHUNK as u64 == 0);
                    let Some(chunk) = chunk.map(|within| within / CHUNK as u64).filter(|chunk| *chunk < 16) else {
                        return Err(refused("content that is not aligned, or not of the page before it"));
                    };
                    if *seen >> chunk & 1 == 1 {
                        return Err(refused("the same part of a page twice"));
                    }
                    *seen |= 1 << chunk;
                    if tag == EEXTEND {
                        hash.update(&record);
                        hash.update(&content);
                        stream.measured_chunks += 1;
                    } else {
                        stream.unmeasured_chunks += 1;
                    }
                }
                ECREATE | UNSIZED => return Err(refused("a second start")),
                _ => return Err(refused("a record that is not known")),
            }
        }
        stream.mrenclave.copy_from_slice(hash.finish().as_ref());
        Ok(stream)
    }

    fn begin(record: [u8; RECORD]) -> Result<Self, StreamError> {
        match long(&record, 0) {
            ECREATE => (),
            UNSIZED => return Err(StreamError::Unsized),
            _ => return Err(StreamError::NoStream),
        }
        let ssa_frame_size = u32::from_le_bytes([record[8], record[9], record[10], record[11]]);
        let size = long(&record, 12);
        if !size.is_power_of_two() || size < 2 * PAGE || ssa_frame_size == 0 || record[20..] != [0; 44] {
            return Err(StreamError::Form { at: 0, what: "a start that no processor accepts" });
        }
        Ok(Self { mrenclave: [0; 32], ssa_frame_size, size, pages: 0, measured_chunks: 0, unmeasured_chunks: 0 })
    }
}

/// Why there is nothing to measure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StreamError {
    #[error("no SGX stream: it does not begin with ECREATE")]
    NoStream,
    #[error(
        "an SGX stream without a size: it has no measurement before it is given one (`sgxs-append`, or the signing tool)"
    )]
    Unsized,
    #[error("the stream ends within a record, at byte {at}")]
    Short { at: usize },
    #[error("at byte {at}: {what}")]
    Form { at: usize, what: &'static str },
}

fn take<const N: usize>(rest: &mut &[u8], at: &mut usize) -> Result<[u8; N], StreamError> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(StreamError::Short { at: *at + rest.len() })?;
    *rest = tail;
    *at += N;
    Ok(*head)
}

fn long(record: &[u8; RECORD], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&record[at..at + 8]);
    u64::from_le_bytes(bytes)
}

const RECORD: usize = 64;
const CHUNK: usize = 256;
const PAGE: u64 = 4096;

/// SECINFO.FLAGS: R, W, X, PENDING, MODIFIED, PR and the page's type (Intel SDM volume 3D, table 38-13).
const KNOWN_FLAGS: u64 = 0xff3f;

const ECREATE: u64 = u64::from_le_bytes(*b"ECREATE\0");
const EADD: u64 = u64::from_le_bytes(*b"EADD\0\0\0\0");
const EEXTEND: u64 = u64::from_le_bytes(*b"EEXTEND\0");
const UNMEASURED: u64 = u64::from_le_bytes(*b"UNMEASRD");
const UNSIZED: u64 = u64::from_le_bytes(*b"UNSIZED\0");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    const SIZE: u64 = 0x4000;

    fn record(tag: &[u8; 8], rest: &[u8]) -> Vec<u8> {
        let mut record = tag.to_vec();
        record.extend(rest);
        record.resize(RECORD, 0);
        record
    }

    fn create() -> Vec<u8> {
        record(b"ECREATE\0", &[&1u32.to_le_bytes()[..], &SIZE.to_le_bytes()].concat())
    }

    fn add(offset: u64, flags: u64) -> Vec<u8> {
        record(b"EADD\0\0\0\0", &[offset.to_le_bytes(), flags.to_le_bytes()].concat())
    }

    fn content(tag: &[u8; 8], offset: u64, byte: u8) -> Vec<u8> {
        [record(tag, &offset.to_le_bytes()), vec![byte; CHUNK]].concat()
    }

    /// An enclave of three pages: code that is measured, a heap page that is not, a TCS of which one part is.
    fn stream() -> Vec<Vec<u8>> {
        let mut parts = vec![create(), add(0, 0x205)];
        parts.extend((0..16).map(|i| content(b"EEXTEND\0", i * 256, i as u8)));
        parts.extend([add(0x1000, 0x203), content(b"UNMEASRD", 0x1100, 9)]);
        parts.extend([add(0x3000, 0x100), content(b"EEXTEND\0", 0x3f00, 7), content(b"UNMEASRD", 0x3000, 7)]);
        parts
    }

    #[test]
    fn measures_what_the_processor_hashes() {
        let measured = SgxStream::measure(&stream().concat()).unwrap();
        // The same, spelled out: every record that counts, with its content.
        let mut hashed = create();
        hashed.extend(add(0, 0x205));
        for i in 0..16u64 {
            hashed.extend(b"EEXTEND\0");
            hashed.extend((i * 256).to_le_bytes());
            hashed.extend([0; 48]);
            hashed.extend([i as u8; 256]);
        }
        hashed.extend(add(0x1000, 0x203));
        hashed.extend(add(0x3000, 0x100));
        hashed.extend(content(b"EEXTEND\0", 0x3f00, 7));
        assert_eq!(measured.mrenclave, *Digest::of(&hashed).as_bytes());
        // And as a constant, from `sha256sum` over these bytes.
        assert_eq!(hex::encode(measured.mrenclave), KNOWN);
        assert_eq!((measured.size, measured.ssa_frame_size, measured.pages), (SIZE, 1, 3));
        assert_eq!((measured.measured_chunks, measured.unmeasured_chunks), (17, 2));

        let mut other = stream();
        other[19] = content(b"UNMEASRD", 0x1100, 8);
        assert_eq!(SgxStream::measure(&other.concat()).unwrap().mrenclave, measured.mrenclave, "not measured");
        let mut other = stream();
        other[2] = content(b"EEXTEND\0", 0, 1);
        assert_ne!(SgxStream::measure(&other.concat()).unwrap().mrenclave, measured.mrenclave);
    }

    #[test]
    fn refuses_what_is_not_canonical() {
        let refused = |change: fn(&mut Vec<Vec<u8>>)| {
            let mut parts = stream();
            change(&mut parts);
            match SgxStream::measure(&parts.concat()).unwrap_err() {
                StreamError::Form { what, .. } => what.to_owned(),
                other => other.to_string(),
            }
        };
        assert!(refused(|p| p.clear()).starts_with("the stream ends within a record, at byte 0"));
        assert!(refused(|p| drop(p.remove(0))).starts_with("no SGX stream"));
        assert!(refused(|p| p[0][..8].copy_from_slice(b"UNSIZED\0")).starts_with("an SGX stream without a size"));
        assert_eq!(refused(|p| p[0][12] = 1), "a start that no processor accepts");
        assert_eq!(refused(|p| p[0][63] = 1), "a start that no processor accepts");
        assert_eq!(refused(|p| p[0][8] = 0), "a start that no processor accepts");
        assert_eq!(refused(|p| p.push(create())), "a second start");
        assert_eq!(refused(|p| p[1][8] = 1), "a page that is not aligned, or outside of the enclave");
        assert_eq!(refused(|p| p.push(add(SIZE, 0))), "a page that is not aligned, or outside of the enclave");
        assert_eq!(refused(|p| p.push(add(!0xfff, 0))), "a page that is not aligned, or outside of the enclave");
        assert_eq!(refused(|p| p.push(add(0x2000, 0))), "a page that does not come behind the one before");
        assert_eq!(refused(|p| p.push(add(0x3000, 0))), "a page that does not come behind the one before");
        assert_eq!(refused(|p| p[1][16] = 0x40), "a page with flags that are not known");
        assert_eq!(refused(|p| p[1][63] = 1), "a page with flags that are not known");
        assert_eq!(refused(|p| p[2][63] = 1), "content with something in its reserved bytes");
        assert_eq!(refused(|p| drop(p.remove(1))), "content before the first page");
        assert_eq!(refused(|p| p[2][8] = 1), "content that is not aligned, or not of the page before it");
        assert_eq!(
            refused(|p| p.push(content(b"EEXTEND\0", 0, 0))),
            "content that is not aligned, or not of the page before it"
        );
        assert_eq!(
            refused(|p| p.push(content(b"EEXTEND\0", 0x4000, 0))),
            "content that is not aligned, or not of the page before it"
        );
        assert_eq!(refused(|p| p.push(content(b"EEXTEND\0", 0x3000, 0))), "the same part of a page twice");
        assert_eq!(refused(|p| p[2][0] = b'e'), "a record that is not known");
        let whole = stream().concat();
        for end in [1, 63, 65, 127, 129, 191, 193, whole.len() - 1] {
            assert_eq!(SgxStream::measure(&whole[..end]), Err(StreamError::Short { at: end }), "cut at {end}");
        }
    }

    const KNOWN: &str = "b2c487c4984a54a9882dd0b7e9225866ebc75895b2cbc8856a4962f2bd022b94";
}
