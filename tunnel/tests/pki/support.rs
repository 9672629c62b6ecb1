//! Authorities, certificates, a process with one route, and stock rustls peers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use inclavared_tunnel::server::ended::Report;
use inclavared_tunnel::server::process::{Process, Setup, StartError};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// A folder with `ca.pem`, `server.*` and `client.*` of one authority, and `other-*` of another.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for prefix in ["", "other-"] {
            let ca = folder.authority(&format!("{prefix}ca"));
            for who in ["server", "client"] {
                folder.issue(&ca, &format!("{prefix}{who}"), "localhost");
            }
        }
        folder
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn authority(&self, name: &str) -> Issuer<'static, KeyPair> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(self.file(name).with_extension("pem"), certificate.pem()).unwrap();
        Issuer::new(params, key)
    }

    pub(crate) fn issue(&self, ca: &Issuer<'static, KeyPair>, who: &str, host: &str) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, ca).unwrap();
        std::fs::write(self.file(who).with_extension("pem"), certificate.pem()).unwrap();
        std::fs::write(self.file(who).with_extension("key"), key.serialize_pem()).unwrap();
    }

    pub(crate) fn chain(&self, who: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = CertificateDer::pem_file_iter(self.file(who).with_extension("pem")).unwrap();
        (
            chain.map(Result::unwrap).collect(),
            PrivateKeyDer::from_pem_file(self.file(who).with_extension("key")).unwrap(),
        )
    }

    pub(crate) fn roots(&self, ca: &str) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(self.file(ca)).unwrap() {
            roots.add(certificate.unwrap()).unwrap();
        }
        Arc::new(roots)
    }

    /// A configuration with one route, `pki` on both sides unless a line says otherwise.
    pub(crate) fn config(&self, target: SocketAddr, upstream: &str, downstream: &str) -> String {
        format!(
            "[[route]]\nname = \"pki\"\nlisten = \"127.0.0.1:0\"\nxfer = \"{target}\"\n\
             upstream = {upstream}\ndownstream = {downstream}\n"
        )
    }

    pub(crate) fn start(&self, text: &str) -> Result<Running, StartError> {
        let config = inclavared_config::parse(self.file("inclavared.toml"), text).unwrap();
        let (sender, reports) = channel();
        let sender = Mutex::new(sender);
        let ended = Box::new(move |report: &Report| {
            let counters = (report.counters.up, report.counters.down);
            let result = match &report.result {
                Ok(_) => Ok(counters),
                // An error is not `Clone`: its text is what is compared.
                Err(error) => Err(error.one_line()),
            };
            let _ = sender.lock().unwrap().send(result);
        });
        let process = Process::start(Setup { config, workload: None, ended })?;
        let address = process.addresses()[0].1.to_string().trim_start_matches("tcp://").parse().unwrap();
        Ok(Running { address, reports, process })
    }
}

pub(crate) const UPSTREAM: &str = r#"{ tls = "pki", cert = "server.pem", key = "server.key", client_ca = "ca.pem" }"#;
pub(crate) const DOWNSTREAM: &str =
    r#"{ tls = "pki", ca = "ca.pem", server_name = "localhost", cert = "client.pem", key = "client.key" }"#;

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    reports: Receiver<Result<(u64, u64), String>>,
    process: Process,
}

impl Running {
    /// How the next connection ended: payload up and down, or why not.
    pub(crate) fn ended(&self) -> Result<(u64, u64), String> {
        self.reports.recv_timeout(Duration::from_secs(20)).expect("the connection ends")
    }

    pub(crate) fn stop(self) {
        self.process.shutdown(|| true);
    }
}

/// A stock rustls server that demands a client certificate and echoes; serves until the test ends.
pub(crate) fn echo_server(folder: &Folder, who: &str) -> SocketAddr {
    let (chain, key) = folder.chain(who);
    let verifier = WebPkiClientVerifier::builder(folder.roots("ca.pem")).build().unwrap();
    let config = ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, socket.unwrap());
            std::thread::spawn(move || {
                let mut buffer = [0; 16 * 1024];
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..read]).is_err() {
                        return;
                    }
                }
                stream.conn.send_close_notify();
                let _ = stream.flush();
            });
        }
    });
    address
}

pub(crate) type Client = StreamOwned<ClientConnection, TcpStream>;

/// A stock rustls client that trusts `ca.pem`, with a certificate or without.
pub(crate) fn client(folder: &Folder, address: SocketAddr, who: Option<&str>) -> Client {
    let builder = ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
        .with_root_certificates(folder.roots("ca.pem"));
    let config = match who {
        Some(who) => {
            let (chain, key) = folder.chain(who);
            builder.with_client_auth_cert(chain, key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    let name = ServerName::try_from("localhost").unwrap();
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), socket)
}

/// Says `text`, ends its direction, and gives all that comes back.
pub(crate) fn talk(client: &mut Client, text: &[u8]) -> std::io::Result<Vec<u8>> {
    client.write_all(text)?;
    client.conn.send_close_notify();
    client.flush()?;
    let mut back = Vec::new();
    client.read_to_end(&mut back)?;
    Ok(back)
}
