//! `inclavared`: the proxy.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use inclavared_config::{Config, FlagConfig, Listen, LogSettings, Target, load};

use super::address::read_address;
use super::attestation::AttestationArgs;
use super::logging::{LogArgs, log_at};
use super::shelter::{DEFAULT_TIMEOUT, verification};
use super::{CliError, Mistakes, Parsed, Verification};

mod collateral;

use collateral::{CollateralCommand, PccsArgs};
pub use collateral::{CollateralTask, CollateralWhat, Pccs, PccsFrom, TlsFiles};

/// What `inclavared` is to do.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(clippy::large_enum_variant)] // there is one of it
pub enum Inclavared {
    Run(Config),
    /// `--connect`, the original's client mode: verifies the path, says `hello from inclavared`, and logs the answer.
    Connect(Verification),
    /// Judges a configuration and starts nothing.
    Check(PathBuf),
    Demo(DemoOptions),
    /// Makes a simulated platform. One that is there and valid is said and left alone, unless `renew`.
    SimInit {
        folder: PathBuf,
        /// Signs new collateral under the same root.
        renew: bool,
    },
    /// Serves collateral.
    Pccs(Pccs),
    Collateral(CollateralTask),
}

/// A chain of processes on one machine, verified end to end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DemoOptions {
    /// Hops of the path, the workload included. Invariant: 1 to 8.
    pub hops: u8,
    /// The path as JSON instead of a table.
    pub json: bool,
}

impl Inclavared {
    /// Reads a command line, the program's name first.
    pub fn parse(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Parsed<Self>, CliError> {
        let typed = InclavaredArgs::try_parse_from(args)?;
        match typed.command {
            None => typed.run.meaning(),
            Some(Command::Check { file, log }) => without_flags(Self::Check(file), &log),
            Some(Command::Demo { hops, json, log }) => without_flags(Self::Demo(DemoOptions { hops, json }), &log),
            Some(Command::Pccs(typed)) => typed.meaning().map(|parsed| parsed.map(Self::Pccs)),
            Some(Command::Collateral { command }) => command.meaning().map(|parsed| parsed.map(Self::Collateral)),
            Some(Command::Sim { command: SimCommand::Init { folder, renew, log } }) => {
                without_flags(Self::SimInit { folder, renew }, &log)
            }
        }
    }
}

/// An attested-TLS proxy: verifies and is verified, and carries the evidence of the path.
#[derive(Parser, Debug)]
#[command(name = "inclavared", version, args_conflicts_with_subcommands = true, max_term_width = 100)]
struct InclavaredArgs {
    #[command(flatten)]
    run: RunArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Judge a configuration file and say what it means
    Check {
        file: PathBuf,
        #[command(flatten)]
        log: LogArgs,
    },
    /// Run a chain on a simulated platform and verify it end to end
    Demo {
        /// Hops of the path, the workload included
        #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=8))]
        hops: u8,
        /// Show the path as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        log: LogArgs,
    },
    /// Serve collateral to verifiers, as a caching service (PCCS) does
    Pccs(PccsArgs),
    /// Collateral in files, for sites that reach no service
    Collateral {
        #[command(subcommand)]
        command: CollateralCommand,
    },
    /// Simulated platforms
    Sim {
        #[command(subcommand)]
        command: SimCommand,
    },
}

#[derive(Subcommand, Debug)]
enum SimCommand {
    /// Make a simulated platform in a folder; one that is there is left as it is
    Init {
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Sign new collateral for a platform that is there
        #[arg(long)]
        renew: bool,
        #[command(flatten)]
        log: LogArgs,
    },
}

/// Without a subcommand: the original's flags, or a configuration file.
#[derive(clap::Args, Debug)]
struct RunArgs {
    /// Where clients connect: ADDRESS:PORT or a socket's path
    #[arg(short, long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The next hop or the workload: HOST:PORT or a socket's path
    #[arg(short, long, value_name = "ADDRESS")]
    xfer: Option<String>,
    /// Verify the path behind this address as a client, greet, and end
    #[arg(short, long, value_name = "ADDRESS")]
    connect: Option<String>,
    /// Show this process's evidence to the next hop, too
    #[arg(short, long)]
    mutual: bool,
    /// Routes and policies in TOML, in place of flags
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What this hop calls itself in its evidence [default: relay]
    #[arg(long, value_name = "NAME")]
    role: Option<String>,
    /// Accepted as the original's; no stub enclave is loaded
    #[arg(short, long, value_name = "FILE")]
    enclave: Option<PathBuf>,
    #[command(flatten)]
    attestation: AttestationArgs,
    #[command(flatten)]
    log: LogArgs,
}

impl RunArgs {
    fn meaning(&self) -> Result<Parsed<Inclavared>, CliError> {
        match (&self.config, &self.connect) {
            (Some(file), _) => self.of_file(file),
            (None, Some(address)) => self.client(address),
            (None, None) => self.of_flags(),
        }
    }

