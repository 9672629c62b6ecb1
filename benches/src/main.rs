//! `inclavared-bench`: the relay beside other proxies, on one machine, in one run.
//!
//! `compare` starts a sink, then one proxy at a time, puts the same load on each in interleaved rounds, and prints the
//! medians with their ratios. Figures of different runs do not compare; ratios within one run do.

#![allow(clippy::disallowed_methods)] // measures from outside, on threads of its own: it may sleep

mod certs;
mod compare;
mod first_byte;
mod handshakes;
mod load;
mod mutations;
mod opening;
mod ours;
mod paths;
mod peers;
mod proc;
mod quotes;
mod raw;
mod sink;
mod table;

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
        Command::Ours { config } => ours::run(&config),
    }
}
