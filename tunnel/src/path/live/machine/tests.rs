//! One machine under every order of events, and chains of machines over a network that delays.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

const TIMES: Times = Times {
    spacing: Duration::from_secs(1),
    audit: Duration::from_secs(30),
    audit_grace: Duration::from_secs(5),
    early: Duration::from_secs(30),
    retry: Duration::from_secs(1),
    retry_most: Duration::from_secs(30),
    answer: Duration::from_secs(10),
};

/// Another value each time, as randomness gives it.
fn generate() -> Result<Challenge, RandomError> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    Ok(number(NEXT.fetch_add(1, Ordering::Relaxed)))
}

fn number(number: u64) -> Challenge {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Challenge::from_bytes(bytes)
}

/// Numbers that anybody with the seed can make again (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn millis(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.below(most + 1))
    }
}

type Tested = Machine<u64, Bytes>;

fn asked(audit: Option<Audit>, max_age: Duration, now: Instant) -> Option<(Demands, Newest)> {
    Some((Demands { audit, max_age, renews: true }, Newest { ends: now + max_age, fresh: false }))
}

/// One machine, and a watch over what it may do.
struct Watched {
    machine: Tested,
    newest: Option<Newest>,
    /// The CHALLENGE that it sent and that has no verified answer, and when the last one may be followed.
    outstanding: Option<Challenge>,
    not_before: Option<Instant>,
    /// What was asked of it, and whether its own quote was called for.
    asked: Option<Challenge>,
    quoting: bool,
    verifying: Option<Option<Challenge>>,
    audits: bool,
    last_at: Option<Instant>,
    ended: bool,
}

impl Watched {
    fn new(beyond: Option<(Demands, Newest)>, answers: bool, now: Instant) -> Self {
        let machine = Machine::new(TIMES, generate, beyond, answers, now);
        let newest = beyond.map(|(_, newest)| newest);
        let audits = beyond.is_some_and(|(demands, _)| demands.audit.is_some());
        Self {
            machine,
            newest,
            outstanding: None,
            not_before: None,
            asked: None,
            quoting: false,
            verifying: None,
            audits,
            last_at: None,
            ended: false,
        }
    }

    fn on(&mut self, event: Event<u64, Bytes>, now: Instant) -> Result<Vec<Action<u64, Bytes>>, Broken> {
        let was_over = self.ended;
        match &event {
            // One that crosses the last word is passed over.
            Event::Challenged(challenge) if self.last_at.is_none() => self.asked = self.asked.or(Some(*challenge)),
            Event::Quoted(_) => self.quoting = false,
            Event::Last => self.last_at = Some(now),
            Event::Verified { newest, .. } if !was_over => {
                self.newest = Some(*newest);
                if self.verifying.take().flatten().is_some() {
                    self.outstanding = None;
                    self.not_before = Some(now + TIMES.spacing);
                }
            }
            _ => {}
        }
        let refused = matches!(event, Event::Refused);
        let done = self.machine.on(event, now);
        self.ended |= refused || done.is_err();
        let actions = match &done {
            Ok(actions) => &actions[..],
            Err(_) => &[],
        };
        assert!(actions.is_empty() || !was_over, "{actions:?} after the end");
        for action in actions {
            assert!(!self.ended, "{action:?} after the last word");
            match action {
                Action::Challenge(challenge) => {
                    assert_eq!(self.outstanding.replace(*challenge), None, "two CHALLENGEs at once");
                    assert!(self.not_before.is_none_or(|at| at <= now), "two CHALLENGEs in a second");
                }
                Action::Verify { challenge, .. } => {
                    assert_eq!(self.verifying.replace(*challenge), None, "two verifications at once");
                    assert!(challenge.is_none() || *challenge == self.outstanding, "another challenge");
                }
                Action::Quote(challenge) => {
                    assert_eq!(Some(*challenge), self.asked, "a quote that nobody asked for");
                    assert!(!std::mem::replace(&mut self.quoting, true), "two quotes at once");
                }
                Action::Refresh { .. } => assert!(self.asked.take().is_some(), "a REFRESH that nobody asked for"),
                Action::Settled => {
                    let fresh = self.newest.is_none_or(|newest| newest.fresh);
                    assert!(fresh || !self.audits, "the last word before the fresh quotes");
                    let waited = self.last_at.is_some_and(|at| now >= at + TIMES.answer);
                    // After the last word from beyond nothing comes from there.
                    let in_vain =
                        self.newest.is_some()
                            && self.machine.asks.as_ref().is_some_and(|asks| {
                                asks.pass.is_some() || asks.outstanding.is_some_and(|one| one.relayed)
                            });
                    assert!(self.asked.is_none() || waited || in_vain, "the last word before the answer");
                    self.ended = true;
                }
            }
        }
        if self.ended {
            assert_eq!(self.machine.due(), None);
        } else {
            assert!(self.newest.is_none_or(|newest| newest.ends > now), "the path is too old and goes on");
            assert!(self.machine.due().is_none_or(|due| due > now), "what is due was not done");
            // Whoever asks has a deadline, and its own quote is on its way or due.
            let waits = self.asked.is_some() && !self.quoting && self.newest.is_none();
            assert!(!waits || self.machine.due().is_some(), "nothing is due, and somebody waits");
            assert!(self.newest.is_none() || self.machine.due().is_some(), "a path without an end");
        }
        done
    }
}

