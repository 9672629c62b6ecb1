//! The figures of a run as pictures: one SVG a metric, bars with their spread.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::peers::Proxy;
use super::table::number;
use super::{METRICS, Metric, value};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What `compare --json` wrote.
    figures: PathBuf,
    /// The folder that the pictures are written to.
    #[arg(long, default_value = "docs/plots")]
    out: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let name = args.figures.display();
    let bytes = fs::read(&args.figures).with_context(|| format!("reading {name}"))?;
    let rows: Vec<Value> =
        serde_json::from_slice(&bytes).with_context(|| format!("{name} is not of `compare --json`"))?;
    fs::create_dir_all(&args.out).with_context(|| format!("making {}", args.out.display()))?;
    let mut drawn = 0;
    for metric in METRICS {
        let bars = bars(&rows, metric);
        if !bars.is_empty() {
            let file = args.out.join(metric.name).with_extension("svg");
            fs::write(&file, draw(metric, &bars)).with_context(|| format!("writing {}", file.display()))?;
            println!("{}", file.display());
            drawn += 1;
        }
    }
    ensure!(drawn > 0, "{name} has no figure of a known metric");
    Ok(())
}

struct Bar {
    proxy: Proxy,
    least: f64,
    median: f64,
    most: f64,
}

/// Of each proxy that was measured; the best comes first.
fn bars(rows: &[Value], metric: &Metric) -> Vec<Bar> {
    let mut figures: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row["metric"] == metric.name) {
        let figure = value(&row["measured"]);
        if let (Some(proxy), true) = (row["proxy"].as_str(), figure.is_finite()) {
            figures.entry(proxy).or_default().push(figure);
        }
    }
    let bar = |(name, mut figures): (&str, Vec<f64>)| {
        figures.sort_by(f64::total_cmp);
        let (least, most) = (*figures.first()?, *figures.last()?);
        Some(Bar { proxy: Proxy::named(name)?, least, median: figures[figures.len() / 2], most })
    };
    let mut bars: Vec<_> = figures.into_iter().filter_map(bar).collect();
    bars.sort_by(|a, b| a.median.total_cmp(&b.median));
    if metric.more_is_better {
        bars.reverse();
    }
    bars
}

fn draw(metric: &Metric, bars: &[Bar]) -> String {
    let height = TOP + ROW * bars.len();
    let widest = bars.iter().map(|bar| bar.most).fold(f64::MIN_POSITIVE, f64::max);
    let at = |figure: f64| NAMES as f64 + figure.max(0.0) / widest * BARS as f64;
    let better = if metric.more_is_better { "more is better" } else { "less is better" };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {height}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"8\" y=\"22\" font-weight=\"bold\">{}, {} ({better})</text>\n",
        NAMES + BARS + FIGURES,
        metric.name,
        metric.unit,
    );
    for (row, bar) in bars.iter().enumerate() {
        let y = TOP + ROW * row;
        let colour = if Proxy::OURS.contains(&bar.proxy) { "#1b6e53" } else { "#9aa5ad" };
        let (middle, width) = (y + ROW / 2, at(bar.median) - NAMES as f64);
        // Writing to a String cannot fail.
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n\
             <rect x=\"{NAMES}\" y=\"{}\" width=\"{width:.1}\" height=\"{}\" fill=\"{colour}\"/>\n\
             <path d=\"M{:.1} {middle}H{:.1}\" stroke=\"#333\"/>\n\
             <text x=\"{:.1}\" y=\"{}\">{}</text>",
            NAMES - 8,
            middle + 5,
            bar.proxy.name(),
            y + 4,
            ROW - 8,
            at(bar.least),
            at(bar.most),
            at(bar.most) + 8.0,
            middle + 5,
            number(bar.median),
        );
    }
    svg + "</svg>\n"
}

/// Widths and heights, in the picture's units.
const NAMES: usize = 210;
const BARS: usize = 420;
const FIGURES: usize = 70;
const TOP: usize = 36;
const ROW: usize = 26;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_best_comes_first_with_its_spread() {
        let row = |proxy: Proxy, metric: &str, figure: f64| json!({ "proxy": proxy.name(), "metric": metric, "round": 0, "measured": { "value": figure } });
        let rows: Vec<_> = [(Proxy::Envoy, 3.0), (Proxy::Pki, 4.0), (Proxy::Pki, 6.0), (Proxy::Pki, 5.0)]
            .into_iter()
            .flat_map(|(proxy, figure)| [row(proxy, "1-up", figure), row(proxy, "idle", figure)])
            .collect();
        let metric = |name| METRICS.iter().find(|metric| metric.name == name).unwrap();
        let up = bars(&rows, metric("1-up"));
        let shown: Vec<_> = up.iter().map(|bar| (bar.proxy, bar.least, bar.median, bar.most)).collect();
        assert_eq!(shown, [(Proxy::Pki, 4.0, 5.0, 6.0), (Proxy::Envoy, 3.0, 3.0, 3.0)]);
        assert_eq!(bars(&rows, metric("idle"))[0].proxy, Proxy::Envoy);
        assert!(bars(&rows, metric("64-up")).is_empty());
        let svg = draw(metric("1-up"), &up);
        assert_eq!(svg.matches("<rect x=").count(), 2);
        assert!(svg.ends_with("</svg>\n"));
    }
}
