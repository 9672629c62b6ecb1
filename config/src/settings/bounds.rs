//! Every bound of the process: how much there may be at once, and how long it may take. Each has a default and its
//! reason.

use std::time::Duration;

use crate::document::Table;

/// How much of everything there may be at once. What is over a limit is refused, or waits for a bounded time.
///
/// A source is an IPv4 address, or the network of an IPv6 address. A stranger is a client that nobody has admitted.
///
/// Invariant: none is zero but `kept_for_admitted`, and a limit per source is at most the whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Open connections. 10,000: with one relay buffer each way about 1 GiB under full load, and within the usual
    /// hard limit of 65,536 descriptors at two or three a connection.
    pub connections: usize,
    /// Open connections from one source. 5,000: half of all; behind a sidecar or a NAT everybody shares one address, so it
    /// cannot be small. Besides, the streams of one stranger's address are at most as many as are left free of their
    /// share, so that no few of them fill it.
    pub connections_per_source: usize,
    /// Leading bits of an IPv6 address that make one source. 64: what one customer is given at least.
    pub ipv6_prefix: u8,
    /// Of a hundred places of every kind, those that strangers cannot have. 25: a flood of strangers leaves a hop, whose
    /// evidence was admitted, a quarter of everything.
    pub kept_for_admitted: u8,
    /// TLS handshakes that are computed at once, each from its whole ClientHello to our answer; others wait for their turn,
    /// at most the handshake's deadline. Waiting for the peer takes no turn. 64: each costs under a millisecond of a core,
    /// so that whoever is in the middle of a handshake waits that long for the newcomers before it; without a bound all of
    /// them would miss their deadline in a storm (envoyproxy/envoy#33608).
    pub handshakes_in_flight: usize,
    /// Those of one source. 16: a quarter of all.
    pub handshakes_per_source: usize,
    /// What the handshakes under way hold of messages that are not whole, beyond 4 KiB each, KiB. 65,536: a thousand
    /// clients in the middle of the largest certificate, or six thousand of the usual evidence.
    pub handshake_kib: usize,
    /// Paths being opened: from OPEN until PREVIEW. 512: each holds a dial, an appraisal and a trailer of up to 256 KiB. As
    /// many more may wait for their START.
    pub openings: usize,
    /// Paths being opened for one source, and for the clients of one plain listener on this machine. 128: a quarter of all.
    pub openings_per_source: usize,
    /// Legs of known peers that stand ready for longer than `handshake_to_open`. 256: four pools of the largest size;
    /// each leg holds a connection and about 20 KiB.
    pub idle_legs: usize,
    /// Those of one hop. 64: a quarter of all.
    pub idle_legs_per_source: usize,
    /// Threads for appraisal and for quoting. 4: an appraisal takes under a millisecond of CPU, and a device makes one
    /// quote at a time. One slow device must not hold up appraisal.
    pub blocking_threads: usize,
    /// Jobs that wait for such a thread. 256: at a millisecond each, with four threads, under a tenth of a second.
    pub blocking_queue: usize,
}

/// How long everything may take. Invariant: none is zero.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deadlines {
    /// From accept to the end of the TLS handshake. 10 s: three round trips on a bad network, with retransmissions.
    pub handshake: Duration,
    /// From the end of the handshake to OPEN, while the client appraises. 5 s (PROTOCOL section 4).
    pub handshake_to_open: Duration,
    /// The same for a peer whose evidence was admitted, if there is room among `idle_legs`: its leg may stand ready for
    /// a path to come. 60 s: a hop that keeps legs ready replaces them well before.
    pub idle_leg: Duration,
    /// How long an opening waits for its turn where as many are under way as may be. 10 s: a burst of honest clients is
    /// worked off, and a client that waits for its PREVIEW (20 s) still hears why it is refused.
    pub opening_turn: Duration,
    /// From OPEN to PREVIEW at the first hop, while the whole path below is built. 20 s (PROTOCOL section 4).
    pub open_to_preview: Duration,
    /// By how much each further hop has less time than the one above it, so that the hop nearest to a fault is the one
    /// that names it. 2 s.
    pub open_to_preview_per_hop: Duration,
    /// From PREVIEW to START, while the client verifies the path. 10 s (PROTOCOL section 4).
    pub preview_to_start: Duration,
    /// One connect to the target, its name lookup included. 5 s: a lost SYN is sent again after 1 s and 3 s.
    pub dial: Duration,
    /// One appraisal, with the wait for collateral that it may need. 3 s: below `handshake_to_open`.
    pub appraisal: Duration,
    /// How long a hop key serves new handshakes. 10 min (PROTOCOL section 2), and never longer.
    pub hop_key: Duration,
    /// One quote. 10 s: a busy machine's quoting service takes seconds.
    pub quote: Duration,
    /// How long the other direction may be silent after one has ended. 60 s.
    pub half_close: Duration,
    /// How long a write may take no byte while both directions are open. `None` by default: a reader that stalls for an
    /// hour and goes on is served. Once a direction has ended, `half_close` covers writes, too
    /// (Dstack-TEE/dstack#1245).
    pub write_stall: Option<Duration>,
    /// How long an open tunnel may be without a byte. `None` by default: a tunnel that is merely quiet is never closed.
    pub idle: Option<Duration>,
    /// The same where the client is a stranger. 10 min: whoever nobody knows holds no place for ever by saying nothing.
    pub stranger_idle: Duration,
    /// What open connections have at shutdown. 30 s: Kubernetes' grace period.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_source: 5_000,
            ipv6_prefix: 64,
            kept_for_admitted: 25,
            handshakes_in_flight: 64,
            handshakes_per_source: 16,
            handshake_kib: 65_536,
            openings: 512,
            openings_per_source: 128,
            idle_legs: 256,
            idle_legs_per_source: 64,
            blocking_threads: 4,
            blocking_queue: 256,
        }
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            handshake: seconds(10),
            handshake_to_open: seconds(5),
            idle_leg: seconds(60),
            opening_turn: seconds(10),
            open_to_preview: seconds(20),
            open_to_preview_per_hop: seconds(2),
            preview_to_start: seconds(10),
            dial: seconds(5),
            appraisal: seconds(3),
            hop_key: LONGEST_HOP_KEY,
            quote: seconds(10),
            half_close: seconds(60),
            write_stall: None,
            idle: None,
            stranger_idle: seconds(600),
            drain: seconds(30),
        }
    }
}

