//! `inclavared demo`: a chain on this machine, on a simulated platform of its own, shown to work and to refuse.
//!
//! Everything is what a user would run: routes, hop keys, sockets on loopback, the receipt. Only the platform is
//! simulated, and every process of the chain lives in this one.

mod stage;
mod transfer;

use std::io::{self, Write as _};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use inclavared_attest::Timestamp;
use inclavared_attest::path::Path;
use inclavared_attest::policy::Policy;
use inclavared_config::VerifierKind;
use inclavared_tunnel::relay::Closed;
use inclavared_tunnel::server::ended::Report;
use inclavared_tunnel::server::process::{Process, Setup};

use crate::cli::DemoOptions;
use crate::relying_party::{RelyingParty, forwarding};
use crate::report::{self, Finding, Recording};
use crate::signals::EndAsked;
use stage::Stage;

/// What is sent through the chain and back.
const SIZE: u64 = 64 << 20;

/// Runs the demo. An error is a failure of what it set out to show.
///
/// With `--json` standard output has JSON alone, a document a line: the verified path, and the refusal of the changed hop.
/// What is told besides goes to standard error.
pub fn run(options: &DemoOptions) -> anyhow::Result<()> {
    let begun = Instant::now();
    let say = |line: &str| say(line, options.json);
    say("1. A simulated platform, a workload and the hops before it, on loopback")?;
    let mut stage = Stage::set(usize::from(options.hops))?;
    clean_up_when_interrupted(&stage)?;
    for line in stage.lines() {
        say(&format!("   {line}"))?;
    }

    say("\n2. The verifier: evidence of every hop, appraised here, before a byte is sent")?;
    let genuine = Arc::new(VerifierKind::Sim.default_policy());
    let (path, recorded) = {
        let party = RelyingParty::new(stage.verification(genuine)?)?;
        let path = party.verify(async |_, verified| {
            let path = Arc::clone(verified.path());
            verified.leave().await;
            Ok(path)
        });
        let path = path.map_err(|error| anyhow::anyhow!(error.one_line())).context("verifying the path")?;
        let recorded = recorded(&path, &party);
        (path, recorded)
    };
    if options.json {
        document(&report::json_line(&report::path_json(&path, Timestamp::now())))?;
    } else {
        say(&report::success(&path, Timestamp::now()))?;
    }

    say("3. What was measured becomes the reference values from now on")?;
    let policy = Arc::new(inclavared_config::parse_policy("recorded.toml", &recorded, None)?);

    say(&format!("\n4. {} MiB through the verified path and back", SIZE >> 20))?;
    let receipt = transfer_through(&stage, &policy)?;
    say(&format!("   the same SHA-256 on both sides: {}", receipt.digest))?;
    say(&format!("   {:.0} MiB/s each way", receipt.mib_per_second))?;
    say(&format!("   {}", receipt.line))?;

    say("\n5. One hop runs other code now: the same address, another measurement")?;
    stage.replace_first()?;
    let party = RelyingParty::new(stage.verification(Arc::clone(&policy))?)?;
    let refused = party.verify(async |_, verified| {
        verified.leave().await;
        Ok(())
    });
    match refused {
        Ok(()) => bail!("a hop with another measurement was accepted"),
        Err(error) if options.json => document(&report::json_line(&report::failure_json(&Finding::from(&error))))?,
        Err(error) => say(&report::failure(&Finding::from(&error)))?,
    }
    stage.end();
    say(&format!("\nAll of it as it should be, in {:.1} s.", begun.elapsed().as_secs_f64()))
}

fn recorded(path: &Path, party: &RelyingParty) -> String {
    let verified = party.path();
    let address = verified.target.to_string();
    let at = Timestamp::now();
    report::recorded(
        path,
        &Recording { name: "recorded", address: &address, at, operator: None, key: None, policy: &verified.policy },
    )
}

struct Receipt {
    digest: String,
    mib_per_second: f64,
    line: String,
}

/// Sends a file through a local forwarding route, as `shelter forward` does, and waits for its receipt.
fn transfer_through(stage: &Stage, policy: &Arc<Policy>) -> anyhow::Result<Receipt> {
    let config = forwarding(&stage.verification(Arc::clone(policy))?, "127.0.0.1:0".parse()?)?;
    let (line, lines) = std::sync::mpsc::channel();
    let line = Mutex::new(line);
    let ended = Box::new(move |report: &Report| {
        let complete = matches!(&report.result, Ok(closed) if is_complete(closed));
        let line = line.lock().map(|line| line.send((complete, report::stream_line(report))));
        // Nobody waits for a second receipt.
        drop(line);
    });
    let forward = Process::start(Setup { config, workload: None, ended })?;
    let address = stage::tcp_address(&forward)?;
    let sent = transfer::echo_file(address, SIZE)?;
    let (complete, line) = lines.recv_timeout(transfer::LIMIT).context("no receipt came")?;
    forward.shutdown(|| false);
    ensure!(sent.there == sent.back, "what came back is not what was sent: {} and {}", sent.there, sent.back);
    ensure!(complete, "the receipt is not complete: {line}");
    let mib_per_second = (SIZE >> 20) as f64 / sent.took.as_secs_f64();
    Ok(Receipt { digest: sent.there.to_string(), mib_per_second, line })
}

fn is_complete(closed: &Closed) -> bool {
    closed.reason == inclavared_attest::path::CloseReason::Complete
}

/// Whoever reads along may have gone: that is an error, not a panic.
fn say(line: &str, aside: bool) -> anyhow::Result<()> {
    match aside {
        true => writeln!(io::stderr(), "{line}").context("writing to standard error"),
        false => document(line),
    }
}

fn document(line: &str) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{line}").context("writing to standard output")
}

/// An interrupted demo leaves no folder with keys behind.
fn clean_up_when_interrupted(stage: &Stage) -> anyhow::Result<()> {
    let end = EndAsked::take_over().context("taking over the signals")?;
    let folder = stage.folder().to_owned();
    thread::Builder::new().name("interrupted".to_owned()).spawn(move || {
        end.wait();
        let _ = std::fs::remove_dir_all(folder);
        std::process::exit(INTERRUPTED);
    })?;
    Ok(())
}

/// What a shell makes of SIGINT: 128 and the signal's number.
const INTERRUPTED: i32 = 130;
