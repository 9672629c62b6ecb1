//! Certificates, configurations, and a small session over our record layer that the tests read and write with.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use inclavared_wire::tls::{self, Content, Established, Exporter, MAX_RECORD, Opened, Opener, RecordError, Sealer};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, ServerConfig,
    SignatureScheme, SupportedCipherSuite,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

/// No test waits longer than this for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const NAME: &str = "hop.example";
pub(crate) const LABEL: &[u8] = b"EXPORTER-test";

/// One self-signed certificate, for both sides.
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
}

impl Identity {
    pub(crate) fn new() -> Self {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
        Self {
            certificate: made.cert.der().clone(),
            key: PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()),
            certificate_pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
        }
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key().into()
    }

    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        roots
    }

    /// Presents itself and asks for the client's certificate.
    pub(crate) fn mutual_server(&self, provider: &Arc<CryptoProvider>) -> ServerConfig {
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()), provider.clone()).build().unwrap();
        let mut config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![self.certificate.clone()], self.key())
            .unwrap();
        config.enable_secret_extraction = true;
        config
    }

    pub(crate) fn server(&self, provider: &Arc<CryptoProvider>) -> ServerConfig {
        let mut config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], self.key())
            .unwrap();
        config.enable_secret_extraction = true;
        config
    }

    pub(crate) fn mutual_client(&self, provider: &Arc<CryptoProvider>) -> ClientConfig {
        let mut config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(self.roots())
            .with_client_auth_cert(vec![self.certificate.clone()], self.key())
            .unwrap();
        config.enable_secret_extraction = true;
        config
    }

    pub(crate) fn client(&self, provider: &Arc<CryptoProvider>) -> ClientConfig {
        let mut config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(self.roots())
            .with_no_client_auth();
        config.enable_secret_extraction = true;
        config
    }
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// One suite and one group, and no other.
pub(crate) fn only(suite: SupportedCipherSuite, group: &'static dyn SupportedKxGroup) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider { cipher_suites: vec![suite], kx_groups: vec![group], ..aws_lc_rs::default_provider() })
}

pub(crate) fn server_name() -> ServerName<'static> {
    ServerName::try_from(NAME).unwrap()
}

/// Bytes that say where they stand, so that a byte lost, doubled or moved shows.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).flat_map(|word| (word.wrapping_mul(0x9E37_79B9) | 1).to_le_bytes()).take(length).collect()
}

/// What [`Session::next`] gives.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Event {
    Data(Vec<u8>),
    KeyUpdate {
        reply_wanted: bool,
    },
    Ignored,
    CloseNotify,
    Alert(AlertDescription),
    /// The stream ended without a close_notify.
    Truncated,
    Refused(RecordError),
}

/// A session over our record layer. It replies to KeyUpdates, and makes its own when they are due.
pub(crate) struct Session<S> {
    pub(crate) io: S,
    pub(crate) exporter: Exporter,
    pub(crate) opener: Opener,
    pub(crate) sealer: Sealer,
    pub(crate) key_updates_sent: usize,
    pub(crate) key_updates_received: usize,
    unread: BytesMut,
    out: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    pub(crate) fn new(io: S, established: Established) -> Self {
        let Established { exporter, opener, sealer, unread, .. } = established;
        let (key_updates_sent, key_updates_received, out) = (0, 0, BytesMut::new());
        Self { io, exporter, opener, sealer, key_updates_sent, key_updates_received, unread, out }
    }

    pub(crate) async fn next(&mut self) -> Event {
        loop {
            match self.opener.open(&mut self.unread) {
                Ok(Opened::Record { consumed, what }) => {
                    let event = match what {
                        Content::Data(range) => Event::Data(self.unread[range].to_vec()),
                        Content::KeyUpdate { reply_wanted } => Event::KeyUpdate { reply_wanted },
                        Content::Ignored => Event::Ignored,
                        Content::CloseNotify => Event::CloseNotify,
                        Content::Alert(description) => Event::Alert(description),
                    };
                    self.unread.advance(consumed);
                    return event;
                }
                Ok(Opened::Incomplete { need }) => {
                    assert!(need <= MAX_RECORD && need > self.unread.len());
                    if self.io.read_buf(&mut self.unread).await.unwrap_or(0) == 0 {
                        return Event::Truncated;
                    }
                }
                Err(error) => return Event::Refused(error),
            }
        }
    }

