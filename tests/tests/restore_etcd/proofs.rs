//! `restore list`, `verify` and `drill`: the same shapes as for the other kinds, and nothing written without being asked.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use e2e::{PATIENCE, Place, Streamer, Volume, run};
use serde_json::Value;
use testkit::etcd::program;
use testkit::procs::{Proc, wait_until};

use crate::NONE;
use crate::scene::Scene;

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

/// A tool that never ends, in the place of `etcdutl`: a drill that is told to stop takes it along, with what it wrote.
#[test]
fn a_drill_that_is_stopped_leaves_no_child_and_no_data() {
    let scene = Scene::new().three();
    let (tools, scratch, pid) = (scene.path("tools"), scene.path("scratch"), scene.path("pid"));
    fs::create_dir(&tools).unwrap();
    fs::create_dir(&scratch).unwrap();
    let script = format!("#!/bin/sh\necho $$ > {pid}.new && mv {pid}.new {pid}\nexec sleep 600\n");
    for name in ["etcd", "etcdutl"] {
        let at = Path::new(&tools).join(name);
        fs::write(&at, &script).unwrap();
        fs::set_permissions(&at, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = scene.place.command("restore");
    command.args(["drill", &scene.place.url("etcd"), "--identity", &scene.path("key.txt")]);
    command.args(["--scratch", &scratch, "--etcd-dir", &tools, "--no-record"]);
    let mut drill = Proc::start(command);
    wait_until(PATIENCE, "the tool runs", || Path::new(&pid).exists());
    let tool = PathBuf::from("/proc").join(fs::read_to_string(&pid).unwrap().trim());
    assert!(tool.exists() && fs::read_dir(&scratch).unwrap().count() == 1);
    drill.terminate();
    assert_eq!(drill.expect_exit(PATIENCE), 1, "{}", drill.log_tail());
    assert!(!tool.exists(), "the tool is gone");
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0, "and nothing is left in the clear");
}
