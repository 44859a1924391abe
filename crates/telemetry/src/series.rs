//! One metric with a series per database, in little room (P7).
//!
//! A vector of the metrics library keeps name, help, labels and buckets again for every label set: 11 KiB for each database that
//! wal-streamer knows, 11 MiB for a thousand, and twice that during a scrape. Here a series is its label values, shared between the
//! metrics, and a number; a scrape writes text without building the library's structures first.

use crate::names::{Kind, Metric};
use prometheus::proto;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The value of a label: one that many series share, or a word of the program.
#[derive(Debug, Clone)]
pub(crate) enum Label {
    Shared(Arc<str>),
    Word(&'static str),
}

/// What a series holds.
#[derive(Debug, Clone)]
enum Value {
    Number(f64),
    /// Observations per bucket (the last one beyond all bounds), and their sum.
    Buckets(Box<[u64]>, f64),
}

type Values = BTreeMap<Box<[Label]>, Value>;

/// See the module; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    row: Metric,
    values: Arc<Mutex<Values>>,
}

impl Label {
    pub(crate) fn text(&self) -> &str {
        match self {
            Label::Shared(text) => text,
            Label::Word(text) => text,
        }
    }
}

impl PartialEq for Label {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Label {}

impl PartialOrd for Label {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Label {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text().cmp(other.text())
    }
}

impl Series {
    pub(crate) fn new(row: &Metric) -> Series {
        Series { row: *row, values: Arc::default() }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.row.name
    }

    fn values(&self) -> MutexGuard<'_, Values> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, labels: &[Label], change: impl FnOnce(&mut Value)) {
        debug_assert_eq!(labels.len(), self.row.labels.len(), "label values of {}", self.row.name);
        let mut values = self.values();
        if let Some(value) = values.get_mut(labels) {
            return change(value);
        }
        let mut value = match self.row.kind {
            Kind::Counter | Kind::Gauge => Value::Number(0.0),
            Kind::Histogram(bounds) => Value::Buckets(vec![0; bounds.len() + 1].into(), 0.0),
        };
        change(&mut value);
        values.insert(labels.into(), value);
    }

    /// Sets a gauge.
    pub(crate) fn set(&self, labels: &[Label], to: f64) {
        debug_assert_eq!(self.row.kind, Kind::Gauge, "{} is no gauge", self.row.name);
        self.change(labels, |value| *value = Value::Number(to));
    }

    /// Raises a counter; by 0 it is exported from now on.
    pub(crate) fn add(&self, labels: &[Label], by: u64) {
        debug_assert_eq!(self.row.kind, Kind::Counter, "{} is no counter", self.row.name);
        self.change(labels, |value| {
            if let Value::Number(number) = value {
                *number += by as f64;
            }
        });
    }

    /// Counts an observation of a histogram.
    pub(crate) fn observe(&self, labels: &[Label], seen: f64) {
        let bounds = self.bounds();
        self.change(labels, |value| {
            if let Value::Buckets(counts, sum) = value {
                counts[bounds.iter().position(|bound| seen <= *bound).unwrap_or(bounds.len())] += 1;
                *sum += seen;
            }
        });
    }

    /// Takes away every series with this value of a label.
    pub(crate) fn forget(&self, label: &str, value: &str) {
        let Some(at) = self.row.labels.iter().position(|name| *name == label) else { return };
        self.values().retain(|labels, _| labels[at].text() != value);
    }

