//! wal-streamer as its surroundings see it: probes, metrics, the control socket, the start in a pod, `check`.

#![allow(clippy::disallowed_methods, reason = "a test measures real time")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use e2e::http::{get, series};
use e2e::{Outcome, PATIENCE, Place, Streamer, Volume, run};
use protect::handover::{Handover, Outcome as Restored, RestoredDatabase};
use protect::{Description, Sources};
use rusqlite::Connection;
use serde_json::Value;
use telemetry::names::{self, Kind, Metric};
use testkit::app;
use testkit::procs::wait_until;
use testkit::s3::ACCESS_KEY;

const SERVED: &[&str] = &["--sync-interval", "50ms", "--listen", "127.0.0.1:0"];

fn ask(place: &Place, verb: &str, socket: &Path, more: &[&str]) -> Outcome {
    wait_until(PATIENCE, "the control socket", || socket.exists());
    ask_at_once(place, verb, socket, more)
}

fn ask_at_once(place: &Place, verb: &str, socket: &Path, more: &[&str]) -> Outcome {
    let mut command = place.command("wal-streamer");
    command.arg(verb).arg("--socket").arg(socket).args(more);
    run(command)
}

fn socket(volume: &Volume) -> PathBuf {
    volume.path().join(".highwater/wal-streamer.sock")
}

#[track_caller]
fn restored_seq(place: &Place, volume: &Volume) -> u64 {
    let out = volume.file("restored.db");
    place.restore("p", &out, &["--force"]).expect(0);
    app::verify(&out).expect("a prefix of the plan").last_seq
}

/// When `sync --wait` returns 0, what was committed before is in the store: the streamer is killed at once, and it comes back.
#[test]
fn p1_sync_wait_means_restorable() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(5);
    for round in 1..=4 {
        // An interval that never ends: only the request can make it durable.
        let mut streamer = Streamer::start(&place, "p", &volume.db(), &["--sync-interval", "1h"]).following();
        volume.write(5);
        let synced = ask(&place, "sync", &socket(&volume), &["--wait", "-o", "json"]);
        synced.expect(0);
        streamer.proc.kill9();
        let answer: Value = serde_json::from_str(&synced.stdout).expect("JSON");
        assert_eq!(answer["databases"][0]["state"], "durable", "{answer}");
        assert_eq!(restored_seq(&place, &volume), volume.last_seq(), "round {round}");
    }
}

#[test]
fn sync_says_when_it_was_not_in_time_and_never_waits_unasked() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(5);
    let mut streamer = Streamer::start(&place, "p", &volume.db(), &["--sync-interval", "50ms"]).following();
    let before = streamer.wait_beyond(0);
    place.server().faults().unavailable(true);
    volume.write(5);
    let begun = Instant::now();
    ask(&place, "sync", &socket(&volume), &[]).expect(0);
    assert!(begun.elapsed() < Duration::from_secs(15), "a preStop hook returns at once");
    let late = ask(&place, "sync", &socket(&volume), &["--wait", "--timeout", "300ms"]);
    late.expect(6);
    assert!(late.stdout.contains("app.db: not durable: not in the store"), "{}", late.stdout);
    place.server().faults().unavailable(false);
    ask(&place, "sync", &socket(&volume), &["--wait", "app.db"]).expect(0);
    assert!(streamer.durable() > before);
    ask(&place, "sync", &socket(&volume), &["--wait", "other.db"])
        .expect(2)
        .says(&["no database other.db", "app.db"]);
    streamer.drain();
    assert!(!socket(&volume).exists(), "the socket goes with its process");
    ask_at_once(&place, "sync", &socket(&volume), &["--wait"]).expect(1).says(&["is it running?"]);
}

