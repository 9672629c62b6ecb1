//! TLS stacks that are programs: started, fed, read, and killed when the test is over.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::support::{Identity, PATIENCE};

/// The program, or nothing if it is not installed. Where CI promised it, that is a failure and not a skip.
pub(crate) fn tool(name: &str) -> Option<Command> {
    let found =
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|dir| dir.join(name).is_file());
    if !found {
        assert!(std::env::var_os("CI").is_none(), "{name} is not installed");
        eprintln!("skipped: {name} is not installed");
    }
    found.then(|| Command::new(name))
}

/// An identity as the files that programs want.
pub(crate) struct Files {
    _dir: TempDir,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Files {
    pub(crate) fn new(identity: &Identity) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = (dir.path().join("certificate.pem"), dir.path().join("key.pem"));
        std::fs::write(&certificate, &identity.certificate_pem).unwrap();
        std::fs::write(&key, &identity.key_pem).unwrap();
        Self { _dir: dir, certificate, key }
    }
}

/// A running program. What it writes, on both streams, is collected as it comes.
pub(crate) struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    out: Arc<Mutex<Vec<u8>>>,
    err: Arc<Mutex<Vec<u8>>>,
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = collect(child.stdout.take().unwrap());
        let err = collect(child.stderr.take().unwrap());
        Self { stdin: child.stdin.take(), child, out, err }
    }

    /// Types `bytes`. They must fit into the pipe, or be read.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(bytes).unwrap();
        stdin.flush().unwrap();
    }

    /// Ends its standard input.
    pub(crate) fn close(&mut self) {
        self.stdin = None;
    }

    /// Types `bytes` of any length, in the background, and then nothing more; the end is not told.
    pub(crate) fn feed(&mut self, bytes: Vec<u8>) {
        let mut stdin = self.stdin.take().unwrap();
        std::thread::spawn(move || {
            // The program may be gone by then; the test will have said why.
            let _ = stdin.write_all(&bytes);
            std::thread::park_timeout(PATIENCE);
        });
    }

    pub(crate) fn out(&self) -> Vec<u8> {
        self.out.lock().unwrap().clone()
    }

    pub(crate) fn err(&self) -> String {
        String::from_utf8_lossy(&self.err.lock().unwrap()).into_owned()
    }

    /// Waits until standard output satisfies `ready`, and gives what it made of it.
    pub(crate) async fn until<T>(&self, what: &str, ready: impl Fn(&[u8]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE / 2;
        loop {
            let out = self.out();
            if let Some(ready) = ready(&out) {
                return ready;
            }
            let printable = || String::from_utf8_lossy(&out[..out.len().min(4000)]).into_owned();
            assert!(Instant::now() < deadline, "no {what}.\n{}\n{}", printable(), self.err());
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until standard output holds `text`.
    pub(crate) async fn says(&self, text: &[u8]) {
        let found = |out: &[u8]| out.windows(text.len()).any(|window| window == text).then_some(());
        self.until(&String::from_utf8_lossy(text), found).await;
    }

    /// Waits until standard error holds `text`.
    pub(crate) async fn complains(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE / 2;
        while !self.err().contains(text) {
            assert!(Instant::now() < deadline, "{}", self.err());
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// The rest of the line of standard output that begins with `start`.
    pub(crate) async fn line(&self, start: &str) -> String {
        self.until(start, |out| {
            let text = String::from_utf8_lossy(out);
            // Only a line that has its end is whole.
            let line = text.split_inclusive('\n').find_map(|line| line.trim_start().strip_prefix(start))?;
            line.ends_with('\n').then(|| line.trim().to_owned())
        })
        .await
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut from: impl Read + Send + 'static) -> Arc<Mutex<Vec<u8>>> {
    let all = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&all);
    std::thread::spawn(move || {
        let mut some = [0; 65_536];
        while let Ok(read @ 1..) = from.read(&mut some) {
            into.lock().unwrap().extend_from_slice(&some[..read]);
        }
    });
    all
}

/// A port that was free a moment ago, for a program that cannot say which one it took.
pub(crate) fn free_port() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Connects as soon as the program listens.
pub(crate) async fn dial(address: SocketAddr, program: &Program) -> TcpStream {
    let deadline = Instant::now() + PATIENCE / 2;
    loop {
        match TcpStream::connect(address).await {
            Ok(io) => return io,
            Err(error) => assert!(Instant::now() < deadline, "{error}: {}", program.err()),
        }
        sleep(Duration::from_millis(5)).await;
    }
}
