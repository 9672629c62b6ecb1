//! Files of a platform's folder: written once or replaced in one step, read with a bound, and every mistake named.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use x509_parser::pem::Pem;
use zeroize::Zeroizing;

use crate::Timestamp;
use crate::appraise::{CollateralId, pem_certificates};
use crate::crypto;
use crate::sim::SimError;

/// Where the private keys are, in the folder.
pub(super) const KEYS: &str = "keys";

/// The label of a private key in PEM.
pub(super) const PRIVATE_KEY: &str = "PRIVATE KEY";

/// Modes of files.
pub(super) const PUBLIC: u32 = 0o644;
pub(super) const PRIVATE: u32 = 0o600;

/// In bytes. No file of a platform is larger; what is was not written by this program.
const MAX_FILE: u64 = 256 * 1024;

pub(super) fn read_certificate(path: &Path) -> Result<Vec<u8>, SimFolderError> {
    let content = |found: String| SimFolderError::Content { path: path.into(), found, remedy: GENERATE };
    let mut certificates = pem_certificates(&read(path)?).map_err(|error| content(error.to_string()))?;
    match (certificates.pop(), certificates.is_empty()) {
        (Some(certificate), true) => Ok(certificate),
        _ => Err(content("other than one certificate in PEM".into())),
    }
}

/// In PKCS#8.
pub(super) fn read_private_key(path: &Path) -> Result<Zeroizing<Vec<u8>>, SimFolderError> {
    let text = Zeroizing::new(read(path)?);
    match Pem::iter_from_buffer(text.as_bytes()).next() {
        Some(Ok(block)) if block.label == PRIVATE_KEY => Ok(Zeroizing::new(block.contents)),
        _ => {
            Err(SimFolderError::Content { path: path.into(), found: "no private key in PEM".into(), remedy: GENERATE })
        }
    }
}

pub(super) fn read(path: &Path) -> Result<String, SimFolderError> {
    let size = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => SimFolderError::NoFile { path: path.into() },
        _ => io_error("reading", path)(error),
    })?;
    if size.len() > MAX_FILE {
        let found = format!("{} bytes, more than {MAX_FILE}", size.len());
        return Err(SimFolderError::Content { path: path.into(), found, remedy: GENERATE });
    }
    fs::read_to_string(path).map_err(io_error("reading", path))
}

/// Writes a new file; one that is there is an error.
pub(super) fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), SimFolderError> {
    let open = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    open.and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all())).map_err(io_error("writing", path))
}

/// Replaces a file in one step: who reads it meanwhile sees the old one or the new one.
pub(super) fn replace(path: &Path, content: &[u8]) -> Result<(), SimFolderError> {
    let draft = path.with_extension(format!("{}.tmp", unique()?));
    let replaced = write(&draft, content, PUBLIC)
        .and_then(|()| fs::rename(&draft, path).map_err(io_error("renaming the new file to", path)));
    if replaced.is_err() {
        let _ = fs::remove_file(&draft);
    }
    replaced
}

/// A part of a file name that no other draft has: in containers, process ids and what a crash left behind repeat.
pub(super) fn unique() -> Result<String, SimFolderError> {
    let mut bytes = [0; 8];
    crypto::fill(&mut bytes).map_err(|_| SimError::Key("the system has no random bytes to give".into()))?;
    Ok(hex::encode(bytes))
}

pub(super) fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SimFolderError {
    let path = path.to_path_buf();
    move |source| SimFolderError::Io { doing, path, source }
}

pub(super) const GENERATE: &str = "remove the folder and generate the platform anew";

/// What is wrong with a platform's folder, and what helps.
#[derive(Debug, thiserror::Error)]
pub enum SimFolderError {
    #[error("{}: there is no simulated platform; make one (`inclavared sim init DIR`), or name the folder of one", path.display())]
    NoFolder { path: PathBuf },
    #[error("{}: the file is missing; copy it from the platform's folder, or {GENERATE}", path.display())]
    NoFile { path: PathBuf },
    #[error("{}: there is something already; name another folder, or remove it", path.display())]
    Exists { path: PathBuf },
    #[error("{}: it is a mount point, which cannot be made in one step; name a folder inside it", path.display())]
    MountPoint { path: PathBuf },
    #[error("{}: it holds {found}; {remedy}", path.display())]
    Content { path: PathBuf, found: String, remedy: &'static str },
    #[error("{}: it holds collateral for {id}; the two files were mixed up", path.display())]
    Tee { path: PathBuf, id: CollateralId },
    #[error("{}: the collateral expired at {expired} (it is {now}); renew it, or {GENERATE}", path.display())]
    Expired { path: PathBuf, expired: Timestamp, now: Timestamp },
    #[error("{doing} {}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Platform(#[from] SimError),
}
