//! `opening`: what a new path costs, in bytes and time, by its hops; with evidence that is known, and over legs that stand
//! ready; and how many new paths a second come to be at each binding level, beside mutual TLS through the same hops.
//!
//! Everything takes turns in one run, so that the ratios count.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::paths::{self, Chain, Joined, Opening, PATIENCE, Verifier, World, quantile};

const WARM: &str = r#"warm = { size = 16, max_age = "4s" }"#;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Paths of each kind.
    #[arg(long, default_value_t = 100)]
    paths: usize,
    /// Of each round of each level.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Clients at once, for paths a second.
    #[arg(long, default_value_t = 48)]
    clients: usize,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let world = World::new()?;
    println!("one path at a time, level key; median (10th to 90th of a hundred) of {} paths each, in turn", args.paths);
    println!(
        "| hops | legs | evidence | OPEN, bytes | PREVIEW, bytes | connect to verified, ms | OPEN to PREVIEW, ms |"
    );
    println!("|---|---|---|---|---|---|---|");
    let mut waits = Vec::new();
    for hops in [1, 3, 8] {
        waits.push((hops, by_hops(&world, hops, args.paths)?));
    }
    for pair in waits.windows(2) {
        let ((less, fewer), (more, many)) = (&pair[0], &pair[1]);
        let added = |kind: usize| (many[kind] - fewer[kind]) / (more - less) as f64;
        println!(
            "each hop from {less} to {more} adds, ms from OPEN to PREVIEW: {:.2}, known {:.2}, known and legs ready {:.2}",
            added(0),
            added(1),
            added(2)
        );
    }
    per_second(&world, args)
}

/// Three kinds of openings in turn: nothing known, evidence known, and legs ready, too. The medians of their waits.
fn by_hops(world: &World, hops: usize, paths: usize) -> Result<[f64; 3]> {
    let cold = world.chain(hops, Joined::ATTESTED)?;
    let warm = world.chain(hops, Joined { warm: WARM, ..Joined::ATTESTED })?;
    let (knows, knows_warm) = (world.verifier("key")?, world.verifier("key")?);
    let open = |verifier: &Verifier, chain: &Chain| {
        verifier.runtime.block_on(paths::open(&verifier.node, &verifier.policy, chain.address))
    };
    for _ in 0..10 {
        open(&knows, &cold)?;
        open(&knows_warm, &warm)?;
    }
    let mut kinds: [Vec<Opening>; 3] = Default::default();
    for _ in 0..paths {
        // A verifier that has seen nothing yet; the hops have seen one another.
        kinds[0].push(open(&world.verifier("key")?, &cold)?);
        kinds[1].push(open(&knows, &cold)?);
        kinds[2].push(open(&knows_warm, &warm)?);
        // The legs that were used are made anew.
        std::thread::sleep(Duration::from_millis(10 * hops as u64));
    }
    let mut medians = [0.0; 3];
    for ((kind, (legs, evidence)), median) in
        kinds.iter().zip([("new", "sent"), ("new", "known"), ("ready", "known")]).zip(&mut medians)
    {
        let over_ready = kind.iter().map(|opening| opening.warm_legs).sum::<usize>();
        let ready = over_ready as f64 / (kind.len() * (hops - 1).max(1)) as f64;
        let legs = if legs == "ready" { format!("ready ({:.0}%)", ready * 100.0) } else { legs.to_owned() };
        let bytes = |of: fn(&Opening) -> usize| kind.iter().map(of).max().unwrap_or(0);
        let of = |of: fn(&Opening) -> Duration| kind.iter().map(|o| of(o).as_secs_f64() * 1e3).collect::<Vec<_>>();
        println!(
            "| {hops} | {legs} | {evidence} | {} | {} | {} | {} |",
            bytes(|o| o.open_bytes),
            bytes(|o| o.preview_bytes),
            show(&mut of(|o| o.whole)),
            show(&mut of(|o| o.wait)),
        );
        *median = quantile(&mut of(|o| o.wait), 0.5);
    }
    Ok(medians)
}

/// Streams of one byte there and back, to their receipts, by many clients over three hops.
fn per_second(world: &World, args: &Args) -> Result<()> {
    let takes = Duration::from_millis(40);
    let attested = |binding, warm| Joined { way_in: true, binding, warm, quote_takes: takes, ..Joined::ATTESTED };
    let kinds = [
        ("mutual TLS", Joined::PKI),
        ("key", attested("key", "")),
        ("key, legs ready", attested("key", WARM)),
        ("key+audit", attested("key+audit", "")),
        ("quote", attested("quote", "")),
    ];
    let chains = kinds.map(|(name, joined)| world.chain(3, joined).map(|chain| (name, chain, Vec::new())));
    let mut chains = chains.into_iter().collect::<Result<Vec<_>>>()?;
    for (_, chain, _) in &chains {
        stream(chain.address)?;
    }
    for _ in 0..args.rounds {
        for (_, chain, rates) in &mut chains {
            rates.push(rate(chain.address, args.clients, Duration::from_secs(args.seconds))?);
        }
    }
    println!(
        "\nnew streams of one byte a second over three hops of 25 quotes a second each, {} clients, median of {} rounds:",
        args.clients, args.rounds
    );
    println!("| | streams/s | of mutual TLS |\n|---|---|---|");
    let mut base = None;
    for (name, _, rates) in &mut chains {
        let rate = quantile(rates, 0.5);
        let base = *base.get_or_insert(rate);
        println!("| {name} | {rate:.0} | {:.2} |", rate / base);
    }
    Ok(())
}

fn rate(to: SocketAddr, clients: usize, time: Duration) -> Result<f64> {
    let (over, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let work = || -> Result<()> {
            while !over.load(Ordering::Relaxed) {
                stream(to)?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(work)).collect();
        std::thread::sleep(time);
        let rate = done.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
        over.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
        }
        Ok(rate)
    })
}

fn stream(to: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0]).context("no byte came back")?;
    stream.shutdown(Shutdown::Write)?;
    stream.read_to_end(&mut Vec::new()).context("the stream did not end well")?;
    Ok(())
}

fn show(figures: &mut [f64]) -> String {
    let at = |figures: &mut [f64], part| quantile(figures, part);
    format!("{:.2} ({:.2} to {:.2})", at(figures, 0.5), at(figures, 0.1), at(figures, 0.9))
}
