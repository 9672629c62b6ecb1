//! The TLS stacks: how each is started in either role, and how it says what it has met.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::certificates::Pair;
use crate::harness::World;
use crate::program::PATIENCE;
use crate::running::{Output, Running};
use crate::stream::sha256;

/// A TLS stack that is not ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stack {
    /// `openssl s_client`, `openssl s_server`.
    OpenSsl,
    /// `gnutls-cli`, `gnutls-serv`.
    GnuTls,
    /// `programs/peer.py`.
    Python,
    /// `programs/peer.go`.
    Go,
    /// `programs/Peer.java`.
    Java,
}

/// What a client does; see `programs/README.md`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    /// Sends, ends when as much has come back.
    Trade,
    /// Sends, ends, and hears what comes after that.
    Talk,
    /// Sends nothing, and hears.
    Listen,
}

/// How a stream ended, as the peer saw it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum End {
    CloseNotify,
    /// An end of file, or nothing, in its place.
    Cut,
    /// By its name, words with spaces.
    Alert(String),
}

/// How a client is started.
pub(crate) struct Client<'a> {
    pub(crate) world: &'a World,
    pub(crate) address: SocketAddr,
    /// The server's certificate is checked against this, and the name `localhost`.
    pub(crate) ca: Option<&'a Path>,
    pub(crate) own: Option<&'a Pair>,
}

/// What a client came to.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) bytes: Vec<u8>,
    pub(crate) end: End,
    pub(crate) said: String,
}

impl Stack {
    /// Itself, if it can be run here. Where CI promised it, its absence is a failure and not a skip.
    pub(crate) fn installed(self) -> Option<Self> {
        let (what, found) = match self {
            Self::OpenSsl => ("openssl", find("openssl").is_some()),
            Self::GnuTls => ("gnutls-cli", find("gnutls-cli").is_some() && find("gnutls-serv").is_some()),
            Self::Python => ("python3", find("python3").is_some()),
            Self::Go => ("go", go().is_some()),
            Self::Java => ("java", java().is_some()),
        };
        if !found {
            absent(what);
        }
        found.then_some(self)
    }

    /// The stack can end its own direction and go on hearing.
    pub(crate) fn half_closes(self) -> bool {
        self != Self::OpenSsl
    }

    /// The same as a server.
    pub(crate) fn half_closes_as_server(self) -> bool {
        matches!(self, Self::Python | Self::Go | Self::Java)
    }

    /// The stack shows its client certificate only where the server's list of authorities names the issuer.
    pub(crate) fn heeds_authorities(self) -> bool {
        matches!(self, Self::Go | Self::Java)
    }

    /// The stack ends with a close_notify of its own when the other side has ended first.
    pub(crate) fn answers_the_end(self) -> bool {
        self != Self::GnuTls
    }

    /// Runs a client to its end.
    pub(crate) fn client(self, client: &Client<'_>, act: Act, input: &[u8]) -> Heard {
        match self {
            Self::OpenSsl => s_client(client, act, input),
            Self::GnuTls => gnutls_cli(client, act, input),
            Self::Python | Self::Go | Self::Java => self.script_client(client, act, input),
        }
    }

    fn script_client(self, client: &Client<'_>, act: Act, input: &[u8]) -> Heard {
        let mut command = self.script();
        let mode = match act {
            Act::Trade => "trade",
            Act::Talk => "talk",
            Act::Listen => "listen",
        };
        command.args(["client", &client.address.to_string(), mode]);
        command.args(files(client.ca, client.own));
        let mut running = Running::start(command);
        running.feed(input.to_vec(), true);
        let code = running.ended();
        let (bytes, said) = (running.out.all(), String::from_utf8_lossy(&running.err.all()).into_owned());
        if let Some(session) = said.lines().find_map(|line| line.strip_prefix("session ")) {
            assert!(session.starts_with("TLSv1.3") || session.starts_with("TLS 1.3"), "{session}");
        }
        let how = said.lines().find_map(|line| line.strip_prefix("end ")).unwrap_or_else(|| panic!("{said}"));
        let end = scripted_end(how);
        assert_eq!(code == Some(0), end == End::CloseNotify, "{said}");
        Heard { bytes, end, said }
    }

