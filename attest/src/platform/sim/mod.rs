//! The simulated platform on disk: a folder that the processes of one demo share.
//!
//! ```text
//! root.pem               the root of trust                         \ all that a verifier
//! collateral-sgx.json    collateral, dcap-qvl's QuoteCollateralV3   } needs: copy these
//! collateral-tdx.json                                              /  to verify alone
//! pck-ca.pem             certificates of the authorities
//! tcb-signer.pem
//! keys/                  private keys, mode 0600: with them anybody can make evidence
//!     root.pem  pck-ca.pem  tcb-signer.pem  pck.pem
//! ```

mod amd;
mod folder;
mod intel;

pub use folder::SimFolderError;

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use folder::{KEYS, io_error, unique};

use crate::Timestamp;
use crate::appraise::snp::AmdRoot;
use crate::sim::{SimAmd, SimPlatform};

impl SimPlatform {
    /// Writes the platform into a folder that does not exist yet, all of it or nothing.
    pub fn save(&self, folder: &Path) -> Result<(), SimFolderError> {
        let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = folder.file_name().ok_or_else(|| SimFolderError::Exists { path: folder.into() })?;
        fs::create_dir_all(parent).map_err(io_error("making the folder", parent))?;
        let draft = parent.join(format!(".{}.{}", name.to_string_lossy(), unique()?));
        let written = self.write_into(&draft).and_then(|()| {
            // A folder with anything in it is not replaced by a rename: that is what makes two processes that
            // start at once agree on one platform.
            fs::rename(&draft, folder).map_err(|error| match error.kind() {
                io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                    SimFolderError::Exists { path: folder.into() }
                }
                io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices => {
                    SimFolderError::MountPoint { path: folder.into() }
                }
                _ => io_error("renaming the new folder to", folder)(error),
            })
        });
        if written.is_err() {
            let _ = fs::remove_dir_all(&draft);
        }
        written
    }

    /// Reads a platform. Nothing is generated. A folder without `keys/` is a platform that can verify alone.
    pub fn load(folder: &Path, now: Timestamp) -> Result<Self, SimFolderError> {
        if !folder.is_dir() {
            return Err(SimFolderError::NoFolder { path: folder.into() });
        }
        let (public, keys) = intel::load(folder, now)?;
        let amd = amd::load(folder, now)?;
        Ok(Self { public, keys, amd })
    }

    /// The root of trust alone, for a verifier whose collateral comes from elsewhere: `root.pem` is all that it needs.
    pub fn load_root(folder: &Path) -> Result<Vec<u8>, SimFolderError> {
        if !folder.is_dir() {
            return Err(SimFolderError::NoFolder { path: folder.into() });
        }
        intel::load_root(folder)
    }

    /// The root of trust for SEV-SNP alone, for a verifier whose collateral comes from elsewhere. `None`: the platform
    /// simulates none.
    pub fn load_amd_root(folder: &Path) -> Result<Option<AmdRoot>, SimFolderError> {
        amd::load_root(folder)
    }

    /// The platform in a folder, made first if the folder is not there.
    pub fn load_or_create(folder: &Path, now: Timestamp) -> Result<Self, SimFolderError> {
        if !intel::stands_in(folder) {
            match Self::generate(now)?.with_amd(now)?.save(folder) {
                // Another process was faster, or the folder holds something else: loading says which.
                Ok(()) | Err(SimFolderError::Exists { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Self::load(folder, now)
    }

    /// Signs new collateral for the platform in a folder, under the same root and keys, and writes it there.
    pub fn renew_folder(folder: &Path, now: Timestamp) -> Result<Self, SimFolderError> {
        let keys = intel::load_keys(folder)?;
        let amd = match amd::load_keys(folder)? {
            Some(keys) => Some(SimAmd::from_keys(keys, now)?),
            None => None,
        };
        let platform = Self { amd, ..Self::from_keys(keys, now)? };
        if let Some(amd) = &platform.amd {
            amd::renew(amd, folder)?;
        }
        intel::renew(&platform.public, folder)?;
        Ok(platform)
    }

    fn write_into(&self, folder: &Path) -> Result<(), SimFolderError> {
        fs::create_dir(folder).map_err(io_error("making the folder", folder))?;
        intel::store(&self.public, folder)?;
        if let Some(amd) = &self.amd {
            amd::store(amd, folder)?;
        }
        let Some(keys) = &self.keys else { return Ok(()) };
        let private = folder.join(KEYS);
        DirBuilder::new().mode(0o700).create(&private).map_err(io_error("making the folder", &private))?;
        intel::store_keys(keys, folder)?;
        if let Some(amd) = &self.amd {
            amd::store_keys(amd, &private)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
