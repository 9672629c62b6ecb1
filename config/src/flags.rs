//! A configuration of one route, from the flags of a command line.
//!
//! Owns what a flag that is not there means: the same as in the original. The flags themselves are the programs'.

use std::path::PathBuf;
use std::sync::Arc;

use inclavared_attest::policy::Policy;

use crate::config::{Config, LogSettings, default_workers};
use crate::digest::config_digest;
use crate::document::{Errors, Mistake, Origin};
use crate::policy::for_callers;
use crate::route::{DEFAULT_TTL, Downstream, Legacy, Listen, ProxyProtocol, Route, Target, Upstream, default_role};
use crate::settings::{
    Attestation, AttesterKind, CollateralOptions, Deadlines, Limits, SimSettings, TlsSettings, VerifierKind,
};
use crate::words::{NAME_REMEDY, is_name};

/// What the command line of a proxy says. What it does not say has the original's meaning.
#[derive(Clone, Debug)]
pub struct FlagConfig {
    /// Where clients connect to.
    pub listen: Listen,
    /// The next hop, or the workload.
    pub target: Target,
    /// What makes this process's evidence.
    pub attester: AttesterKind,
    /// What appraises the evidence of peers.
    pub verifier: VerifierKind,
    /// `--mutual`: this process shows its evidence to the target, too. The client is never asked for any: `shelter`
    /// has none.
    pub mutual: bool,
    /// The folder of the simulated platform. It has to be there if attester or verifier is `sim`.
    pub platform: Option<PathBuf>,
    /// What the simulated platform says of this process.
    pub sim: SimSettings,
    /// Where the collateral of peers' evidence comes from.
    pub collateral: CollateralOptions,
    /// Without one: the built-in `genuine-only`, which accepts simulated evidence or none only where the verifier is
    /// named `sim` or `null`.
    pub policy: Option<Policy>,
    /// What this hop calls itself. `None`: what follows from its place in the path.
    pub role: Option<String>,
    /// What becomes of a client that offers TLS but not `inclavared/1`.
    pub legacy: Legacy,
    /// How the log is written.
    pub log: LogSettings,
}

impl FlagConfig {
    /// The two addresses, and everything else as it is without flags.
    pub fn new(listen: Listen, target: Target) -> Self {
        Self {
            listen,
            target,
            attester: AttesterKind::Auto,
            verifier: VerifierKind::Auto,
            mutual: false,
            platform: None,
            sim: SimSettings::default(),
            collateral: CollateralOptions::default(),
            policy: None,
            role: None,
            legacy: Legacy::default(),
            log: LogSettings::default(),
        }
    }
}

/// What the command line of a workload says. The workload shows its evidence to clients, and nothing behind it is
/// attested.
#[derive(Clone, Debug)]
pub struct ServerFlagConfig {
    /// Where clients connect to.
    pub listen: Listen,
    /// The workload.
    pub target: Target,
    /// What makes this process's evidence.
    pub attester: AttesterKind,
    /// What appraises the evidence of clients.
    pub verifier: VerifierKind,
    /// `--mutual`: clients have to show evidence.
    pub mutual: bool,
    /// The folder of the simulated platform. It has to be there if attester or verifier is `sim`.
    pub platform: Option<PathBuf>,
    /// What the simulated platform says of this process.
    pub sim: SimSettings,
    /// Where the collateral of peers' evidence comes from.
    pub collateral: CollateralOptions,
    /// As in [`FlagConfig`]. It judges the path behind a client.
    pub policy: Option<Policy>,
    /// What is said to the workload before the stream.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// How the log is written.
    pub log: LogSettings,
}

impl VerifierKind {
    /// The policy of a command line that names none: naming the verifier `sim` or `null` is what allows it.
    pub fn default_policy(self) -> Policy {
        Policy { allow_simulated: self == Self::Sim, danger_allow_null: self == Self::Null, ..Policy::genuine_only() }
    }
}