    /// The program of a scripted stack, without arguments.
    pub(crate) fn script(self) -> Command {
        let mut command;
        match self {
            Self::Python => {
                command = Command::new("python3");
                command.arg(programs().join("peer.py"));
            }
            Self::Go => command = Command::new(go().as_ref().expect("asked whether it is installed")),
            Self::Java => {
                command = Command::new("java");
                // As little as there can be of a virtual machine: it lives for a second.
                command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"]);
                command.arg(java().as_ref().expect("asked whether it is installed")).arg("Peer");
            }
            Self::OpenSsl | Self::GnuTls => unreachable!("they have programs of their own"),
        }
        command
    }
}

/// `HOW` of `programs/README.md`.
pub(crate) fn scripted_end(how: &str) -> End {
    match how {
        "close_notify" => End::CloseNotify,
        "cut" => End::Cut,
        other => End::Alert(alert_name(other)),
    }
}

pub(crate) fn files(ca: Option<&Path>, own: Option<&Pair>) -> [PathBuf; 3] {
    let none = || PathBuf::from("-");
    [
        ca.map_or_else(none, Path::to_owned),
        own.map_or_else(none, |own| own.certificate.clone()),
        own.map_or_else(none, |own| own.key.clone()),
    ]
}

/// `-msg` writes each alert to a file, so that standard output holds the stream alone.
fn s_client(client: &Client<'_>, act: Act, input: &[u8]) -> Heard {
    let messages = client.world.path(&format!("s_client-{}.txt", client.address.port()));
    let mut command = Command::new("openssl");
    command.args(["s_client", "-quiet", "-no_ign_eof", "-nocommands", "-connect", &client.address.to_string()]);
    command.args(["-servername", "localhost", "-alpn", "http/1.1", "-msg", "-msgfile"]).arg(&messages);
    if let Some(ca) = client.ca {
        command.args(["-verify_return_error", "-verify_hostname", "localhost", "-CAfile"]).arg(ca);
    }
    if let Some(own) = client.own {
        command.arg("-cert").arg(&own.certificate).arg("-key").arg(&own.key);
    }
    let mut running = Running::start(command);
    match act {
        Act::Trade => {
            running.feed(input.to_vec(), false);
            // It leaves when its input ends, whatever is still to come.
            if running.out.has(input.len()) {
                running.end_input();
            }
        }
        Act::Listen => running.feed(Vec::new(), false),
        Act::Talk => panic!("s_client leaves when its input ends"),
    }
    running.ended();
    let messages = std::fs::read_to_string(&messages).unwrap_or_default();
    Heard { bytes: running.out.all(), end: alert_in(&messages, "<<<"), said: running.err.text() + &messages }
}

/// What a server does with each client; see `programs/README.md`.
#[derive(Clone, Debug)]
pub(crate) enum Serves {
    Echo,
    /// Says this, and hears. A scripted server ends its direction after it.
    Speaks(Vec<u8>),
}

/// A server that runs.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stack: Stack,
    running: Running,
    /// Of `s_server`: what `-msg` writes.
    messages: PathBuf,
}

impl Stack {
    /// Starts a server with `own`. Clients have to show a certificate of `ca`, where there is one.
    pub(crate) fn server(self, world: &World, serves: &Serves, ca: Option<&Path>, own: &Pair) -> Server {
        let messages = world.path("s_server.txt");
        let port = free_port();
        let mut command;
        match self {
            Self::OpenSsl => {
                command = Command::new("openssl");
                command.args(["s_server", "-quiet", "-naccept", "1", "-accept", &format!("127.0.0.1:{port}")]);
                command.args(["-msg", "-msgfile"]).arg(&messages);
                command.arg("-cert").arg(&own.certificate).arg("-key").arg(&own.key);
                if let Some(ca) = ca {
                    command.args(["-Verify", "1", "-verify_return_error", "-CAfile"]).arg(ca);
                }
            }
            Self::GnuTls => {
                command = Command::new("gnutls-serv");
                // The level that names each alert.
                command.args(["--debug", "5", "--echo", "--port", &port.to_string()]);
                command.arg("--x509certfile").arg(&own.certificate).arg("--x509keyfile").arg(&own.key);
                if let Some(ca) = ca {
                    command.args(["--require-client-cert", "--verify-client-cert", "--x509cafile"]).arg(ca);
                }
            }
            Self::Python | Self::Go | Self::Java => {
                command = self.script();
                let mode = if matches!(serves, Serves::Echo) { "echo" } else { "speak" };
                command.args(["server", mode]).args(files(ca, Some(own)));
                if let Serves::Speaks(content) = serves {
                    let file = world.path("content");
                    std::fs::write(&file, content).unwrap();
                    command.arg(file);
                }
            }
        }
        let mut running = Running::start(command);
        let port = if matches!(self, Self::OpenSsl | Self::GnuTls) {
            let speaks = if let Serves::Speaks(content) = serves { content.clone() } else { Vec::new() };
            running.feed(speaks, false);
            listens(port);
            port
        } else {
            running.out.line("port ").parse().unwrap()
        };
        Server { address: SocketAddr::from(([127, 0, 0, 1], port)), stack: self, running, messages }
    }
}