/// Every name, type and label that the running binary exports is in the table, and what every database has is exported.
#[test]
fn the_metrics_of_the_binary_are_those_of_the_table() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(20);
    let more = [SERVED, &["--fsync-probe", "1s", "--litestream-metrics"]].concat();
    let mut streamer = Streamer::start(&place, "p", &volume.db(), &more).following();
    let durable = streamer.wait_beyond(0);
    volume.write(5);
    streamer.wait_beyond(durable);
    let addr = streamer.addr();
    let all = || get(&addr, "/metrics").1;
    for what in ["highwater_volume_fsync_duration_seconds_count", "highwater_store_clock_skew_seconds"] {
        wait_until(PATIENCE, what, || all().contains(what));
    }
    let lag = r#"highwater_wal_lag_seconds{db="app.db"}"#;
    wait_until(PATIENCE, "no lag", || series(&all(), lag) == Some(0.0));
    let metrics = all();
    let table: BTreeMap<&str, &Metric> = [names::PROCESS, names::STORE, names::COMMON, names::STREAMER]
        .into_iter()
        .flatten()
        .map(|row| (row.name, row))
        .collect();
    let aliases: BTreeMap<&str, Kind> =
        names::LITESTREAM.iter().map(|(name, kind, _)| (*name, *kind)).collect();
    let mut exported = BTreeSet::new();
    for line in metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, word) = line.split_once(' ').expect("a type");
        let kind = table.get(name).map(|row| row.kind).or(aliases.get(name).copied());
        let kind = kind.unwrap_or_else(|| panic!("{name} is not in the table"));
        let expected = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        assert_eq!(word, expected, "{name}");
        exported.insert(name);
    }
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let Some(row) = table.get(name).or(base.and_then(|base| table.get(base))) else { continue };
        let labels = labels.trim_end_matches('}').split(',').filter_map(|pair| Some(pair.split_once('=')?.0));
        let labels: BTreeSet<&str> = labels.filter(|label| *label != "le").collect();
        assert_eq!(labels, row.labels.iter().copied().collect(), "labels of {name}");
    }
    // What exists only after something that did not happen here.
    let elsewhere = |name: &str| {
        [
            "snapshot_",
            "retention_",
            "verify_",
            "restore_",
            "backup_objects",
            "_errors_total",
            "write_lock",
            "wal_checkpoints",
        ]
        .iter()
        .any(|part| name.contains(part))
    };
    for name in table.keys().copied().chain(aliases.keys().copied()) {
        assert!(
            exported.contains(name) || elsewhere(name) || name == "litestream_sync_error_count",
            "{name} is missing"
        );
    }
    let fenced = r#"highwater_writer_fenced{component="wal-streamer",db="app.db"}"#;
    for name in ["highwater_disk_full", lag, fenced] {
        assert_eq!(series(&metrics, name), Some(0.0), "{name}");
    }
}

/// While the store is down the lag grows in seconds, bytes and transactions, nothing is called durable, and the pod stays ready.
/// Nothing is written, and yet the metric that the alert `HighwaterUploadDenied` watches moves when the credentials end.
#[test]
fn credentials_that_end_while_nothing_is_written_are_noticed() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(5);
    let more = [SERVED, &["--probe-interval", "300ms"]].concat();
    let mut streamer = Streamer::start(&place, "p", &volume.db(), &more).following();
    streamer.wait_beyond(0);
    let addr = streamer.addr();
    let denied = || {
        let metrics = get(&addr, "/metrics").1;
        let errors = metrics.lines().filter(|line| line.starts_with("highwater_s3_request_errors_total"));
        errors.filter(|line| line.contains("access_denied") || line.contains("bad_credentials")).count()
    };
    place.server().reset();
    wait_until(PATIENCE, "two probes", || place.server().counts().put >= 2);
    let counts = place.server().counts();
    assert_eq!(counts.put, counts.total(), "nothing else is asked: {:?}", place.server().log());
    assert_eq!(denied(), 0);
    place.server().faults().expire_credentials(true);
    wait_until(PATIENCE, "the metric of the alert", || denied() > 0);
    place.server().faults().expire_credentials(false);
    streamer.drain();
}

