//! What is aimed at, and whether this run has it.

use super::peers::Proxy;
use super::table::{Table, number};

/// One aim: a figure of this run, and the least (or, with `at_most`, the most) that it should be.
struct Aim {
    what: &'static str,
    found: Option<f64>,
    aim: f64,
    at_most: bool,
}

/// As Markdown. What was not measured in this run is said.
pub(super) fn print_aims(table: &Table) {
    use Proxy::{Attested, CopyLoop, Envoy, Haproxy, Hybrid, Pki, Tng, Tunnel, TwoWorkers};
    let ratio = |metric: &str, ours, peer| Some(table.median(ours, metric)? / table.median(peer, metric)?);
    let payload = |ours, peer| Some(table.payload(ours)? / table.payload(peer)?);
    let many = |proxy| Some((table.median(proxy, "64-up")? * table.median(proxy, "64-down")?).sqrt());
    let least = |what, found, aim| Aim { what, found, aim, at_most: false };
    let most = |what, found, aim| Aim { what, found, aim, at_most: true };
    let aims = [
        least("payload, pki, to Envoy", payload(Pki, Envoy), 1.8),
        least("payload, pki, to HAProxy", payload(Pki, Haproxy), 2.8),
        least("payload, pki, to the copy loop", payload(Pki, CopyLoop), 1.7),
        least("1400-byte records, pki, to Envoy", ratio("1400-byte", Pki, Envoy), 2.5),
        least("payload, attested, to pki", payload(Attested, Pki), 0.97),
        least("handshakes, pki, to Envoy", ratio("handshakes", Pki, Envoy), 1.3),
        least("handshakes, attested, to Envoy", ratio("handshakes", Attested, Envoy), 1.0),
        most("added p50, pki, to Envoy", ratio("added-p50", Pki, Envoy), 1.0),
        most("idle, pki, KiB a stream", table.median(Pki, "idle"), 10.0),
        most("idle, attested, KiB a stream", table.median(Attested, "idle"), 12.0),
        // Two cores are not free where the load has one of them: by CPU time, twice the workers should cost no more.
        least(
            "64 streams a CPU-second, two workers to one",
            many(TwoWorkers).zip(many(Pki)).map(|(two, one)| two / one),
            0.9,
        ),
        least("payload, plain to attested to plain, to TNG", payload(Tunnel, Tng), 1.3),
        least("handshakes, X25519MLKEM768 to X25519", ratio("handshakes", Hybrid, Pki), 0.0),
    ];
    println!("\n| figure | aim | found | |");
    println!("|---|---|---|---|");
    for Aim { what, found, aim, at_most } in aims {
        let (found, verdict) = match found {
            None => ("-".to_owned(), "not measured"),
            Some(found) if aim == 0.0 => (number(found), "no aim"),
            Some(found) if (found <= aim) == at_most => (number(found), "reached"),
            Some(found) => (number(found), "missed"),
        };
        let aim = if aim == 0.0 { "-".to_owned() } else { number(aim) };
        println!("| {what} | {} {aim} | {found} | {verdict} |", if at_most { "at most" } else { "at least" });
    }
}
