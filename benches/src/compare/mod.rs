//! The comparison: interleaved rounds of the same measurements on every proxy.

mod aims;
pub(crate) mod copy_loop;
mod peers;
pub(crate) mod plot;
mod table;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Args as ClapArgs;
use serde_json::{Value, json};

use crate::proc::{Pinned, free_port};
use aims::print_aims;
use peers::{Lab, Proxy, Started};
use table::{Table, print};

#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Other proxies; those that are not installed are skipped. ENVOY=/path and TNG=/path name what is not installed.
    #[arg(long, value_delimiter = ',', default_values = ["envoy", "haproxy", "nginx", "stunnel", "copy-loop", "tng"])]
    peers: Vec<String>,
    /// Medians are over so many rounds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only these measurements.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// MiB of one bulk measurement.
    #[arg(long, default_value_t = 1024)]
    mib: u64,
    /// Streams that idle.
    #[arg(long, default_value_t = 2000)]
    idle: usize,
    /// The core of the proxy.
    #[arg(long, default_value_t = 1)]
    proxy_core: usize,
    /// The core of the load, of the sink, and of the other hops of a path.
    #[arg(long, default_value_t = 0)]
    load_core: usize,
    /// Write every single figure, too.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) more_is_better: bool,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Bulk { streams: u64, down: bool },
    Records(usize),
    Handshakes,
    Latency,
    Idle,
}

const BULK: &str = "GB/CPU-s";

pub(crate) const METRICS: &[Metric] = &[
    Metric { name: "1-up", unit: BULK, more_is_better: true, kind: Kind::Bulk { streams: 1, down: false } },
    Metric { name: "1-down", unit: BULK, more_is_better: true, kind: Kind::Bulk { streams: 1, down: true } },
    Metric { name: "64-up", unit: BULK, more_is_better: true, kind: Kind::Bulk { streams: 64, down: false } },
    Metric { name: "64-down", unit: BULK, more_is_better: true, kind: Kind::Bulk { streams: 64, down: true } },
    Metric { name: "256-byte", unit: BULK, more_is_better: true, kind: Kind::Records(256) },
    Metric { name: "1400-byte", unit: BULK, more_is_better: true, kind: Kind::Records(1400) },
    Metric { name: "handshakes", unit: "per CPU-s", more_is_better: true, kind: Kind::Handshakes },
    Metric { name: "added-p50", unit: "us", more_is_better: false, kind: Kind::Latency },
    Metric { name: "idle", unit: "KiB/stream", more_is_better: false, kind: Kind::Idle },
];

pub(crate) fn run(args: &Args) -> Result<()> {
    let metrics: Vec<_> =
        METRICS.iter().filter(|m| args.only.is_empty() || args.only.iter().any(|only| only == m.name)).collect();
    ensure!(!metrics.is_empty(), "there are {}", METRICS.iter().map(|m| m.name).collect::<Vec<_>>().join(", "));
    let proxies = proxies(&args.peers)?;
    let folder = tempfile::tempdir()?;
    let mut lab = Lab {
        folder: folder.path().to_owned(),
        proxy_core: args.proxy_core,
        load_core: args.load_core,
        sink: ([127, 0, 0, 1], free_port()?).into(),
        plain_sink: ([127, 0, 0, 1], free_port()?).into(),
    };
    lab.prepare()?;
    let _sinks = (sink(&mut lab, false)?, sink(&mut lab, true)?);
    let mut table = Table::default();
    for round in 0..args.rounds {
        // Back and forth: a machine that becomes slower meets all alike.
        let mut order = proxies.clone();
        if round % 2 == 1 {
            order.reverse();
        }
        for proxy in order {
            eprintln!("round {} of {}: {}", round + 1, args.rounds, proxy.name());
            if let Err(error) = measure(args, &lab, proxy, &metrics, round, &mut table) {
                eprintln!("  {}: {error:#}", proxy.name());
            }
        }
    }
    if let Some(file) = &args.json {
        fs::write(file, serde_json::to_vec_pretty(&table.to_json())?)
            .with_context(|| format!("writing {}", file.display()))?;
    }
    print(&table, &proxies, &metrics);
    print_aims(&table);
    Ok(())
}