#[test]
fn an_outage_is_seen_in_the_lag_and_not_in_the_probes() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(5);
    let mut streamer = Streamer::start(&place, "p", &volume.db(), SERVED).following();
    // An increment behind the first image: its start is over.
    let image = streamer.wait_beyond(0);
    volume.write(5);
    streamer.wait_beyond(image);
    let addr = streamer.addr();
    place.server().faults().unavailable(true);
    let db = Connection::open(volume.db()).unwrap();
    db.execute_batch("CREATE TABLE more(x)").unwrap();
    for _ in 0..6 {
        db.execute("INSERT INTO more VALUES(randomblob(5000))", ()).unwrap();
    }
    let of =
        |name: &str| series(&get(&addr, "/metrics").1, &format!("{name}{{db=\"app.db\"}}")).unwrap_or(0.0);
    wait_until(PATIENCE, "a lag of 7 transactions and 1 s", || {
        of("highwater_wal_lag_transactions") >= 7.0 && of("highwater_wal_lag_seconds") > 1.0
    });
    assert!(of("highwater_wal_lag_bytes") > 30_000.0);
    assert!(of("highwater_db_position") > of("highwater_replica_position"));
    for probe in ["/startz", "/livez", "/readyz"] {
        assert_eq!(
            get(&addr, probe).0,
            200,
            "{probe}: a bucket that is down must not take the application down"
        );
    }
    // The lag grows by itself; the state changes when an upload has failed, the store's own repetitions included.
    let status = || serde_json::from_str::<Value>(&get(&addr, "/status").1).unwrap();
    wait_until(PATIENCE, "the status says it", || status()["databases"][0]["state"] == "behind");
    assert!(get(&addr, "/").1.contains("behind"), "the page shows it");
    let shown = ask(&place, "status", &socket(&volume), &["-o", "json"]);
    shown.expect(0);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown["databases"][0]["state"], "behind");
    assert!(ask(&place, "status", &socket(&volume), &[]).expect(0).stdout.contains("app.db"));
    place.server().faults().unavailable(false);
    wait_until(PATIENCE, "no lag", || {
        of("highwater_wal_lag_seconds") == 0.0 && of("highwater_wal_lag_transactions") == 0.0
    });
    drop(db);
    streamer.drain();
}

/// A pod's surroundings: annotations, a run directory, a data volume.
struct Pod {
    place: Place,
    volume: Volume,
    run: tempfile::TempDir,
}

impl Pod {
    fn new() -> Pod {
        let pod = Pod {
            place: Place::s3(),
            volume: Volume::new(),
            run: tempfile::tempdir().expect("the scene is as it was set"),
        };
        let url = pod.place.url("p");
        let (location, query) = url
            .strip_prefix("s3://")
            .expect("the scene is as it was set")
            .split_once('?')
            .expect("the scene is as it was set");
        let (bucket, prefix) = location.split_once('/').expect("the scene is as it was set");
        let mut text = format!(
            "kubernetes.io/config.seen=\"x\"\nhighwater.dev/app=\"vault\"\nhighwater.dev/sqlite=\"app.db\"\nhighwater.dev/bucket=\"{bucket}\"\nhighwater.dev/prefix=\"{prefix}\"\n"
        );
        for (key, value) in
            url::form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key != "path-style")
        {
            text += &format!("highwater.dev/{key}=\"{value}\"\n");
        }
        fs::write(pod.annotations(), text).expect("the scene is as it was set");
        pod
    }

    fn annotations(&self) -> PathBuf {
        self.run.path().join("annotations")
    }

    fn variables(&self) -> Vec<(String, String)> {
        vec![
            ("HIGHWATER_ROOT".into(), self.volume.path().display().to_string()),
            ("HIGHWATER_RUN_DIR".into(), self.run.path().display().to_string()),
            ("HIGHWATER_ANNOTATIONS".into(), self.annotations().display().to_string()),
        ]
    }

    fn sidecar(&self) -> Streamer {
        let variables = self.variables();
        let variables: Vec<_> = variables.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        Streamer::with(&self.place, SERVED, &variables)
    }

    fn description(&self) -> Description {
        let sources = Sources { environment: self.variables().into_iter().collect(), ..Sources::default() };
        sources.resolve().expect("the annotations are right")
    }

    /// What `restore init` leaves for healthy data that nobody could claim yet.
    fn restored(&self, description: &Description) {
        let mut handover = Handover::new(description, clock::format_unix_ms(1_700_000_000_000));
        handover.databases.push(RestoredDatabase {
            path: "app.db".into(),
            outcome: Restored::Kept,
            lineage: 0,
            epoch: 0,
            txid: 0,
            claimed: false,
            bytes: 4096,
            seconds: 0.5,
        });
        handover.write(&Handover::path_in(self.run.path())).expect("the scene is as it was set");
    }
}

