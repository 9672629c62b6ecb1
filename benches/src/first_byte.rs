//! `first-byte`: from a connect to the first byte back, over three hops, attested against plain TLS through the same.
//!
//! Both chains are the same four processes of ours, on loopback, one worker each: a way in with a plain client side, two
//! hops, and an echo. One joins them by attested paths, the other by mutual TLS with ordinary certificates. The
//! rounds take turns, so that only the ratio counts. Warm: keys are made and evidence is remembered.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use inclavared_attest::Timestamp;
use inclavared_attest::sim::SimPlatform;
use inclavared_config::Listen;
use inclavared_tunnel::server::process::{Process, Setup};
use inclavared_tunnel::server::workload::{Echo, Workload};

use crate::certs;

/// A stream that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Streams of each chain before the first one that counts.
const WARM: usize = 20;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Streams of each chain; they take turns.
    #[arg(long, default_value_t = 500)]
    streams: usize,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let folder = tempfile::tempdir()?;
    certs::write(folder.path())?;
    SimPlatform::generate(Timestamp::now())?.save(&folder.path().join("platform"))?;
    let pki = Chain::start(folder.path(), PKI)?;
    let attested = Chain::start(folder.path(), ATTESTED)?;
    for _ in 0..WARM {
        pki.first_byte()?;
        attested.first_byte()?;
    }
    let (mut plain_tls, mut paths, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.streams {
        let (of_pki, of_attested) = (pki.first_byte()?, attested.first_byte()?);
        plain_tls.push(of_pki.as_secs_f64() * 1e3);
        paths.push(of_attested.as_secs_f64() * 1e3);
        ratios.push(of_attested.as_secs_f64() / of_pki.as_secs_f64());
    }
    println!(
        "connect to first byte, three hops, {} streams each, in turn, median (10th to 90th of a hundred):",
        args.streams
    );
    println!("  plain TLS, mutual   {} ms", show(&mut plain_tls));
    println!("  attested path       {} ms", show(&mut paths));
    println!("  attested / plain    {}", show(&mut ratios));
    Ok(())
}

fn show(figures: &mut [f64]) -> String {
    figures.sort_by(f64::total_cmp);
    let at = |part: f64| figures.get((figures.len() as f64 * part) as usize).copied().unwrap_or(f64::NAN);
    format!("{:.2} ({:.2} to {:.2})", at(0.5), at(0.1), at(0.9))
}

/// How the processes of a chain are joined: what a server side and a client side say.
struct Joined {
    server: &'static str,
    client: &'static str,
    more: &'static str,
}

const PKI: Joined = Joined {
    server: r#"{ tls = "pki", cert = "server.pem", key = "server.key", client_ca = "ca.pem" }"#,
    client: r#"{ tls = "pki", ca = "ca.pem", server_name = "localhost", cert = "client.pem", key = "client.key" }"#,
    more: "",
};

const ATTESTED: Joined = Joined {
    server: r#"{ tls = "attested" }"#,
    client: r#"{ tls = "mutual", policy = "bench" }"#,
    more: r#"
        [attestation]
        attester = "sim"
        verifier = "sim"
        platform = "platform"
        [policy.bench]
        allow_simulated = true
        identity = "any-genuine"
        measurements = "not-compared"
    "#,
};

/// The processes, the last hop first; they end with this one.
struct Chain {
    address: SocketAddr,
    _processes: Vec<Process>,
}

impl Chain {
    fn start(folder: &Path, joined: Joined) -> Result<Self> {
        let Joined { server, client, more } = joined;
        // The echo is in the last process: its target is never dialled.
        let routes =
            [(server, r#"{ tls = "plain" }"#), (server, client), (server, client), (r#"{ tls = "plain" }"#, client)];
        let mut address = SocketAddr::from(([127, 0, 0, 1], 9));
        let mut processes = Vec::new();
        for (i, (upstream, downstream)) in routes.into_iter().enumerate() {
            let mut text = String::from("workers = 1\n");
            write!(
                text,
                "[[route]]\nname = \"bench\"\nlisten = \"127.0.0.1:0\"\nxfer = \"{address}\"\n\
                 upstream = {upstream}\ndownstream = {downstream}\n[tls]\ngroups = [\"X25519\"]\n{more}"
            )?;
            let config = inclavared_config::parse(folder.join("bench.toml"), &text).map_err(|e| anyhow!("{e}"))?;
            let workload = (i == 0).then(|| Arc::new(Echo::default()) as Arc<dyn Workload>);
            let process = Process::start(Setup { config, workload, ended: Box::new(|_| {}) })?;
            let Some((_, Listen::Tcp(bound))) = process.addresses().first().cloned() else {
                bail!("a process of the chain listens nowhere")
            };
            address = bound;
            processes.push(process);
        }
        Ok(Self { address, _processes: processes })
    }

    fn first_byte(&self) -> Result<Duration> {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0]).context("no byte came back")?;
        Ok(begun.elapsed())
    }
}