/// `[limits]`.
pub(crate) fn read_limits(root: &Table<'_>) -> Limits {
    let mut limits = Limits::default();
    let Some(table) = root.table("limits") else { return limits };
    for (key, slot, most) in [
        ("connections", &mut limits.connections, 1_000_000),
        ("connections_per_source", &mut limits.connections_per_source, 1_000_000),
        ("handshakes_in_flight", &mut limits.handshakes_in_flight, 100_000),
        ("handshakes_per_source", &mut limits.handshakes_per_source, 100_000),
        ("handshake_kib", &mut limits.handshake_kib, 16_777_216),
        ("openings", &mut limits.openings, 100_000),
        ("openings_per_source", &mut limits.openings_per_source, 100_000),
        ("idle_legs", &mut limits.idle_legs, 100_000),
        ("idle_legs_per_source", &mut limits.idle_legs_per_source, 100_000),
        ("blocking_threads", &mut limits.blocking_threads, 512),
        ("blocking_queue", &mut limits.blocking_queue, 100_000),
    ] {
        *slot = table.get(key).and_then(|v| v.integer(1..=most)).unwrap_or(*slot);
    }
    for (key, slot, allowed) in [
        ("ipv6_prefix", &mut limits.ipv6_prefix, 1..=128),
        ("kept_for_admitted", &mut limits.kept_for_admitted, 0..=90),
    ] {
        *slot = table.get(key).and_then(|v| v.integer(allowed)).unwrap_or(*slot);
    }
    for (key, part, all_key, all) in [
        ("connections_per_source", &mut limits.connections_per_source, "connections", limits.connections),
        (
            "handshakes_per_source",
            &mut limits.handshakes_per_source,
            "handshakes_in_flight",
            limits.handshakes_in_flight,
        ),
        ("openings_per_source", &mut limits.openings_per_source, "openings", limits.openings),
        ("idle_legs_per_source", &mut limits.idle_legs_per_source, "idle_legs", limits.idle_legs),
    ] {
        if *part > all && table.has(key) {
            table.mistake_at(
                key,
                format!("{part} is more than `{all_key}`, which is {all}"),
                "lower it, or raise the other",
            );
        }
        // A default follows the whole that the operator lowered.
        *part = (*part).min(all);
    }
    table.finish();
    limits
}

/// `[deadlines]`.
pub(crate) fn read_deadlines(root: &Table<'_>) -> Deadlines {
    let mut deadlines = Deadlines::default();
    let Some(table) = root.table("deadlines") else { return deadlines };
    for (key, slot) in [
        ("handshake", &mut deadlines.handshake),
        ("handshake_to_open", &mut deadlines.handshake_to_open),
        ("idle_leg", &mut deadlines.idle_leg),
        ("opening_turn", &mut deadlines.opening_turn),
        ("open_to_preview", &mut deadlines.open_to_preview),
        ("open_to_preview_per_hop", &mut deadlines.open_to_preview_per_hop),
        ("preview_to_start", &mut deadlines.preview_to_start),
        ("dial", &mut deadlines.dial),
        ("appraisal", &mut deadlines.appraisal),
        ("quote", &mut deadlines.quote),
        ("half_close", &mut deadlines.half_close),
        ("stranger_idle", &mut deadlines.stranger_idle),
        ("drain", &mut deadlines.drain),
    ] {
        *slot = table.get(key).and_then(|v| v.duration(SHORTEST..=LONGEST)).unwrap_or(*slot);
    }
    if let Some(life) = table.get("hop_key").and_then(|v| v.duration(SHORTEST_HOP_KEY..=LONGEST_HOP_KEY)) {
        deadlines.hop_key = life;
    }
    deadlines.write_stall = table.get("write_stall").and_then(|v| v.duration(SHORTEST..=LONGEST));
    deadlines.idle = table.get("idle").and_then(|v| v.duration(SHORTEST..=LONGEST));
    table.finish();
    deadlines
}

/// A quote takes a while, and one is made for each key.
const SHORTEST_HOP_KEY: Duration = Duration::from_secs(1);
const LONGEST_HOP_KEY: Duration = Duration::from_secs(10 * 60);

/// Below the timers' resolution a deadline is a refusal; above a day it is none.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(86_400);
