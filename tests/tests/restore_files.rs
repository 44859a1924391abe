//! `restore init` with trees of files, and the sidecar that takes its claim over, as processes: what a pod sees.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]

use std::fs;
use std::time::Duration;

use e2e::http::get;
use e2e::pod::{addr, stop};
use e2e::{PATIENCE, Place, Pod};
use serde_json::Value;
use testkit::app;
use testkit::procs::{Proc, wait_until};

const NONE: &[&str] = &[];
const FILES: &str = "files: [{path: .}]";
const BOTH: &str = "databases: [{path: app.db}]\nfiles: [{path: .}]";

/// First start, some files, one snapshot, a clean end.
fn first_life(pod: &Pod<'_>) {
    pod.init(NONE).expect(0);
    assert_eq!((&pod.tree()["outcome"], &pod.tree()["claimed"]), (&"fresh".into(), &true.into()));
    for i in 0..30 {
        pod.put(&format!("config/{}/f{i}.yaml", i % 3), &format!("value: {i}"));
    }
    let mut syncer = pod.syncer();
    syncer.wait_for_log(PATIENCE, "\"committed\"");
    stop(&mut syncer);
}

/// What the sidecar says of its tree.
fn status(syncer: &mut Proc) -> Value {
    let (_, body) = get(&addr(syncer), "/status");
    serde_json::from_str::<Value>(&body).unwrap()["trees"][0].clone()
}

fn wait_for_commits(pod: &Pod<'_>, n: usize) {
    wait_until(PATIENCE, "a commit", || pod.commits() >= n);
}

#[test]
fn trap_4_a_pod_with_files_comes_back_and_its_sidecar_takes_exactly_that_claim() {
    let place = Place::s3();
    let pod = Pod::new(&place, FILES);
    first_life(&pod);
    assert_eq!(pod.commits(), 2, "one claim and one snapshot");
    let owned = fs::metadata(pod.volume.file("config/0/f0.yaml")).unwrap().modified().unwrap();
    pod.lose_volume();

    let before = place.objects("web");
    let would = pod.init(&["--dry-run"]);
    would.expect(0);
    assert!(would.stdout.contains("Restore"), "{}", would.stdout);
    assert_eq!(place.objects("web"), before, "a dry run claims nothing");

    pod.init(NONE).expect(0);
    let row = pod.tree();
    assert_eq!(
        (&row["outcome"], &row["claimed"], &row["snapshot"]),
        (&"restored".into(), &true.into(), &2.into())
    );
    assert_eq!(pod.get("config/1/f7.yaml").as_deref(), Some("value: 7"));
    assert_eq!(fs::metadata(pod.volume.file("config/0/f0.yaml")).unwrap().modified().unwrap(), owned);

    let mut syncer = pod.syncer();
    syncer.wait_for_log(PATIENCE, "\"claimed\"");
    assert_eq!(status(&mut syncer)["claim"], row["epoch"]);
    assert_eq!(pod.commits(), 3, "the sidecar made no claim and, as nothing changed, no snapshot");
    pod.put("config/new", "1");
    wait_for_commits(&pod, 4);
    stop(&mut syncer);
    assert_eq!(pod.commits(), 4);
}

#[test]
fn databases_and_files_of_one_directory_are_restored_side_by_side() {
    let place = Place::s3();
    let pod = Pod::new(&place, BOTH);
    pod.init(NONE).expect(0);
    pod.volume.write(25);
    pod.put("settings.json", "{}");
    let (mut syncer, mut streamer) = (pod.syncer(), pod.streamer());
    syncer.wait_for_log(PATIENCE, "\"committed\"");
    streamer.wait_for_log(PATIENCE, "\"claimed\"");
    stop(&mut syncer);
    stop(&mut streamer);
    for round in 0..3 {
        pod.lose_volume();
        pod.init(NONE).expect(0);
        assert_eq!(
            (&pod.tree()["outcome"], &pod.database()["outcome"]),
            (&"restored".into(), &"restored".into())
        );
        assert_eq!(app::verify(&pod.volume.db()).unwrap().last_seq, 25, "round {round}");
        assert_eq!(pod.get("settings.json").as_deref(), Some("{}"));
        let names: Vec<_> =
            fs::read_dir(pod.volume.path()).unwrap().flatten().map(|e| e.file_name()).collect();
        assert!(names.iter().all(|n| !n.to_string_lossy().contains("restor")), "{names:?}");
    }
}

