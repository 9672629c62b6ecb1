//! What a client offers, read from its ClientHello before rustls sees it: a server picks its configuration by it.
//!
//! It reads ALPN and SNI and no more; rustls parses the same bytes again and judges them.

use std::fmt;

use bytes::BytesMut;
use rustls::AlertDescription;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::error::TlsError;
use super::record::{ALERT, HANDSHAKE, HEADER, MAX_PLAINTEXT};

/// What a client offers.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ClientHello {
    /// In the client's order of preference; empty if it offers none.
    pub alpn: Vec<Vec<u8>>,
    /// Printable ASCII, but nothing more: the peer chose it.
    pub sni: Option<String>,
}

/// Reads from `io` until `received` holds a whole ClientHello, and says what it offers. The bytes stay in `received`,
/// with whatever came after them: hand it to [`accept`](super::accept).
///
/// A ClientHello that is refused is answered with its alert; what is not TLS is not answered. Not cancel safe in the
/// sense that an alert may be cut, but no received byte is lost: called again with the same buffer, it goes on.
/// At most [`MAX_CLIENT_HELLO`] bytes are held. The caller sets the deadline.
pub async fn read_client_hello<S>(io: &mut S, received: &mut BytesMut) -> Result<ClientHello, TlsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut reader = ClientHelloReader::default();
    loop {
        if let Some(hello) = reader.read(io, received).await? {
            return Ok(hello);
        }
    }
}

/// [`read_client_hello`], a read at a time: the caller sees between them how much `received` holds.
#[derive(Default, Debug)]
pub struct ClientHelloReader {
    scan: Scan,
}

impl ClientHelloReader {
    /// The ClientHello, if `received` has all of it; otherwise reads once.
    pub async fn read<S>(&mut self, io: &mut S, received: &mut BytesMut) -> Result<Option<ClientHello>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match self.scan.read(received) {
            Ok(Some(hello)) => return Ok(Some(hello)),
            Ok(None) if received.len() < MAX_CLIENT_HELLO => {}
            refused => {
                let error = refused.err().unwrap_or(ClientHelloError::TooLong(received.len()));
                if let Some(alert) = error.alert() {
                    // The peer may be gone already; the refusal is what is told.
                    let _ = io.write_all(&[ALERT, 3, 3, 0, 2, FATAL, alert.into()]).await;
                    let _ = io.flush().await;
                }
                return Err(error.into());
            }
        }
        // As much as its record has: a buffer that doubles would hold twice of what a client sends that then stalls.
        let room = self.scan.lacks(received).unwrap_or(READ);
        received.reserve(room.min(MAX_CLIENT_HELLO - received.len()));
        if io.read_buf(received).await? == 0 {
            return Err(if received.is_empty() { TlsError::ClosedAtOnce } else { TlsError::Closed });
        }
        Ok(None)
    }
}

/// The ClientHello at the start of `bytes`, as records on the wire; none if it is not whole yet.
pub fn parse_client_hello(bytes: &[u8]) -> Result<Option<ClientHello>, ClientHelloError> {
    Scan::default().read(bytes)
}

/// What a peer speaks that does not speak TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NotTls {
    /// A request line of HTTP/1, or the preface of HTTP/2.
    Http,
    /// The banner of SSH.
    Ssh,
    /// The PROXY protocol, where none is expected.
    Proxy,
    /// A ClientHello in the form of SSL 2.
    Sslv2,
    /// The first byte.
    Other(u8),
}

/// Why a ClientHello was not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientHelloError {
    /// What came is another protocol.
    #[error("not TLS: {0}")]
    NotTls(NotTls),
    /// The content type of the first record.
    #[error("a record of type {0} where a ClientHello belongs")]
    RecordType(u8),
    /// A record of a length that TLS does not have, in bytes.
    #[error("a record of {0} bytes")]
    RecordLength(usize),
    /// The type of the first handshake message.
    #[error("handshake message {0} where a ClientHello belongs")]
    Message(u8),
    /// A ClientHello of so many bytes is not put together.
    #[error("{0} bytes of ClientHello are too many")]
    TooLong(usize),
    /// The part that is not in its form.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// The extension that came twice.
    #[error("a second {0}")]
    Twice(&'static str),
}

