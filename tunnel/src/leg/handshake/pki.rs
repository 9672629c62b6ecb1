//! Legs with certificates of an ordinary PKI: the files, what rustls makes of them, and their renewal.
//!
//! TLS is as everywhere here: 1.3 alone, no resumption, no tickets, no early data; and no ALPN of ours, so such a leg
//! carries bytes. Certificates are checked by rustls (RFC 5280 path, name, time); revocation is not looked at.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use inclavared_config::{CertificateFiles, PkiDownstream, PkiUpstream};
use inclavared_wire::tls;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::remembered::Remembered;
use super::{Turns, accept_with, tls_error, within, without_client_resumption, without_resumption};
use crate::error::Error;
use crate::leg::Leg;
use crate::leg::socket::Socket;

/// How often the files are looked at, at most: a new certificate is in service that soon.
const LOOK: Duration = Duration::from_secs(1);

/// The largest file that is read: a bundle of every public authority has a fifth of it.
const LARGEST: u64 = 1 << 20;

/// Accepts a leg with the certificate of a PKI.
pub async fn accept_pki(mut socket: Socket, files: &PkiServer, turns: &Turns, limit: Duration) -> Result<Leg, Error> {
    let established = accept_with(&mut socket, files.0.current(), turns, limit).await?;
    Ok(Leg::tls(socket, established))
}

/// Starts a leg to a target with the certificate of a PKI.
pub async fn connect_pki(mut socket: Socket, files: &PkiClient, limit: Duration) -> Result<Leg, Error> {
    let config = files.files.current();
    let name = files.name.clone();
    let handshake = async { tls::connect(&mut socket, config, name).await.map_err(tls_error) };
    let established = within("the TLS handshake", limit, handshake).await?;
    Ok(Leg::tls(socket, established))
}

/// What clients of a route meet.
#[derive(Debug)]
pub struct PkiServer(Watched<ServerConfig>);

/// How a route's target is met.
#[derive(Debug)]
pub struct PkiClient {
    files: Watched<ClientConfig>,
    name: ServerName<'static>,
}

/// Why certificates do not serve. The operator's matter; nothing of a key's content is in it.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}; {remedy}", .file.display())]
pub struct PkiError {
    pub file: PathBuf,
    pub what: String,
    pub remedy: &'static str,
}

impl PkiServer {
    /// Reads the files: a process whose certificates do not serve does not start.
    pub fn load(side: &PkiUpstream, provider: &Arc<CryptoProvider>) -> Result<Self, PkiError> {
        let mut watched = watched_files(Some(&side.own));
        watched.extend(side.client_ca.clone());
        let (side, provider) = (side.clone(), Arc::clone(provider));
        Watched::load(watched, move || server_config(&side, &provider)).map(Self)
    }
}

impl PkiClient {
    /// The same for the other side.
    pub fn load(side: &PkiDownstream, provider: &Arc<CryptoProvider>) -> Result<Self, PkiError> {
        let name = ServerName::try_from(side.server_name.clone()).map_err(|_| PkiError {
            file: side.ca.clone(),
            what: format!("no certificate can be for `{}`", side.server_name),
            remedy: "write a host name or an address as `server_name`",
        })?;
        let mut watched = watched_files(side.own.as_ref());
        watched.push(side.ca.clone());
        let (side, provider) = (side.clone(), Arc::clone(provider));
        Ok(Self { files: Watched::load(watched, move || client_config(&side, &provider))?, name })
    }
}

/// What was made of some files, and made anew when they change.
struct Watched<T> {
    current: ArcSwap<T>,
    files: Vec<PathBuf>,
    seen: Mutex<Seen>,
    make: Box<dyn Fn() -> Result<T, PkiError> + Send + Sync>,
}

struct Seen {
    at: Instant,
    /// Of the files as they were tried last, whether they served or not: what does not serve is said once.
    state: Vec<Option<FileState>>,
}

/// Tells a file from its successor: written over, renamed over, or behind a link that was turned.
#[derive(PartialEq, Eq)]
struct FileState {
    inode: (u64, u64),
    size: u64,
    modified: (i64, i64),
}

impl<T> Watched<T> {
    fn load(
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, PkiError> + Send + Sync + 'static,
    ) -> Result<Self, PkiError> {
        let state = states(&files);
        let current = ArcSwap::from_pointee(make()?);
        Ok(Self { current, files, seen: Mutex::new(Seen { at: Instant::now(), state }), make: Box::new(make) })
    }