impl Server {
    /// What its one client has sent, in bytes and SHA-256, and how that ended. GnuTLS keeps no count.
    pub(crate) fn heard(&mut self) -> (Option<(usize, String)>, End) {
        match self.stack {
            Stack::OpenSsl => {
                self.running.ended();
                let bytes = self.running.out.all();
                (Some((bytes.len(), sha256(&bytes))), self.alert())
            }
            Stack::GnuTls => (None, gnutls_end(&self.running.err)),
            Stack::Python | Stack::Go | Stack::Java => {
                let line = self.running.err.line("heard ");
                let mut words = line.splitn(3, ' ');
                let (count, digest) = (words.next().unwrap().parse().unwrap(), words.next().unwrap().to_owned());
                (Some((count, digest)), scripted_end(words.next().unwrap()))
            }
        }
    }

    /// How the handshake of its one client failed.
    pub(crate) fn refused(&mut self) -> End {
        match self.stack {
            Stack::OpenSsl => {
                self.running.ended();
                self.alert()
            }
            Stack::GnuTls => gnutls_end(&self.running.err),
            Stack::Python | Stack::Go | Stack::Java => scripted_end(&self.running.err.line("handshake ")),
        }
    }

    fn alert(&self) -> End {
        alert_in(&std::fs::read_to_string(&self.messages).unwrap_or_default(), "<<<")
    }
}

/// The last alert of a direction in what `-msg` wrote.
pub(crate) fn alert_in(messages: &str, direction: &str) -> End {
    let mut alerts = messages.lines().filter(|line| line.starts_with(direction) && line.contains(", Alert"));
    let last = alerts.next_back().and_then(|line| line.rsplit(", ").next());
    match last.map(|alert| alert.trim_start_matches("warning ").trim_start_matches("fatal ")) {
        None => End::Cut,
        Some("close_notify") => End::CloseNotify,
        Some(other) => End::Alert(alert_name(other)),
    }
}

fn gnutls_cli(client: &Client<'_>, act: Act, input: &[u8]) -> Heard {
    let mut command = Command::new("gnutls-cli");
    // All that it says besides the stream.
    let log = client.world.path(&format!("gnutls-cli-{}.txt", client.address.port()));
    command.arg("--logfile").arg(&log);
    command.args(["--sni-hostname", "localhost", "--alpn", "http/1.1"]);
    match client.ca {
        Some(ca) => command.args(["--verify-hostname", "localhost", "--x509cafile"]).arg(ca),
        None => command.arg("--insecure"),
    };
    if let Some(own) = client.own {
        command.arg("--x509certfile").arg(&own.certificate).arg("--x509keyfile").arg(&own.key);
    }
    command.args(["--port", &client.address.port().to_string(), &client.address.ip().to_string()]);
    let mut running = Running::start(command);
    // When its input ends it sends close_notify, and goes on hearing.
    running.feed(input.to_vec(), act != Act::Listen);
    running.ended();
    let said = std::fs::read_to_string(&log).unwrap_or_default() + &running.err.text();
    let bytes = running.out.all();
    let end = if let Some((_, alert)) = said.split_once("*** Received alert [") {
        let name = alert.split_once("]: ").map_or("", |(_, name)| name.lines().next().unwrap_or_default());
        End::Alert(alert_name(name))
    } else if said.contains("Peer has closed the GnuTLS connection") {
        End::CloseNotify
    } else {
        End::Cut
    };
    Heard { bytes, end, said }
}

