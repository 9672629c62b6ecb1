//! The server behind the proxies, and what it is asked to do.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::{certs, proc, raw};

/// What a client asks for, before anything else on its stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Request {
    /// One byte back: both handshakes are done.
    Hello,
    /// Everything back.
    Echo,
    /// So many bytes are taken, then one is answered.
    Take(u64),
    /// So many bytes are given.
    Give(u64),
}

impl Request {
    pub(crate) const LEN: usize = 9;

    pub(crate) fn encode(self) -> [u8; Self::LEN] {
        let (kind, len) = match self {
            Self::Hello => (b'h', 0),
            Self::Echo => (b'e', 0),
            Self::Take(len) => (b't', len),
            Self::Give(len) => (b'g', len),
        };
        let mut bytes = [kind; Self::LEN];
        bytes[1..].copy_from_slice(&len.to_be_bytes());
        bytes
    }

    fn decode(bytes: [u8; Self::LEN]) -> Result<Self> {
        let [kind, len @ ..] = bytes;
        let len = u64::from_be_bytes(len);
        Ok(match kind {
            b'h' => Self::Hello,
            b'e' => Self::Echo,
            b't' => Self::Take(len),
            b'g' => Self::Give(len),
            _ => bail!("request {kind}"),
        })
    }
}

/// Serves until it is killed, on one thread.
pub(crate) fn run(listen: SocketAddr, certs: Option<&Path>) -> Result<()> {
    proc::raise_descriptor_limit();
    let config = certs.map(certs::server).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(listen).await.with_context(|| format!("listening on {listen}"))?;
        loop {
            // A machine without descriptors is the measurement's end: the client sees it, and says so.
            let Ok((socket, _)) = listener.accept().await else { continue };
            let config = config.clone();
            tokio::spawn(async move {
                let _ = serve(socket, config).await;
            });
        }
    })
}

async fn serve(socket: TcpStream, config: Option<Arc<ServerConfig>>) -> Result<()> {
    socket.set_nodelay(true)?;
    let Some(config) = config else {
        let mut socket = socket;
        let request = receive(&mut socket).await?;
        return match request {
            Request::Take(len) => {
                answer(&mut socket).await?;
                discard(&mut socket, len).await?;
                finish(socket).await
            }
            Request::Give(len) => {
                give(&mut socket, len).await?;
                linger(socket).await
            }
            Request::Hello | Request::Echo => talk(socket, request).await,
        };
    };
    let mut stream = TlsAcceptor::from(config).accept(socket).await?;
    match receive(&mut stream).await? {
        Request::Take(len) => {
            // From here on the client sends records as fast as it can: nothing of them may be in rustls' buffer.
            answer(&mut stream).await?;
            let (mut socket, connection) = stream.into_inner();
            raw::receive(&mut socket, len).await?;
            raw::Sender::new(connection.into())?.send(&mut socket, 1, 1).await?;
            linger(socket).await
        }
        Request::Give(len) => {
            let (mut socket, connection) = stream.into_inner();
            raw::Sender::new(connection.into())?.send(&mut socket, len, raw::LARGEST).await?;
            linger(socket).await
        }
        request => talk(stream, request).await,
    }
}

async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: Request) -> Result<()> {
    if request == Request::Hello {
        answer(&mut stream).await?;
    }
    let mut buffer = vec![0; 2048];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            stream.shutdown().await?;
            return Ok(());
        }
        stream.write_all(&buffer[..read]).await?;
        stream.flush().await?;
    }
}

async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> Result<Request> {
    let mut request = [0; Request::LEN];
    stream.read_exact(&mut request).await?;
    Request::decode(request)
}

async fn answer(stream: &mut (impl AsyncWrite + Unpin)) -> Result<()> {
    stream.write_all(b"k").await?;
    Ok(stream.flush().await?)
}

async fn finish(mut socket: TcpStream) -> Result<()> {
    answer(&mut socket).await?;
    linger(socket).await
}

/// The client closes first, so that nothing of ours is lost.
async fn linger(mut socket: TcpStream) -> Result<()> {
    let mut scratch = [0; 1024];
    while socket.read(&mut scratch).await? > 0 {}
    Ok(())
}

/// Takes `len` bytes of a plain stream.
pub(crate) async fn discard(socket: &mut TcpStream, mut len: u64) -> Result<()> {
    let mut buffer = vec![0; PLAIN];
    while len > 0 {
        let most = usize::try_from(len).unwrap_or(usize::MAX).min(PLAIN);
        let read = socket.read(&mut buffer[..most]).await?;
        ensure!(read > 0, "the stream ended {len} bytes early");
        len -= read as u64;
    }
    Ok(())
}

/// Gives `len` bytes to a plain stream.
pub(crate) async fn give(socket: &mut TcpStream, mut len: u64) -> Result<()> {
    let buffer = vec![0x5a; PLAIN];
    while len > 0 {
        let most = usize::try_from(len).unwrap_or(usize::MAX).min(PLAIN);
        socket.write_all(&buffer[..most]).await?;
        len -= most as u64;
    }
    Ok(())
}

/// Bytes of one read or write of a plain stream.
const PLAIN: usize = 256 * 1024;
