//! How one direction of a path is kept fresh, as a machine without I/O: what came and the time go in, what is to be done
//! and the next deadline come out.
//!
//! A process asks the path beyond one of its legs with a CHALLENGE, and answers with a REFRESH whoever asks on the other.
//! Either half may be missing. The machine owns who is asked when, what an answer waits for, and what ends the path. It
//! does not own sockets, quotes, signatures or verdicts: its driver does what an [`Action`] says, and tells it the outcome.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use inclavared_attest::path::{Challenge, RandomError};

/// REFRESH frames that wait to be verified. One is the answer to a CHALLENGE, one may have come by itself.
const MAX_RECEIVED: usize = 2;

/// One direction of one path. `Q` is a quote for our own record, `V` a verified trailer: the machine only keeps them.
#[derive(Debug)]
pub(super) struct Machine<Q, V> {
    times: Times,
    random: Random,
    asks: Option<Asks<V>>,
    answers: Option<Answers<Q>>,
    /// The last word is due, and no answer is waited for beyond this.
    closing: Option<Instant>,
    /// It has ended, in order or not: nothing is done any more.
    over: bool,
}

/// Where the machine takes the value of a CHALLENGE of its own from.
pub(super) type Random = fn() -> Result<Challenge, RandomError>;

/// How long is what. The protocol's own (PROTOCOL sections 3 and 4) but for `answer`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// From the answer to a CHALLENGE to the next CHALLENGE at least, and at the receiver from one to the next.
    pub(super) spacing: Duration,
    /// From START to the fresh quotes of `key+audit` at most.
    pub(super) audit: Duration,
    /// How long the audit is left to the peer that we answer, where it audits the path itself.
    pub(super) audit_grace: Duration,
    /// How long before the end of a path its renewal is asked for at least, if its age is not too short for that.
    pub(super) early: Duration,
    /// An attester that failed is asked again after this long, and twice as long each time, up to the most.
    pub(super) retry: Duration,
    pub(super) retry_most: Duration,
    /// How long the last word waits for an answer that is being made.
    pub(super) answer: Duration,
}

/// What the path beyond has to keep to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demands {
    /// Fresh quotes soon after START. `by_peer`: the peer that we answer asks for them as well.
    pub(super) audit: Option<Audit>,
    pub(super) max_age: Duration,
    /// False where a peer at the end has no records: it cannot be renewed.
    pub(super) renews: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Audit {
    Ours,
    /// The peer that we answer asks for the same.
    AlsoPeers,
}

/// The newest verified state of the path beyond.
#[derive(Clone, Copy, Debug)]
pub(super) struct Newest {
    /// When it is too old.
    pub(super) ends: Instant,
    /// Every hop of it has shown a fresh quote.
    pub(super) fresh: bool,
}

/// What has happened.
#[derive(Debug)]
pub(super) enum Event<Q, V> {
    /// Time has passed.
    Clock,
    /// A CHALLENGE came from the peer that we answer.
    Challenged(Challenge),
    /// A REFRESH came from the path beyond. `asked`: it answers a CHALLENGE.
    Refreshed { trailer: Bytes, asked: bool },
    /// The trailer of [`Action::Verify`] is accepted.
    Verified { newest: Newest, trailer: V },
    /// It is not. The driver knows why, and ends the path.
    Refused,
    /// The quote of [`Action::Quote`]; none if the attester failed.
    Quoted(Option<Q>),
    /// The last word of the path beyond is there, or it has none: ours is due.
    Last,
}

/// What the driver has to do.
#[derive(Debug)]
pub(super) enum Action<Q, V> {
    /// Send a CHALLENGE to the path beyond.
    Challenge(Challenge),
    /// Verify a trailer, which has to answer this challenge, or none.
    Verify { trailer: Bytes, challenge: Option<Challenge> },
    /// Make a quote for our own answer to a challenge.
    Quote(Challenge),
    /// Send a REFRESH: our record with its quote, in front of the answer from beyond.
    Refresh { own: Q, beyond: Option<V> },
    /// Our last word may be said. Nothing comes after it.
    Settled,
}

