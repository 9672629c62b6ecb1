//! The quoting service (QGS) of a TDX host: one request for one quote.
//!
//! Frames: a length of 4 bytes, big-endian, then a message, little-endian: header (major u16, minor u16, type u32,
//! size u32, error u32) and body. Source: Intel DCAP `qgs_msg_lib.h`; the Unix socket, as QEMU uses it, has the same.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;

use socket2::{Domain, SockAddr, Socket, Type};

use super::files::MAX_BLOB;
use super::gate::Deadline;
use super::sys::TD_REPORT_LEN;
use crate::attester::AttesterError;

/// Where a quoting service listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum QgsAddress {
    /// On the host, as a guest reaches it.
    Vsock { cid: u32, port: u32 },
    /// In the same system: a service for QEMU, or a stand-in.
    Unix(PathBuf),
}

impl QgsAddress {
    /// The host (VMADDR_CID_HOST).
    pub const HOST: u32 = 2;
    /// Where Intel's service listens unless told otherwise.
    pub const PORT: u32 = 4050;

    fn connect(&self, deadline: &Deadline) -> io::Result<Socket> {
        let (domain, address) = match self {
            Self::Vsock { cid, port } => (Domain::VSOCK, SockAddr::vsock(*cid, *port)),
            Self::Unix(path) => (Domain::UNIX, SockAddr::unix(path)?),
        };
        let socket = Socket::new(domain, Type::STREAM, None)?;
        socket.connect_timeout(&address, deadline.left())?;
        Ok(socket)
    }
}

impl fmt::Display for QgsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vsock { cid, port } => write!(f, "vsock {cid}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Has a TDREPORT turned into a quote.
pub(super) fn quote(
    address: &QgsAddress,
    report: &[u8; TD_REPORT_LEN],
    deadline: &Deadline,
) -> Result<Vec<u8>, AttesterError> {
    let attester = deadline.attester();
    let refused = |what: &str, source: io::Error| match source.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => deadline.passed(),
        _ => AttesterError::Refused {
            attester,
            doing: format!("{what} the quoting service at {address}"),
            remedy: "start QGS (qgsd) on the host, give the guest a vsock device, and name its port in \
                     /etc/tdx-attest.conf (port=4050)"
                .into(),
            source,
        },
    };
    deadline.doing(format!("connecting to the quoting service at {address}"));
    deadline.some_left()?;
    let mut socket = address.connect(deadline).map_err(|error| refused("connecting to", error))?;

    deadline.doing(format!("sending the report to the quoting service at {address}"));
    socket.set_write_timeout(Some(deadline.some_left()?)).map_err(|error| refused("preparing", error))?;
    socket.write_all(&request(report)).map_err(|error| refused("writing to", error))?;

    deadline.doing(format!("waiting for the answer of the quoting service at {address}"));
    let mut len = [0; 4];
    read_exact(&mut socket, &mut len, deadline)?.map_err(|error| refused("reading from", error))?;
    let len = u32::from_be_bytes(len) as usize;
    if len > MAX_BLOB {
        let what = format!("the quoting service announces {len} bytes, more than {MAX_BLOB}");
        return Err(AttesterError::Answer { attester, what });
    }
    let mut message = vec![0; len];
    read_exact(&mut socket, &mut message, deadline)?.map_err(|error| refused("reading from", error))?;
    response(&message).map_err(|what| AttesterError::Answer { attester, what })
}

fn request(report: &[u8; TD_REPORT_LEN]) -> Vec<u8> {
    let message = [
        header(GET_QUOTE_REQUEST, (BODY + TD_REPORT_LEN) as u32).as_slice(),
        &(TD_REPORT_LEN as u32).to_le_bytes(),
        // No list of identities: the service chooses.
        &0u32.to_le_bytes(),
        report,
    ]
    .concat();
    [(message.len() as u32).to_be_bytes().as_slice(), &message].concat()
}

/// `body` is how many bytes follow.
fn header(kind: u32, body: u32) -> Vec<u8> {
    [
        MAJOR.to_le_bytes().as_slice(),
        &0u16.to_le_bytes(),
        &kind.to_le_bytes(),
        &(HEADER as u32 + body).to_le_bytes(),
        &0u32.to_le_bytes(),
    ]
    .concat()
}

