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

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::sim_amd;
use crate::Timestamp;
use crate::appraise::{AppraisalError, Collateral, CollateralId, pem_certificates};
use crate::evidence::Tee;
use crate::sim::{Authority, AuthorityName, SimAmd, SimError, SimKey, SimKeys, SimPlatform, SimPublic, pem_chain};

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
        let root_der = read_certificate(&folder.join(ROOT))?;
        let sgx = read_collateral(&folder.join(COLLATERAL_SGX), Tee::Sgx, &root_der, now)?;
        let tdx = read_collateral(&folder.join(COLLATERAL_TDX), Tee::Tdx, &root_der, now)?;
        let keys = if folder.join(KEYS).exists() { Some(read_keys(folder, &root_der)?) } else { None };
        let amd = sim_amd::load(folder, now)?;
        Ok(Self { public: SimPublic { root_der, sgx, tdx }, keys, amd })
    }

    /// The root of trust alone, for a verifier whose collateral comes from elsewhere: `root.pem` is all that it needs.
    pub fn load_root(folder: &Path) -> Result<Vec<u8>, SimFolderError> {
        if !folder.is_dir() {
            return Err(SimFolderError::NoFolder { path: folder.into() });
        }
        read_certificate(&folder.join(ROOT))
    }

    /// The platform in a folder, made first if the folder is not there.
    pub fn load_or_create(folder: &Path, now: Timestamp) -> Result<Self, SimFolderError> {
        if !folder.join(ROOT).exists() {
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
        let root_der = read_certificate(&folder.join(ROOT))?;
        let keys = read_keys(folder, &root_der)?;
        let amd = match sim_amd::load_keys(folder)? {
            Some(keys) => Some(SimAmd::from_keys(keys, now)?),
            None => None,
        };
        let platform = Self { amd, ..Self::from_keys(keys, now)? };
        if let Some(amd) = &platform.amd {
            sim_amd::renew(amd, folder)?;
        }
        for (file, collateral) in [(COLLATERAL_SGX, &platform.public.sgx), (COLLATERAL_TDX, &platform.public.tdx)] {
            replace(&folder.join(file), &collateral.to_json())?;
        }
        Ok(platform)
    }

    fn write_into(&self, folder: &Path) -> Result<(), SimFolderError> {
        fs::create_dir(folder).map_err(io_error("making the folder", folder))?;
        write(&folder.join(COLLATERAL_SGX), &self.public.sgx.to_json(), PUBLIC)?;
        write(&folder.join(COLLATERAL_TDX), &self.public.tdx.to_json(), PUBLIC)?;
        write(&folder.join(ROOT), pem_chain(&[&self.public.root_der]).as_bytes(), PUBLIC)?;
        if let Some(amd) = &self.amd {
            sim_amd::store(amd, folder)?;
        }
        let Some(keys) = &self.keys else { return Ok(()) };
        write(&folder.join(PCK_CA), pem_chain(&[&keys.pck_ca.der]).as_bytes(), PUBLIC)?;
        write(&folder.join(TCB_SIGNER), pem_chain(&[&keys.tcb_signer.der]).as_bytes(), PUBLIC)?;
        let private = folder.join(KEYS);
        DirBuilder::new().mode(0o700).create(&private).map_err(io_error("making the folder", &private))?;
        for (file, key) in
            [(ROOT, &keys.root.key), (PCK_CA, &keys.pck_ca.key), (TCB_SIGNER, &keys.tcb_signer.key), (PCK, &keys.pck)]
        {
            write(&private.join(file), key.to_pem().as_bytes(), PRIVATE)?;
        }
        if let Some(amd) = &self.amd {
            sim_amd::store_keys(amd, &private)?;
        }
        Ok(())
    }
}

const ROOT: &str = "root.pem";
const COLLATERAL_SGX: &str = "collateral-sgx.json";
const COLLATERAL_TDX: &str = "collateral-tdx.json";
const PCK_CA: &str = "pck-ca.pem";
const TCB_SIGNER: &str = "tcb-signer.pem";
const PCK: &str = "pck.pem";
pub(super) const KEYS: &str = "keys";

pub(super) const PUBLIC: u32 = 0o644;
pub(super) const PRIVATE: u32 = 0o600;

/// No file of a platform is larger; what is was not written by this program.
const MAX_FILE: u64 = 256 * 1024;