/// Trap 20, and the wrong order of containers: until this pod's restore is over, neither database nor store is touched.
#[test]
fn p3_a_sidecar_waits_for_this_pods_restore() {
    let pod = Pod::new();
    pod.volume.write(10);
    let before = e2e::snapshot(pod.volume.path());
    let mut sidecar = pod.sidecar();
    let addr = sidecar.addr();
    wait_until(PATIENCE, "the reason", || get(&addr, "/startz").1.contains("restored.json"));
    assert_eq!((get(&addr, "/startz").0, get(&addr, "/readyz").0, get(&addr, "/livez").0), (503, 503, 200));
    assert_eq!(pod.place.server().counts().total(), 0, "the store was asked");
    assert!(e2e::snapshot(pod.volume.path()) == before, "the volume was touched");
    pod.restored(&pod.description());
    sidecar.wait_for("claimed");
    wait_until(PATIENCE, "started", || get(&addr, "/startz").0 == 200 && get(&addr, "/readyz").0 == 200);
    sidecar.wait_beyond(0);
    let metrics = get(&addr, "/metrics").1;
    assert_eq!(
        series(&metrics, r#"highwater_restore_info{db="app.db",outcome="kept"}"#),
        Some(1.0),
        "{metrics}"
    );
    assert_eq!(
        series(&metrics, r#"highwater_restore_timestamp_seconds{db="app.db"}"#),
        Some(1_700_000_000.0)
    );
    assert_eq!(series(&metrics, r#"highwater_restore_duration_seconds{db="app.db"}"#), Some(0.5));
    assert!(pod.run.path().join("wal-streamer.sock").exists(), "the control socket is in the run directory");
    sidecar.drain();
}

#[test]
fn p3_a_sidecar_of_another_description_refuses() {
    let pod = Pod::new();
    pod.volume.write(10);
    let mut other = pod.description();
    other.app = Some("another".into());
    pod.restored(&other);
    let mut sidecar = pod.sidecar();
    assert_eq!(sidecar.proc.expect_exit(PATIENCE), 2, "{}", sidecar.proc.log_tail());
    assert_eq!(pod.place.server().counts().total(), 0);
    assert!(!pod.volume.path().join(".highwater").exists());
}

#[test]
fn a_sidecar_that_waits_can_be_stopped() {
    let pod = Pod::new();
    let mut sidecar = pod.sidecar();
    sidecar.wait_for("waiting for the restore");
    sidecar.drain();
}

/// Two pods, one replica: the loser keeps running, says so, and writes nothing more.
#[test]
fn p4_a_fenced_sidecar_keeps_running_unready() {
    let pod = Pod::new();
    pod.volume.write(10);
    pod.restored(&pod.description());
    let mut sidecar = pod.sidecar();
    let addr = sidecar.addr();
    sidecar.wait_for("claimed");
    sidecar.wait_beyond(0);
    ask(&pod.place, "sync", &pod.run.path().join("wal-streamer.sock"), &["--wait"]).expect(0);
    // Another pod with the same identity and a copy of the volume.
    let other = pod.volume.copy();
    let url = pod.description().databases[0].url.clone().unwrap();
    let mut command = pod.place.command("wal-streamer");
    command.args(["replicate", "--once", "--app", "vault"]).arg(other.db()).arg(&url);
    run(command).expect(0);
    pod.volume.write(5);
    wait_until(PATIENCE, "unready", || get(&addr, "/readyz").0 == 503);
    assert!(get(&addr, "/readyz").1.contains("another writer owns the replica of app.db"));
    assert_eq!(get(&addr, "/livez").0, 200, "a restart would not help");
    let metrics = get(&addr, "/metrics").1;
    assert_eq!(
        series(&metrics, r#"highwater_writer_fenced{component="wal-streamer",db="app.db"}"#),
        Some(1.0)
    );
    assert!(sidecar.proc.is_running());
    ask(&pod.place, "sync", &pod.run.path().join("wal-streamer.sock"), &["--wait", "--timeout", "2s"])
        .expect(5);
    sidecar.proc.terminate();
    sidecar.proc.expect_exit(PATIENCE);
}

#[track_caller]
fn check(place: &Place, db: &Path, url: &str, more: &[&str]) -> (Outcome, Vec<Value>) {
    let mut command = place.command("wal-streamer");
    command.args(["check", "-o", "json"]).args(more).arg(db).arg(url);
    let outcome = run(command);
    let findings = serde_json::from_str(&outcome.stdout).unwrap_or_else(|e| panic!("{e}: {outcome:?}"));
    (outcome, findings)
}

fn verdict<'a>(findings: &'a [Value], check: &str) -> &'a str {
    let found = findings.iter().find(|finding| finding["check"] == check);
    found.and_then(|finding| finding["verdict"].as_str()).unwrap_or("none")
}

#[test]
fn check_finds_what_a_start_would_find() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(5);
    let (good, mut findings) = check(&place, &volume.db(), &place.url("p"), &[]);
    good.expect(0);
    // A disk that is busy at the moment is warned of.
    wait_until(PATIENCE, "a sync within half a second", || {
        let quick = verdict(&findings, "fsync") != "warning";
        if !quick {
            findings = check(&place, &volume.db(), &place.url("p"), &[]).1;
        }
        quick
    });
    for what in ["store", "create-only", "clock", "database", "fsync", "open-files"] {
        assert_eq!(verdict(&findings, what), "ok", "{what}: {findings:#?}");
    }
    // How full this machine's disk is, is its own matter.
    assert!(["ok", "warning"].contains(&verdict(&findings, "volume")), "{findings:#?}");
    assert!(!volume.path().join(".highwater").exists() && place.files("p").is_empty());

    let mut denied = place.command("wal-streamer");
    denied.arg("check").arg(volume.db()).arg(place.url("p")).env("AWS_SECRET_ACCESS_KEY", "wrong");
    let denied = run(denied);
    denied.expect(2);
    assert!(
        denied.stdout.contains("FAILED") && denied.stdout.contains("check the key files"),
        "{}",
        denied.stdout
    );

    let (gone, findings) =
        check(&place, &volume.db(), "s3://bucket/p?endpoint=http://127.0.0.1:9&region=x", &[]);
    gone.expect(1);
    assert_eq!(verdict(&findings, "store"), "failed");

    let rollback = volume.file("old.db");
    Connection::open(&rollback).unwrap().execute_batch("CREATE TABLE t(x)").unwrap();
    let (refused, findings) = check(&place, &rollback, &place.url("q"), &[]);
    refused.expect(3);
    let finding = findings.iter().find(|f| f["check"] == "database").unwrap();
    assert!(finding["hint"].as_str().unwrap().contains("--convert-to-wal"), "{finding}");
    place.server().faults().ignore_conditions(true);
    let (weak, findings) = check(&place, &volume.db(), &place.url("weak"), &[]);
    weak.expect(0);
    assert_eq!(verdict(&findings, "create-only"), "warning");
}

/// The secret is rotated on disk: the old one stops working, the new one is used by the running process, nothing restarts.
#[test]
fn credentials_rotated_on_disk_are_used_by_the_running_process() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(5);
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("credentials");
    let secret = place.server().env().into_iter().find(|(k, _)| k == "AWS_SECRET_ACCESS_KEY").unwrap().1;
    let write = |secret: &str| {
        let text = format!("[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {secret}\n");
        fs::write(file.with_extension("new"), text).unwrap();
        fs::rename(file.with_extension("new"), &file).unwrap();
    };
    write(&secret);
    let mut command = place.command("wal-streamer");
    command
        .args(["--log-format", "json", "replicate", "--sync-interval", "50ms"])
        .arg(volume.db())
        .arg(place.url("p"));
    command
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .env("AWS_SHARED_CREDENTIALS_FILE", &file);
    command.env("HIGHWATER_LOG", "info,wal_streamer=debug");
    let mut streamer = Streamer { proc: testkit::procs::Proc::start(command) };
    let durable = streamer.wait_beyond(0);
    write("revoked");
    volume.write(5);
    streamer.wait_for("upload failed");
    assert_eq!(streamer.durable(), durable, "nothing is called durable that is not");
    write(&secret);
    streamer.wait_beyond(durable);
    streamer.drain();
    assert_eq!(restored_seq(&place, &volume), 10);
}

/// The first image of 3 MiB at 1 MiB/s is not there before its time; the increments behind it wait for their share.
#[test]
fn p7_uploads_stay_below_the_rate() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(2);
    let db = Connection::open(volume.db()).unwrap();
    db.execute_batch("CREATE TABLE ballast(x)").unwrap();
    let mut streamer =
        Streamer::start(&place, "p", &volume.db(), &["--sync-interval", "10ms", "--max-upload-rate", "1MiB"])
            .following();
    let mut durable = streamer.wait_beyond(0);
    let begun = Instant::now();
    for _ in 0..3 {
        db.execute("INSERT INTO ballast VALUES(randomblob(1000000))", ()).unwrap();
        durable = streamer.wait_beyond(durable);
    }
    drop(db);
    assert!(begun.elapsed() > Duration::from_millis(1_500), "3 MB in {:?}", begun.elapsed());
    streamer.drain();
}

