//! `restore etcd` and `restore list|verify|drill|unlock` of etcd snapshots, as processes: what an operator sees who has the bucket and the key.
//!
//! The snapshots are small bbolt files that `etcd-shipper ship --file` adopts, so no etcd runs; the drill and the check of the restored file
//! by etcd's own tools need real ones and say so where they skip.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use age::secrecy::ExposeSecret;
use e2e::{Outcome, Place, Streamer, Volume, run};
use serde_json::Value;
use testkit::bolt::{kubernetes, snapshot};
use testkit::etcd::program;

const NONE: &[&str] = &[];

/// A bucket, the keys of whoever restores, and what was shipped.
struct Scene {
    place: Place,
    dir: tempfile::TempDir,
    recipient: String,
    /// The files that were shipped, oldest first.
    files: Vec<Vec<u8>>,
}

impl Scene {
    fn new() -> Scene {
        // Not in the system's temporary directory, which may be a tmpfs: a spool there is refused.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (ours, other) = (age::x25519::Identity::generate(), age::x25519::Identity::generate());
        fs::write(dir.path().join("key.txt"), ours.to_string().expose_secret()).unwrap();
        fs::write(dir.path().join("stranger.txt"), other.to_string().expose_secret()).unwrap();
        fs::create_dir(dir.path().join("spool")).unwrap();
        Scene { place: Place::s3(), dir, recipient: ours.to_public().to_string(), files: Vec::new() }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// Adopts a snapshot with so many keys more than the last, taken at this hour.
    fn ship(&mut self, cluster: &str, hour: u32, more: &[&str]) -> Outcome {
        let mut pairs = kubernetes();
        for index in 0..=self.files.len() {
            pairs.push((format!("/registry/configmaps/default/c{index}"), vec![b'c'; 40]));
        }
        let bytes = snapshot(&pairs);
        let file = self.path("taken.db");
        fs::write(&file, &bytes).unwrap();
        self.files.push(bytes);
        let taken = format!("2026-11-20T{hour:02}:00:00Z");
        let mut command = self.place.command("etcd-shipper");
        command.args(["ship", "--cluster", cluster, "--file", &file, "--taken-at", &taken]);
        command.args(["--to", &self.place.url("etcd"), "--spool-dir", &self.path("spool")]).args(more);
        run(command)
    }

    /// Three sealed snapshots of `prod`, at 10, 11 and 12 o'clock.
    fn three(mut self) -> Scene {
        for hour in [10, 11, 12] {
            let recipient = self.recipient.clone();
            self.ship("prod", hour, &["--recipient", &recipient]).expect(0);
        }
        self
    }

    fn restore(&self, verb: &str, more: &[&str]) -> Outcome {
        self.restore_at("etcd", verb, more)
    }

    fn restore_at(&self, prefix: &str, verb: &str, more: &[&str]) -> Outcome {
        let mut command = self.place.command("restore");
        command.args([verb, &self.place.url(prefix)]).args(more);
        run(command)
    }

    fn json(&self, verb: &str, more: &[&str]) -> Value {
        let said = self.restore(verb, &[more, &["-o", "json"]].concat());
        serde_json::from_str(&said.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", said.stdout, said.stderr))
    }

    /// The stored object of a kind, taken at this hour.
    fn object(&self, hour: u32, suffix: &str) -> PathBuf {
        let keys = self.place.server().keys("etcd/prod/");
        let stamp = format!("-20261120T{hour:02}0000Z-");
        let key = keys.into_iter().find(|key| key.contains(&stamp) && key.ends_with(suffix)).unwrap();
        self.place.server().object(&key)
    }
}

/// Every damage an object can have: its name, and what becomes of the bytes.
fn damages(whole: &[u8]) -> [(&'static str, Option<Vec<u8>>); 4] {
    let mut flipped = whole.to_vec();
    flipped[whole.len() / 2] ^= 1;
    [
        ("flipped", Some(flipped)),
        ("truncated", Some(whole[..whole.len() - 1].to_vec())),
        ("swapped", Some(b"another object".to_vec())),
        ("missing", None),
    ]
}

fn apply(object: &Path, bytes: Option<Vec<u8>>) {
    match bytes {
        Some(bytes) => fs::write(object, bytes).unwrap(),
        None => fs::remove_file(object).unwrap(),
    }
}

#[test]
fn p2_the_exact_file_comes_back_sealed_or_plain_and_by_time() {
    let mut scene = Scene::new().three();
    let (key, out) = (scene.path("key.txt"), scene.path("out.db"));
    let done = scene.restore("etcd", &["-o", &out, "--identity", &key]);
    done.expect(0);
    assert_eq!(fs::read(&out).unwrap(), scene.files[2], "bit for bit, the checksum at the end included");
    assert!(done.stdout.contains("etcdutl snapshot restore") && done.stdout.contains("2026-11-20T12:00:00"));
    // What stands there stays, unless the flag says otherwise.
    scene.restore("etcd", &["-o", &out, "--identity", &key]).expect(3).says(&["exists", "--force"]);
    let at =
        |time: &str| scene.restore("etcd", &["-o", &out, "--identity", &key, "--force", "--timestamp", time]);
    at("2026-11-20T11:59:59Z").expect(0);
    assert_eq!(fs::read(&out).unwrap(), scene.files[1]);
    at("2026-11-20T09:59:59Z").expect(3).says(&["no proven snapshot", "that old"]);
    at("yesterday").expect(2);
    assert_eq!(fs::read(&out).unwrap(), scene.files[1], "nothing was changed");
    // What would come, as JSON; nothing is fetched.
    let planned = scene.restore("etcd", &["-o", "/nowhere/x", "--dry-run", "--format", "json"]);
    planned.expect(0);
    let planned: Value = serde_json::from_str(&planned.stdout).unwrap();
    assert_eq!((&planned["cluster"], &planned["sealed"]), (&"prod".into(), &true.into()));
    assert_eq!(planned["bytes"], scene.files[2].len());
    // Plain: no key needed.
    scene.ship("lab", 12, &["--unencrypted"]).expect(0);
    let plain = scene.path("plain.db");
    scene.restore("etcd", &["-o", &plain]).expect(3).says(&["2 clusters", "lab, prod", "--cluster"]);
    let restored = scene.restore("etcd", &["-o", &plain, "--cluster", "lab", "--format", "json"]);
    restored.expect(0);
    assert_eq!(fs::read(&plain).unwrap(), scene.files[3]);
    opened_by_etcd(&plain, &serde_json::from_str(&restored.stdout).unwrap());
}

/// etcd's own tool opens the restored file and prints what we said it would, where there is one.
fn opened_by_etcd(file: &str, said: &Value) {
    let Some(tool) = program("etcdutl").or_else(|| program("etcdctl")) else {
        return println!("SKIP snapshot status: neither etcdutl nor etcdctl is installed");
    };
    let mut status = Command::new(&tool);
    status.env("ETCDCTL_API", "3").args(["snapshot", "status", file, "-w", "json"]);
    let status = run(status);
    status.expect(0);
    let found: Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(found["revision"], said["revision"], "{found}");
    assert_eq!(format!("{:08x}", found["hash"].as_u64().unwrap()), said["status_hash"], "{found}");
}

#[test]
fn p6_a_wrong_key_no_key_and_bad_places_leave_nothing_behind() {
    let scene = Scene::new().three();
    let out = scene.path("out.db");
    scene.restore("etcd", &["-o", &out]).expect(3).says(&["is sealed", "--identity"]);
    let stranger = scene.path("stranger.txt");
    scene.restore("etcd", &["-o", &out, "--identity", &stranger]).expect(3);
    scene.restore("etcd", &["-o", &out, "--identity", &scene.path("none.txt")]).expect(2);
    let key = scene.path("key.txt");
    scene
        .restore("etcd", &["-o", &scene.path("spool"), "--identity", &key])
        .expect(3)
        .says(&["is a directory"]);
    scene.restore("etcd", &["-o", &scene.path("no/such/dir/x"), "--identity", &key]).expect(1);
    assert!(!Path::new(&out).exists());
    // The store goes away in the middle: an error that may be tried again, and no half file.
    scene.place.server().faults().deny_reads(true);
    scene.restore("etcd", &["-o", &out, "--identity", &key]).expect(1);
    scene.place.server().faults().deny_reads(false);
    let left: Vec<_> = fs::read_dir(scene.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".highwater")), "{left:?}");
    scene.restore("etcd", &["-o", &out, "--identity", &key]).expect(0);
}

#[test]
fn p2_a_damaged_newest_is_refused_with_the_choice_and_latest_valid_takes_it() {
    let scene = Scene::new().three();
    let key = scene.path("key.txt");
    for suffix in [".db.zst.age", ".manifest.json"] {
        let object = scene.object(12, suffix);
        let whole = fs::read(&object).unwrap();
        for (damage, bytes) in damages(&whole) {
            if suffix == ".manifest.json" && ["flipped", "missing"].contains(&damage) {
                continue; // a flipped letter may be any other manifest; a missing one is no backup, see below
            }
            apply(&object, bytes);
            let out = scene.path(&format!("{damage}{suffix}"));
            scene
                .restore("etcd", &["-o", &out, "--identity", &key])
                .expect(4)
                .says(&["2026-11-20T11:00:00", "--latest-valid"]);
            assert!(!Path::new(&out).exists(), "{damage}");
            let found = scene.restore("verify", &["--identity", &key]);
            found.expect(4).says(&["newest whole snapshot is of 2026-11-20T11:00:00", "--latest-valid"]);
            assert!(found.stdout.contains("DAMAGED"), "{}", found.stdout);
            let taken = scene
                .restore("etcd", &["-o", &out, "--identity", &key, "--latest-valid", "--format", "json"]);
            taken.expect(0);
            assert_eq!(fs::read(&out).unwrap(), scene.files[1], "{damage}");
            let taken: Value = serde_json::from_str(&taken.stdout).unwrap();
            assert_eq!(taken["passed_over"].as_array().unwrap().len(), 1, "{taken}");
        }
        fs::write(&object, whole).unwrap();
    }
    // A snapshot without its manifest is what an unfinished run leaves: no backup, and no damage.
    fs::remove_file(scene.object(12, ".manifest.json")).unwrap();
    let out = scene.path("unfinished.db");
    scene.restore("etcd", &["-o", &out, "--identity", &key]).expect(0);
    assert_eq!(fs::read(&out).unwrap(), scene.files[1]);
    assert_eq!(scene.json("list", NONE)[2]["state"], "partial");
}

/// A replica of a database or of files, and what `restore verify` says about it.
fn others(place: &Place, prefix: &str) -> Value {
    let volume = Volume::new();
    volume.write(5);
    if prefix == "files" {
        fs::create_dir(volume.file("tree")).unwrap();
        fs::write(volume.file("tree/a"), "a").unwrap();
        let mut syncer = place.command("config-syncer");
        syncer.arg("snapshot").arg(volume.file("tree")).arg(place.url(prefix));
        run(syncer).expect(0);
    } else {
        Streamer::once(place, prefix, &volume.db(), NONE).expect(0);
    }
    let mut verify = place.command("restore");
    verify.args(["verify", &place.url(prefix), "-o", "json"]);
    serde_json::from_str(&run(verify).stdout).unwrap()
}

#[test]
fn list_and_verify_have_the_shapes_of_the_other_kinds() {
    let mut scene = Scene::new().three();
    let rows = scene.json("list", NONE);
    assert_eq!(rows.as_array().unwrap().len(), 3, "{rows}");
    let last = &rows[2];
    assert_eq!(
        (&last["sealed"], &last["proven"], &last["state"]),
        (&true.into(), &true.into(), &"proven".into())
    );
    assert!(last["time"].as_str().unwrap().starts_with("2026-11-20T12:00:00"), "{last}");
    let table = scene.restore("list", NONE);
    assert_eq!(table.stdout.lines().count(), 4, "{}", table.stdout);
    // The same list as the shipper's.
    let mut theirs = scene.place.command("etcd-shipper");
    theirs.args(["list", &scene.place.url("etcd"), "-o", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&run(theirs).stdout).unwrap(), rows);

    let before = scene.place.objects("etcd");
    let without = scene.json("verify", NONE);
    let fields = ["ok", "snapshots", "opened"].map(|name| without[name].to_string());
    assert_eq!(fields, ["true", "1", "0"], "{without}");
    let key = scene.path("key.txt");
    let scratch = scene.path("scratch");
    fs::create_dir(&scratch).unwrap();
    let all = ["--all", "--full", "--identity", &key, "--scratch", &scratch];
    let with = scene.json("verify", &all);
    let fields = ["ok", "snapshots", "opened", "provable"].map(|name| with[name].to_string());
    assert_eq!(fields, ["true", "3", "3", &rows[2]["name"].to_string()], "{with}");
    // What docs/operations.md promises scripts: these for every kind, the others for etcd.
    let common = ["ok", "objects", "bytes", "provable", "findings"];
    let own = ["cluster", "snapshots", "opened", "revision", "time"];
    let names: BTreeSet<&str> = with.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, common.into_iter().chain(own).collect(), "{with}");
    for (prefix, own) in [
        ("app.db", &["newest", "timestamp", "proven", "how"][..]),
        ("files", &["snapshots", "files", "time"]),
    ] {
        let found = others(&scene.place, prefix);
        let names: BTreeSet<&str> = found.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, common.into_iter().chain(own.iter().copied()).collect(), "{found}");
    }
    assert_eq!(scene.place.objects("etcd"), before, "without --record nothing is written");
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0, "nothing is left in the clear");
    scene.restore("verify", &["--full"]).expect(3).says(&["is sealed", "--identity"]);

    scene.restore("verify", &[&all[..], &["--record"]].concat()).expect(0);
    let written: Vec<_> =
        scene.place.objects("etcd").into_keys().filter(|key| !before.contains_key(key)).collect();
    assert_eq!(written.len(), 3, "a proof beside each: {written:?}");
    let proven = fs::read(scene.place.root("etcd/prod/highwater/proven.json")).unwrap();
    let proven: Value = serde_json::from_slice(&proven).unwrap();
    assert_eq!((&proven["by"], &proven["how"]), (&"verify".into(), &"bytes".into()));

    // Several clusters: named, or refused.
    scene.ship("lab", 9, &["--unencrypted"]).expect(0);
    for verb in ["list", "verify", "drill"] {
        scene.restore(verb, NONE).expect(3).says(&["2 clusters", "--cluster"]);
        scene.restore(verb, &["--cluster", "nobody"]).expect(3).says(&["nobody"]);
        scene.restore(verb, &["--cluster", "No/Name"]).expect(2);
    }
    assert_eq!(scene.json("list", &["--cluster", "lab"]).as_array().unwrap().len(), 1);
}

