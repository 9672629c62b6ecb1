//! The handshake: rustls' unbuffered connection over a buffer of ours, one record at a time.
//!
//! rustls is never shown a record that it does not need. So it opens no application data, and whatever came together
//! with the last handshake message is still there, as it came, for the record layer that takes over.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, BufMut, BytesMut};
use rustls::client::{ClientConnectionData, Resumption, UnbufferedClientConnection};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{NoServerSessionStorage, ProducesTickets, ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{
    CipherSuite, ClientConfig, CommonState, ExtractedSecrets, HandshakeKind, KeyLog, NamedGroup, ProtocolVersion,
    ServerConfig,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use super::aead::{TrafficKey, TrafficSecret};
use super::client_hello::{ClientHello, read_client_hello};
use super::content::Role;
use super::error::TlsError;
use super::exporter::Exporter;
use super::open::Opener;
use super::record::HEADER;
use super::seal::Sealer;
use super::secret::Suite;

/// A session whose handshake is done: the peer's certificates passed the configuration's verifier, all of ours is
/// sent, and no application data has been touched.
#[derive(Debug)]
pub struct Established {
    /// Derives values from the session, once the handshake is done.
    pub exporter: Exporter,
    /// The cipher suite that was agreed on.
    pub suite: CipherSuite,
    /// The group of the key exchange.
    pub group: NamedGroup,
    /// The protocol that was agreed on, if any.
    pub alpn: Option<Vec<u8>>,
    /// What the client asked for (server side only).
    pub sni: Option<String>,
    /// The peer's certificate first; empty if it showed none.
    pub peer_certificates: Vec<CertificateDer<'static>>,
    /// Opens what the peer sends.
    pub opener: Opener,
    /// Seals what is sent to the peer.
    pub sealer: Sealer,
    /// Records, whole or in part, that came after the handshake: the first bytes for the opener. At most [`MAX_UNREAD`].
    pub unread: BytesMut,
}

/// The server's side of a handshake. `received` is what has been read from `io` already.
///
/// Resumption, tickets and early data are switched off. Not cancel safe: dropped, the handshake is lost, and the
/// connection with it. The caller sets the deadline, and closes `io` after an error ([`drain`]).
pub async fn accept<S>(io: &mut S, config: Arc<ServerConfig>, mut received: BytesMut) -> Result<Established, TlsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if !config.enable_secret_extraction {
        return Err(TlsError::NoSecretExtraction);
    }
    let hello = read_client_hello(io, &mut received).await?;
    let mut accepting = Accepting::new(io, &config, received, &hello)?;
    loop {
        match accepting.compute()? {
            Next::Exchange => accepting.exchange().await?,
            Next::Established(established) => return Ok(*established),
        }
    }
}

/// [`accept`], with what is computed apart from what is waited for: whoever serves many bounds the one and the other.
///
/// Call [`compute`](Self::compute) and [`exchange`](Self::exchange) in turn.
pub struct Accepting<'io, S> {
    handshake: Handshake<'io, S, UnbufferedServerConnection>,
    sni: Option<String>,
}

/// What a handshake needs next.
#[derive(Debug)]
pub enum Next {
    /// The peer: [`Accepting::exchange`].
    Exchange,
    /// Nothing: it is done.
    Established(Box<Established>),
}

