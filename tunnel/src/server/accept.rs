//! Accepting connections: one listener a route, shared by the workers; places before work; a full table of
//! descriptors backs off instead of spinning.
//!
//! A plain listener that this machine alone reaches presses back: what there is no place for is not accepted yet, and waits
//! with the kernel. Others are refused, so that who waits does not keep out whoever comes next.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use inclavared_config::Listen;
use socket2::{Domain, Protocol, Type};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};

use crate::error::Error;
use crate::leg::permits::{Holder, Who};
use crate::leg::socket::Socket;
use crate::server::connection;
use crate::server::crew::Crew;
use crate::server::held::{Accepted, Held};
use crate::server::node::{Node, RouteState};

/// How long to wait when the process or the machine has no descriptors left (EMFILE; istio/ztunnel#1585).
const BACKOFF: Duration = Duration::from_millis(100);

/// Connections that the kernel completes while the workers are busy, or a plain listener presses back; it takes no more than
/// `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A bound socket that each worker takes a duplicate of.
#[derive(Debug)]
pub struct Bound {
    socket: socket2::Socket,
    pub address: Listen,
}

impl Bound {
    /// Binds what a route listens on. A Unix socket left behind by a process that is gone is replaced.
    ///
    /// `plain`: its connections carry plain bytes, and an end that nobody gave in order has to be a reset. Accepted sockets
    /// inherit that (socket(7), SO_LINGER), so that it holds from before the program has seen them.
    pub fn new(listen: &Listen, plain: bool) -> io::Result<Self> {
        match listen {
            Listen::Tcp(address) => {
                let socket = socket2::Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
                socket.set_reuse_address(true)?;
                socket.set_nonblocking(true)?;
                if plain {
                    // Best effort where a LibOS lacks it: it is set again when the leg is made.
                    let _ = socket.set_linger(Some(Duration::ZERO));
                }
                socket.bind(&(*address).into())?;
                socket.listen(BACKLOG)?;
                let address = socket.local_addr()?.as_socket().unwrap_or(*address);
                Ok(Self { socket, address: Listen::Tcp(address) })
            }
            Listen::Unix(path) => {
                remove_abandoned(path)?;
                let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
                socket.set_nonblocking(true)?;
                socket.bind(&socket2::SockAddr::unix(path)?)?;
                socket.listen(BACKLOG)?;
                Ok(Self { socket, address: listen.clone() })
            }
        }
    }

    /// One worker's share of the listener.
    pub fn share(&self) -> io::Result<Shared> {
        Ok(Shared { socket: self.socket.try_clone()?, is_tcp: matches!(self.address, Listen::Tcp(_)) })
    }
}

/// A duplicate of a bound socket, on its way to a worker.
#[derive(Debug)]
pub struct Shared {
    socket: socket2::Socket,
    is_tcp: bool,
}

impl Shared {
    /// Must be called inside the worker's runtime.
    pub fn listener(self) -> io::Result<Listener> {
        let socket = OwnedFd::from(self.socket);
        Ok(match self.is_tcp {
            true => Listener::Tcp(TcpListener::from_std(socket.into())?),
            false => Listener::Unix(UnixListener::from_std(socket.into())?),
        })
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let Listen::Unix(path) = &self.address {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A listener inside one worker's runtime.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// One worker, as its listeners see it.
#[derive(Clone)]
pub struct Here {
    pub worker: usize,
    pub crew: Arc<Crew>,
    pub node: Arc<Node>,
}

/// Accepts until shutdown. Every connection is a task of the worker that has the fewest.
pub async fn accept(listener: Listener, here: Here, route: Arc<RouteState>, mut shutdown: watch::Receiver<bool>) {
    let node = &here.node;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = shutdown.wait_for(|down| *down) => return,
        };
        let (socket, source) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if !is_of_one_connection(&error) {
                    tracing::warn!(route = route.route.name, %error, "cannot accept connections; waiting a little");
                    tokio::time::sleep(BACKOFF).await;
                }
                continue;
            }
        };
        let held = if route.is_local() {
            tokio::select! {
                held = here.local(&route) => held,
                _ = shutdown.wait_for(|down| *down) => return,
            }
        } else {
            let who = node.gates.sources.of(source);
            let arrived = node.gates.connections.arrive(who);
            arrived.map(|admission| Held { admission, opening: None, place: here.crew.place(here.worker) })
        };
        let held = match held {
            Ok(held) => held,
            Err(error) => {
                node.metrics.turned_away(&route.route.name);
                // Closing at once costs the peer and us the least; a plain client must not take it for an empty stream.
                socket.reset_on_close();
                tracing::warn!(route = route.route.name, source = source.map(tracing::field::display), %error, "refused");
                continue;
            }
        };
        node.metrics.accepted(&route.route.name);
        if held.place.worker() == here.worker {
            here.serve(socket, source, Arc::clone(&route), held);
        } else if let Err(error) = here.hand_over(socket, source, Arc::clone(&route), held) {
            tracing::warn!(route = route.route.name, %error, "a connection was lost on its way to its worker");
        }
    }
}

