//! TLS 1.3 alone, no resumption, no tickets, no early data, both directions; from a socket to a [`Leg`]. Attested legs
//! are here; `pki` has those with ordinary certificates.

mod pki;
mod remembered;
mod resolver;
mod turns;
mod verifier;

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use inclavared_attest::certificate::CertificateError;
use inclavared_attest::path::{LEG_LABEL, leg_context};
use inclavared_attest::{KeyId, LegId};
use inclavared_config::{Group, Suite, TlsSettings};
use inclavared_wire::frame::ALPN;
use inclavared_wire::tls::{self, Accepting, Established, TlsError};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::pki_types::ServerName;
use rustls::server::NoServerSessionStorage;
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, ClientConfig, ServerConfig, SupportedCipherSuite};
use tokio::io::AsyncWriteExt as _;

use crate::error::{Error, PeerMisbehaved, Refused};
use crate::leg::farewell;
use crate::leg::socket::Socket;
use crate::leg::{AcceptedFacts, AcceptedLeg, AttestedLeg, DialledFacts, DialledLeg, Leg, LegFacts};
use crate::trust::identity::HopIdentity;
pub use pki::{PkiClient, PkiError, PkiServer, accept_pki, connect_pki};
use resolver::Fixed;
pub use turns::Turns;
use verifier::LegVerifier;

/// How a listener meets its clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientCertificate {
    /// Asked for where the client speaks frames, so that a hop can show its key; a client without one is welcome.
    Optional,
    /// Asked for, and refused without.
    Required,
}

/// What a client offered that is not this protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Speaks {
    /// `inclavared/1`: frames.
    Frames,
    /// No such ALPN: bytes as they are.
    Bytes,
}

/// The cryptography of every leg, with the suites and groups that are set.
pub fn provider(settings: &TlsSettings) -> Arc<CryptoProvider> {
    let suite = |suite: &Suite| -> SupportedCipherSuite {
        match suite {
            Suite::Aes128Gcm => cipher_suite::TLS13_AES_128_GCM_SHA256,
            Suite::Aes256Gcm => cipher_suite::TLS13_AES_256_GCM_SHA384,
            Suite::ChaCha20Poly1305 => cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        }
    };
    let group = |group: &Group| match group {
        Group::X25519MlKem768 => kx_group::X25519MLKEM768,
        Group::X25519 => kx_group::X25519,
        Group::Secp256r1 => kx_group::SECP256R1,
        Group::Secp384r1 => kx_group::SECP384R1,
    };
    Arc::new(CryptoProvider {
        cipher_suites: settings.suites.iter().map(suite).collect(),
        kx_groups: settings.groups.iter().map(group).collect(),
        ..aws_lc_rs::default_provider()
    })
}

/// The fatal alert 120 in a record of its own: nothing is encrypted before the ServerHello (RFC 8446 section 6).
const NO_APPLICATION_PROTOCOL: [u8; 7] = [21, 3, 3, 0, 2, 2, 120];

/// Accepts an attested leg. `allow_bytes` is whether a client without `inclavared/1` is met at all.
///
/// The ClientHello is read first, in a buffer of ours: a client that offers other protocols alone must not meet a
/// `no_application_protocol` alert from rustls.
pub async fn accept(
    mut socket: Socket,
    provider: &Arc<CryptoProvider>,
    identity: Arc<HopIdentity>,
    certificate: ClientCertificate,
    allow_bytes: bool,
    turns: &Turns,
    limit: Duration,
) -> Result<(AcceptedLeg, Speaks), Error> {
    let handshake = async {
        let (mut guest, mut received) = (turns.guest(socket.peer_ip()), BytesMut::new());
        let hello = guest.hear(&mut socket, &mut received).await?;
        let turn = guest.turn().await?;
        let offers = if hello.alpn.iter().any(|name| name == ALPN) { Speaks::Frames } else { Speaks::Bytes };
        let ask = certificate == ClientCertificate::Required || offers == Speaks::Frames;
        let verifier = LegVerifier::new(provider.signature_verification_algorithms, certificate);
        let mut config = server_config(provider, &identity, ask.then_some(&verifier))?;
        if offers == Speaks::Frames || !allow_bytes {
            // A client that offers nothing of ours, where that is denied, meets the alert that says so.
            config.alpn_protocols = vec![ALPN.to_vec()];
        }
        if offers == Speaks::Bytes && !allow_bytes && hello.alpn.is_empty() {
            // rustls lets a client without any ALPN pass. One that has left already needs no alert.
            let _ = socket.write_all(&NO_APPLICATION_PROTOCOL).await;
            return Err(PeerMisbehaved::LegacyDenied.into());
        }
        let accepting = Accepting::new(&mut socket, &config, received, &hello).map_err(tls_error)?;
        let refused = |error| match offers {
            Speaks::Bytes if !allow_bytes => PeerMisbehaved::LegacyDenied.into(),
            _ => tls_error(error),
        };
        let mut established = guest.finish(accepting, turn, refused).await?;
        // A client may change what it offers after a HelloRetryRequest: what counts is what the handshake agreed on.
        let speaks = speaks(&established);
        if speaks == Speaks::Bytes && !allow_bytes {
            let mut alert = BytesMut::new();
            established.sealer.alert(&mut alert, AlertDescription::NoApplicationProtocol);
            let _ = socket.write_all(&alert).await;
            return Err(PeerMisbehaved::LegacyDenied.into());
        }
        Ok((established, verifier.take(), speaks))
    };
    let (established, peer, speaks) = match within("the TLS handshake", limit, handshake).await {
        Ok(met) => met,
        Err(error) => return Err(refusal_is_heard(&socket, error).await),
    };
    let client = peer.as_ref().map(|peer| peer.kid);
    let leg = facts(&established, identity.key.kid(), client);
    let facts = AcceptedFacts { leg, peer, own: identity };
    Ok((AttestedLeg::new(Leg::tls(socket, established), facts), speaks))
}

