//! `inclavared pccs` and `inclavared collateral`: collateral for others, and in files.

use std::path::PathBuf;

use clap::Subcommand;
use inclavared_attest::appraise::{CollateralId, PckCa};
use inclavared_attest::evidence::Tee;
use inclavared_config::{CollateralOptions, Listen, LogSettings};

use crate::cli::address::read_address;
use crate::cli::attestation::{read_amd_services, read_services};
use crate::cli::logging::{LogArgs, log_at};
use crate::cli::{CliError, Mistakes, Parsed};

/// A service of collateral for others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pccs {
    pub listen: Listen,
    pub from: PccsFrom,
    pub tls: Option<TlsFiles>,
}

/// Where it has its collateral from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PccsFrom {
    /// The folder of a simulated platform.
    Platform(PathBuf),
    /// Services behind it, or a bundle.
    Options(CollateralOptions),
}

/// In PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    pub certificates: PathBuf,
    pub key: PathBuf,
}

/// Collateral in files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CollateralTask {
    pub what: CollateralWhat,
    /// The simulated platform whose root stands behind it; `None` is Intel's root.
    pub platform: Option<PathBuf>,
    pub options: CollateralOptions,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CollateralWhat {
    /// One set becomes a bundle.
    Fetch { id: CollateralId, out: PathBuf },
    /// What AMD's key service has for one report becomes a bundle.
    FetchAmd { report: PathBuf, out: PathBuf },
    /// What is in the cache becomes a bundle.
    Export { out: PathBuf },
    /// A bundle is verified and goes into the cache.
    Import { file: PathBuf },
    /// What a bundle says of itself. Nothing is verified.
    Show { file: PathBuf },
}

