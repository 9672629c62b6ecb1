//! One program under test: started, read, told to end, and killed by its process id when the test is over.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The longest that anything here may take on a busy machine. A test that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const STEP: Duration = Duration::from_millis(5);

/// A running program. What it writes is collected line by line, as it comes.
pub(crate) struct Program {
    name: String,
    child: Child,
    pub(crate) out: Lines,
    pub(crate) err: Lines,
}

/// What a program said and how it ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let name = command.get_program().to_string_lossy().rsplit('/').next().unwrap_or_default().to_owned();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let out = Lines::of(child.stdout.take().unwrap());
        let err = Lines::of(child.stderr.take().unwrap());
        Self { name, child, out, err }
    }

    /// Where the program says that its route listens: `tcp://ADDRESS:PORT` or `unix:///PATH`.
    pub(crate) fn address(&self, route: &str) -> String {
        let named = [format!("route={route} "), format!("route=\"{route}\" ")];
        self.err.wait("its address", |line| {
            let here = line.contains("listening") && named.iter().any(|name| line.contains(name));
            let address = line.split_once("address=").filter(|_| here)?.1;
            Some(address.split_whitespace().next()?.trim_matches('"').to_owned())
        })
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// The process id.
    #[allow(dead_code, reason = "the tests of attacks ask for it")]
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the end, at most so long.
    pub(crate) fn finish(mut self, limit: Duration) -> Finished {
        let status = self.wait(limit);
        Finished { code: status.code(), out: self.out.all(), err: self.err.all() }
    }

    fn wait(&mut self, limit: Duration) -> ExitStatus {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "{} has not ended within {limit:?}", self.name);
            thread::park_timeout(STEP);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let (out, err) = (self.out.seen(), self.err.seen());
            eprintln!("--- {} ({}) said:\n{out}{err}", self.name, self.child.id());
        }
    }
}

/// The lines of one output.
#[derive(Clone)]
pub(crate) struct Lines(Arc<(Mutex<Seen>, Condvar)>);

#[derive(Default)]
struct Seen {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    fn of(output: impl Read + Send + 'static) -> Self {
        let lines = Self(Arc::default());
        let shared = lines.clone();
        thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while output.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                shared.change(|read| read.lines.push(String::from_utf8_lossy(&line).into_owned()));
                line.clear();
            }
            shared.change(|read| read.ended = true);
        });
        lines
    }

    /// The first thing that `find` makes of a line. Fails when the output ends without it, or after [`PATIENCE`].
    pub(crate) fn wait<T>(&self, what: &str, mut find: impl FnMut(&str) -> Option<T>) -> T {
        let (state, changed) = &*self.0;
        let mut read = state.lock().unwrap();
        let end = Instant::now() + PATIENCE;
        let mut next = 0;
        loop {
            for line in &read.lines[next..] {
                if let Some(found) = find(line) {
                    return found;
                }
            }
            next = read.lines.len();
            let left = end.saturating_duration_since(Instant::now());
            if read.ended || left.is_zero() {
                let (said, ended) = (read.lines.concat(), read.ended);
                drop(read);
                panic!("{what} did not come (ended: {ended}); it said:\n{said}");
            }
            read = changed.wait_timeout(read, left).unwrap().0;
        }
    }

    /// The first so many lines.
    pub(crate) fn first(&self, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        self.wait(&format!("{count} lines"), |line| {
            lines.push(line.trim_end().to_owned());
            (lines.len() == count).then_some(())
        });
        lines
    }

    pub(crate) fn seen(&self) -> String {
        self.0.0.lock().unwrap().lines.concat()
    }

    /// Everything, once the output has ended.
    fn all(&self) -> String {
        let (state, changed) = &*self.0;
        let read = state.lock().unwrap();
        let (read, late) = changed.wait_timeout_while(read, PATIENCE, |read| !read.ended).unwrap();
        assert!(!late.timed_out(), "an output that does not end");
        read.lines.concat()
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        let (state, changed) = &*self.0;
        change(&mut state.lock().unwrap());
        changed.notify_all();
    }
}
