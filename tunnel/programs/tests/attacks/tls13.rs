//! A TLS 1.3 client of the attacker's own (RFC 8446): it offers what it likes, in each of its ClientHellos, and believes
//! any certificate. One suite (TLS_AES_128_GCM_SHA256), one group (X25519), no certificate of its own.

#![allow(clippy::result_large_err, reason = "an attacker's errors are few")]

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;

const HANDSHAKE: u8 = 22;
const ALERT: u8 = 21;
const CHANGE_CIPHER_SPEC: u8 = 20;

/// What one ClientHello offers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offer {
    pub(crate) alpn: Vec<&'static [u8]>,
    /// Without one the server has to ask for another ClientHello.
    pub(crate) key_share: bool,
}

/// How the handshake ended for the client.
#[derive(Debug)]
pub(crate) enum Met {
    Established(Session),
    /// A fatal alert of the server, by its number.
    Alert(u8),
    Closed,
}

/// An established session.
pub(crate) struct Session {
    sending: Sending,
    receiving: Receiving,
    /// What the server agreed to.
    pub(crate) alpn: Option<Vec<u8>>,
}

/// The half that seals.
pub(crate) struct Sending(TcpStream, Protection);

/// The half that opens.
pub(crate) struct Receiving(TcpStream, Protection);

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("alpn", &self.alpn).finish_non_exhaustive()
    }
}

/// Makes the handshake: `first`, and `second` if the server asks for another ClientHello.
pub(crate) fn connect(socket: TcpStream, first: &Offer, second: &Offer) -> Met {
    handshake(socket, first, second).unwrap_or_else(|ended| ended)
}

impl Session {
    /// For a thread each.
    pub(crate) fn split(self) -> (Sending, Receiving) {
        (self.sending, self.receiving)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sending.send(bytes)
    }

    pub(crate) fn receive(&mut self) -> Option<Result<Vec<u8>, u8>> {
        self.receiving.receive()
    }
}

impl Sending {
    /// Sends application data.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let record = self.1.seal(bytes, 23);
        self.0.write_all(&record)
    }
}

impl Receiving {
    /// The next application data, an alert's number, or None at the end of the transport.
    pub(crate) fn receive(&mut self) -> Option<Result<Vec<u8>, u8>> {
        loop {
            let (kind, body) = record(&mut self.0)?;
            if kind == CHANGE_CIPHER_SPEC {
                continue;
            }
            let (kind, content) = self.1.open(&body);
            match kind {
                23 => return Some(Ok(content)),
                ALERT => return Some(Err(content[1])),
                _ => {}
            }
        }
    }
}

/// The record of a ClientHello that a server answers, and that nobody goes on with.
pub(crate) fn hello(alpn: &'static [u8]) -> Vec<u8> {
    let private = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).unwrap();
    let share = private.compute_public_key().unwrap().as_ref().to_vec();
    let message = client_hello(&Offer { alpn: vec![alpn], key_share: true }, &share);
    [&[HANDSHAKE, 3, 1][..], &len16(message.len()), &message].concat()
}

