//! Collateral on disk: one file a set, replaced in one step, verified again when it is read.
//!
//! ```text
//! FOLDER/intel/sgx-00906ed50000-platform.json     dcap-qvl's QuoteCollateralV3
//! FOLDER/amd/sev-snp-milan-vcek.json              an AmdSet: CA, list, certificates of chips
//! FOLDER/simulated-5f2c…/tdx-….json               a folder for every simulated root
//! ```

use std::ffi::OsStr;
use std::fmt::Display;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use inclavared_attest::Digest;
use inclavared_attest::appraise::snp::AmdSet;
use inclavared_attest::appraise::{Collateral, CollateralId, Root, TrustRoots};

/// Where sets are kept. Every call blocks.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    folder: PathBuf,
}

impl Disk {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Every set under a root that is trusted; at most `max`. What cannot be read is left where it is, with a word in
    /// the log. Nothing is verified.
    pub(super) fn load(&self, roots: &TrustRoots, max: usize) -> Vec<(Root, Collateral)> {
        let mut sets = Vec::new();
        for root in [Root::Intel, Root::Simulated] {
            let Some(folder) = self.folder_of(root, roots) else { continue };
            let Ok(files) = fs::read_dir(&folder) else { continue };
            for file in files.filter_map(Result::ok).take(MAX_FILES) {
                let path = file.path();
                if path.extension() != Some(OsStr::new("json")) {
                    remove_old_draft(&path);
                    continue;
                }
                if is_amds(&path) {
                    continue;
                }
                if sets.len() == max {
                    return sets;
                }
                match read(&path).map_err(|error| error.to_string()).and_then(|json| {
                    let set = Collateral::from_json(&json).map_err(|error| error.to_string())?;
                    (path.file_name() == Some(OsStr::new(&file_name(set.id()))))
                        .then_some(set)
                        .ok_or_else(|| "a set for something else than its name says".to_owned())
                }) {
                    Ok(set) => sets.push((root, set)),
                    Err(error) => tracing::warn!(path = %path.display(), %error, "kept collateral cannot be used"),
                }
            }
        }
        sets
    }

    /// The same for AMD's.
    pub(super) fn load_amd(&self, roots: &TrustRoots) -> Vec<(Root, AmdSet)> {
        let mut sets = Vec::new();
        for root in [Root::Amd, Root::Simulated] {
            let Some(folder) = self.folder_of(root, roots) else { continue };
            let Ok(files) = fs::read_dir(&folder) else { continue };
            let files = files.filter_map(Result::ok).map(|file| file.path()).take(MAX_FILES);
            for path in files.filter(|path| is_amds(path) && path.extension() == Some(OsStr::new("json"))) {
                match read(&path).map_err(|error| error.to_string()).and_then(|json| {
                    let set = AmdSet::from_json(&json).map_err(|error| error.to_string())?;
                    (path.file_name() == Some(OsStr::new(&file_name(set.id))))
                        .then_some(set)
                        .ok_or_else(|| "a set for something else than its name says".to_owned())
                }) {
                    Ok(set) => sets.push((root, set)),
                    Err(error) => tracing::warn!(path = %path.display(), %error, "kept collateral cannot be used"),
                }
            }
        }
        sets
    }

    pub(super) fn store_amd(&self, root: Root, roots: &TrustRoots, set: &AmdSet) -> io::Result<()> {
        let Some(folder) = self.folder_of(root, roots) else { return Ok(()) };
        DirBuilder::new().recursive(true).mode(0o755).create(&folder)?;
        replace(&folder.join(file_name(set.id)), &set.to_json())
    }

    /// Writes a set in the place of an older one: all of it or nothing.
    pub(super) fn store(&self, root: Root, roots: &TrustRoots, set: &Collateral) -> io::Result<()> {
        let Some(folder) = self.folder_of(root, roots) else { return Ok(()) };
        DirBuilder::new().recursive(true).mode(0o755).create(&folder)?;
        replace(&folder.join(file_name(set.id())), &set.to_json())
    }

    pub(super) fn remove(&self, root: Root, roots: &TrustRoots, id: CollateralId) -> io::Result<()> {
        let Some(folder) = self.folder_of(root, roots) else { return Ok(()) };
        match fs::remove_file(folder.join(file_name(id))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn folder_of(&self, root: Root, roots: &TrustRoots) -> Option<PathBuf> {
        if root == Root::Amd {
            return Some(self.folder.join("amd"));
        }
        let der = roots.der(root)?;
        Some(self.folder.join(match root {
            Root::Simulated => format!("simulated-{}", &Digest::of(der).to_string()[..16]),
            _ => "intel".to_owned(),
        }))
    }
}

fn is_amds(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("sev-snp-"))
}

fn file_name(id: impl Display) -> String {
    format!("{}.json", id.to_string().replace('/', "-"))
}

/// A file that is not larger than anything this program writes.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {MAX_FILE} bytes")));
    }
    Ok(content)
}

/// Replaces a file in one step: who reads it meanwhile sees the old one or the new one.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("the system has no random bytes to give"))?;
    let draft = path.with_extension(format!("{}.{DRAFT}", hex::encode(random)));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(&draft)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written
}

/// What a process that was killed while writing has left. A younger one may be another process's, at work.
fn remove_old_draft(path: &Path) {
    let age = fs::metadata(path).and_then(|data| data.modified()).ok().and_then(|time| time.elapsed().ok());
    if path.extension() == Some(OsStr::new(DRAFT)) && age.is_some_and(|age| age.as_secs() > 3600) {
        let _ = fs::remove_file(path);
    }
}

const DRAFT: &str = "draft";

/// A set is about 50 KB; a bundle holds as many sets as a cache.
const MAX_FILE: u64 = 64 << 20;

/// A folder with more than this is not ours.
const MAX_FILES: usize = 4096;
