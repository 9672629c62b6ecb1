//! A stream socket: TCP or Unix, with the readiness interface that the relay works on.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Shutdown};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Once;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::RecvFlags;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::{TcpStream, UnixStream};

/// A connected stream socket.
#[derive(Debug)]
pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// How far a peer is with its transport.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FarEnd {
    Open,
    /// It sends no more; it may still read.
    HasEnded,
    /// It was reset, or closed a Unix socket: it neither sends nor reads.
    Gone,
}

/// A peer that is gone without a word is found after about two minutes.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

macro_rules! each {
    ($self:expr, $socket:ident => $call:expr) => {
        match $self {
            Self::Tcp($socket) => $call,
            Self::Unix($socket) => $call,
        }
    };
}

impl Socket {
    /// Takes a TCP stream: no Nagle (a single byte is never delayed), keepalive on.
    ///
    /// Both are tuning. Where a LibOS lacks them the stream serves all the same: that is said once, and the deadlines of
    /// the configuration stand in for keepalive.
    pub fn tcp(stream: TcpStream) -> Self {
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
        let tuned = stream.set_nodelay(true).and_then(|()| SockRef::from(&stream).set_tcp_keepalive(&keepalive));
        if let Err(error) = tuned {
            static TOLD: Once = Once::new();
            TOLD.call_once(
                || tracing::warn!(%error, "sockets cannot be tuned here: TCP_NODELAY or keepalive is missing"),
            );
        }
        Self::Tcp(stream)
    }

    /// The address at the other end, if it has one: the same for IPv4 and for IPv4 in IPv6.
    pub fn peer_ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok().map(|address| address.ip().to_canonical()),
            Self::Unix(_) => None,
        }
    }

    /// Takes the socket out of its runtime: any worker may go on with it.
    pub fn park(self) -> io::Result<Parked> {
        Ok(match self {
            Self::Tcp(stream) => Parked::Tcp(stream.into_std()?),
            Self::Unix(stream) => Parked::Unix(stream.into_std()?),
        })
    }

    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        each!(self, s => s.ready(interest).await)
    }

    pub async fn readable(&self) -> io::Result<()> {
        each!(self, s => s.readable().await)
    }

    pub async fn writable(&self) -> io::Result<()> {
        each!(self, s => s.writable().await)
    }

    /// Reads what is there. `WouldBlock`: wait until it is readable.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let room = buf.len();
        self.at_once(Interest::READABLE, room, |fd| Ok(rustix::net::recv(fd, buf, RecvFlags::empty())?.1))
    }

    pub fn try_read_vectored(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let room = bufs.iter().map(|buf| buf.len()).sum();
        self.at_once(Interest::READABLE, room, |fd| Ok(rustix::io::readv(fd, bufs)?))
    }

    pub fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let room = bufs.iter().map(|buf| buf.len()).sum();
        self.at_once(Interest::WRITABLE, room, |fd| Ok(rustix::io::writev(fd, bufs)?))
    }

    /// One system call, if the socket is ready. One that does less than there was `room` for has emptied the socket, or
    /// filled it: another would only be told to wait. So the socket counts as not ready from then on; epoll, which is
    /// edge-triggered, tells of all that happens later, and an end of file or an error that it has told of stays.
    fn at_once(
        &self,
        interest: Interest,
        room: usize,
        call: impl FnOnce(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut part = None;
        let whole = each!(self, s => s.try_io(interest, || match call(s.as_fd())? {
            done if done > 0 && done < room => {
                part = Some(done);
                Err(io::ErrorKind::WouldBlock.into())
            }
            done => Ok(done),
        }));
        part.map_or(whole, Ok)
    }

    /// What is known of the peer without a read of what it sent.
    pub fn far_end(&self) -> FarEnd {
        let mut poll = [PollFd::from_borrowed_fd(self.as_fd(), PollFlags::RDHUP)];
        let seen = match rustix::event::poll(&mut poll, Some(&Timespec::default())) {
            Ok(1..) => poll[0].revents(),
            // A look that fails tells nothing of the peer: the next read will.
            Ok(0) | Err(_) => PollFlags::empty(),
        };
        if seen.intersects(PollFlags::ERR | PollFlags::HUP) {
            FarEnd::Gone
        } else if seen.contains(PollFlags::RDHUP) {
            FarEnd::HasEnded
        } else {
            FarEnd::Open
        }
    }

    /// Bytes that have come and were not read.
    pub fn unread(&self) -> io::Result<usize> {
        Ok(usize::try_from(rustix::io::ioctl_fionread(self.as_fd())?).unwrap_or(usize::MAX))
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        each!(self, s => s.as_fd())
    }

    /// Ends our direction: the peer reads an end of file.
    pub fn shutdown_write(&self) -> io::Result<()> {
        match each!(self, s => SockRef::from(s).shutdown(Shutdown::Write)) {
            // The peer was quicker: it has closed already.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            other => other,
        }
    }

    /// Makes the close that follows a reset: what was cut short must not look like an end of file.
    ///
    /// A Unix socket has no reset. Its peer reads an end of file, unless it has sent something that was not read.
    pub fn reset_on_close(&self) {
        if let Self::Tcp(stream) = self {
            // Best effort: on a socket that is dead already there is nobody to tell.
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// Takes [`reset_on_close`](Self::reset_on_close) back: what is still in the kernel is delivered after the close.
    pub fn close_in_order(&self) {
        if let Self::Tcp(stream) = self {
            // Best effort, as above.
            let _ = SockRef::from(stream).set_linger(None);
        }
    }
}

/// A socket that no runtime watches: kept ready, or on its way from one worker to another. It does not block.
#[derive(Debug)]
pub enum Parked {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Parked {
    /// Must be called inside the runtime that goes on with it.
    pub fn resume(self) -> io::Result<Socket> {
        Ok(match self {
            Self::Tcp(stream) => Socket::Tcp(TcpStream::from_std(stream)?),
            Self::Unix(stream) => Socket::Unix(UnixStream::from_std(stream)?),
        })
    }

    pub fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        each!(self, s => io::Read::read(s, buf))
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), s => Pin::new(s).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), s => Pin::new(s).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), s => Pin::new(s).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), s => Pin::new(s).poll_shutdown(cx))
    }
}
