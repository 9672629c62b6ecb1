//! `mutations`: evidence, certificates and collateral, damaged at random, against everything that reads and judges them.
//!
//! A damaged input may be refused, or accepted if nothing that matters was changed: the bytes for which that is so are
//! named in docs/THREATS.md. Anything else, and every panic, is a failure. The same seed does the same damage; keys are made
//! anew each time.

mod damage;
mod subjects;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::proc::peak_memory;
use damage::{Random, damage};
use subjects::{Judged, Subject};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Damaged inputs, shared among the subjects.
    #[arg(long, default_value_t = 10_000)]
    count: usize,
    /// The run to repeat.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let subjects = subjects::all()?;
    let before = peak_memory()?;
    let tally = mutate(&subjects, args.count, args.seed);
    let after = peak_memory()?;
    println!("{:<24} {:>7} {:>8} {:>9} {:>11}", "subject", "damaged", "refused", "malleable", "worst");
    for (subject, of) in subjects.iter().zip(&tally.subjects) {
        println!(
            "{:<24} {:>7} {:>8} {:>9} {:>11}",
            subject.name,
            of.refused + of.malleable + of.failures.len(),
            of.refused,
            of.malleable,
            format!("{:.2} ms", of.worst.as_secs_f64() * 1e3)
        );
    }
    println!(
        "seed {}: peak memory {:.1} MiB, {:.1} MiB more than before the run; {:.0} a second",
        args.seed,
        after as f64 / MIB,
        after.saturating_sub(before) as f64 / MIB,
        args.count as f64 / tally.took.as_secs_f64()
    );
    let failures: Vec<_> = tally.subjects.iter().flat_map(|of| &of.failures).collect();
    println!("{} panics or acceptances that should not be", failures.len());
    failures.iter().for_each(|failure| println!("FAILED: {failure}"));
    if !failures.is_empty() {
        bail!("{} inputs were accepted that should not be, or made something panic", failures.len());
    }
    Ok(())
}

const MIB: f64 = 1024.0 * 1024.0;

struct Tally {
    subjects: Vec<Of>,
    took: Duration,
}

/// What became of the damaged inputs of one subject.
#[derive(Default)]
struct Of {
    refused: usize,
    /// Accepted, and it says the same as before in everything that matters.
    malleable: usize,
    worst: Duration,
    failures: Vec<String>,
}

fn mutate(subjects: &[Subject], count: usize, seed: u64) -> Tally {
    let mut random = Random::new(seed);
    let mut tally = Tally { subjects: subjects.iter().map(|_| Of::default()).collect(), took: Duration::ZERO };
    let begun = Instant::now();
    for i in 0..count {
        let at = i % subjects.len();
        let (subject, of) = (&subjects[at], &mut tally.subjects[at]);
        let (damaged, how) = loop {
            let other = &subjects[random.below(subjects.len())].bytes;
            let (damaged, how) = damage(&subject.bytes, other, &mut random);
            // Some damage does nothing.
            if damaged != subject.bytes {
                break (damaged, how);
            }
        };
        let begun = Instant::now();
        let judged = catch_unwind(AssertUnwindSafe(|| (subject.judge)(&damaged)));
        of.worst = of.worst.max(begun.elapsed());
        match judged {
            Ok(Judged::Refused) => of.refused += 1,
            Ok(Judged::Accepted(says)) if says == subject.says => of.malleable += 1,
            Ok(Judged::Accepted(_)) => of.failures.push(format!("{}, input {i} ({how}): accepted", subject.name)),
            Err(_) => of.failures.push(format!("{}, input {i} ({how}): a panic", subject.name)),
        }
    }
    tally.took = begun.elapsed();
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_damaged_inputs() {
        let subjects = subjects::all().unwrap();
        let tally = mutate(&subjects, 1000, 7);
        let failures: Vec<_> = tally.subjects.iter().flat_map(|of| &of.failures).collect();
        assert!(failures.is_empty(), "{failures:#?}");
        // It does refuse: a judge that accepts everything that says the same would be one that looks at nothing.
        assert!(tally.subjects.iter().all(|of| of.refused > of.malleable));
    }

    #[test]
    fn every_subject_is_accepted_undamaged_and_a_lie_is_seen() {
        for subject in subjects::all().unwrap() {
            assert!(matches!((subject.judge)(&subject.bytes), Judged::Accepted(says) if says == subject.says));
        }
    }
}
