//! Collateral: who was asked, what failed, how old it is.

use inclavared_attest::Timestamp;
use inclavared_attest::appraise::Root;
use inclavared_collateral::CollateralService;

use super::text::Text;

pub(super) fn render(service: &CollateralService, text: &mut Text) {
    let counters = service.counters();
    let fetches = counters.all_fetches();
    let count = |result: &'static str, of: fn(&(u64, u64)) -> u64| {
        fetches
            .iter()
            .map(move |(endpoint, counts)| ([("endpoint", endpoint.as_str()), ("result", result)], of(counts)))
            .collect::<Vec<_>>()
    };
    let labels = [count("good", |counts| counts.0), count("failed", |counts| counts.1)].concat();
    let samples = labels.iter().map(|(labels, value)| (&labels[..], *value));
    let help = "Fetches of collateral, by service and by whether a good set came.";
    text.counter("inclavared_collateral_fetches_total", help, samples);
    let help = "Collateral that was refused because it is older than what is known.";
    text.counter("inclavared_collateral_rollbacks_refused_total", help, [(&[][..], counters.rollbacks())]);

    let now = Timestamp::now();
    let mut ages = service.ages();
    ages.sort_by_key(|(root, id, ..)| (*root as u8, id.to_string()));
    let ages: Vec<_> =
        ages.iter().map(|(root, id, fetched, expires)| (name(*root), id.to_string(), fetched, expires)).collect();
    let labels: Vec<_> = ages.iter().map(|(root, id, ..)| [("root", *root), ("set", id.as_str())]).collect();
    let seconds = |of: fn(Timestamp, Timestamp, Timestamp) -> u64| {
        labels
            .iter()
            .zip(&ages)
            .map(move |(labels, (_, _, fetched, expires))| (&labels[..], of(now, **fetched, **expires)))
    };
    let age = seconds(|now, fetched, _| now.since(fetched).as_secs());
    text.gauge("inclavared_collateral_age_seconds", "Since a set was fetched, loaded or handed in.", age);
    let left = seconds(|now, _, expires| expires.since(now).as_secs());
    text.gauge("inclavared_collateral_valid_seconds", "Until a set expires; 0 once it has.", left);
}

fn name(root: Root) -> &'static str {
    match root {
        Root::Intel => "intel",
        Root::Amd => "amd",
        Root::Simulated => "simulated",
        Root::None => "none",
    }
}
