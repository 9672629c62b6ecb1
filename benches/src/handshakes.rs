//! `handshakes`: a warm attested handshake against plain mutual TLS, in one process and over socket pairs.
//!
//! Both sides of both are on one thread, with P-256 keys, X25519 and AES-128-GCM. *Attested* ends when both sides have
//! appraised the other's evidence, which they remember; *plain* when both have verified the other's ordinary certificate.
//! They take turns, so that the ratio counts.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use inclavared_attest::certificate::PeerCertificate;
use inclavared_attest::sim::SimPlatform;
use inclavared_attest::{ConfigDigest, PolicyDigest, Timestamp};
use inclavared_config::{
    Attestation, AttesterKind, CollateralOptions, Deadlines, Group, Limits, SimSettings, Suite, TlsSettings,
    VerifierKind,
};
use inclavared_tunnel::error::Error;
use inclavared_tunnel::leg::handshake::{self, ClientCertificate};
use inclavared_tunnel::leg::socket::Socket;
use inclavared_tunnel::process;
use inclavared_tunnel::server::node::Node;
use inclavared_tunnel::trust::identity::{HopIdentity, IdentityService, Role};
use inclavared_tunnel::trust::select;
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::pki_types::ServerName;
use tokio::net::UnixStream;
use tokio::runtime::Builder;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::certs;

/// Before the first that counts.
const WARM: usize = 50;

const LIMIT: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Of each; they take turns.
    #[arg(long, default_value_t = 1000)]
    count: usize,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let folder = tempfile::tempdir()?;
    certs::write(folder.path())?;
    let attested = Attested::new(folder.path())?;
    let plain = (
        TlsConnector::from(certs::client(folder.path(), kx_group::X25519)?),
        TlsAcceptor::from(certs::server(folder.path())?),
    );
    let (mut of_attested, mut of_plain) = (Vec::new(), Vec::new());
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        for i in 0..WARM + args.count {
            let begun = Instant::now();
            Box::pin(attested.shake()).await.map_err(|error| anyhow!("{}", error.one_line()))?;
            let middle = Instant::now();
            let (client, server) = UnixStream::pair()?;
            let name = ServerName::try_from("localhost")?;
            tokio::try_join!(plain.0.connect(name, client), plain.1.accept(server))?;
            if i >= WARM {
                of_attested.push((middle - begun).as_secs_f64() * 1e6);
                of_plain.push(middle.elapsed().as_secs_f64() * 1e6);
            }
        }
        Ok::<_, anyhow::Error>(())
    })?;
    let mut ratios: Vec<_> = of_attested.iter().zip(&of_plain).map(|(attested, plain)| attested / plain).collect();
    println!("handshakes, both sides on one thread, {} each, in turn, median (10th to 90th of a hundred):", args.count);
    println!("  plain mutual TLS    {} us", show(&mut of_plain));
    println!("  attested, warm      {} us", show(&mut of_attested));
    println!("  attested / plain    {}", show(&mut ratios));
    Ok(())
}

fn show(figures: &mut [f64]) -> String {
    figures.sort_by(f64::total_cmp);
    let at = |part: f64| figures.get((figures.len() as f64 * part) as usize).copied().unwrap_or(f64::NAN);
    format!("{:.2} ({:.2} to {:.2})", at(0.5), at(0.1), at(0.9))
}

/// Both sides of attested handshakes.
pub(crate) struct Attested {
    node: Node,
    identity: Arc<HopIdentity>,
    /// Owns the threads of the blocking pool.
    _blocking: tokio::runtime::Runtime,
}

impl Attested {
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let platform = folder.join("platform");
        SimPlatform::generate(Timestamp::now())?.save(&platform)?;
        let attestation = Attestation {
            attester: AttesterKind::Sim,
            verifier: VerifierKind::Sim,
            platform: Some(platform),
            sim: SimSettings::default(),
            collateral: CollateralOptions::default(),
        };
        let tls = TlsSettings { suites: vec![Suite::Aes128Gcm], groups: vec![Group::X25519] };
        let (node, blocking) =
            process::node(&attestation, &tls, &Limits::default(), &Deadlines::default(), Box::new(|_| {}))?;
        let attester = select::attester(&attestation, LIMIT)?;
        let (policy_digest, config_digest) = (PolicyDigest::of(b""), ConfigDigest::of(b""));
        let role = Role { chain_role: "bench".to_owned(), policy_digest, config_digest };
        let now = Timestamp::now();
        let identity = IdentityService::start(attester, role, now).and_then(|service| service.current(now));
        let identity = identity.map_err(|error| anyhow!("{}", error.one_line())).context("an identity")?;
        Ok(Self { node, identity, _blocking: blocking })
    }

    /// One after the other, on this thread.
    pub(crate) fn many(&self, count: usize) -> Result<()> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            for _ in 0..count {
                Box::pin(self.shake()).await.map_err(|error| anyhow!("{}", error.one_line()))?;
            }
            Ok(())
        })
    }

    async fn shake(&self) -> Result<(), Error> {
        let (client, server) = UnixStream::pair().map_err(|error| Error::Internal(error.to_string()))?;
        let name = ServerName::try_from("localhost").map_err(|error| Error::Internal(error.to_string()))?;
        let (provider, turns) = (&self.node.side.provider, &self.node.gates.handshakes);
        let own = || Arc::clone(&self.identity);
        let server = async {
            let asked = ClientCertificate::Required;
            let (leg, _) = handshake::accept(Socket::Unix(server), provider, own(), asked, false, turns, LIMIT).await?;
            self.appraise(leg.facts.peer.as_ref()).await
        };
        let client = async {
            let (leg, _) = handshake::connect(Socket::Unix(client), provider, Some(own()), name, LIMIT).await?;
            self.appraise(Some(&leg.facts.peer)).await
        };
        tokio::try_join!(client, server).map(drop)
    }

    async fn appraise(&self, peer: Option<&PeerCertificate>) -> Result<(), Error> {
        let peer = peer.ok_or_else(|| Error::Internal("a leg without a peer".to_owned()))?;
        self.node.side.verifier.genuine(peer).await.map(drop)
    }
}
