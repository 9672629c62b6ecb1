//! `guard`: how many instructions the byte path and the handshakes take, against what is written down.
//!
//! Counted by callgrind on an emulated processor, so a busy machine changes nothing. Each work is done n times and 2n times
//! in a process of its own, and the difference is what n take: what a process does at its start falls out. It counts what
//! the profile that it was built in makes; the numbers that are written down are of the dev profile, which the tests have.

pub(crate) mod session;
pub(crate) mod work;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use work::Work;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What is expected: instructions by work, as JSON.
    #[arg(long, default_value = "benches/instructions.json")]
    expected: PathBuf,
    /// How far a count may lie from it, in per cent. Signatures and maps of random order take a little more or less.
    #[arg(long, default_value_t = 5.0)]
    tolerance: f64,
    /// Write what was counted in place of comparing it.
    #[arg(long)]
    update: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut counted = BTreeMap::new();
    for work in Work::ALL {
        let count = work.count();
        let (once, twice) = (instructions(work, count, folder.path())?, instructions(work, 2 * count, folder.path())?);
        let each = twice.checked_sub(once).with_context(|| format!("{}: twice the work took less", work.name()))?;
        counted.insert(work.name().to_owned(), each / count as u64);
    }
    let file = args.expected.display();
    if args.update {
        return fs::write(&args.expected, serde_json::to_string_pretty(&counted)? + "\n")
            .with_context(|| format!("writing {file}"));
    }
    let text = fs::read(&args.expected).with_context(|| format!("reading {file}; `guard --update` writes it"))?;
    let expected: BTreeMap<String, u64> = serde_json::from_slice(&text).with_context(|| format!("{file}"))?;
    println!("| work | instructions | expected | |");
    println!("|---|---|---|---|");
    let mut out_of_bounds = Vec::new();
    for (work, found) in &counted {
        let Some(expected) = expected.get(work) else { bail!("{file} has no `{work}`: `guard --update` writes it") };
        let change = (*found as f64 / *expected as f64 - 1.0) * 100.0;
        println!("| {work} | {found} | {expected} | {change:+.1}% |");
        if change.abs() > args.tolerance {
            out_of_bounds.push(format!("{work} ({change:+.1}%)"));
        }
    }
    ensure!(
        out_of_bounds.is_empty(),
        "further than {}% from {file}: {}. If it is meant, `guard --update` writes the new counts",
        args.tolerance,
        out_of_bounds.join(", ")
    );
    Ok(())
}

fn instructions(work: Work, count: usize, folder: &Path) -> Result<u64> {
    let out = folder.join("callgrind.out");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--error-exitcode=9"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe()?)
        .args(["work", work.name(), &count.to_string()])
        .output()
        .context("starting valgrind: is it installed?")?;
    ensure!(output.status.success(), "{}: {}", work.name(), String::from_utf8_lossy(&output.stderr).trim());
    let text = fs::read_to_string(&out)?;
    let total = text.lines().rev().find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")));
    total.and_then(|total| total.trim().parse().ok()).context("callgrind wrote no total")
}