/// Why the path cannot go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Broken {
    /// A CHALLENGE before the answer to the one before.
    ChallengedTwice,
    /// A CHALLENGE sooner than is allowed after the last.
    ChallengedSoon,
    /// A CHALLENGE to whom cannot answer.
    ChallengedInVain,
    /// REFRESH frames faster than they can be verified.
    RefreshedOften,
    /// The evidence of the path beyond is older than it may be.
    Age,
    /// The fresh quotes of `key+audit` did not come in time.
    AuditLate,
    /// The path ended before they came.
    Unaudited,
    /// The system gave no random bytes.
    Random,
}

/// The half that asks.
#[derive(Debug)]
struct Asks<V> {
    demands: Demands,
    newest: Newest,
    started: Instant,
    /// The CHALLENGE that has no verified answer yet.
    outstanding: Option<Outstanding>,
    /// No CHALLENGE may go out before.
    next: Instant,
    /// The peer's CHALLENGE that has not gone on yet.
    pass: Option<Challenge>,
    /// REFRESH frames, and whether each answers a CHALLENGE. Invariant: at most [`MAX_RECEIVED`].
    received: VecDeque<(Bytes, bool)>,
    /// One is being verified, and that is what it answers.
    verifying: Option<Option<Outstanding>>,
    /// The verified answer to the peer's CHALLENGE.
    answer: Option<V>,
}

#[derive(Clone, Copy, Debug)]
struct Outstanding {
    challenge: Challenge,
    /// It is the peer's.
    relayed: bool,
}

/// The half that answers.
#[derive(Debug)]
struct Answers<Q> {
    /// The peer's CHALLENGE that has no answer yet.
    asked: Option<Challenge>,
    /// When the last one came.
    asked_at: Option<Instant>,
    quote: Quote<Q>,
    /// How long to wait after the next failure of the attester.
    wait: Duration,
}

#[derive(Debug)]
enum Quote<Q> {
    None,
    /// To be asked for at that time.
    Due(Instant),
    InTheMaking,
    Made(Q),
}

impl<Q, V> Machine<Q, V> {
    /// `beyond` is the path that is asked, verified a moment ago; `answers` is whether somebody may ask us.
    pub(super) fn new(
        times: Times,
        random: Random,
        beyond: Option<(Demands, Newest)>,
        answers: bool,
        now: Instant,
    ) -> Self {
        let asks = beyond.map(|(demands, newest)| Asks {
            demands,
            newest,
            started: now,
            outstanding: None,
            next: now,
            pass: None,
            received: VecDeque::new(),
            verifying: None,
            answer: None,
        });
        let answers = answers.then_some(Answers { asked: None, asked_at: None, quote: Quote::None, wait: times.retry });
        Self { times, random, asks, answers, closing: None, over: false }
    }

    /// Nothing is ever due, and nobody asks.
    pub(super) fn is_idle(&self) -> bool {
        self.asks.is_none() && self.answers.is_none()
    }

    /// Takes in what has happened. Gives what is to be done, in this order.
    pub(super) fn on(&mut self, event: Event<Q, V>, now: Instant) -> Result<Vec<Action<Q, V>>, Broken> {
        if self.over {
            return Ok(Vec::new());
        }
        let done = self.take_in(event, now).and_then(|()| self.go_on(now));
        self.over |= done.is_err();
        done
    }

    /// When [`Event::Clock`] has to be told at the latest. Never a time that has been told already.
    pub(super) fn due(&self) -> Option<Instant> {
        if self.over {
            return None;
        }
        let asks = self.asks.as_ref().map(|asks| {
            let challenge = self.challenge_at(asks).filter(|_| self.closing.is_none());
            [Some(asks.newest.ends), self.audit_by(asks), challenge].into_iter().flatten().min()
        });
        let quote = self.answers.as_ref().and_then(|answers| match answers.quote {
            Quote::Due(at) => Some(at),
            _ => None,
        });
        let closing = self.closing.filter(|_| self.asks.as_ref().is_none_or(Asks::is_quiet));
        [asks.flatten(), quote, closing].into_iter().flatten().min()
    }