#[test]
fn a_healthy_tree_starts_with_a_few_requests_and_no_download() {
    let place = Place::s3();
    let pod = Pod::new(&place, FILES);
    first_life(&pod);
    place.server().reset();
    pod.init(NONE).expect(0);
    assert_eq!((&pod.tree()["outcome"], &pod.tree()["claimed"]), (&"kept".into(), &true.into()));
    let log = place.server().log();
    let puts: Vec<&str> = log.iter().filter(|r| r.method == "PUT").map(|r| r.key.as_str()).collect();
    let claim = |key: &&&str| key.contains("/m/");
    assert_eq!(puts.iter().filter(claim).count(), 1, "{puts:?}");
    assert!(
        puts.len() <= 2,
        "the claim, and the question whether the store refuses a second create: {puts:?}"
    );
    assert!(log.len() <= 12, "{log:?}");
    assert!(log.iter().all(|r| !r.key.contains("/p/")), "no content is read");
}

#[test]
fn p3_an_emptied_tree_is_restored_and_never_shipped() {
    let place = Place::s3();
    let pod = Pod::new(&place, FILES);
    first_life(&pod);
    pod.empty_tree();
    pod.init(NONE).expect(0);
    assert_eq!(pod.tree()["outcome"], "restored");
    assert_eq!(pod.get("config/2/f29.yaml").as_deref(), Some("value: 29"));
}

#[test]
fn p2_kill_9_at_any_moment_of_a_start_and_the_next_one_ends_it() {
    let place = Place::s3();
    let pod = Pod::new(&place, BOTH);
    pod.init(NONE).expect(0);
    pod.volume.write(25);
    // 24 packs of a megabyte or so, which come slowly.
    for i in 0..40 {
        pod.put(&format!("d{}/f{i}", i % 4), &format!("{i} ").repeat(200_000));
    }
    let (mut syncer, mut streamer) = (pod.syncer(), pod.streamer());
    syncer.wait_for_log(PATIENCE, "\"committed\"");
    streamer.wait_for_log(PATIENCE, "\"claimed\"");
    stop(&mut syncer);
    stop(&mut streamer);
    pod.lose_volume();
    for round in 0..8 {
        let mut init = Proc::start(pod.init_command(NONE));
        std::thread::sleep(Duration::from_millis(30 + 35 * round));
        init.kill9();
        // A sidecar must not take what is there for the application's.
        assert!(init.wait_timeout(PATIENCE).is_some());
    }
    pod.init(NONE).expect(0);
    assert_eq!(app::verify(&pod.volume.db()).unwrap().last_seq, 25);
    for i in 0..40 {
        let text = pod.get(&format!("d{}/f{i}", i % 4));
        assert_eq!(text, Some(format!("{i} ").repeat(200_000)), "f{i}");
    }
    let mut syncer = pod.syncer();
    syncer.wait_for_log(PATIENCE, "\"claimed\"");
    stop(&mut syncer);
}

#[test]
fn p6_an_empty_volume_does_not_start_without_the_store() {
    let place = Place::s3();
    let pod = Pod::new(&place, FILES);
    first_life(&pod);
    pod.lose_volume();
    place.server().faults().unavailable(true);
    pod.init(NONE).expect(1).says(&["the pod does not start"]);
    assert!(pod.handover().is_none(), "an earlier start's restored.json is withdrawn");
    place.server().faults().clear();
    pod.init(NONE).expect(0);
    assert_eq!(pod.tree()["outcome"], "restored");
}

#[test]
fn trap_13_a_marked_tree_starts_without_the_store_and_its_sidecar_claims_later() {
    let place = Place::s3();
    let pod = Pod::new(&place, FILES);
    first_life(&pod);
    place.server().faults().unavailable(true);
    pod.init(NONE).expect(0);
    let row = pod.tree();
    assert_eq!((&row["outcome"], &row["claimed"], &row["epoch"]), (&"kept".into(), &false.into(), &0.into()));
    place.server().faults().clear();
    pod.put("config/late", "1");
    let mut syncer = pod.syncer();
    syncer.wait_for_log(PATIENCE, "\"committed\"");
    assert_eq!(pod.commits(), 4, "the late claim and the snapshot");
    stop(&mut syncer);
}

