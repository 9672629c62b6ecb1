//! `enclave-tls-server`: the attested workload.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser};
use inclavared_config::{Config, Listen, ProxyProtocol, ServerFlagConfig, Target};

use super::address::read_address;
use super::attestation::AttestationArgs;
use super::logging::{LogArgs, log_at};
use super::{CliError, Mistakes, Parsed};

/// What `enclave-tls-server` is to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnclaveTlsServer {
    /// One route in the role `workload`. What it serves stands in `serves`; the route's target is the same.
    pub config: Config,
    pub serves: Serves,
}

/// What a verified client is given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Serves {
    /// The original's answer: mrenclave, mrsigner, and a greeting.
    Greeting,
    /// Every byte back.
    Echo,
    /// The files of a folder.
    Files(PathBuf),
    /// The bytes of a server behind this process.
    Backend(Target),
}

impl EnclaveTlsServer {
    /// Reads a command line, the program's name first. Long flags may be shortened, as the original's getopt took them.
    pub fn parse(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Parsed<Self>, CliError> {
        let shorts = [("attester", 'a'), ("verifier", 'v'), ("tls", 't'), ("crypto", 'c'), ("log_level", 'l')];
        let command = shorts
            .into_iter()
            .fold(ServerArgs::command(), |command, (name, short)| command.mut_arg(name, |arg| arg.short(short)));
        ServerArgs::from_arg_matches(&command.try_get_matches_from(args)?)?.meaning()
    }
}

/// The attested workload: shows its evidence to every client, and greets as the original did.
#[derive(Parser, Debug)]
#[command(name = "enclave-tls-server", version, disable_version_flag = true)]
#[command(infer_long_args = true, args_override_self = true, max_term_width = 100)]
struct ServerArgs {
    /// Where to listen
    #[arg(short, long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    ip: String,
    /// The port to listen on
    #[arg(short, long, value_name = "PORT", default_value = "1234")]
    port: String,
    /// Demand evidence of clients, too, and of the path behind them
    #[arg(short, long)]
    mutual: bool,
    /// Accepted as the original's; no stub enclave is loaded
    #[arg(short = 'P', long)]
    product_enclave: bool,
    /// Send every byte back, in place of the greeting
    #[arg(long)]
    echo: bool,
    /// Serve the files of a folder over HTTP, in place of the greeting
    #[arg(long, value_name = "DIR")]
    serve_dir: Option<PathBuf>,
    /// Hand the bytes to a plain server, in place of the greeting
    #[arg(long, value_name = "ADDRESS")]
    xfer: Option<String>,
    /// Tell the plain server who is connected, and what was verified (v2)
    #[arg(long, value_name = "VERSION", requires = "xfer", value_parser = ["v2"], hide_possible_values = true)]
    proxy_protocol: Option<String>,
    /// Print the version
    #[arg(long, action = clap::ArgAction::Version)]
    version: (),
    #[command(flatten)]
    attestation: AttestationArgs,
    #[command(flatten)]
    log: LogArgs,
}

impl ServerArgs {
    fn meaning(&self) -> Result<Parsed<EnclaveTlsServer>, CliError> {
        let mut mistakes = Mistakes::default();
        let listen = self.listen(&mut mistakes);
        let serves = self.serves(&mut mistakes);
        let log = self.log.over(log_at("info"), &mut mistakes);
        let meant = self.attestation.meaning(&mut mistakes);
        if meant.policy.is_some() && !self.mutual {
            mistakes.add(
                "--policy",
                "it would judge nobody: clients are not asked for evidence",
                "add `--mutual`, or leave it out",
            );
        }
        let known = listen.is_some() && serves.is_some();
        let serves = serves.unwrap_or(Serves::Greeting);
        let flags = ServerFlagConfig {
            listen: listen.unwrap_or_else(|| Listen::Tcp(([127, 0, 0, 1], 0).into())),
            target: serves.target(),
            attester: meant.attester,
            verifier: meant.verifier,
            mutual: self.mutual,
            platform: meant.platform,
            sim: meant.sim,
            collateral: meant.collateral,
            policy: meant.policy,
            proxy_protocol: self.proxy_protocol.as_ref().map(|_| ProxyProtocol::V2),
            log: log.clone(),
        };
        let config = Config::from_server_flags(flags).map_err(|errors| mistakes.add_errors(errors)).ok();
        let config = mistakes.finish(config.filter(|_| known))?;
        let mut notes = meant.notes;
        if self.product_enclave {
            notes.push(
                "--product-enclave: no stub enclave is loaded; policies refuse debug enclaves by themselves".into(),
            );
        }
        Ok(Parsed { what: EnclaveTlsServer { config, serves }, log, notes })
    }

    fn listen(&self, mistakes: &mut Mistakes) -> Option<Listen> {
        let remedy = "write an address of this machine, for example 127.0.0.1, 0.0.0.0 or ::";
        let ip = self.ip.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        if let Err(error) = &ip {
            mistakes.add("--ip", format!("`{}`: {error}", self.ip), remedy);
        }
        let port = self.port.parse::<u16>();
        if let Err(error) = &port {
            mistakes.add("--port", format!("`{}`: {error}", self.port), "write a number from 0 to 65535");
        }
        Some(Listen::Tcp(SocketAddr::new(ip.ok()?, port.ok()?)))
    }

    fn serves(&self, mistakes: &mut Mistakes) -> Option<Serves> {
        let xfer = self.xfer.as_deref();
        match (self.echo, &self.serve_dir, xfer) {
            (false, None, None) => Some(Serves::Greeting),
            (true, None, None) => Some(Serves::Echo),
            (false, Some(folder), None) => Some(Serves::Files(folder.clone())),
            (false, None, Some(address)) => read_address("--xfer", address, mistakes).map(Serves::Backend),
            _ => {
                let flags =
                    [("--echo", self.echo), ("--serve-dir", self.serve_dir.is_some()), ("--xfer", xfer.is_some())];
                let typed: Vec<_> = flags.into_iter().filter_map(|(flag, typed)| typed.then_some(flag)).collect();
                mistakes.add(typed[0], format!("{} say different things", typed.join(" and ")), "keep one of them");
                None
            }
        }
    }
}

impl Serves {
    fn target(&self) -> Target {
        match self {
            Self::Greeting => Target::Process("greeting".into()),
            Self::Echo => Target::Process("echo".into()),
            Self::Files(folder) => Target::Process(format!("files of {}", folder.display())),
            Self::Backend(target) => target.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
