//! A foreign program while it runs: typed to, read, and killed by its process id when the test is over.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::program::PATIENCE;

const STEP: Duration = Duration::from_millis(5);

pub(crate) struct Running {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    /// Dropped when the input is to end.
    input: Option<Sender<()>>,
    pub(crate) out: Output,
    pub(crate) err: Output,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let (out, err) = (Output::of(child.stdout.take().unwrap()), Output::of(child.stderr.take().unwrap()));
        Self { name, stdin: child.stdin.take(), input: None, child, out, err }
    }

    /// Types all of it, in the background. The input ends after it, or when [`end_input`](Self::end_input) says so.
    pub(crate) fn feed(&mut self, bytes: Vec<u8>, then_end: bool) {
        let mut stdin = self.stdin.take().unwrap();
        let (hold, held) = channel();
        self.input = Some(hold).filter(|_| !then_end);
        thread::spawn(move || {
            // A refused client is gone before it has read all of it.
            let _ = stdin.write_all(&bytes);
            let _ = held.recv();
        });
    }

    pub(crate) fn end_input(&mut self) {
        (self.input, self.stdin) = (None, None);
    }

    /// Waits until it has ended by itself; its exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let limit = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < limit, "{} has not ended: {}", self.name, self.err.text());
            thread::park_timeout(STEP);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- {} ({}) said:\n{}", self.name, self.child.id(), self.err.text());
        }
    }
}

/// What it has written so far.
#[derive(Clone)]
pub(crate) struct Output(Arc<(Mutex<Seen>, Condvar)>);

#[derive(Default)]
struct Seen {
    bytes: Vec<u8>,
    ended: bool,
}

impl Output {
    fn of(mut from: impl Read + Send + 'static) -> Self {
        let output = Self(Arc::default());
        let into = output.clone();
        thread::spawn(move || {
            let mut some = [0; 65_536];
            loop {
                let read = from.read(&mut some).unwrap_or(0);
                let (state, changed) = &*into.0;
                let mut state = state.lock().unwrap();
                state.bytes.extend_from_slice(&some[..read]);
                state.ended = read == 0;
                changed.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
        output
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.0.lock().unwrap().bytes).into_owned()
    }

    /// Waits until `find` makes something of it, which it gives.
    pub(crate) fn wait<T>(&self, what: &str, mut find: impl FnMut(&[u8]) -> Option<T>) -> T {
        let limit = Instant::now() + PATIENCE;
        let (state, changed) = &*self.0;
        let mut seen = state.lock().unwrap();
        loop {
            if let Some(found) = find(&seen.bytes) {
                return found;
            }
            let left = limit.saturating_duration_since(Instant::now());
            if seen.ended || left.is_zero() {
                let (len, said) =
                    (seen.bytes.len(), String::from_utf8_lossy(&seen.bytes[..seen.bytes.len().min(2000)]).into_owned());
                let ended = seen.ended;
                drop(seen);
                panic!("{what} did not come (ended: {ended}); there were {len} bytes:\n{said}");
            }
            seen = changed.wait_timeout(seen, left).unwrap().0;
        }
    }

    /// Waits for so many bytes, or for the end of what there is.
    pub(crate) fn has(&self, count: usize) -> bool {
        let (state, changed) = &*self.0;
        let waiting = |seen: &mut Seen| seen.bytes.len() < count && !seen.ended;
        let seen = changed.wait_timeout_while(state.lock().unwrap(), PATIENCE, waiting).unwrap().0;
        seen.bytes.len() >= count
    }

    /// Everything, once the program has closed it.
    pub(crate) fn all(&self) -> Vec<u8> {
        let limit = Instant::now() + PATIENCE;
        let (state, changed) = &*self.0;
        let mut seen = state.lock().unwrap();
        while !seen.ended {
            let left = limit.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "its output has not ended");
            seen = changed.wait_timeout(seen, left).unwrap().0;
        }
        seen.bytes.clone()
    }

    /// The rest of the first whole line that begins with `start`.
    pub(crate) fn line(&self, start: &str) -> String {
        self.wait(start, |seen| {
            let text = String::from_utf8_lossy(seen);
            let line = text.split_inclusive('\n').find_map(|line| line.strip_prefix(start))?;
            line.ends_with('\n').then(|| line.trim().to_owned())
        })
    }
}