/// The quote in a message, or what is wrong with the message.
fn response(message: &[u8]) -> Result<Vec<u8>, String> {
    let u32_at = |offset: usize| -> Result<u32, String> {
        let bytes = message.get(offset..offset + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_le_bytes).ok_or_else(|| format!("a message of {} bytes: too short", message.len()))
    };
    // Two halves of 16 bits: the minor version may grow.
    let major = u32_at(0)? as u16;
    let (kind, size, error) = (u32_at(4)?, u32_at(8)?, u32_at(12)?);
    if major != MAJOR {
        return Err(format!("the quoting service speaks version {major}, not {MAJOR}"));
    }
    if error != 0 {
        return Err(format!("the quoting service reports error {error:#x}{}", explain(error)));
    }
    if kind != GET_QUOTE_RESPONSE {
        return Err(format!("the quoting service sent a message of type {kind} instead of {GET_QUOTE_RESPONSE}"));
    }
    let (id, quote) = (u32_at(HEADER)? as usize, u32_at(HEADER + 4)? as usize);
    let whole = HEADER.saturating_add(BODY).saturating_add(id).saturating_add(quote);
    if size as usize != message.len() || whole != message.len() {
        return Err(format!("the quoting service states {size} and {whole} bytes and sent {}", message.len()));
    }
    Ok(message[HEADER + BODY + id..].to_vec())
}

/// `qgs_msg_error_t`.
fn explain(error: u32) -> &'static str {
    match error {
        0x12001 => " (unexpected)",
        0x12002 => " (out of memory)",
        0x12003 => " (invalid parameter: the report was refused)",
        0x12004 => " (a version that it does not know)",
        0x12005 => " (a type that it does not know)",
        0x12006 => " (a size that it does not accept)",
        0x12007 => " (a code that it does not know)",
        _ => "",
    }
}

/// The outer error is the deadline's.
fn read_exact(socket: &mut Socket, buffer: &mut [u8], deadline: &Deadline) -> Result<io::Result<()>, AttesterError> {
    let mut filled = 0;
    while filled < buffer.len() {
        // Anew for every read: a service that sends a byte a second must not have the deadline for each.
        if let Err(error) = socket.set_read_timeout(Some(deadline.some_left()?)) {
            return Ok(Err(error));
        }
        match socket.read(&mut buffer[filled..]) {
            Ok(0) => return Ok(Err(io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(()))
}

const MAJOR: u16 = 1;
const GET_QUOTE_REQUEST: u32 = 0;
const GET_QUOTE_RESPONSE: u32 = 1;
/// In bytes: the header, and the two lengths that follow it in request and response.
const HEADER: usize = 16;
const BODY: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(id: &[u8], quote: &[u8]) -> Vec<u8> {
        let body =
            [&(id.len() as u32).to_le_bytes(), (quote.len() as u32).to_le_bytes().as_slice(), id, quote].concat();
        [header(GET_QUOTE_RESPONSE, body.len() as u32), body].concat()
    }

    #[test]
    fn the_request_byte_for_byte() {
        let sent = request(&[0xAB; TD_REPORT_LEN]);
        assert_eq!(hex::encode(&sent[..28]), "00000418010000000000000018040000000000000004000000000000");
        assert_eq!(sent[28..], [0xAB; TD_REPORT_LEN]);
    }

    #[test]
    fn reads_the_response_and_refuses_others() {
        assert_eq!(response(&answer(b"", b"quote")).unwrap(), b"quote");
        assert_eq!(response(&answer(b"0123456789abcdef", b"quote")).unwrap(), b"quote");
        for (offset, value, expected) in [
            (0, 2, "the quoting service speaks version 2, not 1"),
            (4, 3, "the quoting service sent a message of type 3 instead of 1"),
            (8, 30, "the quoting service states 30 and 29 bytes and sent 29"),
            (12, 5, "the quoting service reports error 0x5"),
            (20, 4, "the quoting service states 29 and 28 bytes and sent 29"),
            (23, 255, "the quoting service states 29 and 4278190109 bytes and sent 29"),
        ] {
            let mut message = answer(b"", b"quote");
            message[offset] = value;
            assert_eq!(response(&message).unwrap_err(), expected);
        }
        let mut refused = answer(b"", b"");
        refused[12..16].copy_from_slice(&0x12003u32.to_le_bytes());
        assert!(response(&refused).unwrap_err().contains("0x12003 (invalid parameter"));
        assert_eq!(response(&[1, 0]).unwrap_err(), "a message of 2 bytes: too short");
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = response(&bytes);
        }
    }
}