fn read_keys(folder: &Path, root_der: &[u8]) -> Result<SimKeys, SimFolderError> {
    let private = folder.join(KEYS);
    let authority = |name, der: Vec<u8>, file: &str| {
        let path = private.join(file);
        let authority = Authority::from_parts(name, der, read_key(&path)?);
        if !authority.is_whole() {
            let found = "a key that does not belong to the certificate of that name".into();
            return Err(SimFolderError::Content { path, found, remedy: GENERATE });
        }
        Ok(authority)
    };
    Ok(SimKeys {
        root: authority(AuthorityName::Root, root_der.to_vec(), ROOT)?,
        pck_ca: authority(AuthorityName::PckCa, read_certificate(&folder.join(PCK_CA))?, PCK_CA)?,
        tcb_signer: authority(AuthorityName::TcbSigner, read_certificate(&folder.join(TCB_SIGNER))?, TCB_SIGNER)?,
        pck: read_key(&private.join(PCK))?,
    })
}

fn read_key(path: &Path) -> Result<SimKey, SimFolderError> {
    SimKey::from_pem(&read(path)?).map_err(|error| SimFolderError::Content {
        path: path.into(),
        found: format!("no P-256 key in PEM: {error}"),
        remedy: GENERATE,
    })
}

pub(super) fn read_certificate(path: &Path) -> Result<Vec<u8>, SimFolderError> {
    let content = |found: String| SimFolderError::Content { path: path.into(), found, remedy: GENERATE };
    let mut certificates = pem_certificates(&read(path)?).map_err(|error| content(error.to_string()))?;
    match (certificates.pop(), certificates.is_empty()) {
        (Some(certificate), true) => Ok(certificate),
        _ => Err(content("other than one certificate in PEM".into())),
    }
}

