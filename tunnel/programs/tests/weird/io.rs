//! Two ends of a stream in memory, each call of which does as little as it may.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::stream::Random;

/// How weird an end is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weird {
    pub(crate) seed: u64,
    /// The most that one call moves.
    pub(crate) piece: usize,
    /// One call in so many is pending for nothing; 0: none.
    pub(crate) pending: u64,
    /// The call that fails, counted over reads and writes; and every one after it.
    pub(crate) fails_at: Option<usize>,
    /// What is on its way at most: more waits.
    pub(crate) room: usize,
}

/// One end.
pub(crate) struct End {
    weird: Weird,
    random: Random,
    calls: usize,
    reads: Arc<Mutex<Pipe>>,
    writes: Arc<Mutex<Pipe>>,
}

#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    closed: bool,
    waiting: Vec<Waker>,
}

pub(crate) fn pair(one: Weird, other: Weird) -> (End, End) {
    let (up, down): (Arc<Mutex<Pipe>>, Arc<Mutex<Pipe>>) = Default::default();
    let end = |weird: Weird, reads: &Arc<Mutex<Pipe>>, writes: &Arc<Mutex<Pipe>>| End {
        weird,
        random: Random::new(weird.seed),
        calls: 0,
        reads: Arc::clone(reads),
        writes: Arc::clone(writes),
    };
    (end(one, &down, &up), end(other, &up, &down))
}

impl End {
    /// How many calls there were.
    pub(crate) fn calls(&self) -> usize {
        self.calls
    }

    /// From now on so many calls go well, each with so many bytes at most.
    pub(crate) fn fail_after(&mut self, calls: usize, piece: usize) {
        self.weird = Weird { fails_at: Some(self.calls + calls), piece, ..self.weird };
    }

    /// What this call is allowed: so many bytes; or it is pending, or fails.
    fn allowed(&mut self, cx: &Context<'_>) -> Poll<io::Result<usize>> {
        self.calls += 1;
        if self.weird.fails_at.is_some_and(|at| self.calls > at) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if self.weird.pending > 0 && self.random.next().is_multiple_of(self.weird.pending) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(1 + (self.random.next() as usize) % self.weird.piece))
    }
}

impl Pipe {
    fn wake(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }
}

impl AsyncRead for End {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let end = self.get_mut();
        let most = std::task::ready!(end.allowed(cx))?.min(buf.remaining());
        let mut pipe = end.reads.lock().unwrap();
        if pipe.bytes.is_empty() && !pipe.closed {
            pipe.waiting.push(cx.waker().clone());
            return Poll::Pending;
        }
        let count = most.min(pipe.bytes.len());
        let piece: Vec<u8> = pipe.bytes.drain(..count).collect();
        buf.put_slice(&piece);
        pipe.wake();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let end = self.get_mut();
        let most = std::task::ready!(end.allowed(cx))?.min(buf.len());
        let mut pipe = end.writes.lock().unwrap();
        if pipe.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = most.min(end.weird.room.saturating_sub(pipe.bytes.len()));
        if count == 0 {
            pipe.waiting.push(cx.waker().clone());
            return Poll::Pending;
        }
        pipe.bytes.extend(&buf[..count]);
        pipe.wake();
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.writes.lock().unwrap();
        pipe.closed = true;
        pipe.wake();
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        for pipe in [&self.reads, &self.writes] {
            if let Ok(mut pipe) = pipe.lock() {
                pipe.closed = true;
                pipe.wake();
            }
        }
    }
}