impl ClientHelloError {
    /// The alert that answers it; what is not TLS gets none.
    pub fn alert(&self) -> Option<AlertDescription> {
        Some(match self {
            Self::NotTls(_) => return None,
            Self::RecordType(_) | Self::Message(_) => AlertDescription::UnexpectedMessage,
            Self::RecordLength(_) => AlertDescription::RecordOverflow,
            Self::TooLong(_) | Self::Malformed(_) => AlertDescription::DecodeError,
            Self::Twice(_) => AlertDescription::IllegalParameter,
        })
    }
}

impl NotTls {
    fn guess(bytes: &[u8]) -> Self {
        const METHODS: [&[u8]; 10] = [
            b"GET ",
            b"HEAD ",
            b"POST ",
            b"PUT ",
            b"DELETE ",
            b"CONNECT ",
            b"OPTIONS ",
            b"TRACE ",
            b"PATCH ",
            b"PRI * ",
        ];
        /// As much of `word` as has come; one byte would be a guess indeed.
        fn starts(bytes: &[u8], word: &[u8]) -> bool {
            let seen = bytes.len().min(word.len());
            seen >= 2 && bytes[..seen] == word[..seen]
        }
        match bytes {
            _ if METHODS.iter().any(|method| starts(bytes, method)) => Self::Http,
            _ if starts(bytes, b"SSH-") => Self::Ssh,
            _ if starts(bytes, b"PROXY ") || starts(bytes, b"\r\n\r\n\0\r\nQUIT\n") => Self::Proxy,
            // A length with its high bit set, then CLIENT-HELLO.
            [0x80..=0xff, _, 1, ..] => Self::Sslv2,
            _ => Self::Other(bytes.first().copied().unwrap_or_default()),
        }
    }
}

impl fmt::Display for NotTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http => f.write_str("an HTTP request"),
            Self::Ssh => f.write_str("an SSH client"),
            Self::Proxy => f.write_str("a PROXY protocol header"),
            Self::Sslv2 => f.write_str("an SSL 2.0 hello"),
            Self::Other(byte) => write!(f, "first byte {byte:#04x}"),
        }
    }
}

/// Looks for a whole ClientHello over any number of records; it can go on where it stopped. It keeps no copy of what has
/// come: a client that stalls costs its bytes once.
#[derive(Default, Debug)]
struct Scan {
    /// Where the next record begins.
    at: usize,
    /// Bytes of the message in the records before that, its header included.
    have: usize,
    /// The message's header, as far as it has come.
    header: [u8; 4],
}

impl Scan {
    /// `bytes` from the start; it may only have grown since the last call.
    fn read(&mut self, bytes: &[u8]) -> Result<Option<ClientHello>, ClientHelloError> {
        loop {
            if self.have >= self.header.len() {
                let [kind, high, mid, low] = self.header;
                if kind != CLIENT_HELLO {
                    return Err(ClientHelloError::Message(kind));
                }
                let length = usize::from(high) << 16 | usize::from(mid) << 8 | usize::from(low);
                if length > MAX_CLIENT_HELLO {
                    return Err(ClientHelloError::TooLong(length));
                }
                if self.have - self.header.len() >= length {
                    let message = joined(&bytes[..self.at]);
                    return client_hello(&message[self.header.len()..][..length]).map(Some);
                }
            }
            let record = bytes.get(self.at..).unwrap_or_default();
            match record {
                [] => return Ok(None),
                [HANDSHAKE] | [HANDSHAKE, 3, ..] => {}
                // These are TLS, at the wrong time.
                [kind @ 20..=24, 3, ..] => return Err(ClientHelloError::RecordType(*kind)),
                _ => return Err(ClientHelloError::NotTls(NotTls::guess(record))),
            }
            let Some((&[_, _, _, high, low], rest)) = record.split_first_chunk::<HEADER>() else { return Ok(None) };
            let length = usize::from(u16::from_be_bytes([high, low]));
            if length == 0 {
                return Err(ClientHelloError::Malformed("record"));
            }
            if length > MAX_PLAINTEXT {
                return Err(ClientHelloError::RecordLength(length));
            }
            let Some(fragment) = rest.get(..length) else { return Ok(None) };
            if let Some(room) = self.header.get_mut(self.have..) {
                room.iter_mut().zip(fragment).for_each(|(byte, sent)| *byte = *sent);
            }
            self.have += length;
            self.at += HEADER + length;
        }
    }

