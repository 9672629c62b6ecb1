//! Routes: where connections come in, where they go, and what is demanded of either side.

mod address;
mod pki;
mod side;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use inclavared_attest::policy::Policy;

pub use self::address::{AddressError, Listen, Target};
pub use self::pki::{CertificateFiles, PkiDownstream, PkiUpstream};
pub use self::side::{Downstream, Upstream};
use self::side::{read_downstream, read_upstream};
use crate::document::{Table, Value};
use crate::words::{NAME_REMEDY, is_name};

/// One way through the process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// The name in logs and metrics. Invariant: no two routes have the same name, or listen on the same address.
    pub name: String,
    /// Where clients connect to.
    pub listen: Listen,
    /// The next hop, or the workload.
    pub target: Target,
    /// What a client meets.
    pub upstream: Upstream,
    /// How the target is spoken to.
    pub downstream: Downstream,
    /// What this hop calls itself in its evidence and records (`ingress`, `relay`, `workload`).
    pub role: String,
    /// What becomes of a client that offers TLS but not `inclavared/1`.
    pub legacy: Legacy,
    /// Another protocol that the clients of this route speak in place of `inclavared/1`.
    pub compat: Option<Compat>,
    /// How many hops may follow this one. Invariant: 1 to 16.
    pub ttl: u8,
    /// Whether clients without evidence, too, are told what was expected of a refused hop. That gives reference values
    /// away.
    pub disclose_expected: bool,
    /// What is said to a plain target before the stream. Invariant: `None` where the target is attested.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Legs to the target that stand ready for paths to come. Invariant: `None` where the target shows no evidence, and
    /// where its policy refuses such legs.
    pub warm: Option<WarmLegs>,
}

/// How a plain target learns who is connected, and what was verified of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyProtocol {
    /// The binary form, with a field for what was verified (docs/OPERATIONS.md).
    V2,
}

/// How many legs stand ready, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WarmLegs {
    /// The legs of one route, in all workers together. Invariant: 1 to 64.
    pub size: usize,
    /// A leg that no path took by then is closed and made anew. Invariant: 100 ms to 5 min.
    pub max_age: Duration,
}

/// What becomes of a client that offers TLS but not `inclavared/1`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Legacy {
    /// Refused.
    Deny,
    /// Served without frames, after this hop has itself verified the path below under its own policy.
    #[default]
    Enforce,
}

/// An older protocol, for clients that do not speak `inclavared/1`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compat {
    /// The original's `shelter`: an RSA key in a certificate of early RA-TLS, one question, one answer in JSON.
    /// Invariant of a [`Route`]: the upstream is attested and the downstream appraised.
    EnclaveTls,
}

impl Compat {
    /// The word in configuration and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::EnclaveTls => "enclave-tls",
        }
    }
}

impl ProxyProtocol {
    /// The word in configuration and on the command line.
    pub fn label(self) -> &'static str {
        match self {
            Self::V2 => "v2",
        }
    }
}

impl Legacy {
    /// The word in configuration, logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Enforce => "enforce",
        }
    }
}

/// Every `[[route]]`. Names and addresses that two routes share are reported.
pub(crate) fn read_routes(file: &Path, root: &Table<'_>, policies: &BTreeMap<String, Arc<Policy>>) -> Vec<Route> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let tables = root.tables("route");
    if tables.is_empty() && !root.has("route") {
        root.mistake("no route", "write a `[[route]]`");
    }
    let routes: Vec<_> = tables.iter().map(|table| read_route(table, folder, policies)).collect();
    let read = || tables.iter().zip(&routes).filter_map(|(table, route)| Some((table, route.as_ref()?)));
    for (i, (table, route)) in read().enumerate() {
        if let Some((_, first)) = read().take(i).find(|(_, first)| first.name == route.name) {
            table.mistake_at("name", format!("another route is named `{}`", first.name), "take another name");
        }
        if let Some((_, first)) = read().take(i).find(|(_, first)| first.listen.collides(&route.listen)) {
            let what = format!("the route `{}` listens on {} already", first.name, first.listen);
            table.mistake_at("listen", what, "take another port or address");
        }
    }
    routes.into_iter().flatten().collect()
}

