//! The text format of Prometheus (exposition format 0.0.4).

use std::fmt::{Display, Write as _};

/// Labels and the value beside them.
pub(super) type Sample<'a, V> = (&'a [(&'a str, &'a str)], V);

/// A document that grows.
#[derive(Default)]
pub(super) struct Text(String);

impl Text {
    pub(super) fn counter<'a, V: Display>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = Sample<'a, V>>,
    ) {
        self.family(name, help, "counter", samples);
    }

    pub(super) fn gauge<'a, V: Display>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = Sample<'a, V>>,
    ) {
        self.family(name, help, "gauge", samples);
    }

    /// `bounds` are the upper ends of the buckets in seconds, `counts` one more than those; each counts itself alone.
    pub(super) fn histogram(&mut self, name: &str, help: &str, bounds: &[f64], series: &[(&str, Vec<u64>, f64)]) {
        self.head(name, help, "histogram");
        for (route, counts, sum) in series {
            let mut total = 0;
            let ends = bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
            for (end, count) in ends.zip(counts) {
                total += count;
                self.line(&format!("{name}_bucket"), &[("route", route), ("le", &end)], total);
            }
            self.line(&format!("{name}_sum"), &[("route", route)], sum);
            self.line(&format!("{name}_count"), &[("route", route)], total);
        }
    }

    pub(super) fn finish(self) -> String {
        self.0
    }

    fn family<'a, V: Display>(
        &mut self,
        name: &str,
        help: &str,
        kind: &str,
        samples: impl IntoIterator<Item = Sample<'a, V>>,
    ) {
        self.head(name, help, kind);
        for (labels, value) in samples {
            self.line(name, labels, value);
        }
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (i, (key, label)) in labels.iter().enumerate() {
            self.0.push(if i == 0 { '{' } else { ',' });
            let _ = write!(self.0, "{key}=\"{}\"", escaped(label));
        }
        self.0.push_str(if labels.is_empty() { "" } else { "}" });
        let _ = writeln!(self.0, " {value}");
    }
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_and_their_labels() {
        let mut text = Text::default();
        text.counter("c_total", "Of it.", [(&[("a", "x\"\\\ny"), ("b", "2")][..], 3), (&[][..], 4)]);
        text.histogram("h", "How long.", &[0.5, 2.0], &[("r", vec![1, 0, 2], 7.5)]);
        assert_eq!(
            text.finish(),
            "# HELP c_total Of it.\n# TYPE c_total counter\nc_total{a=\"x\\\"\\\\\\ny\",b=\"2\"} 3\nc_total 4\n\
             # HELP h How long.\n# TYPE h histogram\nh_bucket{route=\"r\",le=\"0.5\"} 1\n\
             h_bucket{route=\"r\",le=\"2\"} 1\nh_bucket{route=\"r\",le=\"+Inf\"} 3\nh_sum{route=\"r\"} 7.5\n\
             h_count{route=\"r\"} 3\n"
        );
    }
}
