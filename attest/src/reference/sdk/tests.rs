//! Enclaves of Intel's SDK made by hand, against what the processor hashes, spelled out.

use super::*;
use crate::Digest;
use crate::reference::enclave::tests::enclave_with;
use crate::reference::sigstruct::SigStruct;

const SIZE: u64 = 0x10_0000;
const DIRS: usize = 64 + SigStruct::LEN;
const PATCH_AT: usize = 2000;
const LAYOUT_AT: usize = 2100;
const TCS_AT: usize = 2500;

fn put(bytes: &mut [u8], at: usize, values: &[u64], width: usize) {
    for (at, value) in (at..).step_by(width).zip(values) {
        bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
    }
}

/// id, attributes, pages, address, content size, content offset, flags; of a group: id, entries, times, step.
fn entry(values: [u64; 7]) -> [u8; 32] {
    let mut entry = [0; 32];
    put(&mut entry, 0, &values[..2], 2);
    put(&mut entry, 4, &values[2..3], 4);
    put(&mut entry, 8, &values[3..4], 8);
    put(&mut entry, 16, &values[4..6], 4);
    put(&mut entry, 24, &values[6..], 8);
    entry
}

fn layout() -> Vec<[u8; 32]> {
    vec![
        entry([1, 1, 2, 0x8000, 0, 0, 0x203]),
        entry([10, 0, 16, 0xa000, 0, 0, 0]),
        entry([7, 3, 1, 0x1_0000, 0xcccc_cccc, 0, 0x203]),
        entry([4, 3, 1, 0x1_1000, 72, TCS_AT as u64, 0x100]),
        entry([9 | 1 << 12, 2, 2, 0x2_0000, 0, 0, 0]),
        entry([20, 3, 2, 0x6_0000, 5, TCS_AT as u64, 0x201]),
    ]
}

fn metadata(version: [u64; 2], layout: &[[u8; 32]]) -> Vec<u8> {
    let mut bytes = vec![0; 0x2000];
    put(&mut bytes, 0, &[0x86A8_0294_635D_0E4C], 8);
    put(&mut bytes, 8, &[version[1], version[0], 0x1000, 0, 1], 4);
    put(&mut bytes, 40, &[SIZE], 8);
    bytes[64 + 960..64 + 992].fill(9);
    put(&mut bytes, DIRS, &[PATCH_AT as u64, 32, LAYOUT_AT as u64, 32 * layout.len() as u64], 4);
    put(&mut bytes, PATCH_AT, &[0x28], 8);
    put(&mut bytes, PATCH_AT + 8, &[1990, 8], 4);
    bytes[LAYOUT_AT..LAYOUT_AT + 32 * layout.len()].copy_from_slice(&layout.concat());
    bytes[TCS_AT..TCS_AT + 72].copy_from_slice(&[7; 72]);
    bytes
}

fn segment(kind: u64, flags: u64, values: [u64; 4]) -> [u8; 56] {
    let [offset, address, file_size, memory_size] = values;
    let mut header = [0; 56];
    put(&mut header, 0, &[kind, flags], 4);
    put(&mut header, 8, &[offset, address, address, file_size, memory_size, 0x1000], 8);
    header
}

fn segments() -> Vec<[u8; 56]> {
    vec![segment(1, 5, [0, 0, 0x1234, 0x1234]), segment(1, 6, [0x200, 0x2e00, 0x300, 0x1300])]
}

/// What a processor hashes, spelled out.
fn expected(pages: &[(u64, u64, Vec<u8>, bool)]) -> [u8; 32] {
    let mut hashed = b"ECREATE\0\x01\0\0\0".to_vec();
    hashed.extend(SIZE.to_le_bytes());
    hashed.extend([0; 44]);
    for (offset, flags, content, measured) in pages {
        hashed.extend(b"EADD\0\0\0\0");
        hashed.extend(offset.to_le_bytes());
        hashed.extend(flags.to_le_bytes());
        hashed.extend([0; 40]);
        for i in (0..16).filter(|_| *measured) {
            hashed.extend(b"EEXTEND\0");
            hashed.extend((offset + i * 256).to_le_bytes());
            hashed.extend([0; 48]);
            hashed.extend(&content[i as usize * 256..][..256]);
        }
    }
    *Digest::of(&hashed).as_bytes()
}

fn page(offset: usize, content: &[u8]) -> Vec<u8> {
    let mut page = vec![0; PAGE];
    page[offset..offset + content.len()].copy_from_slice(content);
    page
}

fn tcs(address: u64) -> Vec<u8> {
    let mut tcs = page(0, &[7; 72]);
    for field in [16, 48, 56] {
        put(&mut tcs, field, &[0x0707_0707_0707_0707 + address], 8);
    }
    tcs
}

#[test]
fn loads_segments_then_the_layout() {
    let file = enclave_with(&metadata([2, 4], &layout()), &segments());
    let mut patched = file.clone();
    patched[0x28..0x30].fill(0);
    let stack = vec![0xcc; PAGE];
    let mut pages = vec![
        (0, 0x205, patched[..0x1000].to_vec(), true),
        (0x1000, 0x205, page(0, &patched[0x1000..0x1234]), true),
        (0x2000, 0x203, page(0xe00, &patched[0x200..0x400]), true),
        (0x3000, 0x203, page(0, &patched[0x400..0x500]), true),
        (0x4000, 0x203, page(0, &[]), true),
        (0x8000, 0x203, vec![], false),
        (0x9000, 0x203, vec![], false),
    ];
    for delta in [0, 0x2_0000, 0x4_0000] {
        pages.push((0x1_0000 + delta, 0x203, stack.clone(), true));
        pages.push((0x1_1000 + delta, 0x100, tcs(0x1_1000 + delta), true));
    }
    pages.push((0x6_0000, 0x201, page(0, &[7; 5]), true));
    pages.push((0x6_1000, 0x201, page(0, &[]), true));
    let image = measure(&file).unwrap();
    assert_eq!(image.mrenclave, expected(&pages));
    assert_eq!((image.form, image.signed, image.size), (ImageForm::Sdk, Some([9; 32]), SIZE));
    assert_eq!((image.pages, image.measured_chunks, image.unmeasured_chunks), (15, 13 * 16, 2 * 16));
}

