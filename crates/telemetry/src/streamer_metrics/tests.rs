//! The table is the API: it is compared with what a scrape shows.

use super::*;
use crate::names::{Kind, Metric};
use crate::{BuildInfo, StoreMetrics};
use std::collections::{BTreeMap, BTreeSet};

fn registry() -> Registry {
    Registry::new(&BuildInfo::of("test"), Arc::new(clock::ManualClock::at(0))).unwrap()
}

/// Calls everything once, so that every series exists.
fn exercise(registry: &Registry) -> Arc<StreamerMetrics> {
    let store = StoreMetrics::new(registry).unwrap();
    store.request("get", 0.1, Some("timeout"), 1, 1);
    let all = Arc::new(StreamerMetrics::new(registry).unwrap());
    all.volume(100, 50);
    all.volume_fsync(0.001);
    all.volume_full(false);
    all.clock_skew(-1_500);
    all.single_writer(false);
    let db = all.db("app.db");
    db.sync_attempt();
    db.synced(1_000, Some(0.2));
    db.sync_error("connect");
    db.lag(0.0, 0, 0);
    db.stalled(false);
    db.uploaded(4096);
    db.checkpoint("passive", "ok");
    db.write_lock_held(0.002);
    db.files(8192, 0);
    db.positions(7, 7);
    db.intervals(3600.0, 86400.0);
    db.snapshot_done(1_000, 4096, 0.5);
    db.snapshot_failed();
    db.retention_done(1_000, 3);
    db.retention_failed();
    db.verified(1_000, true);
    db.restore("kept", 1_000, 0.1, 0);
    db.backup_objects(9);
    db.claim(2, false);
    all
}

fn type_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram(_) => "histogram",
    }
}

fn rows() -> impl Iterator<Item = &'static Metric> {
    [names::PROCESS, names::STORE, names::COMMON, names::STREAMER].into_iter().flatten()
}

#[test]
fn the_table_is_what_is_exported() {
    let registry = registry();
    exercise(&registry);
    let text = registry.gather_text();
    let mut types = BTreeMap::new();
    let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, word) = rest.split_once(' ').unwrap();
            types.insert(name, word);
        } else if !line.starts_with('#') {
            let (series, _) = line.rsplit_once(' ').unwrap();
            let (name, set) = series.split_once('{').unwrap_or((series, ""));
            let set = set
                .trim_end_matches('}')
                .split(',')
                .filter_map(|pair| pair.split_once('='))
                .map(|(key, _)| key);
            labels.entry(name).or_default().extend(set.filter(|key| *key != "le"));
        }
    }
    let expected: BTreeMap<&str, &str> = rows().map(|row| (row.name, type_word(row.kind))).collect();
    assert_eq!(types, expected);
    for row in rows() {
        let sample = match row.kind {
            Kind::Histogram(_) => format!("{}_bucket", row.name),
            _ => row.name.to_owned(),
        };
        assert_eq!(labels[sample.as_str()], row.labels.iter().copied().collect(), "labels of {}", row.name);
    }
}

#[test]
fn the_aliases_are_what_is_exported() {
    let registry = registry();
    exercise(&registry);
    assert!(!registry.gather_text().contains("litestream_"), "off unless asked for");
    registry.alias_litestream("s3");
    let text = registry.gather_text();
    for (name, kind, _) in names::LITESTREAM {
        assert!(
            text.contains(&format!("# TYPE {name} {}\n", type_word(*kind))),
            "{name} is missing in {text}"
        );
    }
    for line in [
        r#"litestream_sync_count{db="app.db"} 1"#,
        r#"litestream_sync_error_count{db="app.db"} 1"#,
        r#"litestream_disk_full{db="app.db"} 0"#,
        r#"litestream_replica_operation_total{replica_type="s3",operation="GET"} 1"#,
    ] {
        assert!(text.contains(line), "{line} is missing in {text}");
    }
}

#[test]
fn names_follow_the_rules() {
    let target = ["namespace", "pod", "container", "job", "instance"];
    let mut seen = BTreeSet::new();
    for row in rows() {
        assert!(seen.insert(row.name), "{} stands twice", row.name);
        assert!(row.name.starts_with("highwater_") || row.name.starts_with("process_"), "{}", row.name);
        assert_eq!(row.kind == Kind::Counter, row.name.ends_with("_total"), "{}", row.name);
        assert!(row.labels.iter().all(|label| !target.contains(label)), "{}", row.name);
    }
    assert!(names::STREAMER.iter().all(|row| row.labels[0] == "db"));
}

#[test]
fn p7_a_forgotten_database_leaves_no_series() {
    let registry = registry();
    let all = exercise(&registry);
    all.db("other.db").sync_attempt();
    all.forget("app.db");
    let text = registry.gather_text();
    assert!(!text.contains("app.db"), "{text}");
    assert!(text.contains("other.db"));
}
