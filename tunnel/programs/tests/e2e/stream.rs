//! Plain clients and plain servers of the tests: seeded data, and waits that end.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};

use crate::program::PATIENCE;

/// A stream of bytes that anybody with the seed can make again (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn bytes(seed: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        Self::new(seed).fill(&mut bytes);
        bytes
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let mut context = Context::new(&SHA256);
    context.update(bytes);
    hex::encode(context.finish())
}

/// A client's stream whose every wait ends.
pub(crate) fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&to, PATIENCE).unwrap();
    bounded(&stream);
    stream
}

pub(crate) fn bounded(stream: &TcpStream) {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
}

/// Makes the close that follows a reset.
pub(crate) fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Writes in the background, and then ends this direction.
pub(crate) fn send_all(stream: &TcpStream, bytes: Vec<u8>) -> JoinHandle<io::Result<()>> {
    let mut stream = stream.try_clone().unwrap();
    thread::spawn(move || {
        stream.write_all(&bytes)?;
        stream.shutdown(Shutdown::Write)
    })
}

/// Everything until the end of file.
pub(crate) fn read_all(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).map(|_| bytes)
}

pub(crate) fn read_some(stream: &mut TcpStream, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).map(|()| bytes)
}

/// Sends and gets back the same: a stream through an echo that works.
pub(crate) fn echo(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    assert!(read_some(stream, bytes.len()).unwrap() == bytes, "an echo of other bytes");
}

/// A plain server behind a path: each connection has a thread, and what it comes to is received by the test.
pub(crate) struct Backend<T> {
    pub(crate) address: SocketAddr,
    results: Receiver<T>,
}

impl<T: Send + 'static> Backend<T> {
    pub(crate) fn new(serve: impl Fn(TcpStream) -> T + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (send, results) = channel();
        let serve = Arc::new(serve);
        // It ends with the test binary: there is nothing to free but a port.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (serve, send) = (Arc::clone(&serve), send.clone());
                thread::spawn(move || {
                    bounded(&stream);
                    // Not every test asks.
                    let _ = send.send(serve(stream));
                });
            }
        });
        Self { address, results }
    }

    /// What the next connection came to.
    pub(crate) fn result(&self) -> T {
        self.results.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("the backend's connection: {error}"))
    }
}

/// A backend that sends back what comes, and ends when its client does.
pub(crate) fn echo_backend() -> Backend<io::Result<u64>> {
    Backend::new(|mut stream| {
        let copied = io::copy(&mut stream.try_clone()?, &mut stream)?;
        stream.shutdown(Shutdown::Write)?;
        Ok(copied)
    })
}