    /// The next event that is not [`Event::Ignored`] or a KeyUpdate, which is answered if it asks.
    pub(crate) async fn read(&mut self) -> Event {
        loop {
            match self.next().await {
                Event::Ignored => {}
                Event::KeyUpdate { reply_wanted } => {
                    self.key_updates_received += 1;
                    if reply_wanted {
                        self.key_update(false).await;
                    }
                }
                event => return event,
            }
        }
    }

    /// Exactly `length` bytes of application data.
    pub(crate) async fn read_exact(&mut self, length: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < length {
            match self.read().await {
                Event::Data(data) => all.extend(data),
                other => panic!("{other:?} after {} of {length} bytes", all.len()),
            }
        }
        assert_eq!(all.len(), length);
        all
    }

    pub(crate) async fn write(&mut self, data: &[u8]) {
        for chunk in data.chunks(tls::MAX_PLAINTEXT) {
            if self.opener.peer_update_due() {
                self.key_update(true).await;
            }
            if self.sealer.key_update_due() {
                self.key_update(false).await;
            }
            let mut slot = [&[0; Sealer::HEAD][..], chunk, &[0; Sealer::TAIL]].concat();
            let record = self.sealer.seal(&mut slot, Sealer::HEAD..Sealer::HEAD + chunk.len()).unwrap();
            self.io.write_all(&slot[record]).await.unwrap();
        }
        self.io.flush().await.unwrap();
    }

    pub(crate) async fn key_update(&mut self, ask_peer: bool) {
        self.sealer.key_update(&mut self.out, ask_peer).unwrap();
        self.key_updates_sent += 1;
        self.flush().await;
    }

    pub(crate) async fn alert(&mut self, description: AlertDescription) {
        self.sealer.alert(&mut self.out, description);
        self.flush().await;
    }

    pub(crate) async fn close_notify(&mut self) {
        self.sealer.close_notify(&mut self.out);
        self.flush().await;
    }

    async fn flush(&mut self) {
        self.io.write_all(&self.out.split()).await.unwrap();
        self.io.flush().await.unwrap();
    }
}

/// A connected pair of TCP sockets on the loopback.
pub(crate) async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dial = TcpStream::connect(listener.local_addr().unwrap());
    let (dialled, accepted) = tokio::join!(dial, listener.accept());
    let (dialled, (accepted, _)) = (dialled.unwrap(), accepted.unwrap());
    dialled.set_nodelay(true).unwrap();
    accepted.set_nodelay(true).unwrap();
    (dialled, accepted)
}

pub(crate) async fn we_serve(
    ours: ServerConfig,
    theirs: ClientConfig,
) -> (Session<TcpStream>, client::TlsStream<TcpStream>) {
    let (near, mut far) = tcp().await;
    let peer = TlsConnector::from(Arc::new(theirs)).connect(server_name(), near);
    let (established, peer) = tokio::join!(tls::accept(&mut far, Arc::new(ours), BytesMut::new()), peer);
    (Session::new(far, established.unwrap()), peer.unwrap())
}

pub(crate) async fn we_connect(
    ours: ClientConfig,
    theirs: ServerConfig,
) -> (Session<TcpStream>, server::TlsStream<TcpStream>) {
    let (mut near, far) = tcp().await;
    let peer = TlsAcceptor::from(Arc::new(theirs)).accept(far);
    let (established, peer) = tokio::join!(tls::connect(&mut near, Arc::new(ours), server_name()), peer);
    (Session::new(near, established.unwrap()), peer.unwrap())
}

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("the measurement is not known")]
pub(crate) struct Unmeasured(pub(crate) u32);

/// A verifier of our own that refuses with its own error, or accepts all.
#[derive(Debug)]
pub(crate) struct Refuse(pub(crate) Option<u32>);

impl ServerCertVerifier for Refuse {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.0 {
            Some(code) => {
                Err(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Unmeasured(code))))))
            }
            None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("no TLS 1.2".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    provider().signature_verification_algorithms
}
