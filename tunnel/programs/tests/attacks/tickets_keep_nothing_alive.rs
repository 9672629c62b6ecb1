//! A server that sends session tickets and nothing else keeps a stream alive for ever, whatever `idle` says.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::crypto::aws_lc_rs as provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ConnectionTrafficSecrets, ServerConfig, ServerConnection};

use crate::harness::World;
use crate::stream::{bounded, connect, read_some};

/// The content types of a record.
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// NewSessionTicket (RFC 8446 section 4.6.1): lifetime and age_add, a nonce of one byte, a ticket of three, no extensions.
const TICKET: [u8; 21] = [4, 0, 0, 17, 0, 0, 14, 16, 1, 2, 3, 4, 1, 9, 0, 3, 7, 7, 7, 0, 0];

/// What it sends, over and over.
#[derive(Default)]
struct Server {
    data: AtomicBool,
    tickets_sent: AtomicUsize,
}

/// The sending half of a session whose handshake is done, in the hands of somebody who sends what he likes.
struct Sender {
    socket: TcpStream,
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
}

impl Sender {
    fn send(&mut self, kind: u8, content: &[u8]) -> std::io::Result<()> {
        let mut body = [content, &[kind]].concat();
        let length = u16::try_from(body.len() + AES_128_GCM.tag_len()).unwrap().to_be_bytes();
        let header = [APPLICATION_DATA, 3, 3, length[0], length[1]];
        let mut nonce = self.iv;
        nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()).for_each(|(byte, count)| *byte ^= count);
        self.sequence += 1;
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(nonce, Aad::from(header), &mut body).unwrap();
        self.socket.write_all(&[&header[..], &body].concat())
    }
}

/// A certificate of `localhost`, and its server. The certificate is its own authority.
fn serve(world: &World) -> (String, String, Arc<Server>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let own = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let ca = world.path("ca.pem");
    std::fs::write(&ca, own.pem()).unwrap();
    let suites = vec![provider::cipher_suite::TLS13_AES_128_GCM_SHA256];
    let provider = rustls::crypto::CryptoProvider { cipher_suites: suites, ..provider::default_provider() };
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(own.der().to_vec())],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    config.enable_secret_extraction = true;
    config.send_tls13_tickets = 0;
    let (config, server) = (Arc::new(config), Arc::<Server>::default());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let shared = Arc::clone(&server);
    // It ends with the test binary: there is nothing to free but a port.
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let (config, server) = (Arc::clone(&config), Arc::clone(&shared));
            std::thread::spawn(move || {
                bounded(&socket);
                let mut sender = shake(config, socket);
                loop {
                    let sent = match server.data.load(Ordering::Relaxed) {
                        true => sender.send(APPLICATION_DATA, b"x"),
                        false => sender.send(HANDSHAKE, &TICKET),
                    };
                    if sent.is_err() {
                        return;
                    }
                    server.tickets_sent.fetch_add(1, Ordering::Relaxed);
                    std::thread::park_timeout(Duration::from_millis(50));
                }
            });
        }
    });
    (address, ca.display().to_string(), server)
}

fn shake(config: Arc<ServerConfig>, mut socket: TcpStream) -> Sender {
    let mut connection = ServerConnection::new(config).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).unwrap();
    }
    let (sequence, secrets) = connection.dangerous_extract_secrets().unwrap().tx;
    let ConnectionTrafficSecrets::Aes128Gcm { key, iv } = secrets else { panic!("another suite") };
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, key.as_ref()).unwrap());
    Sender { socket, key, iv: iv.as_ref().try_into().unwrap(), sequence }
}

#[test]
fn a_stream_that_brings_tickets_alone_is_idle() {
    let world = World::new();
    let (address, ca, server) = serve(&world);
    let hop = world.route(
        "hop",
        &format!(
            r#"
            listen = "127.0.0.1:0"
            xfer = "{address}"
            upstream = "plain"
            downstream = {{ tls = "pki", ca = "{ca}", server_name = "localhost" }}
            [deadlines]
            idle = "1s"
            "#
        ),
    );
    // Bytes keep it: more of them than there are in the time that it may be idle.
    server.data.store(true, Ordering::Relaxed);
    let mut alive = connect(hop.tcp());
    assert_eq!(read_some(&mut alive, 60).unwrap(), [b'x'; 60]);
    drop(alive);

    server.data.store(false, Ordering::Relaxed);
    let mut stream = connect(hop.tcp());
    let before = server.tickets_sent.load(Ordering::Relaxed);
    let ended = stream.read(&mut [0; 16]);
    assert!(ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset), "no end, or a wrong one");
    hop.program.err.wait("why it ended", |line| line.contains("no byte for 1s").then_some(()));
    assert!(server.tickets_sent.load(Ordering::Relaxed) > before + 2, "no tickets came");
}
