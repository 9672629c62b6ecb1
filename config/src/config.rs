//! The whole configuration, as the process uses it.
//!
//! Owns what stands at the top of the file and the order in which its tables are read. Each table is read by its
//! folder.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use inclavared_attest::ConfigDigest;
use inclavared_attest::policy::Policy;

use crate::digest::config_digest;
use crate::document::{self, Errors, Table};
use crate::policy::read_policies;
use crate::route::{Route, read_routes};
use crate::settings::{
    Attestation, Deadlines, Limits, TlsSettings, read_attestation, read_deadlines, read_limits, read_tls,
};
use crate::values::read_recorded;

/// Everything that the operator decided. Nothing in it is unset that has to be set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Who makes this process's evidence, and whose evidence it appraises.
    pub attestation: Attestation,
    /// Invariant: not empty.
    pub routes: Vec<Route>,
    /// The policies of the file or of the command line, whether a route uses them or not. The built-in one is not
    /// among them: [`Config::used_policies`] has it where it is used.
    pub policies: BTreeMap<String, Arc<Policy>>,
    /// What every TLS leg offers and accepts.
    pub tls: TlsSettings,
    /// How much of everything there may be at once.
    pub limits: Limits,
    /// How long everything may take.
    pub deadlines: Deadlines,
    /// What names this process's hop keys, beside the evidence.
    pub identity: Option<IdentityFiles>,
    /// How the log is written.
    pub log: LogSettings,
    /// Where metrics are served, in plain HTTP. `None`: nowhere.
    pub admin: Option<SocketAddr>,
    /// Threads of the byte path, one runtime each. One a core by default.
    pub workers: NonZeroUsize,
    /// What this process attests of its configuration. The host supplies the file, so a verifier may pin this digest.
    pub digest: ConfigDigest,
}

/// `[identity]`: a certificate of an authority, and its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdentityFiles {
    /// The chain in PEM, the holder first.
    pub cert: PathBuf,
    /// The private key of the chain's first certificate, in PEM.
    pub key: PathBuf,
}

/// `[log]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogSettings {
    /// How a line looks.
    pub format: LogFormat,
    /// A filter of tracing (`info`, `inclavared_tunnel=debug,info`).
    pub filter: String,
}

/// How a line of the log looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Reads a configuration from a file. Relative paths in it begin beside it.
pub fn load(path: &Path) -> Result<Config, Errors> {
    let text = document::read_file(path)?;
    parse(path, &text)
}

/// [`load`] of a text that is there already; `path` is shown in errors.
pub fn parse(path: impl AsRef<Path>, text: &str) -> Result<Config, Errors> {
    document::read(path.as_ref(), text, |root| read_config(path.as_ref(), root))
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: LogFormat::default(), filter: "info".into() }
    }
}

/// One worker a core; one if the number of cores is not known.
pub(crate) fn default_workers() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

fn read_config(path: &Path, root: &Table<'_>) -> Option<Config> {
    let policies = read_policies(root);
    let routes = read_routes(path, root, &policies);
    let attestation = read_attestation(path, root);
    if let Some(route) = routes.iter().find(|route| route.compat.is_some())
        && !attestation.may_quote_sgx()
    {
        let what = format!("the route `{}` has `compat`, whose certificate holds an SGX quote", route.name);
        root.mistake(what, "write `attester = \"sgx_ecdsa\"` (or a simulated SGX), or leave `compat` out");
    }
    let tls = read_tls(root);
    let (limits, deadlines, log) = (read_limits(root), read_deadlines(root), read_log(root));
    let workers = root.get("workers").and_then(|v| v.integer::<usize>(1..=1024)).and_then(NonZeroUsize::new);
    let identity = read_identity(path, root);
    let admin = read_admin(root);
    read_recorded(root);
    let digest = config_digest(&attestation, &routes);
    let workers = workers.unwrap_or_else(default_workers);
    Some(Config { attestation, routes, policies, tls, limits, deadlines, identity, log, admin, workers, digest })
}

fn read_identity(path: &Path, root: &Table<'_>) -> Option<IdentityFiles> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let table = root.table("identity")?;
    let file = |key, remedy| table.required(key, remedy).and_then(|v| Some(folder.join(v.filled_text(remedy)?)));
    let cert = file("cert", "write `cert = \"FILE\"`, the certificate chain of the name in PEM");
    let key = file("key", "write `key = \"FILE\"`, the certificate's private key in PEM");
    table.finish();
    Some(IdentityFiles { cert: cert?, key: key? })
}

/// `[admin]`. Without `listen` it is reached from this machine alone.
fn read_admin(root: &Table<'_>) -> Option<SocketAddr> {
    let table = root.table("admin")?;
    let listen = match table.get("listen") {
        Some(value) => value.parsed::<SocketAddr>(),
        None => Some(ADMIN),
    };
    table.finish();
    listen
}

/// The port at which Prometheus' exporters begin. Nobody outside this machine reaches it.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

fn read_log(root: &Table<'_>) -> LogSettings {
    let mut log = LogSettings::default();
    let Some(table) = root.table("log") else { return log };
    if let Some(value) = table.get("format") {
        log.format = value.word(&[("text", LogFormat::Text), ("json", LogFormat::Json)]).unwrap_or_default();
    }
    if let Some(value) = table.get("filter") {
        log.filter = value.filled_text("write for example `info`").unwrap_or_default().to_owned();
    }
    table.finish();
    log
}
