//! `shelter`: the verifier of the relying party.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use inclavared_attest::policy::Policy;
use inclavared_config::{Attestation, AttesterKind, Listen, LogSettings, Target, VerifierKind, parse_duration};

use super::address::read_address;
use super::attestation::{AttestationArgs, Meant};
use super::go_flags::{parse_bool, with_two_dashes};
use super::logging::{LogArgs, log_at};
use super::{CliError, Mistakes, Parsed};

mod offline;
mod values;

use offline::OfflineArgs;
pub use offline::{OfflineAppraisal, Source};
pub use values::{ComparedFile, Import, Measure, ValuesFile};
use values::{ImportArgs, MeasureArgs, WriteArgs, compared};

/// What `shelter` is to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Shelter {
    /// Verifies a path and says what was found. With `start` an empty stream is sent through it, so that the workload
    /// judges this process, too.
    RemoteAttestation { path: Verification, start: bool, json: bool },
    /// Verifies a path and writes its measurements as a policy.
    Record { path: Verification, to: ValuesFile },
    /// Says what is different between two files of reference values, or between one and a path.
    Diff { a: ComparedFile, b: Box<DiffWith>, json: bool },
    /// Writes what signers say of their enclaves as a policy.
    Import(Import),
    /// Computes what an image will be measured as.
    MeasureSgx { what: Measure, json: bool },
    /// Carries the bytes of local clients through a path that it verifies for each of them.
    /// With `once`, of one alone: the exit status says how it closed.
    Forward { path: Verification, listen: Listen, once: bool, json: bool },
    /// Judges evidence in a file, without a network.
    Appraise { appraisal: OfflineAppraisal, json: bool },
    /// Shows evidence in a file, and judges nothing.
    Inspect { file: Source },
}

/// What a file of reference values is compared with.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(clippy::large_enum_variant)] // one a process
pub enum DiffWith {
    File(ComparedFile),
    Path(Verification),
}

/// A path to be verified, and under what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verification {
    /// The first hop.
    pub target: Target,
    /// Invariant: the attester counts only if `mutual`; `platform` is there where something of it is simulated.
    pub attestation: Attestation,
    /// This process shows evidence of its own.
    pub mutual: bool,
    pub policy: Arc<Policy>,
    /// From the dial to a verified path.
    pub timeout: Duration,
}

