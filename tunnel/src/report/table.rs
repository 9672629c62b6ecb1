//! The path as a table, for a terminal of 100 columns.

use std::fmt::Write as _;

use inclavared_attest::Timestamp;
use inclavared_attest::appraise::{CodeIdentity, Root};
use inclavared_attest::path::{Path, PathHop};
use inclavared_attest::policy::PathEnd;

use super::measurement;
use crate::log::printable;

/// The original's words, the table, and whatever weakens the result, said aloud.
pub fn success(path: &Path, policy_given: bool) -> String {
    let mut out = String::from("Remote attestation is successful.\n");
    if !path.compared {
        out.push_str("Measurements were not compared with reference values: genuine TEEs, running any code. ");
        out.push_str(match policy_given {
            true => "The policy says so.\n",
            false => "Record them with `shelter record`, then verify with `--policy FILE`.\n",
        });
    }
    if path.simulated {
        out.push_str("SIMULATED evidence is among it: it proves nothing about hardware.\n");
    }
    out.push('\n');
    out.push_str(&table(path));
    out
}

/// The hops in order from the verifier, and the end of the path.
pub fn table(path: &Path) -> String {
    let now = Timestamp::now();
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "{:<4}{:<12}{:<11}{:<22}{:<18}{:<14}{:<10}BOUND BY",
        "HOP", "ROLE", "TEE", "MEASUREMENT", "TCB STATUS", "VALUES", "EXPIRES"
    );
    for hop in &path.hops {
        let _ = writeln!(out, "{}", row(hop, now));
    }
    let end = match &path.end {
        PathEnd::Terminal(kind) => format!("the path ends: {}", kind.name()),
        PathEnd::Legacy => "the path ends at an attested peer that shows nothing behind it".to_owned(),
    };
    let _ = writeln!(out, "{end}; worst TCB status {}; holds until {}", path.worst, path.expires);
    out
}

fn row(hop: &PathHop, now: Timestamp) -> String {
    let name = match &hop.appraised.code {
        CodeIdentity::Sgx(_) => "mrenclave",
        CodeIdentity::Tdx(_) => "mrtd",
        CodeIdentity::SevSnp(_) => "launch",
        CodeIdentity::None => "none",
    };
    let tee = format!("{}{}", tee(hop), if hop.appraised.debug { "+debug" } else { "" });
    let values = if hop.verdict.compared { "match" } else { "not compared" };
    let left = hop.not_after.since(now).as_secs();
    format!(
        "{:<4}{:<12}{:<11}{:<22}{:<18}{:<14}{:<10}key {} leg {}",
        hop.position,
        short(&printable(&hop.role), 11),
        tee,
        format!("{name} {}..", short(&measurement(&hop.appraised.code), 10)),
        short(hop.verdict.status.name(), 17),
        values,
        format!("{}m{:02}s", left / 60, left % 60),
        short(&hop.kid.to_string(), 8),
        short(&hop.leg.to_string(), 8),
    )
}

fn tee(hop: &PathHop) -> &'static str {
    match (hop.appraised.root, &hop.appraised.code) {
        (Root::Simulated, CodeIdentity::Tdx(_)) => "tdx (sim)",
        (Root::Simulated, _) => "sgx (sim)",
        (_, CodeIdentity::Sgx(_)) => "sgx",
        (_, CodeIdentity::Tdx(_)) => "tdx",
        (_, CodeIdentity::SevSnp(_)) => "sev-snp",
        (_, CodeIdentity::None) => "none",
    }
}

fn short(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}