#[test]
fn p4_of_two_pods_the_older_one_is_fenced_stays_up_and_says_so() {
    let place = Place::s3();
    let old = Pod::new(&place, FILES);
    first_life(&old);
    old.init(NONE).expect(0);
    let mut old_syncer = old.syncer();
    old_syncer.wait_for_log(PATIENCE, "\"claimed\"");

    let new = Pod::new(&place, FILES);
    new.init(NONE).expect(0);
    assert_eq!(new.tree()["outcome"], "restored");
    let mut new_syncer = new.syncer();
    new_syncer.wait_for_log(PATIENCE, "\"claimed\"");

    old.put("config/from-the-old-pod", "1");
    let at = addr(&mut old_syncer);
    wait_until(PATIENCE, "the old pod is fenced", || get(&at, "/readyz").0 == 503);
    assert!(old_syncer.is_running(), "so that two pods never fence each other in turns");
    assert_eq!(status(&mut old_syncer)["state"], "fenced");
    let commits = new.commits();
    new.put("config/from-the-new-pod", "1");
    wait_for_commits(&new, commits + 1);
    assert_eq!(status(&mut new_syncer)["state"], "watching");
    stop(&mut new_syncer);
    old_syncer.terminate();
    assert_eq!(old_syncer.expect_exit(PATIENCE), 5);
    // What the old pod wrote last is on its volume only, and its next start does not lose it.
    old.init(NONE).expect(3).says(&["was changed since", "--on-conflict"]);
    assert_eq!(old.get("config/from-the-old-pod").as_deref(), Some("1"));
}

#[test]
fn peer_3_default_files_of_a_fresh_application_are_left_to_a_person() {
    let place = Place::s3();
    let pod = Pod::new(&place, FILES);
    first_life(&pod);
    pod.lose_volume();
    pod.put("config/0/f0.yaml", "a default");
    let commits = pod.commits();
    pod.init(NONE).expect(3).says(&["no marker", "--on-conflict restore"]);
    assert_eq!((pod.commits(), pod.get("config/0/f0.yaml").as_deref()), (commits, Some("a default")));
    pod.init(&["--on-conflict", "restore"]).expect(0);
    assert_eq!(pod.get("config/0/f0.yaml").as_deref(), Some("value: 0"));
    let aside = walk(&pod.volume.file(".highwater/files-replica/set-aside"));
    assert!(aside.iter().any(|text| text == "a default"), "{aside:?}");
}

fn walk(dir: &std::path::Path) -> Vec<String> {
    e2e::snapshot(dir).into_values().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect()
}

#[test]
fn never_and_require_are_obeyed() {
    let place = Place::s3();
    let pod = Pod::new(&place, FILES);
    pod.describe("restore: {mode: require}");
    pod.init(NONE).expect(3).says(&["require", "nothing to restore"]);
    pod.describe("");
    first_life(&pod);
    pod.lose_volume();
    pod.describe("restore: {mode: never}");
    pod.init(NONE).expect(0);
    assert_eq!(pod.tree()["outcome"], "fresh");
    assert!(pod.get("config/0/f0.yaml").is_none());
    // P3: the empty tree is not shipped over what the replica holds.
    pod.put("config/0/f0.yaml", "new");
    let mut syncer = pod.syncer();
    syncer.wait_for_log(PATIENCE, "never restored?");
    assert_eq!(pod.commits(), 3, "two claims, one snapshot");
    syncer.terminate();
    assert!(syncer.wait_timeout(PATIENCE).is_some());
    pod.describe("restore: {mode: require}");
    pod.lose_volume();
    pod.init(NONE).expect(0);
    assert_eq!(pod.tree()["outcome"], "restored");
}