/// Whatever comes in whatever order, from peers that keep to nothing.
#[test]
fn no_order_of_events_breaks_a_rule() {
    let start = Instant::now();
    let (mut ends, mut answers) = ([0; 9], 0);
    for seed in 0..20_000 {
        let mut random = Random(seed);
        let mut now = start;
        let audit = [None, Some(Audit::Ours), Some(Audit::AlsoPeers)][random.below(3) as usize];
        let max_age = Duration::from_secs([2, 10, 60, 3_600][random.below(4) as usize]);
        let beyond = if random.chance(80) { asked(audit, max_age, now) } else { None };
        let mut watched = Watched::new(beyond, random.chance(80), now);
        for _ in 0..random.below(120) {
            now += match random.below(6) {
                0 | 1 => Duration::ZERO,
                2 => random.millis(20),
                3 => random.millis(1_500),
                4 => random.millis(max_age.as_millis() as u64 / 3),
                // To the deadline, and no further.
                _ => watched.machine.due().map_or(Duration::ZERO, |due| due - now),
            };
            // Most peers keep to the rules, or no path would live long enough.
            let rude = random.chance(2);
            let event = match random.below(24) {
                0..=5 if rude || watched.asked.is_none() => Event::Challenged(number(random.next())),
                6..=9 if rude || watched.outstanding.is_some() => {
                    Event::Refreshed { trailer: Bytes::new(), asked: random.chance(90) }
                }
                10..=14 if watched.verifying.is_some() => {
                    let fresh = random.chance(90);
                    let ends = if fresh { now + max_age } else { watched.newest.map_or(now, |newest| newest.ends) };
                    Event::Verified { newest: Newest { ends, fresh }, trailer: Bytes::new() }
                }
                15..=19 if watched.quoting => Event::Quoted(random.chance(80).then(|| random.next())),
                20 if random.chance(10) => Event::Refused,
                21 if random.chance(20) => Event::Last,
                _ => Event::Clock,
            };
            match watched.on(event, now) {
                Ok(actions) => answers += actions.iter().filter(|a| matches!(a, Action::Refresh { .. })).count(),
                Err(broken) => ends[broken as usize] += 1,
            }
        }
    }
    // Each end but want of randomness was met, or nothing was tested.
    assert!(ends[..Broken::Random as usize].iter().all(|met| *met > 10), "{ends:?}");
    assert!(answers > 5_000, "{answers}");
}

/// What crosses a leg.
#[derive(Clone, Debug)]
enum Frame {
    Challenge(Challenge),
    Refresh(Bytes),
    End,
    Trailer,
}

/// What happens to a node of the chain.
#[derive(Clone, Debug)]
enum Happens {
    FromAbove(Frame),
    FromBelow(Frame),
    Verified(Bytes),
    Quoted,
    Clock,
    /// Its hop key does, and the device is the new one's for a while.
    Rotates,
    /// Its application has no more to say.
    Ends,
}

/// A chain from a verifier to a workload: machines, and a network that keeps the order of each way of a leg.
struct Chain {
    random: Random,
    now: Instant,
    nodes: Vec<Node>,
    /// The next is what comes first, and of two at once what was put first.
    coming: BinaryHeap<Reverse<(Instant, u64, usize)>>,
    happens: Vec<Option<Happens>>,
    world: Weather,
    ends_at: Instant,
}

struct Node {
    watched: Watched,
    max_age: Duration,
    /// The last arrival on the leg below it, each way.
    down: Instant,
    up: Instant,
    /// What was asked over the leg below, as the wire shows it.
    wire: Option<Challenge>,
    client_ended: bool,
    server_ended: bool,
    said_last: bool,
    broken: Option<Broken>,
    /// Its device makes the quotes of a rotation first.
    busy_until: Instant,
}

/// How bad things are.
#[derive(Clone, Copy)]
struct Weather {
    /// A frame's way over a leg at most.
    delay: u64,
    /// A quote at most; a rotation takes ten times as long.
    quote: u64,
    /// In a hundred.
    attester_fails: u64,
    refuses: u64,
    stale: u64,
}