#[test]
fn papers_and_translations_come_from_the_binary() {
    let (place, scratch) = (Place::directory(), tempfile::tempdir().unwrap());
    let dir = scratch.path().join("wal-streamer");
    let mut man = place.command("wal-streamer");
    man.arg("man").arg(&dir);
    run(man).expect(0);
    assert!(dir.join("wal-streamer.1").exists());
    for verb in ["", "replicate", "sync", "status", "snapshot", "prune", "check", "import-config"] {
        let mut help = place.command("wal-streamer");
        help.args([verb].iter().filter(|verb| !verb.is_empty())).arg("--help");
        let help = run(help);
        assert!(help.stdout.contains("Examples:"), "{verb}: {}", help.stdout);
    }
    assert!(scratch.path().join("wal-streamer/wal-streamer-import-config.1").exists());
    let theirs = scratch.path().join("litestream.yml");
    fs::write(
        &theirs,
        "dbs:\n  - path: /data/a.db\n    replica: { url: s3://backups/a, sync-interval: 5s }\n",
    )
    .unwrap();
    let import = |more: &[&str]| {
        let mut command = place.command("wal-streamer");
        command.arg("import-config").arg(&theirs).args(more);
        run(command)
    };
    let done = import(&["--app", "vault"]);
    assert!(done.expect(0).stdout.contains("--sync-interval 5s"), "{}", done.stdout);
    // What it prints is what `check` and `replicate` read.
    let ours = scratch.path().join("protect.yaml");
    fs::write(&ours, &done.stdout).unwrap();
    let sources = Sources { config: Some(ours), ..Sources::default() };
    assert_eq!(sources.resolve().unwrap().databases[0].url.as_deref(), Some("s3://backups/a"));
    let document: Value = serde_json::from_str(&import(&["-o", "json"]).expect(0).stdout).unwrap();
    assert_eq!(document["flags"][0], "--sync-interval 5s");
    fs::write(&theirs, "dbs:\n  - path: /data/a.db\n    replica: { url: s3://b/a, sync-intervall: 5s }\n")
        .unwrap();
    import(&[]).expect(2).says(&["litestream.yml:3", "sync-intervall", "did you mean sync-interval?"]);
    fs::write(&theirs, "exec: app\ndbs:\n  - path: /data/a.db\n    replica: { url: s3://bbb/a }\n").unwrap();
    import(&[]).expect(6).says(&["decided"]);
}