#[test]
fn restore_at_goes_back_once_and_the_pod_goes_on_from_there() {
    let place = Place::s3();
    let pod = Pod::new(&place, FILES);
    first_life(&pod);
    let list = |n: usize| {
        let mut command = place.command("restore");
        command.args(["list", &place.url("web/files"), "-o", "json"]);
        let rows: Value = serde_json::from_str(&e2e::run(command).stdout).unwrap();
        rows[n]["time"].as_str().unwrap().to_owned()
    };
    let then = list(0);
    pod.init(NONE).expect(0);
    for i in 0..30 {
        fs::remove_file(pod.volume.file(&format!("config/{}/f{i}.yaml", i % 3))).unwrap();
        pod.put(&format!("other/f{i}"), "later");
    }
    pod.put("config/0/f0.yaml", "later");
    // The guard would refuse that much loss: this is an operator's snapshot.
    let mut syncer = pod.syncer();
    syncer.wait_for_log(PATIENCE, "nothing was uploaded");
    let log = syncer.log();
    let plan = log.split("--allow ").nth(1).unwrap()[..16].to_owned();
    let commits = pod.commits();
    fs::write(pod.volume.file(&format!(".highwater/files-replica/allow/{plan}")), "").unwrap();
    pod.put("other/nudge", "1");
    wait_for_commits(&pod, commits + 1);
    stop_any(&mut syncer);

    pod.describe(&format!("restore: {{at: '{then}'}}"));
    pod.init(NONE).expect(0);
    let row = pod.tree();
    assert_eq!((&row["outcome"], &row["claimed"]), (&"forced".into(), &true.into()));
    assert_eq!(pod.get("config/0/f0.yaml").as_deref(), Some("value: 0"));
    assert!(pod.get("other/f1").is_none());
    let aside = walk(&pod.volume.file(".highwater/files-replica/set-aside"));
    assert!(aside.iter().filter(|text| *text == "later").count() >= 30, "{}", aside.len());
    let mut syncer = pod.syncer();
    syncer.wait_for_log(PATIENCE, "\"claimed\"");
    let commits = pod.commits();
    pod.put("config/0/f0.yaml", "after");
    wait_for_commits(&pod, commits + 1);
    stop(&mut syncer);
    // The same value again changes nothing.
    pod.init(NONE).expect(0);
    assert_eq!(
        (&pod.tree()["outcome"], pod.get("config/0/f0.yaml").as_deref()),
        (&"kept".into(), Some("after"))
    );
}

/// A watcher that was refused ends with 3, one that shipped in the end with 0.
fn stop_any(proc: &mut Proc) {
    proc.terminate();
    assert!(proc.wait_timeout(PATIENCE).is_some(), "{}", proc.log_tail());
}

#[test]
fn p3_patterns_and_directories_bring_back_what_the_replica_holds() {
    let place = Place::s3();
    let pod = Pod::new(&place, "databases: [{path: 'tenants/*.db'}, {path: users}]");
    let names = ["tenants/a.db", "tenants/b.db", "users/deep/u2", "users/u1"];
    fs::create_dir_all(pod.volume.file("tenants")).unwrap();
    fs::create_dir_all(pod.volume.file("users/deep")).unwrap();
    for name in names {
        app::run(&app::AppArgs { transactions: 10, ..app::AppArgs::new(pod.volume.file(name)) }).unwrap();
    }
    pod.init(NONE).expect(0);
    let rows = pod.handover().unwrap()["databases"].as_array().unwrap().clone();
    assert_eq!(rows.iter().map(|r| r["path"].as_str().unwrap()).collect::<Vec<_>>(), names);
    let mut streamer = pod.streamer();
    wait_until(PATIENCE, "all are shipped", || {
        names.iter().all(|name| !place.files(&format!("web/sqlite/{name}")).is_empty())
    });
    stop(&mut streamer);
    pod.lose_volume();
    pod.init(NONE).expect(0);
    for name in names {
        assert_eq!(app::verify(&pod.volume.file(name)).unwrap().last_seq, 10, "{name}");
    }
    let rows = pod.handover().unwrap()["databases"].as_array().unwrap().clone();
    assert!(rows.iter().all(|r| r["outcome"] == "restored" && r["claimed"] == true), "{rows:?}");
    // One is lost, and the store does not answer: nobody starts on three of four.
    fs::remove_file(pod.volume.file("tenants/b.db")).unwrap();
    place.server().faults().unavailable(true);
    pod.init(NONE).expect(1).says(&["the pod does not start"]);
    pod.lose_volume();
    pod.init(NONE).expect(1);
    place.server().faults().clear();
    pod.init(NONE).expect(0);
    assert_eq!(pod.handover().unwrap()["databases"].as_array().unwrap().len(), 4);
}

#[test]
fn p4_a_sidecar_refuses_a_start_that_says_nothing_about_its_tree() {
    let place = Place::s3();
    let pod = Pod::new(&place, FILES);
    first_life(&pod);
    pod.init(NONE).expect(0);
    let path = pod.run_dir().join("restored.json");
    let mut handover = pod.handover().unwrap();
    handover["files"] = Value::Array(Vec::new());
    fs::write(&path, handover.to_string()).unwrap();
    let commits = pod.commits();
    let mut syncer = pod.syncer();
    assert_eq!(syncer.expect_exit(PATIENCE), 2, "{}", syncer.log_tail());
    assert_eq!(pod.commits(), commits, "nothing is claimed");
}