const FAIR: Weather = Weather { delay: 50, quote: 200, attester_fails: 0, refuses: 0, stale: 0 };
const FOUL: Weather = Weather { delay: 4_000, quote: 15_000, attester_fails: 30, refuses: 3, stale: 20 };

impl Chain {
    fn new(seed: u64, world: Weather) -> Self {
        let mut random = Random(seed);
        let now = Instant::now();
        let hops = 1 + random.below(4) as usize;
        let (audits, mut above) = (random.chance(50), false);
        let nodes = (0..=hops).map(|place| {
            // What is asked above is asked of all below.
            let audit = (audits && random.chance(70)).then_some(if above { Audit::AlsoPeers } else { Audit::Ours });
            above |= audit.is_some();
            let max_age = Duration::from_secs(60 + random.below(240));
            let beyond = if place < hops { asked(audit, max_age, now) } else { None };
            Node {
                watched: Watched::new(beyond, place > 0, now),
                max_age,
                down: now,
                up: now,
                wire: None,
                client_ended: false,
                server_ended: false,
                said_last: false,
                broken: None,
                busy_until: now,
            }
        });
        let nodes: Vec<_> = nodes.collect();
        let longest = if random.chance(30) { 3_000 } else { 900_000 };
        let lasts = random.millis(longest);
        let mut chain =
            Self { random, now, nodes, coming: BinaryHeap::new(), happens: Vec::new(), world, ends_at: now + lasts };
        for place in 0..=hops {
            chain.put(now, place, Happens::Clock);
            for rotation in 0..2 {
                let at = chain.random.millis(600_000);
                chain.put(now + at + rotation * Duration::from_secs(600), place, Happens::Rotates);
            }
        }
        let either = chain.random.millis(5_000);
        chain.put(chain.ends_at, 0, Happens::Ends);
        chain.put(chain.ends_at + either, hops, Happens::Ends);
        chain
    }

    fn put(&mut self, at: Instant, node: usize, what: Happens) {
        self.coming.push(Reverse((at.max(self.now), self.happens.len() as u64, node)));
        self.happens.push(Some(what));
    }

    fn send_down(&mut self, from: usize, frame: Frame) {
        if let Frame::Challenge(challenge) = &frame {
            assert_eq!(self.nodes[from].wire.replace(*challenge), None, "a second CHALLENGE on the leg");
        }
        let delay = self.random.millis(self.world.delay);
        let at = self.nodes[from].down.max(self.now + delay);
        self.nodes[from].down = at;
        self.put(at, from + 1, Happens::FromAbove(frame));
    }

    fn send_up(&mut self, from: usize, frame: Frame) {
        let Some(above) = from.checked_sub(1) else { return };
        assert!(!self.nodes[from].said_last, "{frame:?} after the TRAILER");
        match &frame {
            Frame::Refresh(trailer) => {
                let asked = self.nodes[above].wire.take();
                assert_eq!(asked.map(|asked| asked.as_bytes().to_vec()).as_deref(), Some(&trailer[..]), "unasked");
            }
            Frame::Trailer => self.nodes[from].said_last = true,
            _ => {}
        }
        let delay = self.random.millis(self.world.delay);
        let at = self.nodes[above].up.max(self.now + delay);
        self.nodes[above].up = at;
        self.put(at, above, Happens::FromBelow(frame));
    }

    /// Until nothing comes any more.
    fn run(&mut self) {
        let hops = self.nodes.len() - 1;
        while let Some(Reverse((at, index, node))) = self.coming.pop() {
            assert!(at < self.ends_at + Duration::from_secs(7_200), "it never ends");
            self.now = at;
            let Some(what) = self.happens[index as usize].take() else { continue };
            if self.nodes[node].broken.is_some() || self.nodes[node].said_last {
                continue;
            }
            match what {
                Happens::Clock => self.on(node, Event::Clock),
                Happens::Quoted => {
                    let failed = self.random.chance(self.world.attester_fails);
                    let quote = (!failed).then_some(0);
                    self.on(node, Event::Quoted(quote));
                }
                Happens::Verified(trailer) => {
                    let stale = self.random.chance(self.world.stale);
                    let max_age = self.nodes[node].max_age;
                    let before = self.nodes[node].watched.newest.expect("it asks");
                    let renewed = Newest { ends: self.now + max_age, fresh: true };
                    let newest = if stale { before } else { renewed };
                    if self.random.chance(self.world.refuses) {
                        self.on(node, Event::Refused);
                        self.breaks(node, Broken::Age);
                    } else {
                        self.on(node, Event::Verified { newest, trailer });
                    }
                }
                Happens::Rotates => {
                    let takes = self.random.millis(10 * self.world.quote);
                    self.nodes[node].busy_until = self.now + takes;
                }
                Happens::Ends if node == hops => {
                    self.nodes[node].server_ended = true;
                    self.send_up(node, Frame::End);
                    self.last_hop_is_done(node);
                }
                Happens::Ends => {
                    self.nodes[node].client_ended = true;
                    self.send_down(node, Frame::End);
                }
                Happens::FromAbove(Frame::End) => {
                    self.nodes[node].client_ended = true;
                    if node < hops {
                        self.send_down(node, Frame::End);
                    } else {
                        self.last_hop_is_done(node);
                    }
                }
                // The relay passes those over.
                Happens::FromAbove(Frame::Challenge(_))
                    if self.nodes[node].client_ended && self.nodes[node].server_ended =>
                {
                    self.nodes[node - 1].wire = None;
                }
                Happens::FromAbove(Frame::Challenge(challenge)) => self.on(node, Event::Challenged(challenge)),
                Happens::FromBelow(Frame::Refresh(trailer)) => {
                    self.on(node, Event::Refreshed { trailer, asked: true });
                }
                Happens::FromBelow(Frame::End) => {
                    self.nodes[node].server_ended = true;
                    self.send_up(node, Frame::End);
                }
                Happens::FromBelow(Frame::Trailer) => self.on(node, Event::Last),
                what => panic!("{what:?}"),
            }
        }
    }