#[test]
fn the_first_version_has_a_page_more_where_a_segment_ends_late() {
    // 0x1001 bytes of memory from 0x3ff0 on: two pages when rounded by size, and one when rounded by address.
    let segments = [segment(1, 5, [0, 0, 0x100, 0x100]), segment(1, 6, [0, 0x3010, 0x10, 0x1001])];
    let measured = |version| measure(&enclave_with(&metadata(version, &[]), &segments)).unwrap();
    assert_eq!((measured([1, 3]).pages, measured([1, 4]).pages), (4, 3));
}

#[test]
fn refuses_what_is_not_covered_and_what_cannot_be() {
    let refused = |change: &dyn Fn(&mut Vec<u8>), segments: &[[u8; 56]]| {
        let mut metadata = metadata([2, 4], &layout());
        change(&mut metadata);
        measure(&enclave_with(&metadata, segments)).unwrap_err()
    };
    let whole = segments();
    let at = |index: usize| LAYOUT_AT + 32 * index;
    type Change<'a> = &'a dyn Fn(&mut Vec<u8>);
    let cases: [(Change<'_>, SdkError); 10] = [
        (&|m| m[12] = 13, SdkError::Version { major: 13, minor: 4 }),
        (&|m| (m[12], m[8]) = (1, 2), SdkError::Version { major: 1, minor: 2 }),
        (&|m| m[40] = 1, SdkError::Form("its size is no power of two, or too large")),
        (&|m| put(m, PATCH_AT, &[u64::MAX], 8), SdkError::Form(PATCH)),
        (&|m| put(m, PATCH_AT + 8, &[0x1fff, 2], 4), EnclaveError::Elf.into()),
        (&|m| put(m, DIRS + 8, &[0x1fff, 32], 4), EnclaveError::Elf.into()),
        (&|m| put(m, at(0) + 4, &[u32::MAX.into()], 4), SdkError::Form(OUTSIDE)),
        (&|m| put(m, at(0) + 8, &[!0xfff], 8), SdkError::Form(OUTSIDE)),
        (&|m| put(m, at(4) + 4, &[u32::MAX.into()], 4), SdkError::Form(OUTSIDE)),
        (&|m| put(m, at(4) + 2, &[9], 2), SdkError::Form("a group of its layout that cannot be")),
    ];
    for (change, expected) in cases {
        assert_eq!(refused(change, &whole), expected);
    }
    let never = |m: &mut Vec<u8>| put(m, at(4) + 8, &[0], 8);
    assert_eq!(refused(&never, &whole), SdkError::Form("a group of its layout that cannot be"));
    let extended = |m: &mut Vec<u8>| {
        (m[12], m[8]) = (3, 2);
        put(m, DIRS + 24, &[2000, 16], 4);
    };
    let what = "extended metadata (a shared object within the enclave)";
    assert_eq!(refused(&extended, &whole), SdkError::NotCovered(what));
    for (segment, expected) in [
        (segment(1, 5, [0, SIZE - 1, 2, 2]), SdkError::Form(OUTSIDE)),
        (segment(1, 5, [0, u64::MAX, 2, 2]), SdkError::Form(OUTSIDE)),
        (segment(1, 5, [0, 0, 2, u64::MAX]), SdkError::Form(OUTSIDE)),
        (segment(1, 5, [u64::MAX, 0, 2, 2]), SdkError::Form("a segment outside of the file")),
        (segment(1, 0, [0, 0, 2, 2]), SdkError::Form("a segment without any permission")),
        (segment(2, 4, [u64::MAX, 0, 2, 2]), EnclaveError::Elf.into()),
    ] {
        assert_eq!(refused(&|_| {}, &[segment]), expected);
    }
    // A dynamic segment that says that code is relocated: DT_TEXTREL.
    let file = enclave_with(&metadata([2, 4], &layout()), &[segment(2, 4, [0, 0, 0, 0])]);
    let mut dynamic = file;
    let note = 64 + 56 + 12 + 13;
    put(&mut dynamic, note + 2600, &[22, 0, 0, 0], 8);
    put(&mut dynamic, 64 + 8, &[(note + 2600) as u64], 8);
    put(&mut dynamic, 64 + 32, &[32], 8);
    assert_eq!(measure(&dynamic).unwrap_err(), SdkError::NotCovered("text relocations"));
}

#[test]
fn damage_is_an_error_and_nothing_else() {
    let file = enclave_with(&metadata([2, 4], &layout()), &segments());
    for at in (0..64 + 112 + 64).chain(64 + 112 + 25 + DIRS..64 + 112 + 25 + LAYOUT_AT + 200) {
        for byte in [0, 1, 0x7f, 0xff] {
            let mut damaged = file.clone();
            damaged[at] = byte;
            let _ = measure(&damaged);
        }
    }
    for end in (0..file.len()).step_by(37) {
        let _ = measure(&file[..end]);
    }
}
