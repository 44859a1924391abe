//! `restore init` and its neighbours as processes: what a pod and an operator see.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]

use std::fs;
use std::path::PathBuf;

use e2e::{Outcome, Place, Streamer, Volume, run, snapshot};
use rusqlite::Connection;
use serde_json::Value;
use testkit::app;
use testkit::diskfull::SmallDisk;

const NONE: &[&str] = &[];

/// A pod: its volume, its scratch volume, its description.
struct Pod {
    place: Place,
    volume: Volume,
    scratch: tempfile::TempDir,
}

impl Pod {
    fn new() -> Pod {
        Pod { place: Place::s3(), volume: Volume::new(), scratch: tempfile::tempdir().unwrap() }
    }

    fn init(&self, more: &str, arguments: &[&str]) -> Outcome {
        let config = self.scratch.path().join("protect.yaml");
        let text = format!(
            "app: web\ncluster: home\nreplica: '{}'\nroot: {}\ndatabases: [{{path: app.db}}]\n{more}",
            self.place.url("web"),
            self.volume.path().display()
        );
        fs::write(&config, text).unwrap();
        let mut command = self.place.command("restore");
        command.arg("init").arg("--config").arg(config).arg("--run-dir").arg(self.run_dir());
        command.args(["--patience", "1s"]).args(arguments);
        run(command)
    }

    fn run_dir(&self) -> PathBuf {
        self.scratch.path().join("run")
    }

    fn handover(&self) -> Option<Value> {
        let text = fs::read_to_string(self.run_dir().join("restored.json")).ok()?;
        Some(serde_json::from_str(&text).unwrap())
    }

    /// What the pod's sidecar does, started by hand.
    fn ship(&self) {
        let more = ["--cluster", "home", "--app", "web"];
        Streamer::once(&self.place, "web/sqlite/app.db", &self.volume.db(), &more).expect(0);
    }

    fn lose_volume(&self) {
        for entry in fs::read_dir(self.volume.path()).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
    }
}

#[test]
fn a_pod_comes_back_on_an_empty_volume() {
    let pod = Pod::new();
    pod.init("", NONE).expect(0);
    assert_eq!(pod.handover().unwrap()["databases"][0]["outcome"], "fresh");
    pod.volume.write(25);
    pod.ship();
    pod.lose_volume();

    let before = pod.place.objects("web");
    let would = pod.init("", &["--dry-run"]);
    would.expect(0);
    assert!(would.stdout.contains("Restore"), "{}", would.stdout);
    assert_eq!(pod.place.objects("web"), before, "a dry run claims nothing");

    pod.init("", NONE).expect(0);
    let row = pod.handover().unwrap()["databases"][0].clone();
    assert_eq!((&row["outcome"], &row["claimed"]), (&"restored".into(), &true.into()), "{row}");
    assert_eq!(app::verify(&pod.volume.db()).unwrap().last_seq, 25);
    // Again, as after a reboot of the node: nothing to do.
    pod.init("", NONE).expect(0);
    assert_eq!(pod.handover().unwrap()["databases"][0]["outcome"], "kept");
}

#[test]
fn p6_a_pod_that_cannot_ask_the_store_does_not_start_on_nothing() {
    let pod = Pod::new();
    pod.init("", NONE).expect(0);
    pod.volume.write(10);
    pod.ship();
    pod.lose_volume();
    pod.place.server().faults().unavailable(true);
    let outcome = pod.init("", NONE);
    outcome.expect(1).says(&["the pod does not start"]);
    assert!(pod.handover().is_none(), "an earlier start's restored.json is withdrawn");
    assert!(!pod.volume.db().exists());
    pod.place.server().faults().clear();
    pod.init("", NONE).expect(0);
}

#[test]
fn trap_13_a_pod_with_healthy_data_starts_without_the_store() {
    let pod = Pod::new();
    pod.init("", NONE).expect(0);
    pod.volume.write(10);
    pod.ship();
    pod.place.server().faults().unavailable(true);
    pod.init("", NONE).expect(0);
    let row = pod.handover().unwrap()["databases"][0].clone();
    assert_eq!((&row["outcome"], &row["claimed"], &row["epoch"]), (&"kept".into(), &false.into(), &0.into()));
    assert_ne!(row["lineage"], "0000000000000000");
}

#[test]
fn wrong_descriptions_are_usage_errors() {
    let pod = Pod::new();
    pod.init("restoer: auto\n", NONE).expect(2).says(&["protect.yaml:6", "restore"]);
    pod.init("files: [{path: '*.yaml'}]\n", NONE).expect(2).says(&["files", "is a directory"]);
    assert!(pod.handover().is_none());
}

/// Refused by lock: the file of an application that runs.
#[test]
fn p5_a_database_in_use_is_not_replaced() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(10);
    Streamer::once(&place, "p", &volume.db(), NONE).expect(0);
    // Read before it is opened: closing any descriptor of the file drops this process's locks (trap 7).
    let before = fs::read(volume.db()).unwrap();
    let open = Connection::open(volume.db()).unwrap();
    open.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).unwrap();
    place.restore("p", &volume.db(), &["--force"]).expect(3).says(&["is open in", "stop the application"]);
    drop(open);
    assert_eq!(fs::read(volume.db()).unwrap(), before);
    place.restore("p", &volume.db(), &["--force"]).expect(0);
}

