//! The AMD side of a simulated platform on disk, in the same folder:
//!
//! ```text
//! ark.pem                the root of trust for SEV-SNP     \ all that a verifier
//! collateral-snp.json    the CA and the revocation list    / needs
//! keys/ark.pem  keys/ask.pem  keys/vcek.pem
//! ```
//!
//! A folder without `ark.pem` is a platform without SEV-SNP.

use std::path::Path;

use super::folder::{
    GENERATE, KEYS, PRIVATE, PRIVATE_KEY, PUBLIC, SimFolderError, read, read_certificate, read_private_key, replace,
    write,
};
use crate::Timestamp;
use crate::appraise::Root;
use crate::appraise::snp::{AmdRoot, AmdSet};
use crate::sim::amd::AmdKeys;
use crate::sim::{SimAmd, pem, pem_chain};

pub(super) fn load_root(folder: &Path) -> Result<Option<AmdRoot>, SimFolderError> {
    let path = folder.join(ROOT);
    match path.exists() {
        true => Ok(Some(root(read_certificate(&path)?))),
        false => Ok(None),
    }
}

pub(super) fn load(folder: &Path, now: Timestamp) -> Result<Option<SimAmd>, SimFolderError> {
    let Some(root) = load_root(folder)? else { return Ok(None) };
    let path = folder.join(COLLATERAL);
    let content = |found: String| SimFolderError::Content { path: path.clone(), found, remedy: GENERATE };
    let set = AmdSet::from_json(read(&path)?.as_bytes()).map_err(|error| content(error.to_string()))?;
    let root = AmdRoot { product: set.id.product, ..root };
    set.verify(std::slice::from_ref(&root), now).map_err(|error| content(error.to_string()))?;
    let keys = if folder.join(KEYS).join(ROOT).exists() { Some(read_keys(&folder.join(KEYS))?) } else { None };
    Ok(Some(SimAmd { root, set, keys }))
}

/// The platform's keys alone, whatever its collateral says.
pub(super) fn load_keys(folder: &Path) -> Result<Option<AmdKeys>, SimFolderError> {
    match folder.join(ROOT).exists() {
        true => read_keys(&folder.join(KEYS)).map(Some),
        false => Ok(None),
    }
}

pub(super) fn store(amd: &SimAmd, folder: &Path) -> Result<(), SimFolderError> {
    write(&folder.join(COLLATERAL), &amd.set.to_json(), PUBLIC)?;
    write(&folder.join(ROOT), pem_chain(&[&amd.root.der]).as_bytes(), PUBLIC)
}

pub(super) fn store_keys(amd: &SimAmd, private: &Path) -> Result<(), SimFolderError> {
    let Some(keys) = &amd.keys else { return Ok(()) };
    for (file, der) in FILES.iter().zip(keys.to_pkcs8()?) {
        write(&private.join(file), pem(PRIVATE_KEY, &der).as_bytes(), PRIVATE)?;
    }
    Ok(())
}

/// New collateral in the place of the old.
pub(super) fn renew(amd: &SimAmd, folder: &Path) -> Result<(), SimFolderError> {
    replace(&folder.join(COLLATERAL), &amd.set.to_json())?;
    replace(&folder.join(ROOT), pem_chain(&[&amd.root.der]).as_bytes())
}

fn read_keys(private: &Path) -> Result<AmdKeys, SimFolderError> {
    let key = |file: &str| read_private_key(&private.join(file));
    let [root, ca, vek] = [key(FILES[0])?, key(FILES[1])?, key(FILES[2])?];
    Ok(AmdKeys::from_pkcs8([&root, &ca, &vek])?)
}

fn root(der: Vec<u8>) -> AmdRoot {
    AmdRoot { product: crate::sim::amd::PRODUCT, der, root: Root::Simulated }
}

const ROOT: &str = "ark.pem";
const COLLATERAL: &str = "collateral-snp.json";
const FILES: [&str; 3] = ["ark.pem", "ask.pem", "vcek.pem"];
