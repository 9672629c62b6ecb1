//! The verifier of the relying party.

mod values;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use anyhow::Context as _;
use inclavared_attest::Timestamp;
use inclavared_attest::offline::Outcome;
use inclavared_attest::path::Close;
use inclavared_config::Listen;
use inclavared_programs::cli::{OfflineAppraisal, Parsed, Shelter, Source, Verification, init_logging};
use inclavared_programs::relying_party::{RelyingParty, forwarding};
use inclavared_programs::report::{self, Finding};
use inclavared_programs::signals::EndAsked;
use inclavared_programs::{hardening, offline};
use inclavared_tunnel::server::ended::Report;
use inclavared_tunnel::server::process::{Process, Setup};

fn main() -> ExitCode {
    if let Err(error) = hardening::keep_memory_private() {
        eprintln!(
            "shelter: memory cannot be kept from dumps and debuggers: {error}; let the sandbox allow prctl and setrlimit"
        );
        return ExitCode::FAILURE;
    }
    let Parsed { what, log, notes } = match Shelter::parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(error) => return error.report(),
    };
    let done = init_logging(&log).context("the log").and_then(|()| {
        notes.iter().for_each(|note| tracing::info!("{note}"));
        match what {
            Shelter::RemoteAttestation { path, start, json } => remote_attestation(path, start, json),
            Shelter::Record { path, to } => values::record(path, &to),
            Shelter::Diff { a, b, json } => or_not_tried(values::diff(&a, *b, json)),
            Shelter::Import(what) => or_not_tried(values::import(&what)),
            Shelter::MeasureSgx { what, json } => or_not_tried(values::measure(&what, json)),
            Shelter::Forward { path, listen, once, json } => forward(&path, listen, once, json),
            Shelter::Appraise { appraisal, json } => Ok(appraise(&appraisal, json)),
            Shelter::Inspect { file } => Ok(inspect(&file)),
        }
    });
    done.unwrap_or_else(|error| {
        eprintln!("shelter: {error:#}");
        ExitCode::FAILURE
    })
}

/// Verifies the path and says what was found: exit status 0 if it is accepted, 1 if not. With `start`, how an empty
/// stream through it closed, too.
fn remote_attestation(path: Verification, start: bool, json: bool) -> anyhow::Result<ExitCode> {
    let verified = RelyingParty::new(path).map_err(|error| Finding::from(&error)).and_then(|party| {
        let verify = party.verify(async |node, verified| match start {
            true => verified.probe(&node.side).await.map(|(path, counters)| (path, Some(counters))),
            false => {
                let path = Arc::clone(verified.path());
                verified.leave().await;
                Ok((path, None))
            }
        });
        verify.map_err(|error| Finding::from(&error))
    });
    let (path, counters) = match verified {
        Ok(verified) => verified,
        Err(finding) => {
            if json {
                let value = report::failure_json(&finding);
                writeln!(std::io::stdout(), "{}", report::json_line(&value))?;
            }
            eprint!("{}", report::failure(&finding));
            return Ok(ExitCode::FAILURE);
        }
    };
    if json {
        let mut value = report::path_json(&path, Timestamp::now());
        if let Some(counters) = counters {
            value["receipt"] = report::receipt_json(&path, counters)["receipt"].take();
            value["ok"] = matches!(path.close, Some(Close::Complete { .. })).into();
        }
        writeln!(std::io::stdout(), "{}", report::json_line(&value))?;
    } else {
        write!(std::io::stdout(), "{}", report::success(&path, Timestamp::now()))?;
        if let Some(counters) = counters {
            writeln!(std::io::stdout(), "{}", report::receipt_line(&path, counters))?;
        }
    }
    Ok(match counters {
        Some(_) => ExitCode::from(report::close_status(path.close)),
        None => ExitCode::SUCCESS,
    })
}

/// Carries local streams through the path, each verified by itself, and prints the receipt of each. With `once` it ends
/// after the first, and the exit status says how that closed.
fn forward(path: &Verification, listen: Listen, once: bool, json: bool) -> anyhow::Result<ExitCode> {
    let (tell, ended_first) = channel();
    let ended = move |report: &Report| {
        let line = if json { report::json_line(&report::stream_json(report)) } else { report::stream_line(report) };
        // Whoever reads the receipts may have gone; the streams go on.
        let _ = writeln!(std::io::stdout(), "{line}");
        if once {
            // The second and later ones count for nothing.
            let _ = tell.send(report::stream_status(report));
        }
    };
    let config = forwarding(path, listen)?;
    let process = Process::start(Setup { config, workload: None, ended: Box::new(ended) })?;
    let end = EndAsked::take_over().context("taking over the signals")?;
    for (route, address) in process.addresses() {
        tracing::info!(route, %address, "listening");
        eprintln!("listening on {address}, to {}", path.target);
    }
    let mut status = 0;
    if once {
        while !end.is_asked() {
            if let Ok(first) = ended_first.recv_timeout(LOOK) {
                status = first;
                break;
            }
        }
    } else {
        end.wait();
    }
    process.shutdown(|| end.at_once());
    Ok(ExitCode::from(status))
}

/// Judges a file of evidence: exit status 0 if it is accepted, 1 if it is refused, 2 if it could not be tried.
fn appraise(appraisal: &OfflineAppraisal, json: bool) -> ExitCode {
    let verdict = offline::appraise(appraisal);
    let text = match json {
        true => serde_json::to_value(&verdict).map(|value| report::json_line(&value) + "\n"),
        false => Ok(report::offline_verdict(&verdict)),
    };
    let written = text.map_err(anyhow::Error::from).and_then(|text| Ok(write!(std::io::stdout(), "{text}")?));
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
        .and_then(|value| Ok(writeln!(std::io::stdout(), "{}", report::json_pretty(&value))?));
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

/// How often it is looked whether a signal has come.
const LOOK: Duration = Duration::from_millis(50);

/// Of a failure that says nothing of the evidence.
const NOT_TRIED: u8 = 2;