/// Ours, and what is named and installed.
fn proxies(peers: &[String]) -> Result<Vec<Proxy>> {
    let mut proxies = Proxy::OURS.to_vec();
    for name in peers.iter().filter(|name| !name.is_empty()) {
        let Some(peer) = Proxy::PEERS.into_iter().find(|peer| peer.name() == name) else {
            bail!("no peer `{name}`: there are {}", Proxy::PEERS.map(Proxy::name).join(", "));
        };
        match peer.program() {
            Some(_) => proxies.push(peer),
            None => eprintln!("{name} is not installed: left out"),
        }
    }
    Ok(proxies)
}

fn sink(lab: &mut Lab, plain: bool) -> Result<Pinned> {
    let address = if plain { lab.plain_sink } else { lab.sink };
    let mut command =
        vec![std::env::current_exe()?.display().to_string(), "sink".into(), "--listen".into(), address.to_string()];
    if !plain {
        command.extend(["--certs".into(), lab.certs().display().to_string()]);
    }
    let log = lab.folder.join(if plain { "plain-sink.log" } else { "sink.log" });
    let mut sink = Pinned::start(&lab.load_core.to_string(), &command, &log)?;
    sink.until_listening(address)?;
    Ok(sink)
}

fn measure(args: &Args, lab: &Lab, proxy: Proxy, metrics: &[&Metric], round: usize, table: &mut Table) -> Result<()> {
    let metrics: Vec<_> = metrics.iter().filter(|metric| proxy.is_measured_in(metric.name)).collect();
    if metrics.is_empty() {
        return Ok(());
    }
    let mut started = lab.start(proxy)?;
    let direct = Started::at(if proxy.is_plain() { lab.plain_sink } else { lab.sink }, started.pids.clone());
    for metric in metrics {
        if metric.kind == Kind::Idle {
            // What bulk data left in a proxy's allocator would be given to the streams that idle.
            drop(started);
            started = lab.start(proxy)?;
        }
        let measured = match metric.kind {
            Kind::Latency => load(args, lab, proxy, &started, metric)
                .and_then(|with| Ok((with, load(args, lab, proxy, &direct, metric)?)))
                .map(|(with, without)| (value(&with) - value(&without)) / proxy.hops())
                .map(|added| json!({ "value": added })),
            _ => load(args, lab, proxy, &started, metric),
        };
        match measured {
            Ok(measured) => table.add(proxy, metric, round, measured),
            Err(error) => eprintln!("  {} {}: {error:#}", proxy.name(), metric.name),
        }
    }
    Ok(())
}

/// One measurement, by a process on the load's core.
fn load(args: &Args, lab: &Lab, proxy: Proxy, started: &Started, metric: &Metric) -> Result<Value> {
    let mut command = Command::new("taskset");
    command.args(["-c", &lab.load_core.to_string()]).arg(std::env::current_exe()?).arg("load");
    command.args(["--address", &started.address.to_string()]);
    for pid in &started.pids {
        command.args(["--pid", &pid.to_string()]);
    }
    command.args((proxy == Proxy::Hybrid).then_some("--hybrid"));
    if !proxy.is_plain() {
        command.arg("--certs").arg(lab.certs());
    }
    let mib = args.mib.to_string();
    // Small records take ten times as long.
    let little = (args.mib / 4).max(1).to_string();
    match metric.kind {
        Kind::Bulk { streams, down } => {
            command.args(["bulk", "--streams", &streams.to_string(), "--mib", &mib]);
            command.args(down.then_some("--down"));
        }
        Kind::Records(size) => {
            command.args(["bulk", "--streams", "1", "--mib", &little, "--record", &size.to_string()]);
        }
        Kind::Handshakes => drop(command.args(["handshakes", "--seconds", "3"])),
        Kind::Latency => drop(command.args(["latency", "--count", "10000"])),
        Kind::Idle => drop(command.args(["idle", "--streams", &args.idle.to_string()])),
    }
    let output = command.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(serde_json::from_slice(&output.stdout)?)
}

pub(crate) fn value(measured: &Value) -> f64 {
    measured["value"].as_f64().unwrap_or(f64::NAN)
}
