//! What every scenario has: a folder with a simulated platform, and the real programs on it.
//!
//! Ports come from the system, and each test has a folder of its own, so that tests run side by side.

use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

use serde_json::Value;
use tempfile::TempDir;

use crate::program::{Finished, PATIENCE, Program};

/// A folder with a simulated platform.
pub(crate) struct World {
    folder: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let world = Self { folder: tempfile::tempdir().unwrap() };
        let made = run(&mut command("inclavared", &format!("sim init {}", world.platform())));
        assert_eq!(made.code, Some(0), "{made:?}");
        world
    }

    /// A path in the folder; nothing is made there.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn platform(&self) -> String {
        self.path("platform").display().to_string()
    }

    /// The flags of a program that shows simulated evidence and accepts it.
    pub(crate) fn sim(&self) -> String {
        format!("--attester sim --verifier sim --platform {}", self.platform())
    }

    /// A workload: `enclave-tls-server` on a port of the system's choice.
    pub(crate) fn workload(&self, flags: &str) -> Hop {
        Hop::new(Program::start(&mut command("enclave-tls-server", &format!("--port 0 {} {flags}", self.sim()))))
    }

    /// A hop as the original's flags make it.
    pub(crate) fn hop(&self, xfer: impl Display, flags: &str) -> Hop {
        let line = format!("--listen 127.0.0.1:0 --xfer {xfer} --mutual {} {flags}", self.sim());
        Hop::new(Program::start(&mut command("inclavared", &line)))
    }

    /// A process of the routes in `text`. Attester and verifier are simulated; the policy `any` accepts whatever runs on the
    /// platform, however it reaches its workload.
    pub(crate) fn routes(&self, name: &str, text: &str) -> Program {
        let file = self.path(&format!("{name}.toml"));
        std::fs::write(&file, self.file(text)).unwrap();
        Program::start(&mut command("inclavared", &format!("--config {}", file.display())))
    }

    /// The same, of one route, which is named `main`.
    pub(crate) fn route(&self, name: &str, text: &str) -> Hop {
        Hop::new(self.routes(name, &format!("[[route]]\nname = \"main\"\n{text}")))
    }

    fn file(&self, text: &str) -> String {
        format!(
            r#"
            [attestation]
            attester = "sim"
            verifier = "sim"
            platform = "{}"
            [policy.any]
            allow_simulated = true
            identity = "any-genuine"
            measurements = "not-compared"
            terminal = ["workload", "same-tee", "tee-local", "host-local", "plain"]
            {text}
            "#,
            self.platform()
        )
    }

    /// A policy of its own in a file: the argument of `--policy`.
    pub(crate) fn policy(&self, text: &str) -> String {
        let file = self.path("policy.toml");
        std::fs::write(&file, format!("[policy.test]\nallow_simulated = true\nidentity = \"any-genuine\"\n{text}"))
            .unwrap();
        file.display().to_string()
    }

    /// Runs `shelter` to its end, as a verifier of simulated evidence.
    pub(crate) fn shelter(&self, line: &str) -> Finished {
        run(&mut command("shelter", &format!("{line} --verifier sim --platform {}", self.platform())))
    }

    /// `shelter remoteattestation --json`, with its exit status and what it printed.
    pub(crate) fn attest(&self, to: &str, flags: &str) -> (Option<i32>, Value) {
        let done = self.shelter(&format!("remoteattestation --addr {to} --json {flags}"));
        let value = serde_json::from_str(&done.out).unwrap_or_else(|error| panic!("{error}: {done:?}"));
        (done.code, value)
    }

    /// `shelter forward` in front of a path.
    pub(crate) fn forward(&self, to: &str, flags: &str) -> Forward {
        let line = format!(
            "forward --listen 127.0.0.1:0 --to {to} --json --log-level info --verifier sim --platform {} {flags}",
            self.platform()
        );
        let program = Program::start(&mut command("shelter", &line));
        let address = tcp(&program.address("forward"));
        Forward { program, address }
    }

    /// A chain of so many hops, the last an echo.
    pub(crate) fn chain(&self, hops: usize) -> Chain {
        self.chain_to(hops, "--echo")
    }

    /// The same with a workload of its own. Each hop has a measurement of its own.
    pub(crate) fn chain_to(&self, hops: usize, workload: &str) -> Chain {
        let mut chain = vec![self.workload(&format!("--sim-label code-{hops} {workload}"))];
        for position in (1..hops).rev() {
            let role = if position == 1 { "ingress" } else { "relay" };
            let flags = format!("--role {role} --sim-label code-{position}");
            chain.insert(0, self.hop(&chain[0].address, &flags));
        }
        Chain { hops: chain }
    }
}

/// A program with one route, and where it listens.
pub(crate) struct Hop {
    pub(crate) program: Program,
    pub(crate) address: String,
}

impl Hop {
    pub(crate) fn new(program: Program) -> Self {
        let address = program.address("main");
        Self { program, address }
    }

    pub(crate) fn tcp(&self) -> SocketAddr {
        tcp(&self.address)
    }
}

/// Hops in order, the one next to the verifier first.
pub(crate) struct Chain {
    pub(crate) hops: Vec<Hop>,
}

impl Chain {
    pub(crate) fn address(&self) -> &str {
        &self.hops[0].address
    }
}

/// `shelter forward`: where plain clients connect, and the receipts that it prints.
pub(crate) struct Forward {
    pub(crate) program: Program,
    pub(crate) address: SocketAddr,
}

impl Forward {
    /// The first so many receipts, in the order in which streams ended; each with its error beside the counters.
    pub(crate) fn receipts(&self, count: usize) -> Vec<Value> {
        let lines = self.program.out.first(count);
        let read = |line: &String| {
            let mut line = serde_json::from_str::<Value>(line).unwrap();
            let error = line["error"].take();
            let mut receipt = line["receipt"].take();
            receipt["error"] = error;
            receipt
        };
        lines.iter().map(read).collect()
    }

    pub(crate) fn receipt(&self) -> Value {
        self.receipts(1).remove(0)
    }
}

/// One of our programs with its arguments, which have no spaces.
pub(crate) fn command(name: &str, line: &str) -> Command {
    let mut command = Command::new(match name {
        "inclavared" => env!("CARGO_BIN_EXE_inclavared"),
        "shelter" => env!("CARGO_BIN_EXE_shelter"),
        "enclave-tls-server" => env!("CARGO_BIN_EXE_enclave-tls-server"),
        other => panic!("{other} is none of our programs"),
    });
    command.args(line.split_whitespace()).env_remove("RUST_LOG");
    command
}

/// Runs a program to its end.
pub(crate) fn run(command: &mut Command) -> Finished {
    Program::start(command).finish(PATIENCE)
}

/// A program that is not ours, or nothing if it is not installed. Where CI promised it, that is a failure, not a skip.
pub(crate) fn tool(name: &str) -> Option<Command> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|folder| folder.join(name).is_file()) {
        return Some(Command::new(name));
    }
    assert!(std::env::var_os("CI").is_none(), "{name} is not installed");
    eprintln!("skipped: {name} is not installed");
    None
}

pub(crate) fn tcp(address: &str) -> SocketAddr {
    address.trim_start_matches("tcp://").parse().unwrap_or_else(|error| panic!("`{address}`: {error}"))
}

/// An address where nobody listens, and where nobody else will: of the loopback network, an address that is this
/// test's alone.
pub(crate) fn unused_address() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let ip = Ipv4Addr::new(127, 83, 1, NEXT.fetch_add(1, Ordering::Relaxed));
    TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap()
}