#[test]
fn p3_what_nobody_could_read_back_is_proven_by_the_restore_itself() {
    let mut scene = Scene::new();
    let recipient = scene.recipient.clone();
    let sealed = ["--recipient", recipient.as_str()];
    scene.ship("prod", 10, &sealed).expect(0);
    scene.place.server().faults().deny_reads(true);
    let blind = scene.ship("prod", 11, &sealed);
    scene.place.server().faults().deny_reads(false);
    blind.expect(0);
    assert_eq!(scene.json("list", NONE)[1]["state"], "unproven");
    let (key, out) = (scene.path("key.txt"), scene.path("out.db"));
    let older = scene.restore("etcd", &["-o", &out, "--identity", &key]);
    older.expect(0);
    assert!(
        older.stderr.contains("passed over") && older.stderr.contains("read it back"),
        "{}",
        older.stderr
    );
    assert_eq!(fs::read(&out).unwrap(), scene.files[0]);
    scene.restore("etcd", &["-o", &out, "--identity", &key, "--latest-valid", "--force"]).expect(0);
    assert_eq!(fs::read(&out).unwrap(), scene.files[1]);
    scene.restore("verify", &["--record", "--identity", &key]).expect(0);
    assert_eq!(scene.json("list", NONE)[1]["state"], "proven");
}