/// The first alert that `gnutls-serv` tells of: `Alert[LEVEL|NUMBER] - NAME - was received`.
fn gnutls_end(said: &Output) -> End {
    let name = said.wait("an alert", |seen| {
        let seen = String::from_utf8_lossy(seen);
        let line = seen.lines().find(|line| line.contains("Alert[") && line.contains(" - was received"))?;
        line.split(" - ").nth(1).map(str::to_owned)
    });
    if name == "Close notify" { End::CloseNotify } else { End::Alert(alert_name(&name)) }
}

/// A port that was free a moment ago, for a program that cannot say which one it took.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until somebody listens there. The kernel is asked: a connection to try it would be served.
fn listens(port: u16) {
    const LISTEN: &str = "0A";
    let end = Instant::now() + PATIENCE;
    let here = format!(":{port:04X}");
    while Instant::now() < end {
        let tables =
            ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| std::fs::read_to_string(table).unwrap_or_default());
        let mut sockets = tables.iter().flat_map(|table| table.lines()).map(|line| line.split_whitespace());
        if sockets.any(|mut socket| {
            socket.nth(1).is_some_and(|address| address.ends_with(&here)) && socket.nth(1) == Some(LISTEN)
        }) {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    panic!("nobody listens on port {port}");
}

/// One name for what the stacks have many for (RFC 8446 section 6).
fn alert_name(said: &str) -> String {
    let plain = said.to_lowercase().replace('_', " ");
    for (name, others) in [
        ("access denied", &["access was denied"][..]),
        ("certificate required", &["certificate is required"]),
        ("internal error", &[]),
        ("unknown ca", &["unknown certificate authority", "ca is unknown"]),
        ("no application protocol", &["no supported application protocol", "no common application protocol"]),
        ("bad certificate", &[]),
    ] {
        if plain.contains(name) || others.iter().any(|other| plain.contains(other)) {
            return name.to_owned();
        }
    }
    plain
}

pub(crate) fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/programs")
}

/// A program in `PATH`, or where `.ci/run` installs those from PyPI.
pub(crate) fn find(name: &'static str) -> Option<PathBuf> {
    find_all(&[name]).next()
}

/// Every program of one of these names, in that order of places.
pub(crate) fn find_all(names: &[&'static str]) -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/ci-python/bin");
    let folders: Vec<_> = std::env::split_paths(&path).chain([ours]).collect();
    let files = folders.iter().flat_map(|folder| names.iter().map(|name| folder.join(name)));
    files.filter(|file| file.is_file()).collect::<Vec<_>>().into_iter()
}

/// Says that a peer is not here. In CI that is a failure, unless `.ci/run` has said so itself.
pub(crate) fn absent(what: &str) {
    let excused = std::env::var("PEERS_NOT_INSTALLABLE").unwrap_or_default();
    let promised = std::env::var_os("CI").is_some() && !excused.split_whitespace().any(|word| word == what);
    assert!(!promised, "{what} is not installed");
    eprintln!("SKIPPED: {what} is not installed");
}

/// `peer.go`, built once by Go's own toolchain; nothing is fetched.
fn go() -> &'static Option<PathBuf> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    BUILT.get_or_init(|| {
        let go = find("go")?;
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peer-go");
        std::fs::create_dir_all(&folder).unwrap();
        let mut command = Command::new(go);
        command.args(["build", "-o"]).arg(folder.join("peer")).arg(programs().join("peer.go"));
        command.env("GOCACHE", folder.join("cache")).env("GOPATH", folder.join("path"));
        command.envs([("GOTOOLCHAIN", "local"), ("GOPROXY", "off"), ("GOFLAGS", "-mod=mod"), ("GOENV", "off")]);
        built(command);
        Some(folder.join("peer"))
    })
}

/// The folder of `Peer.class`: compiled once, as a launch from source compiles anew each time.
fn java() -> &'static Option<PathBuf> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    BUILT.get_or_init(|| {
        find("java")?;
        let compiler = find("javac")?;
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peer-java");
        let mut command = Command::new(compiler);
        command.args(["-Xlint:all", "-Werror", "-d"]).arg(&folder).arg(programs().join("Peer.java"));
        built(command);
        Some(folder)
    })
}

fn built(mut command: Command) {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}