impl Shelter {
    /// Reads a command line, the program's name first. Flags may be written as the original's Go took them.
    pub fn parse(args: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Parsed<Self>, CliError> {
        let command = ShelterArgs::command();
        let args = with_two_dashes(&command, args.into_iter().map(Into::into));
        let matches = command.try_get_matches_from(args)?;
        let typed = ShelterArgs::from_arg_matches(&matches)?;
        let mut mistakes = Mistakes::default();
        let default = if typed.verbose { "debug" } else { "warn" };
        match typed.command {
            Command::RemoteAttestation { addr, start, json, common } => {
                let (path, log, notes) = common.meaning("--addr", &addr, default, &mut mistakes);
                let what = path.map(|path| Self::RemoteAttestation { path, start, json });
                Ok(Parsed { what: mistakes.finish(what)?, log, notes })
            }
            Command::Record { addr, write, common } => {
                let (path, log, notes) = common.meaning("--addr", &addr, default, &mut mistakes);
                let to = write.meaning("recorded", &mut mistakes);
                let what = path.map(|path| Self::Record { path, to });
                Ok(Parsed { what: mistakes.finish(what)?, log, notes })
            }
            Command::Diff { a, b, addr, json, common } => {
                let a = compared(&a, &mut mistakes);
                let (b, log, notes) = match (b, addr) {
                    (Some(b), None) => {
                        let b = compared(&b, &mut mistakes).map(DiffWith::File);
                        (b, log_at(default), Vec::new())
                    }
                    (None, Some(addr)) => {
                        let (path, log, notes) = common.meaning("--addr", &addr, default, &mut mistakes);
                        (path.map(DiffWith::Path), log, notes)
                    }
                    (b, _) => {
                        let what = if b.is_some() { "is given, and a second file is" } else { "missing" };
                        let remedy = "compare the first file with a second one, or with the path at `--addr URL`";
                        mistakes.add("--addr", what, remedy);
                        (None, log_at(default), Vec::new())
                    }
                };
                let what = a.zip(b).map(|(a, b)| Self::Diff { a, b: Box::new(b), json });
                Ok(Parsed { what: mistakes.finish(what)?, log, notes })
            }
            Command::Import(args) => {
                let what = Some(Self::Import(args.meaning(&mut mistakes)));
                Ok(Parsed { what: mistakes.finish(what)?, log: log_at(default), notes: Vec::new() })
            }
            Command::Measure(MeasureArgs::Sgx { file, sigstruct, json }) => {
                let what = Self::MeasureSgx { what: Measure { image: file, sigstruct }, json };
                Ok(Parsed { what, log: log_at(default), notes: Vec::new() })
            }
            Command::Forward { listen, to, once, json, common } => {
                let (path, log, notes) = common.meaning("--to", &to, default, &mut mistakes);
                let listen = read_address("--listen", &listen, &mut mistakes);
                let what = path.zip(listen).map(|(path, listen)| Self::Forward { path, listen, once, json });
                Ok(Parsed { what: mistakes.finish(what)?, log, notes })
            }
            Command::Appraise { json, offline } => {
                let what = offline.meaning(&mut mistakes).map(|appraisal| Self::Appraise { appraisal, json });
                Ok(Parsed { what: mistakes.finish(what)?, log: log_at(default), notes: Vec::new() })
            }
            Command::Inspect { file } => {
                let what = Self::Inspect { file: Source::from(file) };
                Ok(Parsed { what, log: log_at(default), notes: Vec::new() })
            }
            Command::MrVerify { .. } => {
                let remedy = "write `shelter record --out FILE` once and `--policy FILE` from then on";
                mistakes.add("mrverify", "it built one demo of 2020 and measured that; it is gone", remedy);
                mistakes.finish(None)
            }
        }
    }
}

/// Verifies a path of attested hops, from here to the workload.
#[derive(Parser, Debug)]
#[command(name = "shelter", version, disable_version_flag = true, max_term_width = 100)]
struct ShelterArgs {
    /// Log in detail
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true",
        value_parser = parse_bool, action = clap::ArgAction::Set, hide_default_value = true, hide_possible_values = true)]
    verbose: bool,
    /// Print the version
    #[arg(short = 'v', short_alias = 'V', long, action = clap::ArgAction::Version)]
    version: (),
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
// As in the original, the last of several same flags counts.
#[command(args_override_self = true)]
enum Command {
    /// Verify a path and say what was found
    #[command(name = "remoteattestation", args_override_self = true)]
    RemoteAttestation {
        /// The first hop (tcp:// or unix://)
        #[arg(long, value_name = "URL", default_value = DEFAULT_ADDRESS)]
        addr: String,
        /// Send an empty stream through it, too: the workload judges who asks
        #[arg(long)]
        start: bool,
        /// Print JSON, also for a failure
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        common: VerifyArgs,
    },
    /// Verify a path and write its measurements as a policy
    #[command(args_override_self = true)]
    Record {
        /// The first hop (tcp:// or unix://)
        #[arg(long, value_name = "URL", default_value = DEFAULT_ADDRESS)]
        addr: String,
        #[command(flatten)]
        write: WriteArgs,
        #[command(flatten)]
        common: VerifyArgs,
    },
    /// Compare two files of reference values, or one with a path
    #[command(args_override_self = true)]
    Diff {
        /// A file of reference values: FILE or FILE#NAME
        #[arg(value_name = "FILE")]
        a: String,
        /// Another one
        #[arg(value_name = "FILE2")]
        b: Option<String>,
        /// In its place the path behind this first hop, as it is now
        #[arg(long, value_name = "URL")]
        addr: Option<String>,
        /// Print JSON, also for a failure
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        common: VerifyArgs,
    },
    /// Write what the signer of SGX enclaves states of them as a policy
    #[command(args_override_self = true)]
    Import(ImportArgs),
    /// Compute what an image will be measured as
    #[command(subcommand)]
    Measure(MeasureArgs),
    /// Listen for local clients and carry their bytes through a verified path
    #[command(args_override_self = true)]
    Forward {
        /// Where local clients connect: ADDRESS:PORT or unix:///PATH
        #[arg(long, value_name = "ADDRESS")]
        listen: String,
        /// The first hop (tcp:// or unix://)
        #[arg(long, value_name = "ADDRESS")]
        to: String,
        /// Carry one stream, and end with a status that says how it closed
        #[arg(long)]
        once: bool,
        /// Print a receipt a line, as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        common: VerifyArgs,
    },
    /// Judge evidence in a file, without a network
    #[command(args_override_self = true)]
    Appraise {
        /// Print JSON, also for a failure
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        offline: OfflineArgs,
    },
    /// Show what stands in a file of evidence, as JSON, and judge nothing
    Inspect {
        /// A quote, a report or a certificate; `-` is standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Gone: compare measurements with `--policy`
    #[command(name = "mrverify", hide = true)]
    MrVerify {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        ignored: Vec<OsString>,
    },
}

/// What every verification takes.
#[derive(clap::Args, Debug)]
struct VerifyArgs {
    /// Show evidence of this process, too
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true",
        value_parser = parse_bool, action = clap::ArgAction::Set, hide_default_value = true, hide_possible_values = true)]
    mutual: bool,
    /// From the dial to a verified path [default: 30s]
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
    #[command(flatten)]
    attestation: AttestationArgs,
    #[command(flatten)]
    log: LogArgs,
}