#[test]
fn verify_and_latest_valid_say_the_same() {
    let (place, volume) = (Place::s3(), Volume::new());
    for _ in 0..3 {
        volume.write(10);
        Streamer::once(&place, "p", &volume.db(), NONE).expect(0);
    }
    let verify = |more: &[&str]| {
        let mut command = place.command("restore");
        command.args(["verify", &place.url("p"), "--scratch"]).arg(volume.path()).args(more);
        run(command)
    };
    verify(&["--all", "--full", "--record"]).expect(0);
    let proven = place.points("p").iter().all(|point| point["proven"] == true);
    assert!(proven, "{:?}", place.points("p"));

    let newest = place.files("p").pop().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&newest, bytes).unwrap();
    let name = newest.file_name().unwrap().to_str().unwrap();
    verify(NONE).expect(4).says(&[name, "newest provable point is TXID 0000000000000005"]);
    let found: Value = serde_json::from_str(&verify(&["-o", "json"]).stdout).unwrap();
    assert_eq!((&found["ok"], &found["provable"]), (&false.into(), &"0000000000000005".into()));

    let out = volume.file("out.db");
    place.restore("p", &out, NONE).expect(4).says(&[name, "--latest-valid"]);
    assert!(!out.exists());
    place.restore("p", &out, &["--latest-valid"]).expect(0);
    assert_eq!(app::verify(&out).unwrap().last_seq, 20);
}

#[test]
fn p2_a_disk_that_fills_halfway_leaves_nothing_under_the_final_name() {
    let disk = match SmallDisk::mount(24 << 20) {
        Ok(disk) => disk,
        Err(reason) => return println!("skipped: {reason}"),
    };
    let (place, volume) = (Place::s3(), Volume::new());
    let db = Connection::open(volume.db()).unwrap();
    db.execute_batch(
        "PRAGMA journal_mode=wal; CREATE TABLE t(x);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 3000) INSERT INTO t SELECT randomblob(4000) FROM n;",
    )
    .unwrap();
    drop(db);
    Streamer::once(&place, "p", &volume.db(), NONE).expect(0);
    let out = disk.path().join("out.db");
    // Too little from the beginning.
    disk.fill(4 << 20);
    place.restore("p", &out, NONE).expect(1).says(&["needs", "left"]);
    // Enough when it is asked, and taken while the restore runs: the bodies come slowly, the ballast does not.
    disk.release();
    place.server().faults().throttle_out(2 << 20);
    let mut command = place.command("restore");
    command.args(["sqlite", &place.url("p"), "-o"]).arg(&out);
    let mut restore = testkit::procs::Proc::start(command);
    let temporary = disk.path().join("out.db.restoring");
    testkit::procs::wait_until(e2e::PATIENCE, "the temporary file", || temporary.exists());
    disk.fill(1 << 20);
    assert_eq!(restore.expect_exit(e2e::PATIENCE), 1, "{}", restore.log_tail());
    assert!(
        restore.log_tail().contains("No space left") || restore.log_tail().contains("space"),
        "{}",
        restore.log_tail()
    );
    let left: Vec<_> = snapshot(disk.path()).into_keys().filter(|p| !p.ends_with(".ballast")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn wrong_kinds_of_prefix_are_told_apart() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(5);
    Streamer::once(&place, "top/sqlite/app.db", &volume.db(), NONE).expect(0);
    place.restore("top", &volume.file("x.db"), NONE).expect(3).says(&["one below it: sqlite/app.db"]);
    let mut client = place.server().client();
    client.put("files/repo.json", b"{}").unwrap();
    place.restore("files", &volume.file("x.db"), NONE).expect(3).says(&["replica of files", "restore files"]);
}

#[test]
fn a_drill_leaves_result_metrics_and_exit_code() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(10);
    Streamer::once(&place, "p", &volume.db(), NONE).expect(0);
    volume.write(10);
    Streamer::once(&place, "p", &volume.db(), NONE).expect(0);
    let metrics = volume.file("drill.prom");
    let drill = |more: &[&str]| {
        let mut command = place.command("restore");
        command
            .args(["drill", &place.url("p"), "--scratch"])
            .arg(volume.path())
            .arg("--metrics")
            .arg(&metrics);
        command.args(more);
        run(command)
    };
    drill(&["--sql", "SELECT count(*) FROM sqlite_schema", "--command", "test -s \"$HIGHWATER_DRILL_DB\""])
        .expect(0);
    assert!(
        fs::read_to_string(&metrics)
            .unwrap()
            .contains("highwater_drill_last_result{app=\"\",db=\"app.db\"} 1")
    );
    drill(&["--sql", "SELECT 0"]).expect(4).says(&["probe", "SELECT 0"]);
    assert!(fs::read_to_string(&metrics).unwrap().contains("} 0\n"));
}