/// Accepts with a configuration that is fixed beforehand.
pub(crate) async fn accept_with(
    socket: &mut Socket,
    config: Arc<ServerConfig>,
    turns: &Turns,
    limit: Duration,
) -> Result<Established, Error> {
    let handshake = async {
        let (mut guest, mut received) = (turns.guest(socket.peer_ip()), BytesMut::new());
        let hello = guest.hear(socket, &mut received).await?;
        let turn = guest.turn().await?;
        let accepting = Accepting::new(socket, &config, received, &hello).map_err(tls_error)?;
        guest.finish(accepting, turn, tls_error).await
    };
    match within("the TLS handshake", limit, handshake).await {
        Ok(established) => Ok(established),
        Err(error) => Err(refusal_is_heard(socket, error).await),
    }
}

/// Starts an attested leg. `identity` is what we show where the server asks for it.
pub async fn connect(
    socket: Socket,
    provider: &Arc<CryptoProvider>,
    identity: Option<Arc<HopIdentity>>,
    name: ServerName<'static>,
    limit: Duration,
) -> Result<(DialledLeg, Speaks), Error> {
    let (socket, established, facts, speaks) = meet_server(socket, provider, identity, name, limit).await?;
    Ok((AttestedLeg::new(Leg::tls(socket, established), facts), speaks))
}

/// [`connect`], in parts: a leg belongs to one worker, these do not. `identity` is what we show where the server asks for it.
pub async fn meet_server(
    mut socket: Socket,
    provider: &Arc<CryptoProvider>,
    identity: Option<Arc<HopIdentity>>,
    name: ServerName<'static>,
    limit: Duration,
) -> Result<(Socket, Established, DialledFacts, Speaks), Error> {
    let verifier = LegVerifier::new(provider.signature_verification_algorithms, ClientCertificate::Required);
    let own = identity.as_ref().map(|identity| Fixed::new(identity.certified()));
    let config = client_config(provider, own.as_ref(), &verifier)?;
    let handshake = async { tls::connect(&mut socket, Arc::new(config), name).await.map_err(tls_error) };
    let established = within("the TLS handshake", limit, handshake).await?;
    let speaks = speaks(&established);
    let peer = verifier.take().ok_or(Refused::NoEvidence)?;
    // The exporter's context names our key only where the server has seen it.
    let shown = own.is_some_and(|own| own.was_shown());
    let identity = identity.filter(|_| shown);
    let client = identity.as_ref().map(|identity| identity.key.kid());
    let leg = facts(&established, peer.kid, client);
    Ok((socket, established, DialledFacts { leg, peer, own: identity }, speaks))
}

fn speaks(established: &Established) -> Speaks {
    if established.alpn.as_deref() == Some(ALPN) { Speaks::Frames } else { Speaks::Bytes }
}

/// The leg's id is taken here, at the end of the handshake; the exporter secret is wiped with `established.exporter`.
fn facts(established: &Established, server: KeyId, client: Option<KeyId>) -> LegFacts {
    let mut id = [0; 32];
    established.exporter.derive(LEG_LABEL, &leg_context(server, client, established.alpn.as_deref()), &mut id);
    LegFacts {
        id: LegId::from_bytes(id),
        server,
        client,
        suite: u16::from(established.suite),
        group: u16::from(established.group),
        alpn: established.alpn.clone(),
        sni: established.sni.clone(),
    }
}

/// One certificate, whatever the client offers, and none of the client's.
pub(crate) fn config_with(provider: &Arc<CryptoProvider>, key: Arc<CertifiedKey>) -> Result<ServerConfig, Error> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(config_error)?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Fixed::new(key));
    without_resumption(&mut config);
    Ok(config)
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    identity: &HopIdentity,
    clients: Option<&Arc<LegVerifier>>,
) -> Result<ServerConfig, Error> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(config_error)?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier) as _),
    };
    let mut config = builder.with_cert_resolver(Fixed::new(identity.certified()));
    without_resumption(&mut config);
    Ok(config)
}

/// What holds for every server leg.
fn without_resumption(config: &mut ServerConfig) {
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    config.enable_secret_extraction = true;
}

fn client_config(
    provider: &Arc<CryptoProvider>,
    own: Option<&Arc<Fixed>>,
    verifier: &Arc<LegVerifier>,
) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(config_error)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(verifier) as _);
    let mut config = match own {
        Some(own) => builder.with_client_cert_resolver(Arc::clone(own) as _),
        None => builder.with_no_client_auth(),
    };
    without_client_resumption(&mut config);
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

/// What holds for every client leg.
fn without_client_resumption(config: &mut ClientConfig) {
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.enable_secret_extraction = true;
}

/// Keeps our own verifier's finding, which rustls carries inside its error.
fn tls_error(error: TlsError) -> Error {
    let refusal = error.refusal().and_then(|refusal| refusal.downcast_ref::<CertificateError>());
    match refusal {
        Some(refusal) => Refused::Certificate(refusal.clone()).into(),
        None => PeerMisbehaved::Tls(error).into(),
    }
}

fn config_error(error: rustls::Error) -> Error {
    Error::Internal(format!("TLS configuration: {error}"))
}

/// Lets a refused client read its alert. Gives the error back.
async fn refusal_is_heard(socket: &Socket, error: Error) -> Error {
    if !matches!(error, Error::Deadline { .. } | Error::Displaced { .. }) {
        farewell::say(socket).await;
    }
    error
}

async fn within<T>(
    what: &'static str,
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::time::timeout(limit, work).await.map_err(|_| Error::Deadline { what, limit })?
}
