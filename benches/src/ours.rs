//! The relay itself, as a child of the comparison.

use std::path::Path;

use anyhow::{Result, anyhow};
use inclavared_tunnel::server::process::{Process, Setup};

/// Serves until it is killed.
pub(crate) fn run(config: &Path) -> Result<()> {
    let config = inclavared_config::load(config).map_err(|errors| anyhow!("{errors}"))?;
    let ended = Box::new(|report: &inclavared_tunnel::server::ended::Report| {
        if let Err(error) = &report.result {
            eprintln!("{}: {}", report.route.route.name, error.one_line());
        }
    });
    let _process = Process::start(Setup { config, workload: None, ended })?;
    loop {
        std::thread::park();
    }
}