impl VerifyArgs {
    fn meaning(
        &self,
        flag: &str,
        address: &str,
        level: &str,
        mistakes: &mut Mistakes,
    ) -> (Option<Verification>, LogSettings, Vec<String>) {
        let target = read_address::<Target>(flag, address, mistakes);
        let timeout = match self.timeout.as_deref().map(parse_duration) {
            None => DEFAULT_TIMEOUT,
            Some(Ok(timeout)) if !timeout.is_zero() => timeout,
            Some(Ok(_)) => {
                mistakes.add("--timeout", "zero: nothing could be verified", "write for example 30s");
                DEFAULT_TIMEOUT
            }
            Some(Err(what)) => {
                mistakes.add("--timeout", what, "write for example 30s");
                DEFAULT_TIMEOUT
            }
        };
        let log = self.log.over(log_at(level), mistakes);
        let meant = self.attestation.meaning(mistakes);
        let notes = meant.notes.clone();
        let (path, more) = verification(target, meant, self.mutual, timeout, mistakes);
        (path, log, [notes, more].concat())
    }
}

/// A client's side of what was typed, and what is to be noted about it.
pub(super) fn verification(
    target: Option<Target>,
    meant: Meant,
    mutual: bool,
    timeout: Duration,
    mistakes: &mut Mistakes,
) -> (Option<Verification>, Vec<String>) {
    let simulated = meant.verifier == VerifierKind::Sim || (mutual && meant.attester == AttesterKind::Sim);
    if simulated && meant.platform.is_none() {
        let remedy = "add `--platform DIR`, its folder";
        mistakes.add("--platform", "missing: `sim` needs a simulated platform", remedy);
    }
    let unused = meant.attester_named && !mutual;
    let notes = unused.then(|| "--attester: not used, as a verifier shows evidence only with --mutual".to_owned());
    let policy = Arc::new(meant.policy.unwrap_or_else(|| meant.verifier.default_policy()));
    let attestation = Attestation {
        attester: meant.attester,
        verifier: meant.verifier,
        platform: meant.platform,
        sim: meant.sim,
        collateral: meant.collateral,
    };
    (target.map(|target| Verification { target, attestation, mutual, policy, timeout }), notes.into_iter().collect())
}

/// The original's. It went on to a Unix socket when nobody answered there; this asks one peer alone.
const DEFAULT_ADDRESS: &str = "tcp://127.0.0.1:1234";

/// The handshake's 10 s and 20 s from OPEN to PREVIEW (docs/PROTOCOL.md section 4).
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