    /// How many bytes of the record are missing whose header is at the end of `bytes`.
    fn lacks(&self, bytes: &[u8]) -> Option<usize> {
        let record = bytes.get(self.at..)?;
        let [_, _, _, high, low] = *record.first_chunk::<HEADER>()?;
        (HEADER + usize::from(u16::from_be_bytes([high, low]))).checked_sub(record.len())
    }
}

/// The contents of whole records, one behind the other.
fn joined(mut records: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(records.len());
    while let Some((&[_, _, _, high, low], rest)) = records.split_first_chunk::<HEADER>() {
        let (fragment, next) = rest.split_at(usize::from(u16::from_be_bytes([high, low])).min(rest.len()));
        message.extend_from_slice(fragment);
        records = next;
    }
    message
}

/// RFC 8446 section 4.1.2.
fn client_hello(body: &[u8]) -> Result<ClientHello, ClientHelloError> {
    let mut hello = ClientHello::default();
    let mut body = Reader(body);
    let mut head = || {
        body.take(2 + 32)?; // version and random
        body.vector::<1>()?; // session id
        body.vector::<2>()?; // cipher suites
        body.vector::<1>()?; // compression methods
        if body.0.is_empty() { Some(Reader(&[])) } else { body.vector::<2>() }
    };
    let mut extensions = head().filter(|_| body.0.is_empty()).ok_or(ClientHelloError::Malformed("ClientHello"))?;
    let (mut alpn_seen, mut sni_seen) = (false, false);
    while !extensions.0.is_empty() {
        let (kind, content) = extensions.extension().ok_or(ClientHelloError::Malformed("extension"))?;
        match kind {
            SERVER_NAME if std::mem::replace(&mut sni_seen, true) => return Err(ClientHelloError::Twice("SNI")),
            SERVER_NAME => hello.sni = server_name(content).ok_or(ClientHelloError::Malformed("SNI"))?,
            ALPN if std::mem::replace(&mut alpn_seen, true) => return Err(ClientHelloError::Twice("ALPN")),
            ALPN => hello.alpn = protocols(content).ok_or(ClientHelloError::Malformed("ALPN"))?,
            _ => {}
        }
    }
    Ok(hello)
}

/// RFC 6066 section 3. Only one name type was ever defined; others are passed over.
fn server_name(mut content: Reader<'_>) -> Option<Option<String>> {
    let mut names = content.vector::<2>().filter(|names| content.0.is_empty() && !names.0.is_empty())?;
    let mut found = None;
    while !names.0.is_empty() {
        let [kind] = names.take(1)? else { return None };
        let name = names.vector::<2>()?.0;
        if *kind == HOST_NAME {
            if found.is_some() || name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
                return None;
            }
            found = Some(String::from_utf8_lossy(name).into_owned());
        }
    }
    Some(found)
}

/// RFC 7301 section 3.1.
fn protocols(mut content: Reader<'_>) -> Option<Vec<Vec<u8>>> {
    let mut names = content.vector::<2>().filter(|names| content.0.is_empty() && !names.0.is_empty())?;
    let mut all = Vec::new();
    while !names.0.is_empty() {
        let name = names.vector::<1>()?.0;
        if name.is_empty() || all.len() == MAX_PROTOCOLS {
            return None;
        }
        all.push(name.to_vec());
    }
    Some(all)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// A vector whose length stands before it in `WIDTH` bytes.
    fn vector<const WIDTH: usize>(&mut self) -> Option<Reader<'a>> {
        let length = self.take(WIDTH)?.iter().fold(0, |all, byte| all << 8 | usize::from(*byte));
        self.take(length).map(Reader)
    }

    fn extension(&mut self) -> Option<(u16, Reader<'a>)> {
        let kind = self.take(2)?;
        Some((u16::from_be_bytes([kind[0], kind[1]]), self.vector::<2>()?))
    }
}