    fn last_hop_is_done(&mut self, node: usize) {
        if self.nodes[node].client_ended && self.nodes[node].server_ended {
            self.on(node, Event::Last);
        }
    }

    fn on(&mut self, node: usize, event: Event<u64, Bytes>) {
        let now = self.now;
        let actions = match self.nodes[node].watched.on(event, now) {
            Ok(actions) => actions,
            Err(broken) => return self.breaks(node, broken),
        };
        for action in actions {
            match action {
                Action::Challenge(challenge) => self.send_down(node, Frame::Challenge(challenge)),
                Action::Verify { trailer, challenge } => {
                    let asked = challenge.expect("nobody sends a REFRESH by itself");
                    assert_eq!(&asked.as_bytes()[..], &trailer[..], "the answer to another CHALLENGE");
                    let takes = self.random.millis(100);
                    self.put(now + takes, node, Happens::Verified(trailer));
                }
                Action::Quote(challenge) => {
                    assert_eq!(Some(challenge), self.nodes[node - 1].wire, "a quote for what is not on the wire");
                    let takes = self.random.millis(self.world.quote);
                    self.put(self.nodes[node].busy_until.max(now) + takes, node, Happens::Quoted);
                }
                Action::Refresh { beyond, .. } => {
                    let asked = self.nodes[node - 1].wire.expect("somebody asked");
                    if let Some(beyond) = beyond {
                        assert_eq!(&asked.as_bytes()[..], &beyond[..], "the hops answer different CHALLENGEs");
                    }
                    self.send_up(node, Frame::Refresh(Bytes::copy_from_slice(asked.as_bytes())));
                }
                Action::Settled => {
                    self.send_up(node, Frame::Trailer);
                    self.nodes[node].said_last = true;
                }
            }
        }
        if let Some(due) = self.nodes[node].watched.machine.due() {
            self.put(due, node, Happens::Clock);
        }
    }

    /// A FAULT goes both ways at once: the whole path is over.
    fn breaks(&mut self, node: usize, broken: Broken) {
        let honest = !matches!(
            broken,
            Broken::ChallengedTwice | Broken::ChallengedSoon | Broken::ChallengedInVain | Broken::RefreshedOften
        );
        assert!(honest, "node {node} blames an honest peer: {broken:?}");
        for other in &mut self.nodes {
            other.broken = other.broken.or(Some(broken));
        }
    }
}

#[test]
fn chains_in_fair_weather_live_until_they_end() {
    for seed in 0..3_000 {
        let mut chain = Chain::new(seed, FAIR);
        chain.run();
        for (place, node) in chain.nodes.iter().enumerate() {
            assert_eq!(node.broken, None, "seed {seed}, node {place}");
            assert!(node.said_last, "seed {seed}, node {place} never ended");
            let audit = node.watched.machine.asks.as_ref().and_then(|asks| asks.demands.audit);
            assert!(audit.is_none() || node.watched.newest.is_some_and(|newest| newest.fresh), "seed {seed}: {place}");
        }
    }
}

#[test]
fn chains_in_foul_weather_end_for_a_reason_and_in_time() {
    let (mut whole, mut broken) = (0, 0);
    for seed in 0..6_000 {
        let mut chain = Chain::new(seed, FOUL);
        chain.run();
        for (place, node) in chain.nodes.iter().enumerate() {
            assert!(node.said_last || node.broken.is_some(), "seed {seed}, node {place} never ended");
        }
        match chain.nodes[0].broken {
            None => whole += 1,
            Some(_) => broken += 1,
        }
    }
    assert!(whole > 500 && broken > 500, "{whole} whole, {broken} broken");
}
