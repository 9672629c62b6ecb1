//! Reads and writes of files that a kernel or a library OS makes up: bounded, and in as many system calls as said.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

/// No quote and no table of certificates is larger.
pub(super) const MAX_BLOB: usize = 256 * 1024;

/// The whole file, and an error if it has more than [`MAX_BLOB`] bytes.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(MAX_BLOB as u64 + 1).read_to_end(&mut content)?;
    if content.len() > MAX_BLOB {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("more than {MAX_BLOB} bytes")));
    }
    Ok(content)
}

/// A short text without the line end.
pub(super) fn read_text(path: &Path) -> io::Result<String> {
    let content = read(path)?;
    // Gramine's texts end where they end, the kernel's with a new line; a NUL ends both.
    Ok(String::from_utf8_lossy(&content).trim_end_matches(['\n', '\0']).trim().to_owned())
}

/// Exactly one `write`, then `close`. Nothing is created and nothing truncated.
pub(super) fn write_once(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let written = loop {
        match file.write(content) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    if written != content.len() {
        let problem = format!("{written} of {} bytes were taken", content.len());
        return Err(io::Error::new(io::ErrorKind::WriteZero, problem));
    }
    Ok(())
}
