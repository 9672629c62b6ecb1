//! A verified path for people: a row a hop, at most 100 columns wide.

use std::collections::BTreeMap;

use inclavared_attest::Timestamp;
use inclavared_attest::appraise::{Appraised, CodeIdentity, Root};
use inclavared_attest::evidence::Tee;
use inclavared_attest::path::{LEGACY_ROLE, Path};
use inclavared_attest::policy::{PathEnd, TerminalKind, Verdict};

use super::text::{WIDTH, paragraph, shown, wrapped};

/// The path hop by hop, the original's line, and what that line does not say. Ends with a newline.
pub fn success(path: &Path, now: Timestamp) -> String {
    let mut out = rows(path, now);
    out += &notes(path);
    out += &format!("end: {}\n", end_words(path.end));
    out += &format!("it may be started until {}, and ages out at {}\n\n", path.expires, path.ages_at);
    out += SUCCESS;
    out += "\n";
    for caveat in caveats(path) {
        out += &paragraph("", caveat);
    }
    out
}

/// The original's words: scripts wait for them.
const SUCCESS: &str = "Remote attestation is successful.";

/// What has to be said aloud after the success line.
fn caveats(path: &Path) -> Vec<&'static str> {
    let verdicts = path.hops.iter().map(|hop| &hop.verdict).chain(path.legacy.iter().map(|peer| &peer.verdict));
    let no_evidence = verdicts.clone().any(|verdict| verdict.root == Root::None);
    let debug = path.hops.iter().map(|hop| &hop.appraised).chain(path.legacy.iter().map(|peer| &peer.appraised));
    let mut said = Vec::new();
    if !path.compared {
        said.push(
            "Measurements were NOT compared with reference values: any code in such a TEE passes. Write them down once \
             with `shelter record`, and name that file with --policy.",
        );
    }
    if path.simulated {
        said.push("SIMULATED: evidence of a simulated platform is in this path. No hardware stands behind it.");
    }
    if no_evidence {
        said.push("NO EVIDENCE: a hop of this path proves nothing, and the policy lets it pass.");
    }
    if debug.clone().any(|appraised| appraised.debug) {
        said.push("DEBUG: a TEE of this path is in debug mode. Its memory is open to its host.");
    }
    said
}

struct Column {
    head: &'static str,
    /// In columns. Longer cells go on in the next line.
    widest: usize,
}

const COLUMNS: [Column; 8] = [
    Column { head: "#", widest: 2 },
    Column { head: "role", widest: 14 },
    Column { head: "TEE", widest: 13 },
    Column { head: "measurement", widest: 12 },
    Column { head: "TCB status", widest: 15 },
    Column { head: "values", widest: 12 },
    Column { head: "bound by", widest: 10 },
    Column { head: "leg", widest: 8 },
];

const GAP: &str = "  ";

const _: () = {
    let mut width = GAP.len() * (COLUMNS.len() - 1);
    let mut i = 0;
    while i < COLUMNS.len() {
        width += COLUMNS[i].widest;
        i += 1;
    }
    assert!(width <= WIDTH);
};

fn rows(path: &Path, now: Timestamp) -> String {
    let mut rows: Vec<[String; COLUMNS.len()]> = vec![COLUMNS.map(|column| column.head.to_owned())];
    for hop in &path.hops {
        let bound = match hop.fresh_at {
            Some(at) => format!("quote {}", age(now, at)),
            None => format!("key {}", age(now, hop.appraised.appraised_at)),
        };
        let position = hop.position.to_string();
        let leg = hop.leg.to_string();
        rows.push(row(position, shown(&hop.role), &hop.appraised, &hop.verdict, bound, &leg));
    }
    if let Some(peer) = &path.legacy {
        let role = peer.evidence.claims().hop().map_or(LEGACY_ROLE, |claims| &claims.chain_role);
        let bound = format!("key {}", age(now, peer.appraised.appraised_at));
        let position = (path.hops.len() + 1).to_string();
        rows.push(row(position, shown(role), &peer.appraised, &peer.verdict, bound, &peer.leg.to_string()));
    }
    let widths: Vec<usize> = COLUMNS
        .iter()
        .enumerate()
        .map(|(i, column)| rows.iter().map(|row| row[i].len().min(column.widest)).max().unwrap_or(0))
        .collect();
    rows.iter().map(|row| lines(row, &widths)).collect()
}