    fn of_file(&self, file: &Path) -> Result<Parsed<Inclavared>, CliError> {
        let mut mistakes = Mistakes::default();
        let typed = self.typed();
        if !typed.is_empty() {
            let what = format!("the file says what {} would say as well", typed.join(", "));
            mistakes.add("--config", what, "leave out the one or the other");
        }
        let config = load(file).map_err(|errors| mistakes.add_errors(errors)).ok();
        let log = self.log.over(config.as_ref().map(|config| config.log.clone()).unwrap_or_default(), &mut mistakes);
        let config = mistakes.finish(config)?;
        Ok(Parsed { what: Inclavared::Run(Config { log: log.clone(), ..config }), log, notes: self.notes(Vec::new()) })
    }

    fn client(&self, address: &str) -> Result<Parsed<Inclavared>, CliError> {
        let mut mistakes = Mistakes::default();
        for (flag, typed) in
            [("--listen", self.listen.is_some()), ("--xfer", self.xfer.is_some()), ("--role", self.role.is_some())]
        {
            if typed {
                mistakes.add(flag, "`--connect` is a client, which has no use for it", "leave one of them out");
            }
        }
        let target = read_address::<Target>("--connect", address, &mut mistakes);
        let log = self.log.over(LogSettings::default(), &mut mistakes);
        let meant = self.attestation.meaning(&mut mistakes);
        let notes = meant.notes.clone();
        let (verification, more) = verification(target, meant, self.mutual, DEFAULT_TIMEOUT, &mut mistakes);
        let what = Inclavared::Connect(mistakes.finish(verification)?);
        Ok(Parsed { what, log, notes: self.notes([notes, more].concat()) })
    }

    fn of_flags(&self) -> Result<Parsed<Inclavared>, CliError> {
        let mut mistakes = Mistakes::default();
        let (listen, target) = match (&self.listen, &self.xfer) {
            (None, None) => {
                let remedy =
                    "write `--listen ADDRESS:PORT --xfer HOST:PORT`, `--config FILE`, or `demo` to see it work";
                mistakes.add("--listen", "missing, and nothing else says what to do", remedy);
                (None, None)
            }
            (listen, xfer) => {
                if listen.is_none() {
                    mistakes.add("--listen", "missing", "write where clients connect, for example 0.0.0.0:1236");
                }
                if xfer.is_none() {
                    let remedy = "write the next hop or the workload, for example 127.0.0.1:1234";
                    mistakes.add("--xfer", "missing: this proxy answers nothing by itself", remedy);
                }
                let listen = listen.as_deref().and_then(|text| read_address::<Listen>("--listen", text, &mut mistakes));
                (listen, xfer.as_deref().and_then(|text| read_address::<Target>("--xfer", text, &mut mistakes)))
            }
        };
        let log = self.log.over(log_at("info"), &mut mistakes);
        let meant = self.attestation.meaning(&mut mistakes);
        let known = listen.is_some() && target.is_some();
        // What else is wrong is to be told as well, so stand-ins take the place of addresses that could not be read.
        let listen = listen.unwrap_or_else(|| Listen::Tcp(([127, 0, 0, 1], 0).into()));
        let target = target.unwrap_or_else(|| Target::Tcp { host: "stand-in.invalid".into(), port: 1 });
        let flags = FlagConfig {
            attester: meant.attester,
            verifier: meant.verifier,
            mutual: self.mutual,
            platform: meant.platform,
            sim: meant.sim,
            collateral: meant.collateral,
            policy: meant.policy,
            role: self.role.clone(),
            log: log.clone(),
            ..FlagConfig::new(listen, target)
        };
        let config = Config::from_flags(flags).map_err(|errors| mistakes.add_errors(errors)).ok().filter(|_| known);
        Ok(Parsed { what: Inclavared::Run(mistakes.finish(config)?), log, notes: self.notes(meant.notes) })
    }

    /// The flags that a configuration file takes the place of.
    fn typed(&self) -> Vec<&'static str> {
        let flags = [
            ("--listen", self.listen.is_some()),
            ("--xfer", self.xfer.is_some()),
            ("--connect", self.connect.is_some()),
            ("--mutual", self.mutual),
            ("--role", self.role.is_some()),
        ];
        flags.into_iter().filter_map(|(flag, typed)| typed.then_some(flag)).chain(self.attestation.typed()).collect()
    }

    fn notes(&self, mut notes: Vec<String>) -> Vec<String> {
        if let Some(file) = &self.enclave {
            notes.push(format!("--enclave {}: not loaded, as this process attests itself", file.display()));
        }
        notes
    }
}

fn without_flags(what: Inclavared, log: &LogArgs) -> Result<Parsed<Inclavared>, CliError> {
    let mut mistakes = Mistakes::default();
    let log = log.over(log_at("warn"), &mut mistakes);
    mistakes.finish(Some(Parsed { what, log, notes: Vec::new() }))
}

#[cfg(test)]
mod tests;
