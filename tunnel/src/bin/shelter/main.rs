//! The verifier of the relying party.

mod values;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use inclavared_attest::Timestamp;
use inclavared_attest::offline::Outcome;
use inclavared_config::Listen;
use inclavared_tunnel::cli::{OfflineAppraisal, Parsed, Shelter, Source, Verification, init_logging};
use inclavared_tunnel::connection::Report;
use inclavared_tunnel::offline;
use inclavared_tunnel::process::{Process, Setup};
use inclavared_tunnel::relying_party::{RelyingParty, forwarding};
use inclavared_tunnel::report::{self, Finding};
use inclavared_tunnel::signals::EndAsked;

fn main() -> ExitCode {
    let Parsed { what, log, notes } = match Shelter::parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(error) => return error.report(),
    };
    let done = init_logging(&log).context("the log").and_then(|()| {
        notes.iter().for_each(|note| tracing::info!("{note}"));
        match what {
            Shelter::RemoteAttestation { path, json } => remote_attestation(path, json),
            Shelter::Record { path, to } => values::record(path, &to),
            Shelter::Diff { a, b, json } => or_not_tried(values::diff(&a, *b, json)),
            Shelter::Import(what) => or_not_tried(values::import(&what)),
            Shelter::MeasureSgx { what, json } => or_not_tried(values::measure(&what, json)),
            Shelter::Forward { path, listen, json } => forward(&path, listen, json),
            Shelter::Appraise { appraisal, json } => Ok(appraise(&appraisal, json)),
            Shelter::Inspect { file } => Ok(inspect(&file)),
        }
    });
    done.unwrap_or_else(|error| {
        eprintln!("shelter: {error:#}");
        ExitCode::FAILURE
    })
}

/// Verifies the path and says what was found: exit status 0 if it is accepted, 1 if not.
fn remote_attestation(path: Verification, json: bool) -> anyhow::Result<ExitCode> {
    let verified = RelyingParty::new(path).map_err(|error| Finding::from(&error)).and_then(|party| {
        let verify = party.verify(async |_, verified| {
            let path = Arc::clone(verified.path());
            verified.leave().await;
            Ok(path)
        });
        verify.map_err(|error| Finding::from(&error))
    });
    match verified {
        Ok(path) if json => {
            let value = report::path_json(&path, Timestamp::now());
            writeln!(io::stdout(), "{}", report::json_line(&value))?;
        }
        Ok(path) => write!(io::stdout(), "{}", report::success(&path, Timestamp::now()))?,
        Err(finding) => {
            if json {
                let value = report::failure_json(&finding);
                writeln!(io::stdout(), "{}", report::json_line(&value))?;
            }
            eprint!("{}", report::failure(&finding));
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Carries local streams through the path, each verified by itself, and prints the receipt of each.
fn forward(path: &Verification, listen: Listen, json: bool) -> anyhow::Result<ExitCode> {
    let ended = move |report: &Report| {
        let line = if json { report::json_line(&report::stream_json(report)) } else { report::stream_line(report) };
        // Whoever reads the receipts may have gone; the streams go on.
        let _ = writeln!(io::stdout(), "{line}");
    };
    let config = forwarding(path, listen)?;
    let process = Process::start(Setup { config, workload: None, ended: Box::new(ended) })?;
    let end = EndAsked::take_over().context("taking over the signals")?;
    for (route, address) in process.addresses() {
        tracing::info!(route, %address, "listening");
        eprintln!("listening on {address}, to {}", path.target);
    }
    end.wait();
    process.shutdown(|| end.at_once());
    Ok(ExitCode::SUCCESS)
}

/// Judges a file of evidence: exit status 0 if it is accepted, 1 if it is refused, 2 if it could not be tried.
fn appraise(appraisal: &OfflineAppraisal, json: bool) -> ExitCode {
    let verdict = offline::appraise(appraisal);
    let text = match json {
        true => serde_json::to_value(&verdict).map(|value| report::json_line(&value) + "\n"),
        false => Ok(report::offline_verdict(&verdict)),
    };
    let written = text.map_err(anyhow::Error::from).and_then(|text| Ok(write!(io::stdout(), "{text}")?));
    if let Some(error) = report::offline_error(&verdict) {
        eprint!("{error}");
    }
    match (written, verdict.outcome) {
        (Err(error), _) => not_tried(&error.context("writing the verdict")),
        (Ok(()), Outcome::Accepted) => ExitCode::SUCCESS,
        (Ok(()), Outcome::Refused) => ExitCode::FAILURE,
        (Ok(()), Outcome::CouldNotTry) => ExitCode::from(NOT_TRIED),
    }
}

/// Shows a file of evidence: exit status 0, or 2 if there is nothing to show.
fn inspect(file: &Source) -> ExitCode {
    let shown = offline::inspect(file)
        .map_err(|error| anyhow::anyhow!(error.message()))
        .and_then(|value| Ok(writeln!(io::stdout(), "{}", report::json_pretty(&value))?));
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => not_tried(&error),
    }
}

fn or_not_tried(done: anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    done.or_else(|error| Ok(not_tried(&error)))
}

fn not_tried(error: &anyhow::Error) -> ExitCode {
    eprintln!("shelter: {error:#}");
    ExitCode::from(NOT_TRIED)
}

/// Of a failure that says nothing of the evidence.
const NOT_TRIED: u8 = 2;
