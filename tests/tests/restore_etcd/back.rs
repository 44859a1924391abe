//! The exact file comes back, or none.

use std::fs;
use std::path::Path;
use std::process::Command;

use e2e::run;
use serde_json::Value;
use testkit::etcd::program;

use crate::scene::Scene;

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
