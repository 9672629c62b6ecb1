//! The downstream leg: dial, handshake, appraisal, and the path behind it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use inclavared_attest::evidence::Tee;
use inclavared_attest::policy::TerminalKind;
use inclavared_config::Target;
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use crate::error::Error;
use crate::leg::socket::Socket;

/// Dials a target: every address of a name in turn, all within `limit`.
pub async fn dial(target: &Target, limit: Duration) -> Result<Socket, Error> {
    within(target, limit, Lost::Ends).await
}

/// [`dial`], for plain bytes: from before the connection is made, its end is a reset unless the stream was closed in
/// order. So a process that is killed at any moment leaves no end of file that looks like the end of a stream.
pub async fn dial_plain(target: &Target, limit: Duration) -> Result<Socket, Error> {
    within(target, limit, Lost::Resets).await
}

/// What the peer sees of a socket that nobody closed in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lost {
    /// An end of file: the TLS above it tells a cut from an end.
    Ends,
    Resets,
}

async fn within(target: &Target, limit: Duration, lost: Lost) -> Result<Socket, Error> {
    let unreachable = |source| Error::Unreachable { target: target.to_string(), source };
    match tokio::time::timeout(limit, dial_any(target, lost)).await {
        Ok(Ok(socket)) => Ok(socket),
        Ok(Err(error)) => Err(unreachable(error)),
        Err(_) => Err(unreachable(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {limit:?}")))),
    }
}

/// The name that the TLS handshake shows. Evidence decides, not the name.
pub fn server_name(target: &Target) -> ServerName<'static> {
    const UNIX: &str = "localhost";
    let host = match target {
        Target::Tcp { host, .. } => host.clone(),
        Target::Unix(_) | Target::Process(_) => UNIX.to_owned(),
    };
    ServerName::try_from(host).or_else(|_| ServerName::try_from(UNIX.to_owned())).expect("`localhost` is a DNS name")
}

/// How bytes reach a plain target from inside this TEE: derived, never configured.
pub fn terminal_kind(target: &Target, tee: Tee) -> TerminalKind {
    let loopback = match target {
        // A name is what the resolver says when it is dialled: only an address is certain beforehand.
        Target::Tcp { host, .. } => host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
        Target::Unix(_) => true,
        Target::Process(_) => return TerminalKind::Workload,
    };
    match (tee, target) {
        (_, _) if !loopback => TerminalKind::Plain,
        // Under SGX the kernel with its sockets is the host's.
        (Tee::Sgx | Tee::None, _) => TerminalKind::HostLocal,
        (Tee::Tdx | Tee::SevSnp, Target::Tcp { .. }) => TerminalKind::TeeLocal,
        (Tee::Tdx | Tee::SevSnp, _) => TerminalKind::SameTee,
    }
}

async fn dial_any(target: &Target, lost: Lost) -> io::Result<Socket> {
    match target {
        Target::Unix(path) => UnixStream::connect(path).await.map(Socket::Unix),
        Target::Process(name) => {
            Err(io::Error::new(io::ErrorKind::Unsupported, format!("`{name}` is served by the process itself")))
        }
        Target::Tcp { host, port } => {
            let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            for address in tokio::net::lookup_host((host.as_str(), *port)).await? {
                match connect(address, lost).await {
                    Ok(stream) => return Ok(Socket::tcp(stream)),
                    Err(error) => last = error,
                }
            }
            Err(last)
        }
    }
}

async fn connect(address: SocketAddr, lost: Lost) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if lost == Lost::Resets {
        // Best effort where a LibOS lacks it: it is set again when the leg is made.
        let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
    }
    socket.connect(address).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(target: &str, tee: Tee) -> TerminalKind {
        terminal_kind(&target.parse().unwrap(), tee)
    }

    #[test]
    fn what_is_confidential_depends_on_whose_kernel_it_is() {
        assert_eq!(kind("127.0.0.1:80", Tee::Sgx), TerminalKind::HostLocal);
        assert_eq!(kind("unix:///run/app.sock", Tee::Sgx), TerminalKind::HostLocal);
        assert_eq!(kind("[::1]:80", Tee::Tdx), TerminalKind::TeeLocal);
        assert_eq!(kind("unix:///run/app.sock", Tee::SevSnp), TerminalKind::SameTee);
        assert_eq!(kind("192.0.2.7:80", Tee::Tdx), TerminalKind::Plain);
        assert_eq!(kind("localhost:80", Tee::Tdx), TerminalKind::Plain);
    }

    #[test]
    fn any_host_gives_a_name() {
        assert!(matches!(server_name(&"127.0.0.1:1".parse().unwrap()), ServerName::IpAddress(_)));
        assert!(matches!(server_name(&"db.example:1".parse().unwrap()), ServerName::DnsName(_)));
        assert!(matches!(server_name(&Target::Unix("/x".into())), ServerName::DnsName(_)));
    }
}
