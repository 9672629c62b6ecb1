//! Connections: how they ended, by route and reason.

use std::time::Duration;

use inclavared_attest::Reason;
use inclavared_attest::path::{CloseReason, Counters};

use super::text::Text;
use super::{Counter, Numbers};

/// Of one process, a place a route.
#[derive(Debug)]
pub struct ConnectionCounters {
    routes: Vec<RouteCounters>,
}

/// Of one route.
#[derive(Debug)]
pub struct RouteCounters {
    name: String,
    accepted: Counter,
    /// Turned away at the gate, before anything was read.
    turned_away: Counter,
    /// By [`CLOSES`].
    closed: [Counter; CLOSES.len()],
    /// By the code of the reason: evidence or a path that does not do; anything else.
    refused: Box<[Counter]>,
    failed: Box<[Counter]>,
    /// Payload from and to clients.
    up: Counter,
    down: Counter,
    /// From accept to the first byte that may pass, by [`BOUNDS`].
    opened: [Counter; BOUNDS.len() + 1],
    opened_us: Counter,
}

/// What is counted of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Payload, each way.
    pub counters: Counters,
    /// From accept to the first byte that may pass.
    pub opened_after: Option<Duration>,
    pub how: How,
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    Closed(CloseReason),
    /// Evidence, or a path, that does not do.
    Refused(Reason),
    Failed(Reason),
}

impl ConnectionCounters {
    pub fn new<'a>(routes: impl IntoIterator<Item = &'a str>) -> Self {
        Self { routes: routes.into_iter().map(RouteCounters::new).collect() }
    }

    pub fn route(&self, name: &str) -> Option<&RouteCounters> {
        self.routes.iter().find(|route| route.name == name)
    }

    pub fn accepted(&self, route: &str) {
        self.route(route).inspect(|route| route.accepted.increment());
    }

    pub fn turned_away(&self, route: &str) {
        self.route(route).inspect(|route| route.turned_away.increment());
    }

    /// Counts a connection that has ended.
    pub fn ended(&self, route: &str, ended: &Ended) {
        let Some(route) = self.route(route) else { return };
        route.up.add(ended.counters.up);
        route.down.add(ended.counters.down);
        if let Some(after) = ended.opened_after {
            let bucket = BOUNDS.iter().position(|bound| after.as_secs_f64() <= *bound).unwrap_or(BOUNDS.len());
            route.opened[bucket].increment();
            route.opened_us.add(u64::try_from(after.as_micros()).unwrap_or(u64::MAX));
        }
        let of = |reason| Reason::ALL.iter().position(|known| *known == reason);
        let counter = match ended.how {
            How::Closed(reason) => CLOSES.iter().position(|known| *known == reason).map(|at| &route.closed[at]),
            How::Refused(reason) => of(reason).map(|at| &route.refused[at]),
            How::Failed(reason) => of(reason).map(|at| &route.failed[at]),
        };
        counter.inspect(|counter| counter.increment());
    }

    pub(super) fn render(&self, numbers: &Numbers<'_>, text: &mut Text) {
        let each = |of: fn(&RouteCounters) -> &Counter| {
            self.routes.iter().map(move |route| ([("route", route.name.as_str())], of(route).get())).collect::<Vec<_>>()
        };
        let accepted = each(|route| &route.accepted);
        let help = "Connections that were accepted.";
        let samples = accepted.iter().map(|(labels, value)| (&labels[..], *value));
        text.counter("inclavared_connections_accepted_total", help, samples);
        let turned_away = each(|route| &route.turned_away);
        let help = "Connections that were reset at once, as too many were open.";
        let samples = turned_away.iter().map(|(labels, value)| (&labels[..], *value));
        text.counter("inclavared_connections_turned_away_total", help, samples);

        let ended: Vec<_> = self.routes.iter().flat_map(RouteCounters::ended).collect();
        let samples = ended.iter().map(|(labels, value)| (&labels[..], *value));
        let help =
            "Connections that have ended: closed, refused (evidence or a path that does not do) or failed; and why.";
        text.counter("inclavared_connections_ended_total", help, samples);
        let open = [(&[("what", "connections")][..], numbers.open), (&[("what", "openings")][..], numbers.openings)];
        text.gauge("inclavared_open", "Connections that are open, and paths that are being opened.", open);

        let bytes: Vec<_> = self
            .routes
            .iter()
            .flat_map(|route| {
                let label = |direction| [("route", route.name.as_str()), ("direction", direction)];
                [(label("up"), route.up.get()), (label("down"), route.down.get())]
            })
            .collect();
        let samples = bytes.iter().map(|(labels, value)| (&labels[..], *value));
        let help = "Payload of connections that have ended: up from clients, down to them.";
        text.counter("inclavared_payload_bytes_total", help, samples);
        let opened = |route: &RouteCounters| route.opened.iter().map(Counter::get).collect();
        let seconds = |route: &RouteCounters| Duration::from_micros(route.opened_us.get()).as_secs_f64();
        let series: Vec<_> =
            self.routes.iter().map(|route| (route.name.as_str(), opened(route), seconds(route))).collect();
        let help = "From accept to the first byte that may pass, of connections that have ended.";
        text.histogram("inclavared_opening_seconds", help, &BOUNDS, &series);
    }
}

impl RouteCounters {
    fn new(name: &str) -> Self {
        let reasons = || Reason::ALL.iter().map(|_| Counter::default()).collect();
        Self {
            name: name.to_owned(),
            accepted: Counter::default(),
            turned_away: Counter::default(),
            closed: Default::default(),
            refused: reasons(),
            failed: reasons(),
            up: Counter::default(),
            down: Counter::default(),
            opened: Default::default(),
            opened_us: Counter::default(),
        }
    }

    /// What is not zero.
    fn ended(&self) -> Vec<([(&str, &str); 3], u64)> {
        let label = |result, reason| [("route", self.name.as_str()), ("result", result), ("reason", reason)];
        let closed = CLOSES.iter().zip(&self.closed).map(|(reason, counter)| (label("closed", reason.name()), counter));
        let by_reason = |result, counters: &'_ [Counter]| {
            Reason::ALL
                .iter()
                .zip(counters)
                .map(|(reason, counter)| (label(result, reason.label()), counter.get()))
                .collect::<Vec<_>>()
        };
        let mut all: Vec<_> = closed.map(|(labels, counter)| (labels, counter.get())).collect();
        all.extend(by_reason("refused", &self.refused));
        all.extend(by_reason("failed", &self.failed));
        all.retain(|(_, value)| *value > 0);
        all
    }
}

const CLOSES: [CloseReason; 6] = [
    CloseReason::Complete,
    CloseReason::HalfClose,
    CloseReason::Idle,
    CloseReason::Shutdown,
    CloseReason::Severed,
    CloseReason::PathAge,
];

/// In seconds. A warm path opens in a millisecond or two; one that waits for collateral in some hundred.
const BOUNDS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0];
