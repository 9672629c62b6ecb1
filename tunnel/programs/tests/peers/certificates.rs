//! Certificates of an ordinary PKI, in files as every stack reads them: PEM, keys in PKCS#8.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use crate::harness::World;

/// A certificate and its key.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// An authority with a certificate for a server, which is `localhost`, and one for a client; and one that nobody signed.
#[derive(Debug)]
pub(crate) struct Certificates {
    pub(crate) ca: PathBuf,
    pub(crate) server: Pair,
    pub(crate) client: Pair,
    pub(crate) self_signed: Pair,
    /// An authority that signed none of these.
    pub(crate) other_ca: PathBuf,
}

impl Certificates {
    pub(crate) fn new(world: &World) -> Self {
        let folder = world.path("certificates");
        std::fs::create_dir(&folder).unwrap();
        let (ca, issuer) = authority(&folder, "ca");
        let (other_ca, _) = authority(&folder, "other-ca");
        Self {
            ca,
            server: issue(&folder, "server", Some(&issuer)),
            client: issue(&folder, "client", Some(&issuer)),
            self_signed: issue(&folder, "self-signed", None),
            other_ca,
        }
    }
}

fn authority(folder: &Path, name: &str) -> (PathBuf, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let file = folder.join(format!("{name}.pem"));
    std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
    (file, Issuer::new(params, key))
}

fn issue(folder: &Path, who: &str, issuer: Option<&Issuer<'static, KeyPair>>) -> Pair {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, who);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = match issuer {
        Some(issuer) => params.signed_by(&key, issuer),
        None => params.self_signed(&key),
    };
    let pair = Pair { certificate: folder.join(format!("{who}.pem")), key: folder.join(format!("{who}.key")) };
    std::fs::write(&pair.certificate, certificate.unwrap().pem()).unwrap();
    std::fs::write(&pair.key, key.serialize_pem()).unwrap();
    pair
}