/// A full image on request: it is stored, read back, and the status object beside the replica says so.
#[test]
fn a_snapshot_is_taken_on_request_and_told_beside_the_replica() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(20);
    let mut streamer = Streamer::start(&place, "p", &volume.db(), SERVED).following();
    let durable = streamer.wait_beyond(0);
    volume.write(20);
    streamer.wait_beyond(durable);
    let addr = streamer.addr();
    let images = || fs::read_dir(place.root("p").join("0009")).map_or(0, |dir| dir.count());
    let before = images();
    let asked = ask(&place, "snapshot", &socket(&volume), &[]);
    assert!(asked.expect(0).stdout.contains("app.db: asked"), "{}", asked.stdout);
    ask(&place, "snapshot", &socket(&volume), &["other.db"]).expect(2);
    wait_until(PATIENCE, "an image", || images() > before);
    let beside = place.root("p").join("highwater/status.json");
    let read = || fs::read(&beside).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    wait_until(PATIENCE, "a proven point beside the replica", || {
        read().is_some_and(|s| s["proven"].is_string())
    });
    let object = read().expect("it was waited for");
    assert_eq!((object["format"].as_u64(), object["kind"].as_str()), (Some(1), Some("sqlite")), "{object}");
    assert_eq!((object["name"].as_str(), object["drill"].is_null()), (Some("app.db"), true));
    assert!(object["size_bytes"].as_u64() > Some(4096), "{object}");
    let metrics = get(&addr, "/metrics").1;
    let of = |name: &str| series(&metrics, &format!("{name}{{db=\"app.db\"}}"));
    assert!(of("highwater_snapshot_last_success_timestamp_seconds") > Some(1.0e9), "{metrics}");
    assert!(of("highwater_backup_objects") > Some(1.0) && of("highwater_snapshot_last_bytes") > Some(0.0));
    assert_eq!(of("highwater_snapshot_interval_seconds"), Some(21_600.0));
    assert_eq!(of("highwater_verify_last_result"), Some(1.0));
    let status: Value = serde_json::from_str(&get(&addr, "/status").1).unwrap();
    assert!(status["databases"][0]["last_proven"].is_string(), "{status}");
    streamer.drain();
    assert_eq!(restored_seq(&place, &volume), 40);
}