fn read_collateral(path: &Path, tee: Tee, root_der: &[u8], now: Timestamp) -> Result<Collateral, SimFolderError> {
    let content = |error: AppraisalError| SimFolderError::Content {
        path: path.into(),
        found: error.to_string(),
        remedy: GENERATE,
    };
    let collateral = Collateral::from_json(read(path)?.as_bytes()).map_err(content)?;
    if collateral.id().tee != tee {
        return Err(SimFolderError::Tee { path: path.into(), id: collateral.id() });
    }
    if collateral.expires() <= now {
        return Err(SimFolderError::Expired { path: path.into(), expired: collateral.expires(), now });
    }
    collateral.verify(root_der, now).map_err(content)?;
    Ok(collateral)
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
fn unique() -> Result<String, SimFolderError> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| SimError::Key("the system has no random bytes to give".into()))?;
    Ok(hex::encode(bytes))
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SimFolderError {
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;

    use super::*;
    use crate::sim::{COLLATERAL_VALIDITY, SimAttester, SimSpec};

    const NOW: Timestamp = Timestamp(1_800_000_000);

    #[test]
    fn sev_snp_comes_back_and_is_renewed() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("platform");
        let platform = SimPlatform::load_or_create(&folder, NOW).unwrap();
        let amd = platform.amd().unwrap();
        let again = SimPlatform::load(&folder, NOW).unwrap();
        assert_eq!((again.amd().unwrap().root(), again.amd().unwrap().set()), (amd.root(), amd.set()));
        assert_eq!(SimPlatform::load_amd_root(&folder).unwrap().as_ref(), Some(amd.root()));
        let chip = platform.chip_id("a");
        again.amd().unwrap().vcek(&chip, [0; 8], NOW).unwrap();

        let later = NOW.plus(COLLATERAL_VALIDITY);
        SimPlatform::load(&folder, later).unwrap_err();
        SimPlatform::renew_folder(&folder, later).unwrap();
        let renewed = SimPlatform::load(&folder, later).unwrap();
        let (old, new) = (amd.set(), renewed.amd().unwrap().set());
        assert_ne!(old.crl, new.crl);
        // What was made before stands under the root that is there now.
        let vcek = amd.vcek(&chip, [0; 8], NOW).unwrap();
        let set = crate::appraise::snp::AmdSet { certificates: vec![vcek], ..new.clone() };
        set.verify(&[renewed.amd().unwrap().root().clone()], later).unwrap();

        fs::remove_dir_all(folder.join(KEYS)).unwrap();
        let copy = SimPlatform::load(&folder, later).unwrap();
        assert!(matches!(copy.amd().unwrap().vcek(&chip, [0; 8], NOW), Err(SimError::NoKeys)));
        fs::remove_file(folder.join("ark.pem")).unwrap();
        assert!(SimPlatform::load(&folder, later).unwrap().amd().is_none());
    }

    fn saved() -> (tempfile::TempDir, PathBuf, SimPlatform) {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("deep/platform");
        let platform = SimPlatform::generate(NOW).unwrap();
        platform.save(&folder).unwrap();
        (temporary, folder, platform)
    }

    #[test]
    fn comes_back_as_it_was_and_nothing_is_made_anew() {
        let (_temporary, folder, platform) = saved();
        let listing = |folder: &Path| {
            let mut names: Vec<_> =
                fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        assert_eq!(listing(folder.parent().unwrap()), ["platform"], "no draft is left");
        let before = listing(&folder);
        for loaded in [SimPlatform::load(&folder, NOW), SimPlatform::load_or_create(&folder, NOW)] {
            let loaded = loaded.unwrap();
            assert_eq!(loaded.root_der(), platform.root_der());
            assert_eq!(loaded.public.sgx, platform.public.sgx);
            assert_eq!(loaded.public.tdx, platform.public.tdx);
            assert!(loaded.can_attest());
            SimAttester::new(&Arc::new(loaded), SimSpec::default()).unwrap().quote_over(&[0; 64]).unwrap();
        }
        assert_eq!(listing(&folder), before);
    }

    #[test]
    fn keys_are_for_their_owner_alone() {
        let (_temporary, folder, _) = saved();
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(folder.join(KEYS)), 0o700);
        for key in [ROOT, PCK_CA, TCB_SIGNER, PCK] {
            assert_eq!(mode(folder.join(KEYS).join(key)), 0o600, "{key}");
        }
    }

    #[test]
    fn a_copy_without_keys_verifies_and_does_not_attest() {
        let (_temporary, folder, platform) = saved();
        fs::remove_dir_all(folder.join(KEYS)).unwrap();
        fs::remove_file(folder.join(PCK_CA)).unwrap();
        fs::remove_file(folder.join(TCB_SIGNER)).unwrap();
        let copy = SimPlatform::load(&folder, NOW).unwrap();
        assert_eq!(copy.root_der(), platform.root_der());
        assert_eq!(SimPlatform::load_root(&folder).unwrap(), platform.root_der());
        assert!(!copy.can_attest());
        let refused = SimAttester::new(&Arc::new(copy), SimSpec::default()).unwrap_err();
        assert!(matches!(refused, SimError::NoKeys));
    }

    #[test]
    fn a_platform_is_never_overwritten() {
        let (_temporary, folder, platform) = saved();
        let refused = SimPlatform::generate(NOW).unwrap().save(&folder).unwrap_err();
        assert!(matches!(refused, SimFolderError::Exists { .. }), "{refused}");
        assert_eq!(SimPlatform::load(&folder, NOW).unwrap().root_der(), platform.root_der());
        assert_eq!(fs::read_dir(folder.parent().unwrap()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn processes_that_start_at_once_share_one_platform() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("platform");
        let roots: Vec<_> = std::thread::scope(|scope| {
            let start = || SimPlatform::load_or_create(&folder, NOW).unwrap().root_der().to_vec();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(roots.iter().all(|root| *root == roots[0]));
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn says_what_is_wrong_and_what_helps() {
        type Spoil = fn(&Path);
        let cases: [(&str, Spoil, &str); 7] = [
            ("no folder", |f| fs::remove_dir_all(f).unwrap(), "there is no simulated platform"),
            ("no collateral", |f| fs::remove_file(f.join(COLLATERAL_TDX)).unwrap(), "collateral-tdx.json: the file is"),
            ("no key", |f| fs::remove_file(f.join(KEYS).join(PCK)).unwrap(), "keys/pck.pem: the file is missing"),
            ("no PEM", |f| fs::write(f.join(ROOT), "x").unwrap(), "root.pem: it holds"),
            (
                "mixed up",
                |f| {
                    fs::copy(f.join(COLLATERAL_TDX), f.join(COLLATERAL_SGX)).unwrap();
                },
                "collateral-sgx.json: it holds collateral for tdx/",
            ),
            (
                "another root",
                |f| {
                    let other = SimPlatform::generate(NOW).unwrap();
                    fs::write(f.join(ROOT), pem_chain(&[other.root_der()])).unwrap();
                },
                "collateral-sgx.json: it holds root CA CRL: expected signed by",
            ),
            (
                "another key",
                |f| {
                    fs::copy(f.join(KEYS).join(PCK), f.join(KEYS).join(PCK_CA)).unwrap();
                },
                "keys/pck-ca.pem: it holds a key that does not belong",
            ),
        ];
        for (what, spoil, words) in cases {
            let (_temporary, folder, _) = saved();
            spoil(&folder);
            let error = SimPlatform::load(&folder, NOW).unwrap_err().to_string();
            assert!(error.contains(words), "{what}: {error}");
        }
    }

    #[test]
    fn expired_collateral_is_named_and_can_be_renewed() {
        let (_temporary, folder, platform) = saved();
        let later = NOW.plus(COLLATERAL_VALIDITY);
        let expired = SimPlatform::load(&folder, later).unwrap_err();
        assert!(matches!(expired, SimFolderError::Expired { .. }), "{expired}");
        assert!(expired.to_string().contains("renew it, or remove the folder"), "{expired}");

        SimPlatform::renew_folder(&folder, later).unwrap();
        let renewed = SimPlatform::load(&folder, later).unwrap();
        assert_eq!(renewed.root_der(), platform.root_der());
        assert!(renewed.expires() > later);
    }
}
