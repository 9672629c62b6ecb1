//! `quotes`: many new paths at level `quote` from a platform that makes few quotes, one at a time.
//!
//! One hop, an attester as slow as that of a cloud's TDX, and a verifier that asks for new paths at a fixed rate, whether
//! those before are answered or not. Beside it the same hop asked by one client at a time, so that every path has a quote of
//! its own, and the queue of quotes alone, without sockets.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use inclavared_attest::path::{Nonce, Open, VERSION};
use inclavared_attest::policy::Binding;
use inclavared_attest::{ConfigDigest, LegId, PolicyDigest, Timestamp};
use inclavared_tunnel::leg::LegFacts;
use inclavared_tunnel::path::quoting::Quoter;
use inclavared_tunnel::path::statement::Statement;
use inclavared_tunnel::trust::blocking::BlockingPool;
use inclavared_tunnel::trust::identity::{IdentityService, Role};
use tokio::task::LocalSet;

use crate::paths::{self, Joined, World, quantile};

/// Paths that may be under way: beyond that the machine does not keep up, and what is offered is said to be less.
const MOST_UNDER_WAY: usize = 2000;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// New paths a second.
    #[arg(long, default_value_t = 1000)]
    rate: u32,
    /// Quotes a second that the platform makes.
    #[arg(long, default_value_t = 25)]
    quotes: u32,
    #[arg(long, default_value_t = 8)]
    seconds: u64,
}

#[derive(Default)]
struct Counted {
    under_way: Cell<usize>,
    failed: Cell<usize>,
    waits: RefCell<Vec<f64>>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let takes = Duration::from_secs(1) / args.quotes;
    let time = Duration::from_secs(args.seconds);
    let world = World::new()?;
    println!("a platform of {} quotes a second, one at a time; {} s each", args.quotes, args.seconds);
    one_by_one(&world, takes, time)?;
    offered(&world, args.rate, takes, time)?;
    queue_alone(&world, args.rate, takes, time)
}