fn read_route(table: &Table<'_>, folder: &Path, policies: &BTreeMap<String, Arc<Policy>>) -> Option<Route> {
    let name = table.required("name", "write `name = \"...\"`: it stands in logs and metrics");
    let name = name.and_then(|v| read_name(&v));
    let listen = table.required("listen", "write `listen = \"127.0.0.1:PORT\"`").and_then(|v| v.parsed::<Listen>());
    let target = table.required("xfer", "write `xfer = \"tcp://HOST:PORT\"`").and_then(|v| v.parsed::<Target>());
    let upstream = read_upstream(table, folder, policies);
    let downstream = read_downstream(table, folder, target.as_ref(), policies);
    let role = table.get("role").and_then(|v| read_name(&v));
    let legacy = table.get("legacy").and_then(|v| v.word(&[("deny", Legacy::Deny), ("enforce", Legacy::Enforce)]));
    let compat = table.get("compat").and_then(|v| v.word(&[("enclave-tls", Compat::EnclaveTls)]));
    let ttl = table.get("ttl").and_then(|v| v.integer(1..=MAX_TTL.into())).unwrap_or(DEFAULT_TTL);
    let warm = table.get("warm").and_then(|v| read_warm(&v, downstream.as_ref()));
    let disclose_expected = table.get("disclose_expected").and_then(|v| v.flag()).unwrap_or(false);
    let proxy_protocol = table.get("proxy_protocol").and_then(|v| v.word(&[("v2", ProxyProtocol::V2)]));
    table.finish();
    if let (Some(upstream), Some(downstream)) = (&upstream, &downstream)
        && (upstream, downstream) == (&Upstream::Plain, &Downstream::Plain)
    {
        table.mistake(
            "plain on both sides: nothing would be attested",
            "write `upstream = \"attested\"` beside a workload, or an attested `downstream` beside a client",
        );
    }
    if let (Some(target), Some(listen)) = (&target, &listen)
        && target.arrives_at(listen)
    {
        table.mistake_at("xfer", "this is what the route itself listens on", "name the next hop or the workload");
    }
    if compat.is_some() {
        check_compat(table, upstream.as_ref(), downstream.as_ref(), legacy);
        if warm.is_some() {
            let what = "each question is answered from a path that is verified for it alone";
            table.mistake_at("warm", what, "leave `warm` out");
        }
    }
    if proxy_protocol.is_some() && downstream.as_ref().is_some_and(|side| side.policy().is_some()) {
        table.mistake_at(
            "proxy_protocol",
            "the target is attested, and takes no PROXY protocol",
            "leave it out, or write it at the last hop, whose `downstream` is plain or has a PKI's certificate",
        );
    }
    let (upstream, downstream) = (upstream?, downstream?);
    Some(Route {
        name: name?,
        listen: listen?,
        target: target?,
        role: role.unwrap_or_else(|| default_role(&downstream).to_owned()),
        upstream,
        downstream,
        legacy: legacy.unwrap_or_default(),
        compat,
        ttl,
        disclose_expected,
        proxy_protocol,
        warm,
    })
}

/// Reports what a route for the original's clients cannot have. `None` stands for what could not be read and is
/// reported.
fn check_compat(
    table: &Table<'_>,
    upstream: Option<&Upstream>,
    downstream: Option<&Downstream>,
    legacy: Option<Legacy>,
) {
    let wrong = |what: &str, remedy: &str| table.mistake_at("compat", what, remedy);
    if upstream.is_some_and(|side| *side != Upstream::Attested) {
        let remedy = "write `upstream = \"attested\"`";
        wrong("the original's clients meet this process's evidence, and show none themselves", remedy);
    }
    if downstream.is_some_and(|side| side.policy().is_none()) {
        let remedy = "write `downstream = { tls = \"mutual\", policy = \"NAME\" }` (or \"attested\")";
        wrong("the answer is what was verified of the workload, and nothing attests this target", remedy);
    }
    if legacy == Some(Legacy::Deny) {
        let remedy = "leave `legacy` out, or take another route for clients that speak it";
        wrong("the original's clients offer no `inclavared/1`, and `legacy = \"deny\"` refuses those", remedy);
    }
}

/// `warm = { size = 8, max_age = "4s" }`.
fn read_warm(value: &Value<'_>, downstream: Option<&Downstream>) -> Option<WarmLegs> {
    let table = value.table()?;
    let size = table.required("size", "write for example `warm = { size = 8 }`");
    let size = size.and_then(|v| v.integer(1..=MAX_WARM));
    let max_age = table.get("max_age").and_then(|v| v.duration(SHORTEST_WARM..=LONGEST_WARM));
    table.finish();
    match downstream.map(Downstream::policy) {
        Some(None) => {
            value.mistake("no leg can stand ready: the target shows no evidence", "leave `warm` out");
            None
        }
        Some(Some(policy)) if policy.refuse_warm_legs => {
            let what = format!("the policy `{}` says `warm_legs = \"refuse\"`", policy.name);
            value.mistake(what, "leave `warm` out");
            None
        }
        _ => Some(WarmLegs { size: size?, max_age: max_age.unwrap_or(DEFAULT_WARM_AGE) }),
    }
}

fn read_name(value: &Value<'_>) -> Option<String> {
    let name = value.text()?;
    if !is_name(name) {
        value.mistake("not a name", NAME_REMEDY);
        return None;
    }
    Some(name.to_owned())
}

/// The role of a hop that names none.
pub(crate) fn default_role(downstream: &Downstream) -> &'static str {
    match downstream {
        Downstream::Plain | Downstream::Pki(_) => "workload",
        Downstream::Attested { .. } | Downstream::Mutual { .. } => "relay",
    }
}

/// Each such leg is a connection that is made again when it is too old. More of them would be a load of their own.
const MAX_WARM: i64 = 64;

/// A peer that does not know us waits 5 s for an OPEN (`handshake_to_open`), and this is below it. A peer that demands
/// our evidence waits longer, by its `idle_leg`.
const DEFAULT_WARM_AGE: Duration = Duration::from_secs(4);

const SHORTEST_WARM: Duration = Duration::from_millis(100);

/// Half of a hop key's life, and of what a verdict is remembered for.
const LONGEST_WARM: Duration = Duration::from_secs(5 * 60);

/// Hops a path may have unless the route says otherwise (PROTOCOL section 5).
pub(crate) const DEFAULT_TTL: u8 = 8;

/// The most that the protocol allows.
pub(crate) const MAX_TTL: u8 = 16;
