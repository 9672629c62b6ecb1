//! What was measured, its medians, and how it compares.

use serde_json::{Value, json};

use super::peers::Proxy;
use super::{Metric, value};

/// Every single figure of one run.
#[derive(Default)]
pub(crate) struct Table(Vec<Row>);

struct Row {
    proxy: Proxy,
    metric: &'static str,
    round: usize,
    measured: Value,
}

impl Table {
    pub(crate) fn add(&mut self, proxy: Proxy, metric: &Metric, round: usize, measured: Value) {
        self.0.push(Row { proxy, metric: metric.name, round, measured });
    }

    pub(crate) fn to_json(&self) -> Value {
        let row = |row: &Row| json!({ "proxy": row.proxy.name(), "metric": row.metric, "round": row.round, "measured": row.measured });
        self.0.iter().map(row).collect()
    }

    fn values(&self, proxy: Proxy, metric: &str) -> Vec<f64> {
        let rows = self.0.iter().filter(|row| row.proxy == proxy && row.metric == metric);
        let mut values: Vec<_> = rows.map(|row| value(&row.measured)).filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        values
    }

    pub(super) fn median(&self, proxy: Proxy, metric: &str) -> Option<f64> {
        let values = self.values(proxy, metric);
        values.get(values.len() / 2).copied()
    }

    /// Half of the distance between the extremes, as a part of the median.
    pub(super) fn spread(&self, proxy: Proxy, metric: &str) -> Option<f64> {
        let values = self.values(proxy, metric);
        Some((values.last()? - values.first()?) / 2.0 / self.median(proxy, metric)?)
    }

    /// Over the four bulk measurements.
    pub(super) fn payload(&self, proxy: Proxy) -> Option<f64> {
        let medians: Option<Vec<_>> =
            ["1-up", "1-down", "64-up", "64-down"].iter().map(|metric| self.median(proxy, metric)).collect();
        let medians = medians?;
        Some((medians.iter().map(|value| value.ln()).sum::<f64>() / medians.len() as f64).exp())
    }
}

/// Medians, then ratios of ours to each peer, as Markdown.
pub(crate) fn print(table: &Table, proxies: &[Proxy], metrics: &[&Metric]) {
    println!("\n| | {} |", proxies.iter().map(|proxy| proxy.name()).collect::<Vec<_>>().join(" | "));
    println!("|---{}|", "|---".repeat(proxies.len()));
    for metric in metrics {
        let cell = |proxy: &Proxy| match (table.median(*proxy, metric.name), table.spread(*proxy, metric.name)) {
            (Some(median), Some(spread)) => format!("{} ±{:.0}%", number(median), spread.abs() * 100.0),
            _ => "-".to_owned(),
        };
        println!("| {}, {} | {} |", metric.name, metric.unit, proxies.iter().map(cell).collect::<Vec<_>>().join(" | "));
    }
    let cell = |proxy: &Proxy| table.payload(*proxy).map_or("-".to_owned(), number);
    println!("| payload, geometric mean | {} |", proxies.iter().map(cell).collect::<Vec<_>>().join(" | "));

    println!("\nTimes as good as (above 1: ours is better):\n");
    let peers: Vec<_> = proxies.iter().filter(|proxy| Proxy::PEERS.contains(proxy)).collect();
    println!("| | {} |", peers.iter().map(|peer| peer.name()).collect::<Vec<_>>().join(" | "));
    println!("|---{}|", "|---".repeat(peers.len()));
    for ours in Proxy::OURS {
        // Like is compared with like: what the load speaks, and where.
        let row = |name: &str, ratio: &dyn Fn(Proxy) -> Option<f64>| {
            let cells: Vec<_> = peers
                .iter()
                .map(|peer| if (ours == Proxy::Tunnel) == (**peer == Proxy::Tng) { ratio(**peer) } else { None })
                .collect();
            if cells.iter().any(Option::is_some) {
                let cells = cells.into_iter().map(|cell| cell.map_or("-".to_owned(), |ratio| format!("{ratio:.2}")));
                println!("| {}: {name} | {} |", ours.name(), cells.collect::<Vec<_>>().join(" | "));
            }
        };
        row("payload", &|peer| Some(table.payload(ours)? / table.payload(peer)?));
        for metric in metrics {
            row(metric.name, &|peer| {
                let (a, b) = (table.median(ours, metric.name)?, table.median(peer, metric.name)?);
                Some(if metric.more_is_better { a / b } else { b / a })
            });
        }
    }
}

pub(super) fn number(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::METRICS;

    #[test]
    fn medians_spreads_and_means() {
        let mut table = Table::default();
        for (round, figure) in [3.0, 1.0, 2.0].into_iter().enumerate() {
            table.add(Proxy::Envoy, &METRICS[0], round, json!({ "value": figure }));
        }
        assert_eq!(table.median(Proxy::Envoy, "1-up"), Some(2.0));
        assert_eq!(table.spread(Proxy::Envoy, "1-up"), Some(0.5));
        // Not all four are there.
        assert_eq!(table.payload(Proxy::Envoy), None);
        for metric in &METRICS[1..4] {
            table.add(Proxy::Envoy, metric, 0, json!({ "value": 2.0 }));
        }
        assert!((table.payload(Proxy::Envoy).unwrap() - 2.0).abs() < 1e-9);
        assert_eq!(table.median(Proxy::Nginx, "1-up"), None);
    }
}