fn handshake(mut socket: TcpStream, first: &Offer, second: &Offer) -> Result<Met, Met> {
    let private = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).unwrap();
    let share = private.compute_public_key().unwrap().as_ref().to_vec();
    let mut transcript = client_hello(first, &share);
    send_plain(&mut socket, &transcript).map_err(|_| Met::Closed)?;
    let mut messages = Plain::default();
    let mut hello = messages.next(&mut socket)?;
    if hello[6..38] == HELLO_RETRY {
        // RFC 8446 section 4.4.1: the first ClientHello is replaced by its digest.
        let digest = hash(&transcript);
        transcript = [&[254, 0, 0, 32][..], &digest, &hello].concat();
        let again = client_hello(second, &share);
        send_plain(&mut socket, &again).map_err(|_| Met::Closed)?;
        transcript.extend_from_slice(&again);
        hello = messages.next(&mut socket)?;
    }
    transcript.extend_from_slice(&hello);
    let theirs = server_share(&hello);
    let shared = agree_ephemeral(private, UnparsedPublicKey::new(&X25519, theirs), (), |secret| Ok(secret.to_vec()));
    let zeros = [0; 32];
    let early = hmac_of(&zeros, &zeros);
    let secret = hmac_of(&derive(&early, b"derived", &hash(b"")), &shared.unwrap());
    let at_hello = hash(&transcript);
    let (client, server) = (derive(&secret, b"c hs traffic", &at_hello), derive(&secret, b"s hs traffic", &at_hello));
    let mut open = Protection::new(&server);
    let (mut alpn, mut asked, mut finished) = (None, None, false);
    let mut held = Vec::new();
    while !finished {
        let (kind, body) = record(&mut socket).ok_or(Met::Closed)?;
        if kind == CHANGE_CIPHER_SPEC {
            continue;
        }
        let (kind, content) = open.open(&body);
        if kind == ALERT {
            return Err(Met::Alert(content[1]));
        }
        held.extend_from_slice(&content);
        while let Some(message) = take_message(&mut held) {
            match message[0] {
                8 => alpn = agreed(&message),
                // CertificateRequest: its context comes back with our empty Certificate.
                13 => asked = Some(message[5..5 + usize::from(message[4])].to_vec()),
                20 => finished = true,
                _ => {}
            }
            transcript.extend_from_slice(&message);
        }
    }
    let master = hmac_of(&derive(&secret, b"derived", &hash(b"")), &zeros);
    let at_finished = hash(&transcript);
    let application = |label: &[u8]| Protection::new(&derive(&master, label, &at_finished));
    let (open, seal) = (application(b"s ap traffic"), application(b"c ap traffic"));
    let mut sealing = Protection::new(&client);
    if let Some(context) = asked {
        let length = u8::try_from(context.len() + 4).unwrap();
        let certificate =
            [&[11, 0, 0, length, u8::try_from(context.len()).unwrap()][..], &context, &[0, 0, 0]].concat();
        transcript.extend_from_slice(&certificate);
        socket.write_all(&sealing.seal(&certificate, HANDSHAKE)).map_err(|_| Met::Closed)?;
    }
    let verify = hmac_of(&expand(&client, b"finished", b"", 32), &hash(&transcript));
    let message = [&[20, 0, 0, 32][..], &verify].concat();
    socket.write_all(&sealing.seal(&message, HANDSHAKE)).map_err(|_| Met::Closed)?;
    let reading = socket.try_clone().map_err(|_| Met::Closed)?;
    Ok(Met::Established(Session { sending: Sending(socket, seal), receiving: Receiving(reading, open), alpn }))
}

/// SHA-256 of "HelloRetryRequest" (RFC 8446 section 4.1.3).
const HELLO_RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11,
    0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

fn client_hello(offer: &Offer, share: &[u8]) -> Vec<u8> {
    let mut extensions =
        vec![extension(43, &[2, 3, 4]), extension(10, &[0, 2, 0, 0x1d]), extension(13, &[0, 6, 4, 3, 8, 4, 5, 3])];
    let shares = match offer.key_share {
        true => [&[0, 36, 0, 0x1d, 0, 32][..], share].concat(),
        false => vec![0, 0],
    };
    extensions.push(extension(51, &shares));
    if !offer.alpn.is_empty() {
        let names: Vec<u8> =
            offer.alpn.iter().flat_map(|name| [&[u8::try_from(name.len()).unwrap()][..], name].concat()).collect();
        extensions.push(extension(16, &[&len16(names.len())[..], &names].concat()));
    }
    let extensions = extensions.concat();
    let mut body = vec![3, 3];
    body.extend_from_slice(&[7; 32]);
    body.extend_from_slice(&[0, 0, 2, 0x13, 1, 1, 0]);
    body.extend_from_slice(&len16(extensions.len()));
    body.extend_from_slice(&extensions);
    [&[1, 0][..], &len16(body.len()), &body].concat()
}

fn extension(number: u16, body: &[u8]) -> Vec<u8> {
    [&number.to_be_bytes()[..], &len16(body.len()), body].concat()
}

fn len16(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap().to_be_bytes()
}

fn send_plain(socket: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    socket.write_all(&[&[HANDSHAKE, 3, 1][..], &len16(message.len()), message].concat())
}

/// Handshake messages before there are keys.
#[derive(Default)]
struct Plain(Vec<u8>);

