//! The metrics that are made from objects in a store: values come and go with what is there.
//!
//! Unlike those of a sidecar they are set from a complete look, so each look starts from nothing: a cluster or an app that was
//! removed must not be exported for ever. What was not found is absent, not zero.

use crate::names::{self, Metric};
use crate::{Error, Registry};
use prometheus::GaugeVec;
use std::collections::{BTreeMap, BTreeSet};

/// One value of one look.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its row in the table.
    pub row: &'static Metric,
    /// Values of its labels, in the row's order.
    pub labels: Vec<String>,
    /// The value.
    pub value: f64,
}

/// All gauges of [`names::ETCD`] and [`names::EXPORTER`].
#[derive(Debug)]
pub struct ExporterMetrics {
    gauges: BTreeMap<&'static str, GaugeVec>,
}

impl ExporterMetrics {
    /// Registers both tables.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        let mut gauges = BTreeMap::new();
        for row in names::ETCD.iter().chain(names::EXPORTER) {
            gauges.insert(row.name, registry.gauge(row)?);
        }
        Ok(Self { gauges })
    }

    /// Replaces everything by these samples. Of two with the same labels (an application in two destinations) the lower one counts: the
    /// older time, the drill that failed. A healthy copy must not hide a dead one.
    pub fn replace(&self, samples: &[Sample]) {
        self.gauges.values().for_each(GaugeVec::reset);
        let mut seen = BTreeSet::new();
        for sample in samples {
            let labels: Vec<&str> = sample.labels.iter().map(String::as_str).collect();
            if let Some(gauge) = self.gauges.get(sample.row.name)
                && let Ok(cell) = gauge.get_metric_with_label_values(&labels)
            {
                let is_first = seen.insert((sample.row.name, &sample.labels));
                cell.set(if is_first { sample.value } else { cell.get().min(sample.value) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BuildInfo;
    use std::sync::Arc;

    #[test]
    fn a_look_forgets_the_one_before_and_every_row_can_be_set() {
        let registry = Registry::new(&BuildInfo::of("test"), Arc::new(clock::ManualClock::at(0))).unwrap();
        let metrics = ExporterMetrics::new(&registry).unwrap();
        assert!(!registry.gather_text().contains("highwater_etcd"), "what was never seen is absent");
        let all: Vec<Sample> = names::ETCD
            .iter()
            .chain(names::EXPORTER)
            .map(|row| Sample {
                row,
                labels: row.labels.iter().map(|l| format!("a-{l}")).collect(),
                value: 7.0,
            })
            .collect();
        metrics.replace(&all);
        let text = registry.gather_text();
        for row in names::ETCD.iter().chain(names::EXPORTER) {
            assert!(text.contains(&format!("# TYPE {} gauge", row.name)), "{}", row.name);
        }
        let line = r#"highwater_etcd_snapshot_size_bytes{cluster="a-cluster",destination="a-destination",kind="a-kind"} 7"#;
        assert!(text.contains(line), "{text}");
        metrics.replace(&all[..1]);
        let text = registry.gather_text();
        assert!(text.contains(all[0].row.name) && !text.contains(all[1].row.name));
    }

    #[test]
    fn p6_a_healthy_copy_does_not_hide_a_drill_that_failed_elsewhere() {
        let registry = Registry::new(&BuildInfo::of("test"), Arc::new(clock::ManualClock::at(0))).unwrap();
        let metrics = ExporterMetrics::new(&registry).unwrap();
        let drill = |value| Sample {
            row: &names::DRILL_LAST_RESULT,
            labels: ["prod", "etcd", "prod"].map(str::to_owned).to_vec(),
            value,
        };
        for looked in [[0.0, 1.0], [1.0, 0.0]] {
            metrics.replace(&looked.map(drill));
            let text = registry.gather_text();
            let line = text.lines().find(|line| line.starts_with("highwater_drill_last_result{")).unwrap();
            assert!(line.ends_with(" 0"), "{line}");
        }
        metrics.replace(&[drill(1.0)]);
        assert!(
            registry
                .gather_text()
                .contains("highwater_drill_last_result{app=\"prod\",kind=\"etcd\",name=\"prod\"} 1")
        );
    }
}