/// A quote a connection.
fn one_by_one(world: &World, takes: Duration, time: Duration) -> Result<()> {
    let chain = world.chain(1, Joined { quote_takes: takes, binding: "quote", ..Joined::ATTESTED })?;
    let verifier = world.verifier("quote")?;
    let (begun, before) = (Instant::now(), chain.quotes());
    let mut opened = 0;
    while begun.elapsed() < time {
        verifier.runtime.block_on(paths::open(&verifier.node, &verifier.policy, chain.address))?;
        opened += 1;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let quotes = chain.quotes() - before;
    println!(
        "one path at a time: {:.1} paths/s, {:.2} paths a quote",
        f64::from(opened) / seconds,
        f64::from(opened) / quotes as f64
    );
    Ok(())
}

fn offered(world: &World, rate: u32, takes: Duration, time: Duration) -> Result<()> {
    let chain = world.chain(1, Joined { quote_takes: takes, binding: "quote", ..Joined::ATTESTED })?;
    let verifier = world.verifier("quote")?;
    let counted = Rc::new(Counted::default());
    let shared = Rc::new((verifier.node, verifier.policy));
    let (mut given, mut skipped) = (0usize, 0usize);
    let before = chain.quotes();
    let begun = Instant::now();
    let tasks = LocalSet::new();
    let work = async {
        let mut tick = tokio::time::interval(Duration::from_secs(1) / rate);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
        while begun.elapsed() < time {
            tick.tick().await;
            if counted.under_way.get() >= MOST_UNDER_WAY {
                skipped += 1;
                continue;
            }
            given += 1;
            counted.under_way.set(counted.under_way.get() + 1);
            let (counted, shared, to) = (Rc::clone(&counted), Rc::clone(&shared), chain.address);
            tokio::task::spawn_local(async move {
                match paths::open(&shared.0, &shared.1, to).await {
                    Ok(opening) => counted.waits.borrow_mut().push(opening.wait.as_secs_f64() / takes.as_secs_f64()),
                    Err(_) => counted.failed.set(counted.failed.get() + 1),
                }
                counted.under_way.set(counted.under_way.get() - 1);
            });
        }
        let asked = begun.elapsed().as_secs_f64();
        while counted.under_way.get() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        asked
    };
    let asked = verifier.runtime.block_on(tasks.run_until(work));
    let quotes = chain.quotes() - before;
    let mut waits = counted.waits.take();
    let served = waits.len();
    println!(
        "over sockets: {rate} wanted, {:.0} offered, {:.0} served a second ({} failed, {skipped} not offered); {quotes} quotes, {:.1} paths a quote",
        given as f64 / asked,
        served as f64 / begun.elapsed().as_secs_f64(),
        counted.failed.get(),
        served as f64 / quotes as f64,
    );
    show("from OPEN to PREVIEW", &mut waits);
    Ok(())
}

/// Established legs that ask for their quotes at that rate: no handshake, no record, no verification.
fn queue_alone(world: &World, rate: u32, takes: Duration, time: Duration) -> Result<()> {
    let device = world.device("queue", takes)?;
    let role = Role {
        chain_role: "workload".to_owned(),
        policy_digest: PolicyDigest::of(b""),
        config_digest: ConfigDigest::of(b""),
    };
    let now = Timestamp::now();
    let identity = IdentityService::start(Arc::clone(&device) as _, role, now)
        .and_then(|service| service.current(now))
        .map_err(|error| anyhow!("{error}"))?;
    let (pool, _threads) = BlockingPool::new(1, 8)?;
    let quoter = Quoter::new(Arc::clone(&device) as _, pool, paths::PATIENCE);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let waits = Rc::new(RefCell::new(Vec::new()));
    let before = device.quotes.load(Ordering::Relaxed);
    let begun = Instant::now();
    runtime.block_on(LocalSet::new().run_until(async {
        let mut tick = tokio::time::interval(Duration::from_secs(1) / rate);
        let mut tasks = tokio::task::JoinSet::new();
        let mut number = 0u64;
        while begun.elapsed() < time {
            tick.tick().await;
            number += 1;
            let open = Open {
                versions: vec![VERSION],
                nonce: Nonce::from_bytes([1; 32]),
                binding: Binding::Quote,
                route: None,
                policy: None,
                ttl: 1,
                visited: Vec::new(),
                have: Vec::new(),
                no_warm_legs: false,
                stranger: false,
            };
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            let (id, server) = (LegId::from_bytes(id), identity.key.kid());
            let facts = LegFacts { id, server, client: None, suite: 0x1301, group: 29, alpn: None, sni: None };
            let digest = Open::digest(&open.encode());
            let leaf = Statement::new(Arc::clone(&identity), "workload", &open, digest, &facts).preview_leaf();
            let (asked, waits) = (Instant::now(), Rc::clone(&waits));
            let pending = quoter.ask(leaf).map_err(|error| anyhow!("{error}"))?;
            tasks.spawn_local(async move {
                if pending.done().await.is_ok() {
                    waits.borrow_mut().push(asked.elapsed().as_secs_f64() / takes.as_secs_f64());
                }
            });
        }
        tasks.join_all().await;
        anyhow::Ok(())
    }))?;
    let mut waits = waits.take();
    let (served, quotes) = (waits.len(), device.quotes.load(Ordering::Relaxed) - before);
    println!(
        "the queue alone: {:.0} legs a second; {quotes} quotes, {:.1} legs a quote",
        served as f64 / begun.elapsed().as_secs_f64(),
        served as f64 / quotes as f64
    );
    show("from asking to the quote", &mut waits);
    Ok(())
}

fn show(what: &str, waits: &mut [f64]) {
    let at = |waits: &mut [f64], part| quantile(waits, part);
    println!(
        "  {what}, in quote times: median {:.2}, p99 {:.2}, most {:.2}",
        at(waits, 0.5),
        at(waits, 0.99),
        at(waits, 1.0)
    );
}