#[derive(clap::Args, Debug)]
pub(super) struct PccsArgs {
    /// Where verifiers ask: ADDRESS:PORT
    #[arg(long, value_name = "ADDRESS")]
    listen: String,
    /// Serve the collateral of a simulated platform
    #[arg(long, value_name = "DIR", conflicts_with_all = ["bundle", "upstream"])]
    platform: Option<PathBuf>,
    /// Serve what is in a bundle, and ask nobody
    #[arg(long, value_name = "FILE", conflicts_with = "upstream")]
    bundle: Option<PathBuf>,
    /// Asked for collateral [default: as QCNL says, or Intel]
    #[arg(long, value_name = "URL")]
    upstream: Vec<String>,
    /// Asked for AMD's certificates [default: AMD's key service]
    #[arg(long, value_name = "URL")]
    amd_upstream: Vec<String>,
    /// A CA of the services that are asked, in PEM
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Keep what was fetched in this folder
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Serve https with this certificate chain, in PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its key, in PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Subcommand, Debug)]
pub(super) enum CollateralCommand {
    /// Fetch the set for one model of platforms into a bundle
    Fetch {
        /// The model: 12 hexadecimal digits, as a refusal names it
        #[arg(long, value_name = "HEX")]
        fmspc: String,
        /// Which CA issued its PCK certificates
        #[arg(long, value_name = "CA", default_value = "platform", value_parser = ["platform", "processor"])]
        ca: String,
        /// Which TEE
        #[arg(long, value_name = "TEE", value_parser = ["sgx", "tdx"])]
        tee: String,
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Asked for collateral [default: as QCNL says, or Intel]
        #[arg(long, value_name = "URL")]
        service: Vec<String>,
        /// A CA of these services, in PEM
        #[arg(long, value_name = "FILE")]
        tls_ca: Option<PathBuf>,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Fetch what AMD's key service has for an SEV-SNP report into a bundle
    FetchAmd {
        /// The report, or a certificate with one in it
        #[arg(long, value_name = "FILE")]
        report: PathBuf,
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Asked for it [default: AMD's key service]
        #[arg(long, value_name = "URL")]
        service: Vec<String>,
        /// A CA of these services, in PEM
        #[arg(long, value_name = "FILE")]
        tls_ca: Option<PathBuf>,
        /// Keep it in this folder as well
        #[arg(long, value_name = "DIR")]
        cache: Option<PathBuf>,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Write what a cache holds into a bundle
    Export {
        #[arg(long, value_name = "DIR")]
        cache: PathBuf,
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Verify a bundle and put it into a cache
    Import {
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[arg(long, value_name = "DIR")]
        cache: PathBuf,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Say what a bundle holds; nothing is verified
    Show {
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        log: LogArgs,
    },
}

#[derive(clap::Args, Debug)]
pub(super) struct CommonArgs {
    /// The simulated platform whose collateral it is [default: Intel's root]
    #[arg(long, value_name = "DIR")]
    platform: Option<PathBuf>,
    #[command(flatten)]
    log: LogArgs,
}

impl PccsArgs {
    pub(super) fn meaning(self) -> Result<Parsed<Pccs>, CliError> {
        let mut mistakes = Mistakes::default();
        let listen = read_address::<Listen>("--listen", &self.listen, &mut mistakes);
        let log = self.log.over(log_at("info"), &mut mistakes);
        let services = read_services("--upstream", &self.upstream, &mut mistakes);
        let amd_services = read_amd_services("--amd-upstream", &self.amd_upstream, &mut mistakes);
        let from = match self.platform {
            Some(folder) => PccsFrom::Platform(folder),
            None => PccsFrom::Options(CollateralOptions {
                services: (!services.is_empty()).then_some(services),
                amd_services: (!amd_services.is_empty()).then_some(amd_services),
                bundle: self.bundle,
                cache: self.cache,
                ca: self.tls_ca,
                ..CollateralOptions::default()
            }),
        };
        let tls = self.cert.zip(self.key).map(|(certificates, key)| TlsFiles { certificates, key });
        let what = listen.map(|listen| Pccs { listen, from, tls });
        Ok(Parsed { what: mistakes.finish(what)?, log, notes: Vec::new() })
    }
}

impl CollateralCommand {
    pub(super) fn meaning(self) -> Result<Parsed<CollateralTask>, CliError> {
        let mut mistakes = Mistakes::default();
        let mut options = CollateralOptions::default();
        let (what, common) = match self {
            Self::Fetch { fmspc, ca, tee, out, service, tls_ca, common } => {
                let ca = if ca == "processor" { PckCa::Processor } else { PckCa::Platform };
                let tee = if tee == "tdx" { Tee::Tdx } else { Tee::Sgx };
                let services = read_services("--service", &service, &mut mistakes);
                options.services = (!services.is_empty()).then_some(services);
                options.ca = tls_ca;
                let mut id = CollateralId { tee, fmspc: [0; 6], ca };
                if hex::decode_to_slice(&fmspc, &mut id.fmspc).is_err() {
                    mistakes.add("--fmspc", format!("`{fmspc}` is no FMSPC"), "write 12 hexadecimal digits");
                }
                (CollateralWhat::Fetch { id, out }, common)
            }
            Self::FetchAmd { report, out, service, tls_ca, cache, common } => {
                let services = read_amd_services("--service", &service, &mut mistakes);
                let services = (!services.is_empty()).then_some(services);
                // A simulated platform's service has both forms under one address.
                match common.platform {
                    Some(_) => options.services = services,
                    None => options.amd_services = services,
                }
                (options.ca, options.cache) = (tls_ca, cache);
                (CollateralWhat::FetchAmd { report, out }, common)
            }
            Self::Export { cache, out, common } => {
                options.cache = Some(cache);
                (CollateralWhat::Export { out }, common)
            }
            Self::Import { file, cache, common } => {
                options.cache = Some(cache);
                (CollateralWhat::Import { file }, common)
            }
            Self::Show { file, log } => (CollateralWhat::Show { file }, CommonArgs { platform: None, log }),
        };
        let log: LogSettings = common.log.over(log_at("warn"), &mut mistakes);
        let what = mistakes.finish(Some(CollateralTask { what, platform: common.platform, options }))?;
        Ok(Parsed { what, log, notes: Vec::new() })
    }
}