impl<'io, S> Accepting<'io, S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// `received` has the whole ClientHello, which is `hello`, and perhaps more. Computes nothing yet.
    pub fn new(
        io: &'io mut S,
        config: &ServerConfig,
        received: BytesMut,
        hello: &ClientHello,
    ) -> Result<Self, TlsError> {
        if !config.enable_secret_extraction {
            return Err(TlsError::NoSecretExtraction);
        }
        let kept = Arc::new(KeptSecrets::default());
        let mut config = config.clone();
        config.key_log = kept.clone();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Arc::new(NoTickets);
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        let connection = UnbufferedServerConnection::new(Arc::new(config)).map_err(TlsError::Configuration)?;
        Ok(Self { handshake: Handshake::new(io, received, connection, kept), sni: hello.sni.clone() })
    }

    /// Goes on as far as it gets with what has come. Waits for nothing. Nothing may be called after `Established`.
    pub fn compute(&mut self) -> Result<Next, TlsError> {
        match self.handshake.compute()? {
            Some(established) => {
                let sni = self.sni.take();
                Ok(Next::Established(Box::new(Established { sni, ..established })))
            }
            None => Ok(Next::Exchange),
        }
    }

    /// Sends what is due, or reads once. A handshake that has failed tells the peer why, and then gives the error.
    pub async fn exchange(&mut self) -> Result<(), TlsError> {
        self.handshake.exchange().await
    }

    /// Bytes of the peer's that are held, because a message or a record is not whole.
    pub fn held(&self) -> usize {
        self.handshake.incoming.len()
    }
}

/// The client's side of a handshake, with `name` as SNI (unless the configuration leaves it out) and for the verifier.
///
/// The same holds as for [`accept`].
pub async fn connect<S>(
    io: &mut S,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> Result<Established, TlsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if !config.enable_secret_extraction {
        return Err(TlsError::NoSecretExtraction);
    }
    let kept = Arc::new(KeptSecrets::default());
    let mut config = ClientConfig::clone(&config);
    config.key_log = kept.clone();
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    let connection = UnbufferedClientConnection::new(Arc::new(config), name).map_err(TlsError::Configuration)?;
    let mut handshake = Handshake::new(io, BytesMut::new(), connection, kept);
    loop {
        match handshake.compute()? {
            Some(established) => return Ok(established),
            None => handshake.exchange().await?,
        }
    }
}

/// Ends `io` after a fatal alert: shuts our side down, then reads away what the peer still sends, at most `limit`
/// bytes, until it closes. A socket that is closed with unread bytes in it is reset, and the reset may overtake the
/// alert. The caller sets the deadline; errors are of no interest any more.
pub async fn drain<S>(io: &mut S, limit: usize)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if io.shutdown().await.is_err() {
        return;
    }
    let mut scratch = [0; 1024];
    let mut left = limit;
    while left > 0 {
        match io.read(&mut scratch).await {
            Ok(0) | Err(_) => return,
            Ok(read) => left = left.saturating_sub(read),
        }
    }
}

struct Handshake<'io, S, C> {
    io: &'io mut S,
    /// None once it is established.
    connection: Option<C>,
    kept: Arc<KeptSecrets>,
    incoming: BytesMut,
    /// rustls needs a record more than it has seen.
    blocked: bool,
    /// How much of `incoming` rustls may see. Invariant: it ends at the end of a record, unless the next record's
    /// header is one that rustls refuses.
    shown: usize,
    outgoing: Vec<u8>,
    waits_for: WaitsFor,
}

/// What to do next.
enum Step {
    /// Call rustls again.
    Again,
    /// Send what is in `outgoing`.
    Send,
    /// Show one more record.
    Receive,
    Done,
}

/// What the peer has to do with it.
enum WaitsFor {
    /// It has to take what is in `outgoing`.
    Write,
    /// The next record is not whole.
    Read,
    /// The handshake has failed, and `outgoing` says so.
    LastWord(TlsError),
}

