//! rustls over tokio with a loop that copies: the relay that one writes in an afternoon, for the comparison.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::pki_types::ServerName;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{certs, proc};

const COPIED: usize = 64 * 1024;

/// Serves until it is killed, on one thread.
pub(crate) fn run(listen: SocketAddr, target: SocketAddr, folder: &Path) -> Result<()> {
    proc::raise_descriptor_limit();
    let (acceptor, config) = (TlsAcceptor::from(certs::server(folder)?), certs::client(folder, kx_group::X25519)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(listen).await.with_context(|| format!("listening on {listen}"))?;
        loop {
            let Ok((socket, _)) = listener.accept().await else { continue };
            let (acceptor, config) = (acceptor.clone(), Arc::clone(&config));
            tokio::spawn(async move {
                let _ = serve(socket, acceptor, config, target).await;
            });
        }
    })
}

async fn serve(socket: TcpStream, acceptor: TlsAcceptor, config: Arc<ClientConfig>, target: SocketAddr) -> Result<()> {
    socket.set_nodelay(true)?;
    let mut client = acceptor.accept(socket).await?;
    let socket = TcpStream::connect(target).await?;
    socket.set_nodelay(true)?;
    let mut server = TlsConnector::from(config).connect(ServerName::try_from("localhost")?, socket).await?;
    copy_bidirectional_with_sizes(&mut client, &mut server, COPIED, COPIED).await?;
    Ok(())
}
