//! The attested workload: the last hop of a path.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use inclavared_programs::cli::{EnclaveTlsServer, Parsed, Serves, init_logging};
use inclavared_programs::hardening;
use inclavared_programs::signals::EndAsked;
use inclavared_tunnel::server::log;
use inclavared_tunnel::server::process::{Process, Setup};
use inclavared_tunnel::server::workload::{Echo, Files, Workload};

fn main() -> ExitCode {
    if let Err(error) = hardening::keep_memory_private() {
        eprintln!(
            "enclave-tls-server: memory cannot be kept from dumps and debuggers: {error}; let the sandbox allow prctl and setrlimit"
        );
        return ExitCode::FAILURE;
    }
    let Parsed { what, log, notes } = match EnclaveTlsServer::parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(error) => return error.report(),
    };
    let done = init_logging(&log).context("the log").and_then(|()| {
        notes.iter().for_each(|note| tracing::info!("{note}"));
        run(what)
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("enclave-tls-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(server: EnclaveTlsServer) -> anyhow::Result<()> {
    let EnclaveTlsServer { mut config, serves } = server;
    // On a simulated platform, too, this is other code than the proxy.
    config.attestation.sim.label.get_or_insert_with(|| "enclave-tls-server".to_owned());
    let workload: Option<Arc<dyn Workload>> = match serves {
        Serves::Greeting => Some(Arc::new(Echo::greeting())),
        Serves::Echo => Some(Arc::new(Echo::default())),
        Serves::Files(folder) => {
            let files = Files::new(&folder).with_context(|| format!("--serve-dir {}", folder.display()))?;
            Some(Arc::new(files))
        }
        Serves::Backend(_) => None,
    };
    config.summary().warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let process = Process::start(Setup { config, workload, ended: Box::new(log::connection) })?;
    let end = EndAsked::take_over().context("taking over the signals")?;
    for (route, address) in process.addresses() {
        tracing::info!(route, %address, "listening");
    }
    end.wait();
    process.shutdown(|| end.at_once());
    Ok(())
}