const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const HOST_NAME: u8 = 0;
const FATAL: u8 = 2;
/// What a client may send before it is answered, in bytes, its records' headers included. Real ClientHellos have 200 to
/// 2,000: nobody has shown anything yet, so the rest of what TLS allows is not waited for.
pub const MAX_CLIENT_HELLO: usize = 16 * 1024;
/// One ClientHello with ML-KEM has 1.3 to 2 KiB.
const READ: usize = 2048;
/// Each one is an allocation that the peer chose.
const MAX_PROTOCOLS: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vector(width: usize, content: &[u8]) -> Vec<u8> {
        [&content.len().to_be_bytes()[size_of::<usize>() - width..], content].concat()
    }

    fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &vector(2, content)].concat()
    }

    fn message(extensions: &[u8]) -> Vec<u8> {
        let body =
            [&[3, 3][..], &[7; 32], &vector(1, &[1; 32]), &vector(2, &[0x13, 1]), &[1, 0], &vector(2, extensions)];
        [&[CLIENT_HELLO][..], &vector(3, &body.concat())].concat()
    }

    fn records(message: &[u8], size: usize) -> Vec<u8> {
        message.chunks(size).flat_map(|part| [&[HANDSHAKE, 3, 1][..], &vector(2, part)].concat()).collect()
    }

    fn alpn(names: &[&[u8]]) -> Vec<u8> {
        let list: Vec<u8> = names.iter().flat_map(|name| vector(1, name)).collect();
        extension(ALPN, &vector(2, &list))
    }

    fn sni(name: &[u8]) -> Vec<u8> {
        extension(SERVER_NAME, &vector(2, &[&[HOST_NAME][..], &vector(2, name)].concat()))
    }

    fn hello() -> (Vec<u8>, ClientHello) {
        let grease = extension(0x0a0a, &[0]);
        let bytes = message(&[grease, sni(b"a.example"), alpn(&[b"inclavared/1", b"h2"])].concat());
        let alpn = vec![b"inclavared/1".to_vec(), b"h2".to_vec()];
        (bytes, ClientHello { alpn, sni: Some("a.example".to_owned()) })
    }

    fn refused(message: &[u8]) -> ClientHelloError {
        parse_client_hello(&records(message, 1000)).unwrap_err()
    }

    #[test]
    fn reads_alpn_and_sni_in_any_cut() {
        let (bytes, expected) = hello();
        for size in [1, 3, 4, 5, 50, 1000] {
            let wire = records(&bytes, size);
            for end in 0..wire.len() {
                assert_eq!(parse_client_hello(&wire[..end]), Ok(None), "size {size}, {end} bytes");
            }
            let and_more = [&wire[..], b"\x17\x03\x03whatever follows"].concat();
            assert_eq!(parse_client_hello(&and_more), Ok(Some(expected.clone())));
        }
    }

    #[test]
    fn neither_is_needed() {
        assert_eq!(parse_client_hello(&records(&message(&[]), 1000)), Ok(Some(ClientHello::default())));
        let without_extensions = [&[3, 3][..], &[7; 32], &[0], &vector(2, &[0x13, 1]), &[1, 0]].concat();
        let bytes = [&[CLIENT_HELLO][..], &vector(3, &without_extensions)].concat();
        assert_eq!(parse_client_hello(&records(&bytes, 1000)), Ok(Some(ClientHello::default())));
    }

    #[test]
    fn what_is_not_tls_is_named() {
        let cases: &[(&[u8], NotTls)] = &[
            (b"GET / HTTP/1.1\r\n", NotTls::Http),
            (b"PRI * HTTP/2.0\r\n", NotTls::Http),
            (b"CO", NotTls::Http),
            (b"SSH-2.0-OpenSSH_9.2\r\n", NotTls::Ssh),
            (b"PROXY TCP4 ", NotTls::Proxy),
            (b"\r\n\r\n\0\r\nQUIT\n\x21", NotTls::Proxy),
            (b"\x80\x2e\x01\0\x02", NotTls::Sslv2),
            (b"\0\0\0\x10", NotTls::Other(0)),
            (b"\x16GET", NotTls::Other(0x16)),
            (b"\x16\x02\x00", NotTls::Other(0x16)),
        ];
        for (bytes, expected) in cases {
            let error = parse_client_hello(bytes).unwrap_err();
            assert_eq!((error, error.alert()), (ClientHelloError::NotTls(*expected), None));
        }
        assert_eq!(TlsError::from(parse_client_hello(b"GET /").unwrap_err()).to_string(), "not TLS: an HTTP request");
    }

    #[test]
    fn tls_at_the_wrong_time_is_refused() {
        for kind in [20, 21, 23] {
            assert_eq!(parse_client_hello(&[kind, 3, 3]), Err(ClientHelloError::RecordType(kind)));
        }
        assert_eq!(refused(&[2, 0, 0, 1, 0]), ClientHelloError::Message(2));
        assert_eq!(refused(&[1, 1, 0, 0]), ClientHelloError::TooLong(0x1_0000));
        assert_eq!(parse_client_hello(&[22, 3, 1, 0x40, 1]), Err(ClientHelloError::RecordLength(0x4001)));
        assert_eq!(parse_client_hello(&[22, 3, 1, 0, 0]), Err(ClientHelloError::Malformed("record")));
    }

    #[test]
    fn malformed_extensions_are_refused() {
        let (alpn, sni) = (alpn(&[b"h2"]), sni(b"a.example"));
        assert_eq!(refused(&message(&alpn.repeat(2))), ClientHelloError::Twice("ALPN"));
        assert_eq!(refused(&message(&sni.repeat(2))), ClientHelloError::Twice("SNI"));
        for bad in [&[0, 0][..], &[0, 1, 0], &[0, 3, 2, b'h', b'2', 0], &[0, 4, 2, b'h', b'2'], &[]] {
            assert_eq!(refused(&message(&extension(ALPN, bad))), ClientHelloError::Malformed("ALPN"));
        }
        for bad in [&b"a b"[..], b"", b"a\x1b[31m", "\u{fc}.example".as_bytes()] {
            assert_eq!(refused(&message(&self::sni(bad))), ClientHelloError::Malformed("SNI"));
        }
        assert_eq!(refused(&message(&[0, 16, 0])), ClientHelloError::Malformed("extension"));
        let many = vec![&b"x"[..]; MAX_PROTOCOLS + 1];
        assert_eq!(refused(&message(&self::alpn(&many))), ClientHelloError::Malformed("ALPN"));
    }

    #[test]
    fn every_cut_of_the_message_is_refused() {
        let (bytes, _) = hello();
        for end in 4..bytes.len() {
            let mut short = bytes[..end].to_vec();
            let length = (end - 4).to_be_bytes();
            short[1..4].copy_from_slice(&length[size_of::<usize>() - 3..]);
            // Without any extensions it is whole again: a ClientHello of old.
            match parse_client_hello(&records(&short, 1000)) {
                Ok(Some(hello)) => assert_eq!((hello, end), (ClientHello::default(), 4 + 2 + 32 + 33 + 4 + 2)),
                other => assert!(matches!(other, Err(ClientHelloError::Malformed(_))), "{end}: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn reading_leaves_the_bytes_and_bounds_them() {
        let (bytes, expected) = hello();
        let wire = [&records(&bytes, 7)[..], b"more"].concat();
        let (mut near, mut far) = tokio::io::duplex(13);
        let mut received = BytesMut::new();
        let send = async { far.write_all(&wire).await.unwrap() };
        let (read, ()) = tokio::join!(read_client_hello(&mut near, &mut received), send);
        assert_eq!(read.unwrap(), expected);
        assert_eq!(received, wire[..received.len()]);

        // A ClientHello that never ends, in records of one byte.
        let endless = records(&[&[1, 0, 0xff, 0xff][..], &[0; 0xfff0]].concat(), 1);
        let (mut near, mut far) = tokio::io::duplex(1 << 20);
        far.write_all(&endless).await.unwrap();
        let mut received = BytesMut::new();
        let refused = read_client_hello(&mut near, &mut received).await.unwrap_err();
        assert!(matches!(refused, TlsError::ClientHello(ClientHelloError::TooLong(_))), "{refused:?}");
        let mut alert = [0; 7];
        far.read_exact(&mut alert).await.unwrap();
        assert_eq!(alert, [21, 3, 3, 0, 2, 2, 50]);
    }

    #[tokio::test]
    async fn leaving_at_once_is_told_from_leaving_in_the_middle() {
        let mut nothing = tokio::io::join(&b""[..], tokio::io::sink());
        let closed = read_client_hello(&mut nothing, &mut BytesMut::new()).await.unwrap_err();
        assert!(matches!(closed, TlsError::ClosedAtOnce));
        let mut some = tokio::io::join(&b"\x16\x03\x01"[..], tokio::io::sink());
        let closed = read_client_hello(&mut some, &mut BytesMut::new()).await.unwrap_err();
        assert!(matches!(closed, TlsError::Closed));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), framed in any::<bool>()) {
            let _ = if framed {
                parse_client_hello(&records(&[&[CLIENT_HELLO][..], &vector(3, &bytes)].concat(), 100))
            } else {
                parse_client_hello(&bytes)
            };
        }

        #[test]
        fn no_extensions_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), kind in prop_oneof![Just(ALPN), Just(SERVER_NAME)]) {
            let _ = parse_client_hello(&records(&message(&extension(kind, &bytes)), 1000));
        }
    }
}