impl<'io, S, C> Handshake<'io, S, C>
where
    S: AsyncRead + AsyncWrite + Unpin,
    C: Connection,
{
    fn new(io: &'io mut S, incoming: BytesMut, connection: C, kept: Arc<KeptSecrets>) -> Self {
        let (connection, waits_for) = (Some(connection), WaitsFor::Read);
        Self { io, connection, kept, incoming, blocked: false, shown: 0, outgoing: Vec::new(), waits_for }
    }

    /// Until the peer is needed: then [`exchange`](Self::exchange) is to be called.
    fn compute(&mut self) -> Result<Option<Established>, TlsError> {
        loop {
            if self.blocked && !self.show()? {
                self.waits_for = WaitsFor::Read;
                return Ok(None);
            }
            match self.step() {
                Ok(Step::Again) => {}
                Ok(Step::Send) => {
                    self.waits_for = WaitsFor::Write;
                    return Ok(None);
                }
                Ok(Step::Receive) => self.blocked = true,
                Ok(Step::Done) => return self.establish().map(Some),
                Err(error) => {
                    // rustls queues the alert before it gives the error.
                    if self.alerts().is_err() {
                        return Err(error);
                    }
                    self.waits_for = WaitsFor::LastWord(error);
                    return Ok(None);
                }
            }
        }
    }

    /// One write of all that is due, or one read.
    async fn exchange(&mut self) -> Result<(), TlsError> {
        match std::mem::replace(&mut self.waits_for, WaitsFor::Read) {
            WaitsFor::Write => match self.send().await {
                Ok(()) => Ok(()),
                Err(error) => Err(self.last_word().await.unwrap_or(error)),
            },
            WaitsFor::Read => self.receive().await,
            WaitsFor::LastWord(error) => {
                // The peer may be gone already; the first error is what is told.
                let _ = self.send().await;
                Err(error)
            }
        }
    }

    fn connection(&mut self) -> Result<&mut C, TlsError> {
        self.connection.as_mut().ok_or(TlsError::Internal("the handshake is over"))
    }

    /// One call of rustls.
    fn step(&mut self) -> Result<Step, TlsError> {
        let connection = self.connection.as_mut().ok_or(TlsError::Internal("the handshake is over"))?;
        let UnbufferedStatus { discard, state } = connection.process(&mut self.incoming[..self.shown]);
        let step = match state {
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                encode(&mut self.outgoing, |room| data.encode(room)).map(|()| Step::Again)
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                Ok(Step::Send)
            }
            Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => Ok(Step::Receive),
            Ok(_) => Err(TlsError::Internal("rustls left the handshake")),
            Err(error) => Err(TlsError::Handshake(error)),
        };
        self.shown =
            self.shown.checked_sub(discard).ok_or(TlsError::Internal("rustls discards what it was not shown"))?;
        self.incoming.advance(discard);
        // A server may be ready to write before it has authenticated its client: that is not the end.
        match step {
            Ok(Step::Receive) if !connection.common().is_handshaking() => Ok(Step::Done),
            step => step,
        }
    }

    /// A peer that hangs up on us in the middle of our flight has often said why: the alert waits to be read.
    async fn last_word(&mut self) -> Option<TlsError> {
        loop {
            match self.step() {
                Ok(Step::Again) => {}
                Ok(Step::Send) => self.outgoing.clear(),
                Ok(Step::Receive) => {
                    while !self.show().ok()? {
                        self.receive().await.ok()?;
                    }
                }
                Ok(Step::Done) => return None,
                Err(error) => {
                    return matches!(error, TlsError::Handshake(rustls::Error::AlertReceived(_))).then_some(error);
                }
            }
        }
    }

    /// Collects what rustls has queued when it failed.
    fn alerts(&mut self) -> Result<(), TlsError> {
        let mut outgoing = std::mem::take(&mut self.outgoing);
        let connection = self.connection()?;
        while connection.common().wants_write() {
            // While something is queued, rustls does not look at what is incoming.
            match connection.process(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut outgoing, |room| data.encode(room))?,
                _ => return Err(TlsError::Internal("rustls did not give its alert")),
            }
        }
        self.outgoing = outgoing;
        Ok(())
    }

    async fn send(&mut self) -> Result<(), TlsError> {
        self.io.write_all(&self.outgoing).await?;
        self.io.flush().await?;
        // Nothing may come for as long as the deadline: what was sent is not kept meanwhile.
        self.outgoing = Vec::new();
        Ok(())
    }

    /// Shows rustls one record more, if it is there.
    fn show(&mut self) -> Result<bool, TlsError> {
        if self.shown > MAX_HELD {
            return Err(TlsError::TooLarge(MAX_HELD));
        }
        let whole = record_length(&self.incoming[self.shown..]);
        self.shown += whole.unwrap_or(0);
        self.blocked = whole.is_none();
        Ok(!self.blocked)
    }

    async fn receive(&mut self) -> Result<(), TlsError> {
        // As much as its record lacks: a buffer that doubles would hold twice of what a peer sends that then stalls.
        let room = record_lacks(&self.incoming[self.shown..]).unwrap_or(READ_FIRST).clamp(READ_FIRST, READ);
        self.incoming.reserve(room);
        if self.io.read_buf(&mut (&mut self.incoming).limit(room)).await? == 0 {
            return Err(TlsError::Closed);
        }
        Ok(())
    }

    fn establish(&mut self) -> Result<Established, TlsError> {
        let connection = self.connection.take().ok_or(TlsError::Internal("the handshake is over"))?;
        let incoming = std::mem::take(&mut self.incoming);
        if self.shown != 0 {
            return Err(TlsError::Internal("rustls left part of the handshake unread"));
        }
        let common = connection.common();
        if common.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
            return Err(TlsError::NotFull("an older version"));
        }
        if !matches!(common.handshake_kind(), Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest)) {
            return Err(TlsError::NotFull("a resumed session"));
        }
        let suite = common
            .negotiated_cipher_suite()
            .and_then(|suite| suite.tls13())
            .ok_or(TlsError::Internal("no cipher suite after the handshake"))?;
        let group =
            common.negotiated_key_exchange_group().ok_or(TlsError::Internal("no group after the handshake"))?.name();
        let alpn = common.alpn_protocol().map(<[u8]>::to_vec);
        let peer_certificates = common.peer_certificates().unwrap_or_default().to_vec();
        let limit = suite.common.confidentiality_limit;
        let suite = suite.common.suite;
        let algorithms = Suite::of(suite)?;
        let Kept { exporter, client, server } = self.kept.take();
        let (Some(exporter), Some(client), Some(server)) = (exporter, client, server) else {
            return Err(TlsError::Internal("rustls kept back a secret"));
        };
        let exporter = Exporter::new(algorithms, &exporter)?;
        let (ours, theirs) = match C::ROLE {
            Role::Client => (client, server),
            Role::Server => (server, client),
        };

        let secrets = connection.into_secrets().map_err(TlsError::Handshake)?;
        let seal = TrafficKey::new(&secrets.tx.1, secrets.tx.0)?;
        let open = TrafficKey::new(&secrets.rx.1, secrets.rx.0)?;
        Ok(Established {
            exporter,
            suite,
            group,
            alpn,
            sni: None,
            peer_certificates,
            opener: Opener::new(open, TrafficSecret::new(algorithms, &theirs)?, C::ROLE, limit),
            sealer: Sealer::new(seal, TrafficSecret::new(algorithms, &ours)?, limit),
            // What the handshake's buffer has beyond it would be held for as long as the connection idles.
            unread: if incoming.is_empty() { BytesMut::new() } else { BytesMut::from(&incoming[..]) },
        })
    }
}