#[test]
fn a_drill_starts_a_real_etcd_and_records_only_when_it_may() {
    if program("etcd").is_none() || program("etcdutl").or_else(|| program("etcdctl")).is_none() {
        return println!("SKIP the drill: etcd and etcdutl or etcdctl are not installed");
    }
    let scene = Scene::new().three();
    let (key, scratch, metrics) = (scene.path("key.txt"), scene.path("scratch"), scene.path("drill.prom"));
    fs::create_dir(&scratch).unwrap();
    let tools = program("etcd").unwrap().parent().unwrap().to_str().unwrap().to_owned();
    let base = ["--identity", &key, "--scratch", &scratch, "--etcd-dir", &tools, "--metrics", &metrics];
    let before = scene.place.objects("etcd");
    let drilled = scene.restore("drill", &[&base[..], &["--no-record"]].concat());
    // Two drills, and what was compared.
    drilled.expect(0);
    assert_eq!(drilled.stdout.matches("HashKV").count(), 2, "{}", drilled.stdout);
    assert_eq!(scene.place.objects("etcd"), before, "--no-record writes nothing");
    let text = fs::read_to_string(&metrics).unwrap();
    assert!(text.contains("highwater_drill_last_result{app=\"prod\",db=\"prod\"} 1"), "{text}");
    scene.restore("drill", &base).expect(0);
    let status = fs::read(scene.place.root("etcd/prod/highwater/drill.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&status).unwrap()["drill"]["result"], "ok");
    assert_eq!(scene.json("list", NONE)[2]["level"], 5);
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0, "the scratch directory is empty again");
}

#[test]
fn what_makes_no_sense_for_etcd_is_refused_with_the_right_command() {
    let scene = Scene::new().three();
    let before = scene.place.objects("etcd");
    for more in [NONE, &["--force"]] {
        scene.restore("unlock", more).expect(3).says(&["no writer's claim", "etcd-shipper prune"]);
    }
    scene.restore("drill", &["--sql", "SELECT 1"]).expect(2).says(&["--sql and --command", "etcd"]);
    scene.restore("drill", &["--etcd-dir", "/nowhere"]).expect(2).says(&["--etcd-dir"]);
    assert_eq!(scene.place.objects("etcd"), before);

    let out = scene.path("out");
    scene.restore("files", &["-o", &out]).expect(3).says(&["etcd snapshots", "restore etcd"]);
    scene.restore("sqlite", &["-o", &out]).expect(3).says(&["etcd snapshots", "restore etcd"]);
    // One folder too high, one too deep.
    for verb in ["list", "verify", "drill"] {
        scene.restore_at("", verb, NONE).expect(3).says(&["append /etcd"]);
        scene.restore_at("etcd/prod", verb, NONE).expect(3).says(&["--cluster prod"]);
    }
    scene.restore_at("etcd/prod", "etcd", &["-o", &out]).expect(3).says(&["--cluster prod"]);
    scene.restore_at("", "etcd", &["-o", &out]).expect(3).says(&["append /etcd"]);

    // The other kinds, asked for etcd.
    let volume = Volume::new();
    volume.write(5);
    Streamer::once(&scene.place, "app.db", &volume.db(), NONE).expect(0);
    fs::create_dir(volume.file("tree")).unwrap();
    fs::write(volume.file("tree/a"), "a").unwrap();
    let mut syncer = scene.place.command("config-syncer");
    syncer.arg("snapshot").arg(volume.file("tree")).arg(scene.place.url("files"));
    run(syncer).expect(0);
    scene
        .restore_at("app.db", "etcd", &["-o", &out])
        .expect(3)
        .says(&["replica of a database", "restore sqlite"]);
    scene.restore_at("files", "etcd", &["-o", &out]).expect(3).says(&["replica of files", "restore files"]);
    for (prefix, kind) in [("app.db", "a database"), ("files", "files")] {
        scene.restore_at(prefix, "list", &["--cluster", "prod"]).expect(2).says(&[kind]);
        scene.restore_at(prefix, "list", NONE).expect(0);
    }
    scene.restore_at("nowhere", "etcd", &["-o", &out]).expect(3).says(&["no etcd snapshot"]);
    assert!(!Path::new(&out).exists());
}
