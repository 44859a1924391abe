//! The metrics of one process: made from rows of [`crate::names`], written as Prometheus text.
//!
//! A registry starts with `highwater_build_info` and the `process_*` metrics. Everything else is made by the three
//! constructors from a row of the table, so that name, type, labels and help cannot drift from it. Rows without
//! labels become vectors with no label too: they export nothing until they were set once ("never measured" is not 0).

use crate::litestream;
use crate::names::{Kind, LITESTREAM, Metric};
use crate::process::ProcessCollector;
use crate::series::Series;
use crate::{BuildInfo, Error};
use clock::Clock;
use prometheus::core::Collector;
use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, TextEncoder};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// The metrics registry of this process.
#[derive(Debug)]
pub struct Registry {
    inner: prometheus::Registry,
    /// Metrics of which there may be thousands of series.
    series: Mutex<Vec<Series>>,
    /// The kind of store, while Litestream's names are exported too.
    litestream: OnceLock<&'static str>,
}

impl Registry {
    /// A registry that tells who we are and what the process uses.
    pub fn new(build: &BuildInfo, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let (inner, series) = (prometheus::Registry::new(), Mutex::default());
        let registry = Self { inner, series, litestream: OnceLock::new() };
        let info = registry.gauge(&crate::names::BUILD_INFO)?;
        info.with_label_values(&[build.version, build.revision, build.component]).set(1.0);
        registry.register("process_*", ProcessCollector::new(clock)?)?;
        Ok(registry)
    }

    /// A counter made from its row.
    pub fn counter(&self, row: &Metric) -> Result<IntCounterVec, Error> {
        debug_assert_eq!(row.kind, Kind::Counter, "{} is not a counter", row.name);
        let made = IntCounterVec::new(Opts::new(row.name, row.help), row.labels);
        self.register(row.name, made.map_err(|error| refused(row.name, error))?)
    }

    /// A gauge made from its row.
    pub fn gauge(&self, row: &Metric) -> Result<GaugeVec, Error> {
        debug_assert_eq!(row.kind, Kind::Gauge, "{} is not a gauge", row.name);
        let made = GaugeVec::new(Opts::new(row.name, row.help), row.labels);
        self.register(row.name, made.map_err(|error| refused(row.name, error))?)
    }

    /// A histogram made from its row, with the row's buckets.
    pub fn histogram(&self, row: &Metric) -> Result<HistogramVec, Error> {
        let Kind::Histogram(buckets) = row.kind else {
            return Err(Error::Metric { name: row.name.into(), reason: "its row is not a histogram".into() });
        };
        let options = HistogramOpts::new(row.name, row.help).buckets(buckets.to_vec());
        let made = HistogramVec::new(options, row.labels);
        self.register(row.name, made.map_err(|error| refused(row.name, error))?)
    }

    /// A metric made from its row, for thousands of label sets.
    pub(crate) fn series(&self, row: &Metric) -> Result<Series, Error> {
        let mut all = self.all_series();
        if all.iter().any(|series| series.name() == row.name) {
            return Err(Error::Metric { name: row.name.into(), reason: "it is registered already".into() });
        }
        let series = Series::new(row);
        all.push(series.clone());
        Ok(series)
    }

    fn all_series(&self) -> MutexGuard<'_, Vec<Series>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything, in the Prometheus text format 0.0.4.
    pub fn gather_text(&self) -> String {
        let mut text = String::new();
        let mut families = self.inner.gather();
        // A family that cannot be written (two kinds under one name) is left out; the table's test finds it first.
        for family in &families {
            let kept = text.len();
            if TextEncoder::new().encode_utf8(std::slice::from_ref(family), &mut text).is_err() {
                text.truncate(kept);
            }
        }
        let series = self.all_series();
        series.iter().for_each(|series| series.write(&mut text));
        if let Some(store) = self.litestream.get() {
            let made_from = |series: &&Series| LITESTREAM.iter().any(|(_, _, row)| row.name == series.name());
            families.extend(series.iter().filter(made_from).map(Series::family));
            litestream::write(&mut text, &families, store);
        }
        text
    }

    /// Exports [`crate::names::LITESTREAM`] too, for a store of this kind (`s3` or `file`).
    pub fn alias_litestream(&self, store: &'static str) {
        let _ = self.litestream.set(store); // once is enough
    }

    fn register<C: Collector + Clone + 'static>(&self, name: &str, collector: C) -> Result<C, Error> {
        self.inner.register(Box::new(collector.clone())).map_err(|error| refused(name, error))?;
        Ok(collector)
    }
}

pub(crate) fn refused(name: &str, error: prometheus::Error) -> Error {
    Error::Metric { name: name.into(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names;
    use clock::ManualClock;

    fn registry() -> Registry {
        let build = BuildInfo { version: "1.2.3", revision: "abc", component: "test" };
        Registry::new(&build, Arc::new(ManualClock::at(1_700_000_000_000))).unwrap()
    }

    #[test]
    fn says_who_runs() {
        let text = registry().gather_text();
        assert!(
            text.contains(r#"highwater_build_info{component="test",revision="abc",version="1.2.3"} 1"#),
            "{text}"
        );
    }

    #[test]
    fn a_name_is_registered_once() {
        let registry = registry();
        registry.counter(&names::WAL_SYNCS_TOTAL).unwrap();
        assert!(registry.counter(&names::WAL_SYNCS_TOTAL).is_err());
    }

    #[test]
    fn what_was_never_measured_is_absent() {
        let registry = registry();
        let size = registry.gauge(&names::VOLUME_SIZE_BYTES).unwrap();
        assert!(!registry.gather_text().contains("highwater_volume_size_bytes"));
        size.with_label_values::<&str>(&[]).set(7.0);
        assert!(registry.gather_text().contains("highwater_volume_size_bytes 7\n"));
    }
}
