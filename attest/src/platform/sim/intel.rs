//! The Intel side of a simulated platform on disk: SGX and TDX under one root.

use std::path::Path;

use super::folder::{
    GENERATE, KEYS, PRIVATE, PUBLIC, SimFolderError, read, read_certificate, read_private_key, replace, write,
};
use crate::Timestamp;
use crate::appraise::{AppraisalError, Collateral};
use crate::sim::{Authority, AuthorityName, SimKey, SimKeys, SimPublic, pem_chain};
use crate::tee::Tee;

/// Whether the folder has a platform's root.
pub(super) fn stands_in(folder: &Path) -> bool {
    folder.join(ROOT).exists()
}

pub(super) fn load(folder: &Path, now: Timestamp) -> Result<(SimPublic, Option<SimKeys>), SimFolderError> {
    let root_der = load_root(folder)?;
    let sgx = read_collateral(&folder.join(COLLATERAL_SGX), Tee::Sgx, &root_der, now)?;
    let tdx = read_collateral(&folder.join(COLLATERAL_TDX), Tee::Tdx, &root_der, now)?;
    let keys = if folder.join(KEYS).exists() { Some(read_keys(folder, &root_der)?) } else { None };
    Ok((SimPublic { root_der, sgx, tdx }, keys))
}

pub(super) fn load_root(folder: &Path) -> Result<Vec<u8>, SimFolderError> {
    read_certificate(&folder.join(ROOT))
}

/// The platform's keys alone, whatever its collateral says.
pub(super) fn load_keys(folder: &Path) -> Result<SimKeys, SimFolderError> {
    read_keys(folder, &load_root(folder)?)
}

pub(super) fn store(public: &SimPublic, folder: &Path) -> Result<(), SimFolderError> {
    write(&folder.join(COLLATERAL_SGX), &public.sgx.to_json(), PUBLIC)?;
    write(&folder.join(COLLATERAL_TDX), &public.tdx.to_json(), PUBLIC)?;
    write(&folder.join(ROOT), pem_chain(&[&public.root_der]).as_bytes(), PUBLIC)
}

/// Keys, and the certificates of the authorities that they belong to. The folder of the keys has to be there.
pub(super) fn store_keys(keys: &SimKeys, folder: &Path) -> Result<(), SimFolderError> {
    write(&folder.join(PCK_CA), pem_chain(&[&keys.pck_ca.der]).as_bytes(), PUBLIC)?;
    write(&folder.join(TCB_SIGNER), pem_chain(&[&keys.tcb_signer.der]).as_bytes(), PUBLIC)?;
    let private = folder.join(KEYS);
    for (file, key) in
        [(ROOT, &keys.root.key), (PCK_CA, &keys.pck_ca.key), (TCB_SIGNER, &keys.tcb_signer.key), (PCK, &keys.pck)]
    {
        write(&private.join(file), key.to_pem().as_bytes(), PRIVATE)?;
    }
    Ok(())
}

/// New collateral in the place of the old.
pub(super) fn renew(public: &SimPublic, folder: &Path) -> Result<(), SimFolderError> {
    for (file, collateral) in [(COLLATERAL_SGX, &public.sgx), (COLLATERAL_TDX, &public.tdx)] {
        replace(&folder.join(file), &collateral.to_json())?;
    }
    Ok(())
}

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
    Ok(SimKey::from_pkcs8(&read_private_key(path)?)?)
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

pub(super) const ROOT: &str = "root.pem";
pub(super) const COLLATERAL_SGX: &str = "collateral-sgx.json";
pub(super) const COLLATERAL_TDX: &str = "collateral-tdx.json";
pub(super) const PCK_CA: &str = "pck-ca.pem";
pub(super) const TCB_SIGNER: &str = "tcb-signer.pem";
pub(super) const PCK: &str = "pck.pem";