    fn take_in(&mut self, event: Event<Q, V>, now: Instant) -> Result<(), Broken> {
        match event {
            Event::Clock => {}
            Event::Challenged(challenge) => self.challenged(challenge, now)?,
            Event::Refreshed { trailer, asked } => {
                // Nobody was asked: there is no path beyond.
                let Some(asks) = &mut self.asks else { return Err(Broken::RefreshedOften) };
                if asks.received.len() >= MAX_RECEIVED {
                    return Err(Broken::RefreshedOften);
                }
                asks.received.push_back((trailer, asked));
            }
            Event::Verified { newest, trailer } => {
                if let Some(asks) = &mut self.asks {
                    asks.verified(newest, trailer, now + self.times.spacing);
                }
            }
            Event::Refused => self.over = true,
            Event::Quoted(quote) => {
                if let Some(answers) = &mut self.answers {
                    answers.quoted(quote, &self.times, now);
                }
            }
            Event::Last => self.closing = Some(now + self.times.answer),
        }
        Ok(())
    }

    fn challenged(&mut self, challenge: Challenge, now: Instant) -> Result<(), Broken> {
        let Some(answers) = &mut self.answers else { return Err(Broken::ChallengedInVain) };
        if answers.asked.is_some() {
            return Err(Broken::ChallengedTwice);
        }
        if answers.asked_at.is_some_and(|last| now < last + self.times.spacing) {
            return Err(Broken::ChallengedSoon);
        }
        answers.asked_at = Some(now);
        // One that crosses our last word is answered before it or not at all.
        if self.closing.is_none() {
            answers.asked = Some(challenge);
            answers.quote = Quote::Due(now);
            if let Some(asks) = &mut self.asks {
                asks.pass = Some(challenge);
            }
        }
        Ok(())
    }

    fn go_on(&mut self, now: Instant) -> Result<Vec<Action<Q, V>>, Broken> {
        let mut actions = Vec::new();
        if !self.over {
            self.ask(now, &mut actions)?;
            self.answer(now, &mut actions);
            self.settle(now, &mut actions)?;
        }
        Ok(actions)
    }

    fn ask(&mut self, now: Instant, actions: &mut Vec<Action<Q, V>>) -> Result<(), Broken> {
        let Some(asks) = &self.asks else { return Ok(()) };
        if asks.newest.ends <= now {
            return Err(Broken::Age);
        }
        if self.audit_by(asks).is_some_and(|end| end <= now) {
            return Err(Broken::AuditLate);
        }
        let challenge = self.closing.is_none() && self.challenge_at(asks).is_some_and(|at| at <= now);
        let Some(asks) = &mut self.asks else { return Ok(()) };
        if asks.verifying.is_none()
            && let Some((trailer, asked)) = asks.received.pop_front()
        {
            // One that came by itself may cross the answer, and does not stand for it.
            let answered = asks.outstanding.filter(|_| asked);
            asks.verifying = Some(answered);
            actions.push(Action::Verify { trailer, challenge: answered.map(|answered| answered.challenge) });
        }
        if challenge {
            let (challenge, relayed) = match asks.pass.take() {
                Some(challenge) => (challenge, true),
                None => ((self.random)().map_err(|_| Broken::Random)?, false),
            };
            asks.outstanding = Some(Outstanding { challenge, relayed });
            actions.push(Action::Challenge(challenge));
        }
        Ok(())
    }