    fn bounds(&self) -> &'static [f64] {
        match self.row.kind {
            Kind::Histogram(bounds) => bounds,
            Kind::Counter | Kind::Gauge => &[],
        }
    }

    /// Writes every series, in the Prometheus text format 0.0.4; nothing where there is none.
    pub(crate) fn write(&self, out: &mut String) {
        let values = self.values();
        if values.is_empty() {
            return;
        }
        let Metric { name, help, .. } = self.row;
        let word = match self.row.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(out, "# HELP {name} {}\n# TYPE {name} {word}", escaped(help, false));
        for (labels, value) in values.iter() {
            match value {
                Value::Number(number) => self.line(out, "", labels, None, *number),
                Value::Buckets(counts, sum) => {
                    let mut total = 0;
                    let bounds = self.bounds().iter().copied().chain([f64::INFINITY]);
                    for (count, bound) in counts.iter().zip(bounds) {
                        total += count;
                        self.line(out, "_bucket", labels, Some(bound), total as f64);
                    }
                    self.line(out, "_sum", labels, None, *sum);
                    self.line(out, "_count", labels, None, total as f64);
                }
            }
        }
    }

    fn line(&self, out: &mut String, suffix: &str, labels: &[Label], bound: Option<f64>, value: f64) {
        let _ = write!(out, "{}{suffix}", self.row.name);
        let mut before = '{';
        for (name, label) in self.row.labels.iter().zip(labels) {
            let _ = write!(out, "{before}{name}=\"{}\"", escaped(label.text(), true));
            before = ',';
        }
        if let Some(bound) = bound {
            match bound.is_finite() {
                true => _ = write!(out, "{before}le=\"{bound}\""),
                false => _ = write!(out, "{before}le=\"+Inf\""),
            }
            before = ',';
        }
        let _ = writeln!(out, "{} {value}", if before == ',' { "}" } else { "" });
    }

    /// The same in the library's words, as far as it consists of numbers.
    pub(crate) fn family(&self) -> proto::MetricFamily {
        let sample = |labels: &[Label], value: &Value| {
            let pair = |(name, label): (&&str, &Label)| {
                let mut pair = proto::LabelPair::default();
                pair.set_name((*name).to_owned());
                pair.set_value(label.text().to_owned());
                pair
            };
            let labels = self.row.labels.iter().zip(labels).map(pair).collect();
            let mut gauge = proto::Gauge::default();
            if let Value::Number(number) = value {
                gauge.set_value(*number);
            }
            let mut sample = proto::Metric::from_gauge(gauge);
            sample.set_label(labels);
            sample
        };
        let mut family = proto::MetricFamily::default();
        family.set_name(self.row.name.to_owned());
        family.set_metric(self.values().iter().map(|(labels, value)| sample(labels, value)).collect());
        family
    }
}

/// Backslashes and line feeds, and quotes in label values.
fn escaped(text: &str, quotes: bool) -> Cow<'_, str> {
    if !text.contains(['\\', '\n', '"']) {
        return Cow::Borrowed(text);
    }
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    Cow::Owned(if quotes { text.replace('"', "\\\"") } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names;

    fn text(series: &Series) -> String {
        let mut out = String::new();
        series.write(&mut out);
        out
    }

    #[test]
    fn numbers_and_labels_are_written_as_the_format_says() {
        let series = Series::new(&names::WAL_SYNC_ERRORS_TOTAL);
        assert_eq!(text(&series), "", "never counted is absent");
        let labels = |db: &str| [Label::Shared(db.into()), Label::Word("connect")];
        series.add(&labels("b \"\\\n"), 2);
        series.add(&labels("a.db"), 0);
        let text = text(&series);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("# HELP highwater_wal_sync_errors_total "), "{text}");
        assert_eq!(lines[1], "# TYPE highwater_wal_sync_errors_total counter");
        assert_eq!(lines[2], r#"highwater_wal_sync_errors_total{db="a.db",reason="connect"} 0"#);
        assert_eq!(lines[3], r#"highwater_wal_sync_errors_total{db="b \"\\\n",reason="connect"} 2"#);
        assert_eq!(lines.len(), 4);
    }

    /// The library writes the same for the same observations.
    #[test]
    fn a_histogram_is_written_as_the_library_writes_it() {
        let row = &names::WRITE_LOCK_SECONDS;
        let Kind::Histogram(bounds) = row.kind else { panic!("a histogram") };
        let options = prometheus::HistogramOpts::new(row.name, row.help).buckets(bounds.to_vec());
        let theirs = prometheus::HistogramVec::new(options, row.labels).unwrap();
        let ours = Series::new(row);
        for seen in [0.0, 0.001, 0.0011, 0.02, 0.3, 7.5] {
            theirs.with_label_values(&["a.db"]).observe(seen);
            ours.observe(&[Label::Word("a.db")], seen);
        }
        let families = prometheus::core::Collector::collect(&theirs);
        assert_eq!(text(&ours), prometheus::TextEncoder::new().encode_to_string(&families).unwrap());
    }

    #[test]
    fn volumes_have_no_labels() {
        let series = Series::new(&names::VOLUME_SIZE_BYTES);
        series.set(&[], 1.5);
        assert!(text(&series).ends_with("\nhighwater_volume_size_bytes 1.5\n"));
    }
}
