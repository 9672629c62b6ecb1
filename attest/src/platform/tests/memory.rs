//! The memory of this process as a kernel reaches it (`copy_from_user`, `copy_to_user`), without a pointer.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;

use rustix::io::Errno;

pub(super) fn read<const N: usize>(address: u64) -> Result<[u8; N], Errno> {
    let mut bytes = [0; N];
    open().read_exact_at(&mut bytes, address).map_err(|_| Errno::FAULT)?;
    Ok(bytes)
}

pub(super) fn write(address: u64, bytes: &[u8]) -> Result<(), Errno> {
    open().write_all_at(bytes, address).map_err(|_| Errno::FAULT)
}

fn open() -> File {
    OpenOptions::new().read(true).write(true).open("/proc/self/mem").unwrap()
}
