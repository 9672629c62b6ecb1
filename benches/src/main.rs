//! `inclavared-bench`: the relay beside other proxies, on one machine, in one run.
//!
//! `compare` starts a sink, then one proxy at a time, puts the same load on each in interleaved rounds, and prints the
//! medians with their ratios. Figures of different runs do not compare; ratios within one run do.

#![allow(clippy::disallowed_methods)] // measures from outside, on threads of its own: it may sleep

mod certs;
mod compare;
mod first_byte;
mod guard;
mod handshakes;
mod load;
mod mutations;
mod opening;
mod ours;
mod paths;
mod proc;
mod quotes;
mod raw;
mod sink;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about, version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures the relay and other proxies, and prints one table.
    Compare(compare::Args),
    /// From a connect to the first byte over three hops: attested paths against plain TLS.
    FirstByte(first_byte::Args),
    /// What a new path costs, by hops, known evidence and legs that stand ready; and paths a second by binding level.
    Opening(opening::Args),
    /// Many new paths at level `quote` from a platform that makes few quotes.
    Quotes(quotes::Args),
    /// A warm attested handshake against plain mutual TLS.
    Handshakes(handshakes::Args),
    /// Damaged evidence, certificates and collateral: nothing panics, and nothing is accepted that says something else.
    Mutations(mutations::Args),
    /// The server behind the proxies.
    #[command(hide = true)]
    Sink {
        #[arg(long)]
        listen: SocketAddr,
        /// Without: plain TCP.
        #[arg(long)]
        certs: Option<PathBuf>,
    },
    /// One measurement of one proxy; prints one line of JSON.
    #[command(hide = true)]
    Load(load::Args),
    /// A relay that copies, to compare with.
    #[command(hide = true)]
    CopyLoop {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        target: SocketAddr,
        #[arg(long)]
        certs: PathBuf,
    },
    /// Counts the instructions of the byte path and of the handshakes, and compares them with what is written down.
    Guard(guard::Args),
    /// One work of the guard, so many times.
    #[command(hide = true)]
    Work { work: guard::work::Work, count: usize },
    /// Draws what `compare --json` has measured, as SVG.
    Plot(compare::plot::Args),
    /// The relay with a configuration, until it is killed.
    #[command(hide = true)]
    Ours { config: PathBuf },
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Compare(args) => compare::run(&args),
        Command::FirstByte(args) => first_byte::run(&args),
        Command::Opening(args) => opening::run(&args),
        Command::Quotes(args) => quotes::run(&args),
        Command::Handshakes(args) => handshakes::run(&args),
        Command::Mutations(args) => mutations::run(&args),
        Command::Sink { listen, certs } => sink::run(listen, certs.as_deref()),
        Command::Load(args) => load::run(&args),
        Command::CopyLoop { listen, target, certs } => compare::copy_loop::run(listen, target, &certs),
        Command::Guard(args) => guard::run(&args),
        Command::Work { work, count } => work.run(count, tempfile::tempdir()?.path()),
        Command::Plot(args) => compare::plot::run(&args),
        Command::Ours { config } => ours::run(&config),
    }
}
