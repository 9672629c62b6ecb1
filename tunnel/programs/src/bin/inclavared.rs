//! The attested-TLS proxy.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use inclavared_attest::Timestamp;
use inclavared_attest::sim::SimPlatform;
use inclavared_config::Config;
use inclavared_programs::cli::{Inclavared, Parsed, init_logging};
use inclavared_programs::signals::EndAsked;
use inclavared_programs::{demo, greeting, hardening, pccs};
use inclavared_tunnel::server::log;
use inclavared_tunnel::server::process::{Process, Setup};

fn main() -> ExitCode {
    if let Err(error) = hardening::keep_memory_private() {
        eprintln!(
            "inclavared: memory cannot be kept from dumps and debuggers: {error}; let the sandbox allow prctl and setrlimit"
        );
        return ExitCode::FAILURE;
    }
    let Parsed { what, log, notes } = match Inclavared::parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(error) => return error.report(),
    };
    let done = init_logging(&log).context("the log").and_then(|()| {
        notes.iter().for_each(|note| tracing::info!("{note}"));
        match what {
            Inclavared::Run(config) => run(config),
            Inclavared::Connect(path) => greeting::greet(&path),
            Inclavared::Check(file) => check(&file),
            Inclavared::Demo(options) => demo::run(&options),
            Inclavared::Pccs(pccs) => pccs::serve(&pccs),
            Inclavared::Collateral(task) => pccs::collateral(&task),
            Inclavared::SimInit { folder, renew } => sim_init(&folder, renew),
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("inclavared: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: Config) -> anyhow::Result<()> {
    config.summary().warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let process = Process::start(Setup { config, workload: None, ended: Box::new(log::connection) })?;
    let end = EndAsked::take_over().context("taking over the signals")?;
    for (route, address) in process.addresses() {
        tracing::info!(route, %address, "listening");
    }
    if let Some(address) = process.admin() {
        tracing::info!(route = "admin", address = %format_args!("http://{address}"), "listening");
    }
    end.wait();
    tracing::info!("draining: no new connections");
    process.shutdown(|| end.at_once());
    tracing::info!("ended");
    Ok(())
}

fn check(file: &Path) -> anyhow::Result<()> {
    let summary = inclavared_config::check(file)?;
    writeln!(io::stdout(), "{summary}").context("writing to standard output")
}

fn sim_init(folder: &Path, renew: bool) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let platform =
        if renew { SimPlatform::renew_folder(folder, now)? } else { SimPlatform::load_or_create(folder, now)? };
    let (folder, expires) = (folder.display(), platform.expires());
    writeln!(io::stdout(), "simulated platform in {folder}: its collateral holds until {expires}")
        .context("writing to standard output")
}