impl Plain {
    fn next(&mut self, socket: &mut TcpStream) -> Result<Vec<u8>, Met> {
        loop {
            if let Some(message) = take_message(&mut self.0) {
                return Ok(message);
            }
            match record(socket).ok_or(Met::Closed)? {
                (HANDSHAKE, body) => self.0.extend_from_slice(&body),
                (ALERT, body) => return Err(Met::Alert(body[1])),
                _ => {}
            }
        }
    }
}

fn take_message(held: &mut Vec<u8>) -> Option<Vec<u8>> {
    let header = held.get(..4)?;
    let length = 4 + usize::from(header[1]) * 65_536 + usize::from(header[2]) * 256 + usize::from(header[3]);
    (held.len() >= length).then(|| held.drain(..length).collect())
}

fn record(socket: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut header = [0; 5];
    socket.read_exact(&mut header).ok()?;
    let mut body = vec![0; usize::from(header[3]) * 256 + usize::from(header[4])];
    socket.read_exact(&mut body).ok()?;
    Some((header[0], body))
}

/// The extension of a ServerHello or of EncryptedExtensions, whose list of extensions begins at `from`.
fn find(message: &[u8], from: usize, wanted: u16) -> Option<&[u8]> {
    let mut rest = &message[from..];
    while rest.len() >= 4 {
        let (number, length) =
            (u16::from_be_bytes([rest[0], rest[1]]), usize::from(rest[2]) * 256 + usize::from(rest[3]));
        let body = rest.get(4..4 + length)?;
        if number == wanted {
            return Some(body);
        }
        rest = &rest[4 + length..];
    }
    None
}

fn server_share(hello: &[u8]) -> Vec<u8> {
    // Header 4, version 2, random 32, an empty session id 1, suite 2, compression 1, length of the extensions 2.
    find(hello, 44, 51).unwrap()[4..].to_vec()
}

fn agreed(encrypted_extensions: &[u8]) -> Option<Vec<u8>> {
    find(encrypted_extensions, 6, 16).map(|body| body[3..].to_vec())
}

/// One direction's key.
struct Protection {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
}

impl Protection {
    fn new(secret: &[u8]) -> Self {
        let key = UnboundKey::new(&AES_128_GCM, &expand(secret, b"key", b"", 16)).unwrap();
        let iv = expand(secret, b"iv", b"", 12).try_into().unwrap();
        Self { key: LessSafeKey::new(key), iv, sequence: 0 }
    }

    fn nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()).for_each(|(byte, count)| *byte ^= count);
        self.sequence += 1;
        Nonce::assume_unique_for_key(nonce)
    }

    fn seal(&mut self, content: &[u8], kind: u8) -> Vec<u8> {
        let mut body = [content, &[kind]].concat();
        let header = [&[23, 3, 3][..], &len16(body.len() + 16)].concat();
        let nonce = self.nonce();
        self.key.seal_in_place_append_tag(nonce, Aad::from(&header), &mut body).unwrap();
        [header, body].concat()
    }

    /// The content type, and the content without its padding.
    fn open(&mut self, body: &[u8]) -> (u8, Vec<u8>) {
        let header = [&[23, 3, 3][..], &len16(body.len())].concat();
        let mut bytes = body.to_vec();
        let nonce = self.nonce();
        let plain = self.key.open_in_place(nonce, Aad::from(&header), &mut bytes).unwrap();
        let end = plain.iter().rposition(|byte| *byte != 0).unwrap();
        (plain[end], plain[..end].to_vec())
    }
}

fn hash(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&SHA256, bytes).as_ref().to_vec()
}

/// HMAC-SHA-256: HKDF-Extract, and one block of HKDF-Expand (RFC 5869).
fn hmac_of(key: &[u8], bytes: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), bytes).as_ref().to_vec()
}

fn derive(secret: &[u8], label: &[u8], transcript: &[u8]) -> Vec<u8> {
    expand(secret, label, transcript, 32)
}

/// HKDF-Expand-Label (RFC 8446 section 7.1), of one block at most.
fn expand(secret: &[u8], label: &[u8], context: &[u8], length: usize) -> Vec<u8> {
    let label = [b"tls13 ", label].concat();
    let info = [
        &len16(length)[..],
        &[u8::try_from(label.len()).unwrap()],
        &label,
        &[u8::try_from(context.len()).unwrap()],
        context,
        &[1],
    ]
    .concat();
    hmac_of(secret, &info)[..length].to_vec()
}