/// Serves what the other workers hand over, until shutdown.
pub async fn take_over(mut inbox: mpsc::Receiver<Accepted>, here: Here, mut shutdown: watch::Receiver<bool>) {
    loop {
        let Accepted { socket, source, route, held } = tokio::select! {
            accepted = inbox.recv() => match accepted {
                Some(accepted) => accepted,
                None => return,
            },
            _ = shutdown.wait_for(|down| *down) => {
                // What is on its way was accepted: it is served. Nothing more is sent.
                inbox.close();
                match inbox.recv().await {
                    Some(accepted) => accepted,
                    None => return,
                }
            }
        };
        match socket.resume() {
            Ok(socket) => here.serve(socket, source, route, held),
            Err(error) => {
                tracing::warn!(route = route.route.name, %error, "a connection was lost on its way to its worker");
            }
        }
    }
}

impl Here {
    /// Waits until there is a place for a connection of a local application, and the turn to open its path.
    async fn local(&self, route: &RouteState) -> Result<Held, Error> {
        let who = Who::Listener(route.place);
        let admission = self.node.gates.connections.local(who).await;
        let opening = Some(self.node.gates.openings.turn(Holder::admitted(who)).await?);
        Ok(Held { admission, opening, place: self.crew.place(self.worker) })
    }

    fn serve(&self, socket: Socket, source: Option<IpAddr>, route: Arc<RouteState>, held: Held) {
        // Not in a future around it: that would have room for it twice.
        tokio::task::spawn_local(connection::serve(Arc::clone(&self.node), route, socket, source, held));
    }

    /// To the worker of `place`, unless it takes no more: then it stays here.
    fn hand_over(&self, socket: Socket, source: Option<IpAddr>, route: Arc<RouteState>, held: Held) -> io::Result<()> {
        let worker = held.place.worker();
        let accepted = Accepted { socket: socket.park()?, source, route, held };
        if let Err(Accepted { socket, source, route, held }) = self.crew.hand_over(worker, accepted) {
            let held = Held { place: held.place.moved(self.worker), ..held };
            self.serve(socket.resume()?, source, route, held);
        }
        Ok(())
    }
}

impl Listener {
    async fn accept(&self) -> io::Result<(Socket, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok((Socket::tcp(stream), Some(canonical(address))))
            }
            Self::Unix(listener) => Ok((Socket::Unix(listener.accept().await?.0), None)),
        }
    }
}

/// One client has one address, whether the listener sees it as IPv4 or as IPv4 in IPv6.
fn canonical(address: SocketAddr) -> IpAddr {
    address.ip().to_canonical()
}

/// The error of the connection that was to be accepted, not of the listener: a network error that was pending on it
/// (accept(2), "Error handling"), its reset, or a firewall rule against it. Nobody else waits for that.
fn is_of_one_connection(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let of_one = [
        Errno::CONNABORTED,
        Errno::CONNRESET,
        Errno::INVAL,
        Errno::PROTO,
        Errno::NOPROTOOPT,
        Errno::NETDOWN,
        Errno::NETUNREACH,
        Errno::NONET,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
        Errno::OPNOTSUPP,
        Errno::PERM,
        Errno::TIMEDOUT,
    ];
    Errno::from_io_error(error).is_some_and(|error| of_one.contains(&error))
}

/// A socket file that nobody listens on any more stands in the way of a restart. Anything else is left alone.
fn remove_abandoned(path: &Path) -> io::Result<()> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
    }
    let probe = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    match probe.connect(&socket2::SockAddr::unix(path)?) {
        Ok(()) => Err(io::ErrorKind::AddrInUse.into()),
        Err(_) => std::fs::remove_file(path),
    }
}

/// Raises the soft limit of open descriptors to the hard one: a connection takes two or three.
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum && setrlimit(Resource::Nofile, raised).is_err() {
        tracing::debug!("the limit of open descriptors stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn an_error_of_one_connection_holds_up_no_other() {
        for of_one in [Errno::PROTO, Errno::NETUNREACH, Errno::PERM, Errno::CONNABORTED] {
            assert!(is_of_one_connection(&of_one.into()), "{of_one}");
        }
        for of_all in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS, Errno::BADF] {
            assert!(!is_of_one_connection(&of_all.into()), "{of_all}");
        }
    }
}
