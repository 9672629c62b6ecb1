//! Platforms on disk: what is written comes back, keys stay with their owner, and each mistake is named.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::intel::{COLLATERAL_SGX, COLLATERAL_TDX, PCK, PCK_CA, ROOT, TCB_SIGNER};
use super::*;
use crate::sim::{COLLATERAL_VALIDITY, SimAttester, SimError, SimSpec, pem_chain};

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