fn row(
    position: String,
    role: String,
    appraised: &Appraised,
    verdict: &Verdict,
    bound: String,
    leg: &str,
) -> [String; COLUMNS.len()] {
    let simulated = if verdict.simulated { " simulated" } else { "" };
    let (tee, status) = match verdict.root {
        Root::None => ("no evidence".to_owned(), "-".to_owned()),
        _ => (format!("{}{simulated}", tee_name(appraised.tee)), verdict.status.to_string()),
    };
    let measurement = match &appraised.code {
        CodeIdentity::Sgx(id) => hex::encode(&id.mrenclave[..6]),
        CodeIdentity::Tdx(id) => hex::encode(&id.mrtd[..6]),
        CodeIdentity::SevSnp(id) => hex::encode(&id.measurement[..6]),
        CodeIdentity::None => "-".to_owned(),
    };
    let values = if verdict.compared { "compared" } else { "not compared" }.to_owned();
    [position, role, tee, measurement, status, values, bound, leg.chars().take(8).collect()]
}

/// One row, over as many lines as its longest cell takes.
fn lines(row: &[String], widths: &[usize]) -> String {
    let cells: Vec<Vec<String>> = row.iter().zip(widths).map(|(cell, width)| wrapped(cell, *width)).collect();
    let height = cells.iter().map(Vec::len).max().unwrap_or(0);
    let mut out = String::new();
    for at in 0..height {
        let line: Vec<_> = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{:<width$}", cell.get(at).map_or("", String::as_str)))
            .collect();
        out += line.join(GAP).trim_end();
        out.push('\n');
    }
    out
}

/// What the verdicts say beside what stands in the table, the same words once for all hops that they speak of.
fn notes(path: &Path) -> String {
    let mut by_text: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let hops = path.hops.iter().map(|hop| (hop.position, &hop.appraised, &hop.verdict));
    let peer = path.legacy.iter().map(|peer| (path.hops.len() as u8 + 1, &peer.appraised, &peer.verdict));
    for (position, appraised, verdict) in hops.chain(peer) {
        let reasons = verdict.reasons.iter().map(|reason| shown(reason));
        let advisories = (!appraised.advisories.is_empty())
            .then(|| shown(&format!("advisories {}", appraised.advisories.join(", "))));
        for text in reasons.chain(advisories) {
            by_text.entry(text).or_default().push(position.to_string());
        }
    }
    let mut lines: Vec<_> = by_text.into_iter().map(|(text, hops)| (hops, text)).collect();
    lines.sort();
    let shown = lines.iter().map(|(hops, text)| {
        let label = if hops.len() == 1 { "hop" } else { "hops" };
        paragraph(&format!("{label} {}: ", hops.join(", ")), text)
    });
    shown.collect()
}

pub(super) fn tee_name(tee: Tee) -> &'static str {
    match tee {
        Tee::Sgx => "SGX",
        Tee::Tdx => "TDX",
        Tee::SevSnp => "SEV-SNP",
        Tee::None => "none",
    }
}

fn end_words(end: PathEnd) -> &'static str {
    match end {
        PathEnd::Terminal(TerminalKind::Workload) => "workload, the last hop itself",
        PathEnd::Terminal(TerminalKind::SameTee) => "same-tee, a socket inside the last hop's TEE",
        PathEnd::Terminal(TerminalKind::TeeLocal) => "tee-local, the loopback of the last hop's confidential guest",
        PathEnd::Terminal(TerminalKind::HostLocal) => {
            "host-local, NOT confidential: the last hop's host sees the bytes"
        }
        PathEnd::Terminal(TerminalKind::Plain) => "plain, NOT confidential: plain bytes on a network",
        PathEnd::Legacy => "an attested peer that does not speak this protocol: its evidence is in the last row",
    }
}

/// At most 4 characters up to 99 days.
fn age(now: Timestamp, at: Timestamp) -> String {
    match now.since(at).as_secs() {
        s @ 0..=99 => format!("{s}s"),
        s @ 100..=5_999 => format!("{}m", s / 60),
        s @ 6_000..=359_999 => format!("{}h", s / 3_600),
        s => format!("{}d", s / 86_400),
    }
}

#[cfg(test)]
mod tests;