impl Config {
    /// One route, attested on both sides.
    pub fn from_flags(flags: FlagConfig) -> Result<Self, Errors> {
        let sides = |policy| match flags.mutual {
            true => (Upstream::Attested, Downstream::Mutual { policy }),
            false => (Upstream::Attested, Downstream::Attested { policy }),
        };
        from_command_line(OneRoute {
            attestation: Attestation {
                attester: flags.attester,
                verifier: flags.verifier,
                platform: flags.platform,
                sim: flags.sim,
                collateral: flags.collateral,
            },
            listen: flags.listen,
            target: flags.target,
            policy: flags.policy,
            role: flags.role,
            legacy: flags.legacy,
            proxy_protocol: None,
            log: flags.log,
            sides: &sides,
        })
    }

    /// One route, attested toward its clients and plain behind.
    pub fn from_server_flags(flags: ServerFlagConfig) -> Result<Self, Errors> {
        let sides = |policy| match flags.mutual {
            true => (Upstream::Mutual { policy: for_callers(policy) }, Downstream::Plain),
            false => (Upstream::Attested, Downstream::Plain),
        };
        from_command_line(OneRoute {
            attestation: Attestation {
                attester: flags.attester,
                verifier: flags.verifier,
                platform: flags.platform,
                sim: flags.sim,
                collateral: flags.collateral,
            },
            listen: flags.listen,
            target: flags.target,
            policy: flags.policy,
            role: None,
            legacy: Legacy::default(),
            proxy_protocol: flags.proxy_protocol,
            log: flags.log,
            sides: &sides,
        })
    }
}

struct OneRoute<'a> {
    attestation: Attestation,
    listen: Listen,
    target: Target,
    policy: Option<Policy>,
    role: Option<String>,
    legacy: Legacy,
    proxy_protocol: Option<ProxyProtocol>,
    log: LogSettings,
    /// What is demanded of either side, given the policy.
    sides: &'a dyn Fn(Arc<Policy>) -> (Upstream, Downstream),
}

fn from_command_line(typed: OneRoute<'_>) -> Result<Config, Errors> {
    let attestation = typed.attestation;
    let mut mistakes = Vec::new();
    let mut wrong = |key: &str, what: &str, remedy: &str| {
        mistakes.push(Mistake { line: None, key: key.into(), what: what.into(), remedy: remedy.into() });
    };
    if attestation.needs_platform() && attestation.platform.is_none() {
        wrong("--platform", "missing: `sim` needs a simulated platform", "add `--platform DIR`, its folder");
    }
    if typed.target.arrives_at(&typed.listen) {
        wrong("--listen", "the target is what the process itself listens on", "name the next hop or the workload");
    }
    if typed.role.as_deref().is_some_and(|role| !is_name(role)) {
        wrong("--role", "not a name", NAME_REMEDY);
    }
    if let Some(errors) = Errors::new(Origin::CommandLine, mistakes) {
        return Err(errors);
    }
    let given = typed.policy.map(Arc::new);
    let policies = given.iter().map(|policy| (policy.name.clone(), policy.clone())).collect();
    let (upstream, downstream) =
        (typed.sides)(given.unwrap_or_else(|| Arc::new(attestation.verifier.default_policy())));
    let route = Route {
        name: "main".into(),
        listen: typed.listen,
        target: typed.target,
        upstream,
        role: typed.role.unwrap_or_else(|| default_role(&downstream).to_owned()),
        downstream,
        legacy: typed.legacy,
        compat: None,
        ttl: DEFAULT_TTL,
        disclose_expected: false,
        proxy_protocol: typed.proxy_protocol,
        warm: None,
    };
    let routes = vec![route];
    Ok(Config {
        digest: config_digest(&attestation, &routes),
        attestation,
        routes,
        policies,
        tls: TlsSettings::default(),
        limits: Limits::default(),
        deadlines: Deadlines::default(),
        identity: None,
        log: typed.log,
        admin: None,
        workers: default_workers(),
    })
}