    /// For a new leg. Looks at the files now and then; what does not serve is said, and the old ones stay.
    fn current(&self) -> Arc<T> {
        if let Ok(mut seen) = self.seen.try_lock()
            && seen.at.elapsed() >= LOOK
        {
            seen.at = Instant::now();
            let state = states(&self.files);
            if state != seen.state {
                seen.state = state;
                match (self.make)() {
                    Ok(made) => {
                        self.current.store(Arc::new(made));
                        tracing::info!(file = %self.files[0].display(), "new certificates are in service");
                    }
                    Err(error) => tracing::error!(%error, "new certificates do not serve; the old ones stay"),
                }
            }
        }
        self.current.load_full()
    }
}

impl<T> std::fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Watched").field(&self.files).finish()
    }
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seen")
    }
}

fn watched_files(own: Option<&CertificateFiles>) -> Vec<PathBuf> {
    own.into_iter().flat_map(|own| [own.cert.clone(), own.key.clone()]).collect()
}

fn states(files: &[PathBuf]) -> Vec<Option<FileState>> {
    let state = |file: &PathBuf| {
        let found = fs::metadata(file).ok()?;
        Some(FileState {
            inode: (found.dev(), found.ino()),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
        })
    };
    files.iter().map(state).collect()
}

fn server_config(side: &PkiUpstream, provider: &Arc<CryptoProvider>) -> Result<ServerConfig, PkiError> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| refused(&side.own.cert, &error, "correct `[tls]`"))?;
    let builder = match &side.client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots(ca)?, Arc::clone(provider)).build();
            let verifier: Arc<dyn ClientCertVerifier> = verifier.map_err(|error| bad_roots(ca, &error))?;
            builder.with_client_cert_verifier(Remembered::new(verifier))
        }
    };
    let (chain, key) = pair(&side.own)?;
    let mut config = builder.with_single_cert(chain, key).map_err(|error| bad_pair(&side.own, &error))?;
    without_resumption(&mut config);
    Ok(config)
}

fn client_config(side: &PkiDownstream, provider: &Arc<CryptoProvider>) -> Result<ClientConfig, PkiError> {
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(&side.ca)?, Arc::clone(provider)).build();
    let verifier: Arc<dyn ServerCertVerifier> = verifier.map_err(|error| bad_roots(&side.ca, &error))?;
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| refused(&side.ca, &error, "correct `[tls]`"))?
        // `dangerous` for rustls is any verifier but its own; this one is its own, with a memory.
        .dangerous()
        .with_custom_certificate_verifier(Remembered::new(verifier));
    let mut config = match &side.own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let (chain, key) = pair(own)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| bad_pair(own, &error))?
        }
    };
    without_client_resumption(&mut config);
    Ok(config)
}

fn pair(files: &CertificateFiles) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), PkiError> {
    let chain = certificates(&files.cert)?;
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?)
        // What the reader has to say of a key may quote it.
        .map_err(|_| refused(&files.key, &"holds no private key in PEM that can be read", KEY_REMEDY))?;
    Ok((chain, key))
}

fn roots(file: &Path) -> Result<Arc<RootCertStore>, PkiError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| refused(file, &error, "write certificates of authorities"))?;
    }
    Ok(Arc::new(roots))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    let bytes = read(file)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let certificates = read.map_err(|error| refused(file, &format!("not PEM: {error}"), CERTIFICATE_REMEDY))?;
    if certificates.is_empty() {
        return Err(refused(file, &"holds no certificate", CERTIFICATE_REMEDY));
    }
    Ok(certificates)
}

fn read(file: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>, PkiError> {
    let unreadable = |error: io::Error| refused(file, &format!("cannot be read: {error}"), "name a readable file");
    if fs::metadata(file).map_err(unreadable)?.len() > LARGEST {
        return Err(refused(file, &format!("longer than {LARGEST} bytes"), CERTIFICATE_REMEDY));
    }
    fs::read(file).map(zeroize::Zeroizing::new).map_err(unreadable)
}

fn bad_pair(files: &CertificateFiles, error: &rustls::Error) -> PkiError {
    let what = match error {
        rustls::Error::InconsistentKeys(_) => format!("not the key of {}", files.cert.display()),
        other => format!("does not serve with {}: {other}", files.cert.display()),
    };
    refused(&files.key, &what, "write a certificate and the key that it was issued for")
}

fn bad_roots(file: &Path, error: &VerifierBuilderError) -> PkiError {
    refused(file, error, "write certificates of authorities")
}

fn refused(file: &Path, what: &dyn std::fmt::Display, remedy: &'static str) -> PkiError {
    PkiError { file: file.to_owned(), what: what.to_string(), remedy }
}

const CERTIFICATE_REMEDY: &str = "write certificates in PEM, from `-----BEGIN CERTIFICATE-----` on";
const KEY_REMEDY: &str = "write an unencrypted PKCS#8, SEC1 or PKCS#1 key";