/// `prune` plans by default, keeps what is not proven, and wants to be told what to keep.
#[test]
fn p3_prune_plans_first_and_keeps_what_is_not_proven() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(20);
    Streamer::once(&place, "p", &volume.db(), &[]).expect(0);
    let before = place.objects("p");
    let prune = |more: &[&str]| {
        let mut command = place.command("wal-streamer");
        command.arg("prune").arg(place.url("p")).args(more);
        run(command)
    };
    prune(&[]).expect(2).says(&["--keep"]);
    prune(&["--keep", "all=0"]).expect(2).says(&["keeps nothing"]);
    prune(&["--keep", "dayly=7"]).expect(2).says(&["did you mean daily?"]);
    let plan = prune(&["--keep", "all=1d"]);
    assert!(plan.expect(0).stdout.contains("nothing was deleted"), "{}", plan.stdout);
    let applied = prune(&["--keep", "all=1d", "--apply", "-o", "json"]);
    let rows: Value = serde_json::from_str(&applied.expect(0).stdout).expect("JSON");
    assert_eq!(rows[0]["plan"]["deletions"].as_array().map(Vec::len), Some(0), "{rows}");
    assert_eq!(place.objects("p"), before);
    let mut gone = place.command("wal-streamer");
    gone.args(["prune", "s3://bucket/p?endpoint=http://127.0.0.1:9&region=x", "--keep", "all=1d"]);
    gone.env("HIGHWATER_LOG", "off");
    run(gone).expect(1);
}

/// The file stands once in a line, and the line says what to do.
#[test]
fn messages_name_the_file_once_and_the_way_out() {
    let (place, volume) = (Place::s3(), Volume::new());
    let old = volume.db();
    Connection::open(&old).unwrap().execute_batch("CREATE TABLE t(x)").unwrap();
    let refused = Streamer::once(&place, "p", &old, &[]);
    refused.expect(3).says(&["rollback journal", "--convert-to-wal"]);
    assert_eq!(refused.last_line().matches("app.db").count(), 1, "{}", refused.last_line());
    let config = volume.file("protect.yaml");
    fs::write(&config, "app: a\nreplica: s3://bbb/x\nroot: /data\ndatabses:\n  - { path: a.db }\n").unwrap();
    let mut command = place.command("wal-streamer");
    command.args(["replicate", "--config"]).arg(&config);
    run(command).expect(2).says(&["protect.yaml:4", "databses", "did you mean databases?"]);
}
