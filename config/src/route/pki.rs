//! Which files the certificates of an ordinary PKI are in. Their content is read when the process starts, not here.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::address::{Target, is_host_name};
use crate::document::{Table, Value};

/// A certificate chain and the key of its first certificate, both PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateFiles {
    /// The chain, the holder's certificate first.
    pub cert: PathBuf,
    /// The private key of the holder.
    pub key: PathBuf,
}

/// What a client meets: TLS with a certificate of a PKI. Nothing is attested to the client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PkiUpstream {
    /// What this process shows to clients.
    pub own: CertificateFiles,
    /// Clients have to show a certificate of these authorities (PEM). `None`: they are not asked for any.
    pub client_ca: Option<PathBuf>,
}

/// How the target is spoken to: over TLS, and its certificate is checked as a browser would. Nothing of it is attested.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PkiDownstream {
    /// The authorities (PEM). One of them has to have issued the target's certificate.
    pub ca: PathBuf,
    /// The name, or address, that the certificate has to be for. The target's host unless it is written.
    pub server_name: String,
    /// What this process shows where the target asks for it.
    pub own: Option<CertificateFiles>,
}

/// The keys of `upstream = { tls = "pki", ... }`. `folder` is where relative paths begin.
pub(crate) fn read_pki_upstream(table: &Table<'_>, folder: &Path) -> Option<PkiUpstream> {
    let own = read_files(table, folder, true);
    let client_ca = table.get("client_ca").map(|v| read_path(&v, folder, CLIENT_CA_REMEDY));
    Some(PkiUpstream { own: own??, client_ca: client_ca.map_or(Some(None), |path| path.map(Some))? })
}

/// The keys of `downstream = { tls = "pki", ... }`.
pub(crate) fn read_pki_downstream(table: &Table<'_>, folder: &Path, target: Option<&Target>) -> Option<PkiDownstream> {
    let ca = table.required("ca", CA_REMEDY).and_then(|v| read_path(&v, folder, CA_REMEDY));
    let server_name = match (table.get("server_name"), target) {
        (Some(value), _) => read_server_name(&value),
        (None, Some(Target::Tcp { host, .. })) => Some(host.clone()),
        (None, Some(Target::Unix(_) | Target::Process(_))) => {
            table.mistake_at("server_name", "missing: a Unix socket has no name", SERVER_NAME_REMEDY);
            None
        }
        (None, None) => None,
    };
    let own = read_files(table, folder, false);
    Some(PkiDownstream { ca: ca?, server_name: server_name?, own: own? })
}

/// `cert` and `key`, which go together. The outer `Option`: whether they could be read.
fn read_files(table: &Table<'_>, folder: &Path, needed: bool) -> Option<Option<CertificateFiles>> {
    let (cert, key) = (table.get("cert"), table.get("key"));
    if cert.is_none() && key.is_none() && !needed {
        return Some(None);
    }
    let read = |value: Option<Value<'_>>, name, remedy| {
        if value.is_none() {
            table.mistake_at(name, "missing: a certificate and its key go together", remedy);
        }
        value.and_then(|v| read_path(&v, folder, remedy))
    };
    let (cert, key) = (read(cert, "cert", CERT_REMEDY), read(key, "key", KEY_REMEDY));
    Some(Some(CertificateFiles { cert: cert?, key: key? }))
}

fn read_path(value: &Value<'_>, folder: &Path, remedy: &str) -> Option<PathBuf> {
    value.filled_text(remedy).map(|path| folder.join(path))
}

fn read_server_name(value: &Value<'_>) -> Option<String> {
    let name = value.text()?;
    if name.parse::<IpAddr>().is_err() && !is_certificate_name(name) {
        value.mistake(format!("`{name}` is neither a host name nor an address"), SERVER_NAME_REMEDY);
        return None;
    }
    Some(name.to_owned())
}

/// A host name without the dot at its end, which no certificate has.
fn is_certificate_name(name: &str) -> bool {
    is_host_name(name) && !name.ends_with('.')
}

const CERT_REMEDY: &str = "write `cert = \"FILE\"`, the certificate chain in PEM";
const KEY_REMEDY: &str = "write `key = \"FILE\"`, the certificate's private key in PEM";
const CA_REMEDY: &str = "write `ca = \"FILE\"`, the authorities of the target's certificate in PEM";
const CLIENT_CA_REMEDY: &str = "write `client_ca = \"FILE\"`, or leave it out to ask clients for no certificate";
const SERVER_NAME_REMEDY: &str = "write `server_name = \"NAME\"`, the name in the target's certificate";

#[cfg(test)]
mod tests {
    use super::is_certificate_name;

    #[test]
    fn host_names_are_told_from_other_text() {
        for name in ["localhost", "db.example", "_sip.a-b.example", "1.example"] {
            assert!(is_certificate_name(name), "{name}");
        }
        for name in ["", "a..b", "-a", "a-", "a b", "http://a", "a:1", "ä", "a.example.", "1.2.3.456", &"a".repeat(64)]
        {
            assert!(!is_certificate_name(name), "{name}");
        }
    }
}
