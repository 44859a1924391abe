//! The names of Litestream's metrics, made from ours at each scrape, for dashboards and alerts that exist.
//!
//! The meaning is ours, which is stricter: `litestream_sync_count` counts passes that ended with everything in the store
//! (Litestream counts attempts), so a rule on it fires when the store is down. `db` is our label, relative to the volume.

use crate::names::{self, Kind, LITESTREAM, Metric};
use prometheus::proto::{Metric as Sample, MetricFamily};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Writes every alias that has a value.
pub(crate) fn write(out: &mut String, families: &[MetricFamily], store: &str) {
    for (name, kind, from) in LITESTREAM {
        let Some(family) = find(families, from) else { continue };
        let mut sums: BTreeMap<String, f64> = BTreeMap::new();
        if from.labels.is_empty() {
            // Of the whole volume: said for every database.
            let value = family.get_metric().first().map_or(0.0, value);
            let all = find(families, &names::WAL_SYNCS_TOTAL).into_iter().flat_map(|f| f.get_metric());
            sums.extend(all.filter_map(|sample| Some((labels_of_db(label(sample, "db")?), value))));
        } else {
            for sample in family.get_metric() {
                *sums.entry(labels(sample, store)).or_default() += value(sample);
            }
        }
        let word = if *kind == Kind::Counter { "counter" } else { "gauge" };
        // Writing to a String cannot fail.
        let _ = writeln!(out, "# HELP {name} Alias made from {}.\n# TYPE {name} {word}", from.name);
        for (labels, value) in sums {
            let _ = writeln!(out, "{name}{{{labels}}} {value}");
        }
    }
}

fn find<'a>(families: &'a [MetricFamily], row: &Metric) -> Option<&'a MetricFamily> {
    families.iter().find(|family| family.name() == row.name)
}

fn value(sample: &Sample) -> f64 {
    let (counter, gauge) = (sample.get_counter().get_value(), sample.get_gauge().get_value());
    if counter == 0.0 { gauge } else { counter }
}

fn label<'a>(sample: &'a Sample, name: &str) -> Option<&'a str> {
    sample.get_label().iter().find(|label| label.name() == name).map(|label| label.value())
}

fn labels_of_db(db: &str) -> String {
    format!("db=\"{}\"", db.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn labels(sample: &Sample, store: &str) -> String {
    if let Some(db) = label(sample, "db") {
        return labels_of_db(db);
    }
    let operation = match label(sample, "operation").or(label(sample, "direction")).unwrap_or_default() {
        "get" | "head" | "in" => "GET",
        "list" => "LIST",
        "delete" | "abort_upload" => "DELETE",
        _ => "PUT",
    };
    format!("replica_type=\"{store}\",operation=\"{operation}\"")
}