    fn answer(&mut self, now: Instant, actions: &mut Vec<Action<Q, V>>) {
        let Some(answers) = &mut self.answers else { return };
        if let (Some(challenge), Quote::Due(at)) = (answers.asked, &answers.quote)
            && *at <= now
        {
            // Our quote is made while those beyond make theirs.
            answers.quote = Quote::InTheMaking;
            actions.push(Action::Quote(challenge));
        }
        if !matches!(answers.quote, Quote::Made(_)) || self.asks.as_ref().is_some_and(|asks| asks.answer.is_none()) {
            return;
        }
        if let Quote::Made(own) = std::mem::replace(&mut answers.quote, Quote::None) {
            let beyond = self.asks.as_mut().and_then(|asks| asks.answer.take());
            answers.asked = None;
            actions.push(Action::Refresh { own, beyond });
        }
    }

    fn settle(&mut self, now: Instant, actions: &mut Vec<Action<Q, V>>) -> Result<(), Broken> {
        let Some(until) = self.closing else { return Ok(()) };
        if let Some(asks) = &self.asks {
            if !asks.is_quiet() {
                return Ok(());
            }
            if asks.lacks_audit() {
                return Err(Broken::Unaudited);
            }
        }
        // What has no answer from beyond gets none after its last word.
        let waits_for_beyond = |asks: &Asks<V>| asks.pass.is_some() || asks.outstanding.is_some_and(|one| one.relayed);
        let answered = self.answers.as_ref().is_none_or(|answers| answers.asked.is_none());
        if answered || self.asks.as_ref().is_some_and(waits_for_beyond) || until <= now {
            self.over = true;
            actions.push(Action::Settled);
        }
        Ok(())
    }

    /// When the next CHALLENGE goes out, as things stand.
    fn challenge_at(&self, asks: &Asks<V>) -> Option<Instant> {
        if asks.outstanding.is_some() {
            return None;
        }
        if asks.pass.is_some() {
            return Some(asks.next);
        }
        let audit = asks.demands.audit.filter(|_| asks.lacks_audit()).map(|audit| match audit {
            Audit::Ours => asks.started,
            Audit::AlsoPeers => asks.started + self.times.audit_grace,
        });
        Some([audit, self.renewal_at(asks)].into_iter().flatten().min()?.max(asks.next))
    }

    /// When the path is renewed for its age. Whoever stands at the end of it does so first, those between only if that
    /// does not come.
    fn renewal_at(&self, asks: &Asks<V>) -> Option<Instant> {
        let Demands { max_age, renews: true, .. } = asks.demands else { return None };
        let early = (max_age / 4).max(self.times.early.min(max_age / 2));
        let margin = if self.answers.is_none() { early } else { early / 2 };
        let due = asks.newest.ends.checked_sub(margin).unwrap_or(asks.started);
        // Records without fresh quotes do not make a path younger: they are not asked for in a row.
        let again = if asks.next > asks.started { asks.next + max_age / 16 } else { asks.started };
        Some(due.max(again))
    }

    fn audit_by(&self, asks: &Asks<V>) -> Option<Instant> {
        asks.lacks_audit().then(|| asks.started + self.times.audit)
    }
}

impl<V> Asks<V> {
    /// All that came is verified.
    fn is_quiet(&self) -> bool {
        self.verifying.is_none() && self.received.is_empty()
    }

    fn lacks_audit(&self) -> bool {
        self.demands.audit.is_some() && !self.newest.fresh
    }

    fn verified(&mut self, newest: Newest, trailer: V, next: Instant) {
        self.newest = newest;
        let Some(Some(answered)) = self.verifying.take() else { return };
        self.outstanding = None;
        // From here, not from the last CHALLENGE: so the peer, too, sees the spacing between the two.
        self.next = next;
        if answered.relayed {
            self.answer = Some(trailer);
        }
    }
}

impl<Q> Answers<Q> {
    fn quoted(&mut self, quote: Option<Q>, times: &Times, now: Instant) {
        match quote {
            Some(quote) => {
                self.wait = times.retry;
                self.quote = Quote::Made(quote);
            }
            // Whoever waits for it has a limit of its own: the path's age.
            None => {
                self.quote = Quote::Due(now + self.wait);
                self.wait = (self.wait * 2).min(times.retry_most);
            }
        }
    }
}

#[cfg(test)]
mod tests;
