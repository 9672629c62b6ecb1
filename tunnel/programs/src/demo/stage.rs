//! The processes of the demo: a platform in a temporary folder, and a chain on loopback.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use inclavared_attest::Timestamp;
use inclavared_attest::policy::Policy;
use inclavared_attest::sim::SimPlatform;
use inclavared_config::{
    Attestation, AttesterKind, CollateralOptions, Config, FlagConfig, Listen, SimSettings, Target, VerifierKind,
};
use inclavared_tunnel::server::process::{Process, Setup};
use inclavared_tunnel::server::workload::{Echo, Workload};

use crate::cli::Verification;

/// How long one verification may take: everything is on this machine.
const LIMIT: Duration = Duration::from_secs(20);

/// A chain, the hop next to the verifier first.
pub(super) struct Stage {
    folder: PathBuf,
    hops: Vec<Hop>,
}

struct Hop {
    role: &'static str,
    process: Process,
    address: SocketAddr,
}

impl Stage {
    /// Makes the platform and starts `count` hops, the workload included.
    pub(super) fn set(count: usize) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("inclavared-demo-{}", std::process::id()));
        // Fails where it exists: nobody else has laid it out, and nobody else looks into it.
        std::fs::DirBuilder::new().mode(0o700).create(&folder).with_context(|| folder.display().to_string())?;
        SimPlatform::generate(Timestamp::now())?.save(&folder)?;
        let mut stage = Self { folder, hops: Vec::new() };
        for position in (1..=count).rev() {
            let role = match position {
                _ if position == count => "workload",
                1 => "ingress",
                _ => "relay",
            };
            let hop = stage.start(role, "127.0.0.1:0".parse()?, &format!("demo {role}"))?;
            stage.hops.insert(0, hop);
        }
        Ok(stage)
    }

    /// Where the keys of the platform are.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What was started, a line each.
    pub(super) fn lines(&self) -> Vec<String> {
        self.hops.iter().map(|hop| format!("{:<9} {}", hop.role, hop.address)).collect()
    }

    /// A verifier's task: the whole path under `policy`.
    pub(super) fn verification(&self, policy: Arc<Policy>) -> anyhow::Result<Verification> {
        let first = self.hops.first().context("the demo has no hop")?;
        Ok(Verification {
            target: Target::Tcp { host: first.address.ip().to_string(), port: first.address.port() },
            attestation: Attestation {
                attester: AttesterKind::Null,
                verifier: VerifierKind::Sim,
                platform: Some(self.folder.clone()),
                sim: SimSettings::default(),
                collateral: CollateralOptions::default(),
            },
            mutual: false,
            policy,
            timeout: LIMIT,
        })
    }

    /// Ends the first hop and starts other code in its place, at the same address.
    pub(super) fn replace_first(&mut self) -> anyhow::Result<()> {
        if self.hops.is_empty() {
            return Ok(());
        }
        let Hop { role, process, address } = self.hops.remove(0);
        process.shutdown(|| true);
        let hop = self.start(role, Listen::Tcp(address), "demo, other code")?;
        self.hops.insert(0, hop);
        Ok(())
    }

    pub(super) fn end(&mut self) {
        for hop in self.hops.drain(..) {
            hop.process.shutdown(|| true);
        }
    }

    fn start(&self, role: &'static str, listen: Listen, code: &str) -> anyhow::Result<Hop> {
        let (target, workload): (Target, Option<Arc<dyn Workload>>) = match self.hops.first() {
            Some(next) => (Target::Tcp { host: next.address.ip().to_string(), port: next.address.port() }, None),
            None => (Target::Process("echo".to_owned()), Some(Arc::new(Echo::default()))),
        };
        let mut config = Config::from_flags(FlagConfig {
            attester: AttesterKind::Sim,
            verifier: VerifierKind::Sim,
            mutual: true,
            platform: Some(self.folder.clone()),
            sim: SimSettings { label: Some(code.to_owned()), ..SimSettings::default() },
            role: Some(role.to_owned()),
            ..FlagConfig::new(listen, target)
        })?;
        config.workers = NonZeroUsize::MIN;
        let process = Process::start(Setup { config, workload, ended: Box::new(|_| {}) })?;
        let address = tcp_address(&process)?;
        Ok(Hop { role, process, address })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Where a process of one route listens.
pub(super) fn tcp_address(process: &Process) -> anyhow::Result<SocketAddr> {
    match process.addresses().first() {
        Some((_, Listen::Tcp(address))) => Ok(*address),
        _ => anyhow::bail!("a process of the demo listens nowhere"),
    }
}
