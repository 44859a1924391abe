//! Practising the loss of one application beside the one that runs, as docs/disaster-recovery.md says: the copy comes back as it was at a chosen time,
//! and the one that runs is neither fenced nor changed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]

use std::fs;
use std::path::Path;

use e2e::http::{get, series};
use e2e::pod::{addr, stop};
use e2e::{PATIENCE, Place, Pod, run};
use testkit::app;
use testkit::procs::{Proc, wait_until};

const PROTECTS: &str = "databases: [{path: app.db}]\nfiles: [{path: .}]";

/// A pod that runs, whose first state and second state are in the bucket; gives the time between them.
fn running(pod: &Pod<'_>) -> (Proc, Proc, String) {
    pod.init(&[]).expect(0);
    let (mut streamer, mut syncer) = (pod.streamer(), pod.syncer());
    let (wal, files) = (addr(&mut streamer), addr(&mut syncer));
    let settle = |committed: f64| {
        wait_until(PATIENCE, "both kinds are in the bucket", || {
            let (_, databases) = get(&wal, "/metrics");
            let (_, trees) = get(&files, "/metrics");
            let of_database = |name: &str| series(&databases, &format!("{name}{{db=\"app.db\"}}"));
            of_database("highwater_wal_lag_seconds") == Some(0.0)
                && of_database("highwater_replica_position") > Some(0.0)
                && series(&trees, "highwater_files_uploaded_total{root=\".\"}") >= Some(committed)
                && series(&trees, "highwater_files_pending{root=\".\"}") == Some(0.0)
        });
        // There is no lag either before the streamer looks: what was committed behind the last image or increment counts too.
        let mut sync = pod.place.command("wal-streamer");
        sync.args(["sync", "--wait", "--socket"]).arg(pod.run_dir().join("wal-streamer.sock"));
        run(sync).expect(0);
    };
    pod.volume.write(50);
    pod.put("settings.yaml", "theme: dark\n");
    settle(1.0);
    // Both kinds count what was committed at or before a time, to the millisecond: nothing more may be written within this one.
    let now = || clock::Clock::unix_ms(&clock::SystemClock);
    let between = now();
    wait_until(PATIENCE, "the chosen millisecond is over", || now() > between);
    let between = clock::format_unix_ms(between);
    pod.volume.write(50);
    pod.put("settings.yaml", "theme: light\n");
    settle(2.0);
    (streamer, syncer, between)
}

/// The pod that runs takes another commit and another file, and is not fenced.
fn goes_on(pod: &Pod<'_>, streamer: &mut Proc, syncer: &mut Proc) {
    let at = addr(streamer);
    pod.volume.write(10);
    pod.put("settings.yaml", "theme: blue\n");
    wait_until(PATIENCE, "the commits after the practice are in the bucket", || {
        let (_, metrics) = get(&at, "/metrics");
        series(&metrics, "highwater_wal_lag_seconds{db=\"app.db\"}") == Some(0.0)
    });
    let (_, metrics) = get(&at, "/metrics");
    let fenced = metrics.lines().filter(|line| line.starts_with("highwater_writer_fenced{"));
    assert!(fenced.clone().count() > 0 && fenced.clone().all(|line| line.ends_with(" 0")), "{metrics}");
    stop(streamer);
    stop(syncer);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn p4_practice_on_a_copy_of_the_prefix_brings_a_chosen_time_back_and_fences_nobody() {
    let place = Place::s3();
    let pod = Pod::new(&place, PROTECTS);
    let (mut streamer, mut syncer, between) = running(&pod);
    // What `rclone copy remote:bucket/web remote:bucket/practice/web` does.
    copy(&place.root("web"), &place.root("practice/web"));

    let practice = Pod::at(&place, "practice/web", PROTECTS);
    practice.describe(&format!("restore: {{mode: require, at: '{between}'}}"));
    practice.init(&[]).expect(0);
    for part in [practice.database(), practice.tree()] {
        assert!(part["outcome"] == "restored" || part["outcome"] == "forced", "{part}");
    }
    assert_eq!(app::verify(&practice.volume.db()).unwrap().last_seq, 50, "the state of the chosen time");
    assert_eq!(practice.get("settings.yaml").as_deref(), Some("theme: dark\n"));
    goes_on(&pod, &mut streamer, &mut syncer);
}

/// Reading alone is not enough for a start: it claims, so that what it restores is the newest. Nothing happens then, to nobody.
#[test]
fn p4_practice_with_a_credential_that_only_reads_starts_nothing_and_fences_nobody() {
    let place = Place::s3();
    let pod = Pod::new(&place, PROTECTS);
    let (mut streamer, mut syncer, _) = running(&pod);
    let practice = Pod::new(&place, PROTECTS);
    let before = place.objects("web");
    place.server().faults().deny_writes(true);
    practice.init(&[]).expect(2).says(&["denied", "the policy of these credentials"]);
    place.server().faults().clear();
    assert_eq!(place.objects("web"), before, "nothing was written");
    assert!(!practice.volume.db().exists() && practice.handover().is_none(), "nothing was started");
    goes_on(&pod, &mut streamer, &mut syncer);
}