/// Appends what `encode` writes; it says by its first error how much room it needs.
fn encode(
    outgoing: &mut Vec<u8>,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> Result<(), TlsError> {
    const FAILED: TlsError = TlsError::Internal("rustls did not encode its record");
    let start = outgoing.len();
    let Err(EncodeError::InsufficientSize(needed)) = encode(&mut []) else { return Err(FAILED) };
    outgoing.resize(start + needed.required_size, 0);
    let written = encode(&mut outgoing[start..]).map_err(|_| FAILED)?;
    outgoing.truncate(start + written);
    Ok(())
}

/// The length of the record at the start of `bytes` if it is whole. A header that rustls refuses gives all there is,
/// so that rustls refuses it and says so to the peer.
fn record_length(bytes: &[u8]) -> Option<usize> {
    let [kind, major, _, high, low] = *bytes.first_chunk::<HEADER>()?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if !(20..=24).contains(&kind) || major != 3 || length >= MAX_SHOWN_RECORD {
        return Some(bytes.len());
    }
    let record = HEADER + length;
    (bytes.len() >= record).then_some(record)
}

/// How many bytes are missing of the record that `bytes` begins with, if its header is there.
fn record_lacks(bytes: &[u8]) -> Option<usize> {
    let [_, _, _, high, low] = *bytes.first_chunk::<HEADER>()?;
    (HEADER + usize::from(u16::from_be_bytes([high, low]))).checked_sub(bytes.len())
}

/// The two sides of rustls' unbuffered connection, which have no common interface.
trait Connection {
    const ROLE: Role;
    type Data;
    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
    fn common(&self) -> &CommonState;
    /// Lets go of all the rest: what rustls would keep for KeyUpdates holds the peer's certificates as well.
    fn into_secrets(self) -> Result<ExtractedSecrets, rustls::Error>;
}

impl Connection for UnbufferedClientConnection {
    const ROLE: Role = Role::Client;
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn common(&self) -> &CommonState {
        self
    }

    fn into_secrets(self) -> Result<ExtractedSecrets, rustls::Error> {
        self.dangerous_into_kernel_connection().map(|(secrets, _kernel)| secrets)
    }
}

impl Connection for UnbufferedServerConnection {
    const ROLE: Role = Role::Server;
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn common(&self) -> &CommonState {
        self
    }

    fn into_secrets(self) -> Result<ExtractedSecrets, rustls::Error> {
        self.dangerous_into_kernel_connection().map(|(secrets, _kernel)| secrets)
    }
}

/// Neither gives tickets nor takes them, also not those that another user of the same configuration gave.
#[derive(Debug)]
struct NoTickets;

impl ProducesTickets for NoTickets {
    fn enabled(&self) -> bool {
        false
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _plain: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, _ticket: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

/// A key log that keeps three secrets of one connection, for as long as the handshake takes, and writes them nowhere:
/// rustls' unbuffered connection has no exporter of its own, and of its traffic secrets gives only the first keys. All
/// other secrets are never handed to it.
#[derive(Default)]
struct KeptSecrets(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    exporter: Option<Zeroizing<Vec<u8>>>,
    /// For what the client sends.
    client: Option<Zeroizing<Vec<u8>>>,
    server: Option<Zeroizing<Vec<u8>>>,
}

impl Kept {
    fn place(&mut self, label: &str) -> Option<&mut Option<Zeroizing<Vec<u8>>>> {
        match label {
            "EXPORTER_SECRET" => Some(&mut self.exporter),
            "CLIENT_TRAFFIC_SECRET_0" => Some(&mut self.client),
            "SERVER_TRAFFIC_SECRET_0" => Some(&mut self.server),
            _ => None,
        }
    }
}

impl KeptSecrets {
    fn take(&self) -> Kept {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl KeyLog for KeptSecrets {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        if let Some(place) = self.0.lock().unwrap_or_else(PoisonError::into_inner).place(label) {
            *place = Some(Zeroizing::new(secret.to_vec()));
        }
    }

    fn will_log(&self, label: &str) -> bool {
        Kept::default().place(label).is_some()
    }
}

impl fmt::Debug for KeptSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeptSecrets { .. }")
    }
}

/// What may lie before rustls at once, bytes: one handshake message of 64 KiB, its records' overhead, one record more.
const MAX_HELD: usize = 96 * 1024;
/// A record as long as this is refused by rustls by its header alone.
const MAX_SHOWN_RECORD: usize = (1 << 14) + 2048;
/// The most of one read, in bytes: a flight with evidence has 8 to 20 KiB.
const READ: usize = 8 * 1024;
/// A read where nothing is known of what comes: a flight without evidence has at most so many bytes.
const READ_FIRST: usize = 2 * 1024;
/// The most that a handshake leaves in [`Established::unread`], in bytes: less than a record, which was waited for, and
/// the read that brought its rest. Unless [`accept`] was handed more.
pub const MAX_UNREAD: usize = HEADER + MAX_SHOWN_RECORD + READ;
