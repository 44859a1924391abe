//! The upkeep of a live database with the clock in the hand of the test: levels, restore points, retention, healing, silence.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]

#[path = "upkeep/scene.rs"]
mod scene;

use clock::Clock;
use protect::Keep;
use rusqlite::Connection;
use scene::{Scene, scene};
use sqlite_replica::{By, Entry, Event, Healing, How, Level, Policy, Proven, Report};
use std::time::Duration;
use store::Operation;

fn unverified() -> Policy {
    Policy { verify: None, ..Policy::default() }
}

/// Two hours of commits, then silence. What is there restores at every point that is listed, costs are bounded, and an idle hour
/// costs nothing at all.
#[test]
fn p7_a_quiescent_hour_costs_no_request() {
    scene(unverified(), |mut scene| {
        for _ in 0..720 {
            scene.commit();
            scene.pass_time(10);
        }
        let runs = scene.reports_of(|r| matches!(r, Report::Pruned { .. }));
        let listed = scene.store.counters().requests(Operation::List);
        assert_eq!(
            listed,
            1 + runs as u64,
            "once at the start, and new marks of proofs before each deletion"
        );
        let levels = scene.levels();
        assert!(levels[0] < 150 && levels[1] > 10 && levels[2] > 5 && levels[3] >= 1, "{levels:?}");
        assert!(levels[9] >= 1, "{levels:?}");
        assert!(scene.told(|r| matches!(r, Report::Pruned { deleted, failed: 0, .. } if *deleted > 0)));
        scene.newest_is_what_the_application_has();

        scene.settle();
        let (before, caught_up) = (scene.store.counters(), scene.caught_up());
        for _ in 0..120 {
            scene.pass_time(30);
        }
        assert_eq!(scene.store.counters(), before, "an idle hour");
        assert!(scene.caught_up() >= caught_up + 120, "and yet every pass says that nothing is missing");
        scene.newest_is_what_the_application_has();
    });
}

/// An unchanged database's due restore point is a success without a request.
#[test]
fn a_restore_point_is_proven_by_interval_and_noted() {
    scene(unverified(), |mut scene| {
        for _ in 0..40 {
            scene.commit();
            scene.pass_time(10);
        }
        for _ in 0..(7 * 60) {
            scene.pass_time(60);
        }
        assert!(scene.told(|r| matches!(r, Report::RestorePoint { proven: true, read, .. } if *read > 0)));
        let proof = scene.wait(Proven::load(&scene.store.clone())).unwrap().unwrap();
        assert_eq!(proof.txid(), scene.catalogue().newest(), "{proof:?}");
        assert_eq!((proof.by, proof.how), (By::Sidecar, How::Bytes));
    });
}

/// Snapshots of the live database, while it is written to, are exactly the state of their TXID.
#[test]
fn trap_16_an_image_is_taken_beside_a_busy_application() {
    scene(unverified(), |mut scene| {
        for round in 0..5 {
            for _ in 0..20 {
                scene.commit();
            }
            scene.writer.want_image();
            scene.commit();
            scene.pass_time(1);
            scene.commit();
            scene.until(|s| s.reports_of(|r| matches!(r, Report::ImageStored { .. })) > round);
            scene.pass_time(700);
        }
        let images = scene.images();
        assert!(images.len() >= 5, "{images:?}");
        for image in images {
            assert!(scene.restores(Some(image)).proven, "{image}");
        }
        scene.newest_is_what_the_application_has();
    });
}

/// P3: a database that is not what was replicated (here: a page changed underneath) is never stored over a good chain.
#[test]
fn p3_a_damaged_local_database_becomes_no_image() {
    scene(unverified(), |mut scene| {
        for _ in 0..200 {
            scene.commit();
        }
        scene.pass_time(1);
        scene.app.execute_batch("PRAGMA wal_checkpoint(PASSIVE)").unwrap();
        scene.pass_time(1);
        let before = scene.images();
        // From another process: closing the file here would drop the locks that SQLite holds for us. Through another name: a volume
        // that rots tells nobody.
        let elsewhere = tempfile::tempdir().unwrap();
        let rotting = elsewhere.path().join("rotting");
        std::fs::hard_link(scene.db(), &rotting).unwrap();
        let f = rotting.display();
        let damage = format!(
            "t=$(stat -c %y {f}); printf rotten | dd of={f} bs=1 seek=20000 conv=notrunc; touch -d \"$t\" {f}"
        );
        assert!(std::process::Command::new("sh").args(["-c", &damage]).output().unwrap().status.success());
        scene.writer.want_image();
        scene.pass_time(1);
        scene.until(|s| s.told(|r| matches!(r, Report::ImagePutOff { .. })));
        let why = scene.reports().into_iter().find_map(|r| match r {
            Report::ImagePutOff { why, .. } => Some(why),
            _ => None,
        });
        assert!(why.as_ref().unwrap().contains("what was replicated of it"), "{why:?}");
        assert_eq!(scene.images(), before);
    });
}

/// Trap 12: a credential that may only put and list compacts all the same; nothing is deleted, nothing crashes.
#[test]
fn trap_12_put_and_list_are_enough_to_compact() {
    scene(unverified(), |mut scene| {
        for operation in [Operation::Get, Operation::Head, Operation::Delete] {
            scene.faults.deny(operation, true);
        }
        for _ in 0..400 {
            scene.commit();
            scene.pass_time(10);
        }
        let levels = scene.levels();
        assert!(levels[1] > 5 && levels[2] > 2, "{levels:?}");
        assert!(levels[0] >= 400, "nothing was deleted: {levels:?}");
        assert!(
            !scene.told(|r| matches!(r, Report::Pruned { .. })),
            "nothing was proven, so nothing was tried"
        );
        for operation in [Operation::Get, Operation::Head, Operation::Delete] {
            scene.faults.deny(operation, false);
        }
        scene.newest_is_what_the_application_has();
    });
}

/// Without the right to delete the replica grows, and says so; everything else goes on.
#[test]
fn a_store_without_the_right_to_delete_is_a_number_not_a_crash() {
    scene(unverified(), |mut scene| {
        scene.faults.deny(Operation::Delete, true);
        for _ in 0..150 {
            scene.commit();
            scene.pass_time(10);
        }
        assert!(scene.told(|r| matches!(r, Report::Pruned { deleted: 0, failed, .. } if *failed > 0)));
        scene.faults.deny(Operation::Delete, false);
        for _ in 0..500 {
            scene.commit();
            scene.pass_time(10);
        }
        assert!(scene.told(|r| matches!(r, Report::Pruned { deleted, failed: 0, .. } if *deleted > 0)));
        scene.newest_is_what_the_application_has();
    });
}

/// P7: above the bound nothing is kept, the levels wait, and there is no gap; the next image lets them go on.
#[test]
fn trap_12_a_full_spool_skips_levels_and_leaves_no_gap() {
    let policy = Policy { spool_bytes: 2_000, reads: false, ..unverified() };
    scene(policy, |mut scene| {
        for _ in 0..200 {
            scene.commit();
            scene.pass_time(10);
        }
        let levels = scene.levels();
        assert!(levels[0] > 150, "{levels:?}");
        scene.newest_is_what_the_application_has();
        let bytes: u64 = scene.spooled();
        assert!(bytes <= 2_000, "{bytes}");
        scene.writer.want_image();
        scene.pass_time(700);
        scene.until(|s| s.told(|r| matches!(r, Report::ImageStored { .. })));
        scene.newest_is_what_the_application_has();
    });
}

fn lose(scene: &Scene, lost: impl Fn(&Entry) -> bool) {
    let entries = scene.catalogue().entries;
    let keys: Vec<String> = entries.iter().filter(|e| lost(e)).map(|e| e.key.clone()).collect();
    assert!(!keys.is_empty());
    let store = scene.store.clone();
    scene.wait(async move { store.delete_all(&keys).await }).unwrap();
}

/// A lost object is noticed by the scheduled check and sent again from the volume.
#[test]
fn p1_a_lost_object_is_sent_again_from_the_volume() {
    let hours = |n: u64| Duration::from_secs(n * 3600);
    let policy = Policy { verify: Some(hours(1)), levels: [hours(3); 3], ..Policy::default() };
    scene(policy, |mut scene| {
        for _ in 0..10 {
            scene.commit();
            scene.pass_time(2);
        }
        // Before any level has it: only level 0 holds this state.
        let newest = scene.newest();
        lose(&scene, |e| e.level == Level::SYNC && Some(e.name.max) == newest);
        assert!(
            sqlite_replica::RestorePlan::new(&scene.catalogue(), None).unwrap().reaches() < scene.newest()
        );
        for _ in 0..70 {
            scene.pass_time(60);
        }
        scene.until(|s| s.told(|r| matches!(r, Report::Healed { by: Healing::Resent, .. })));
        assert!(scene.told(|r| matches!(r, Report::Verified { ok: false, finding: Some(_), .. })));
        scene.newest_is_what_the_application_has();
    });
}

/// What is not on the volume any more is bridged by an image; the history before the hole stays.
#[test]
fn p1_a_hole_that_the_volume_cannot_fill_is_bridged_by_an_image() {
    let policy = Policy { verify: Some(Duration::from_secs(3600)), ..Policy::default() };
    scene(policy, |mut scene| {
        for _ in 0..450 {
            scene.commit();
            scene.pass_time(10);
        }
        lose(&scene, |e| (1..=3).contains(&e.level.0));
        assert!(!scene.verified(false).ok);
        for _ in 0..70 {
            scene.pass_time(60);
        }
        scene.until(|s| s.told(|r| matches!(r, Report::Healed { by: Healing::Bridged, .. })));
        assert!(scene.told(|r| matches!(r, Report::Verified { ok: false, finding: Some(_), .. })));
        scene.newest_is_what_the_application_has();
    });
}

/// P3: a clock that jumps ten years ahead deletes nothing, and the replica is listed again.
#[test]
fn p3_a_clock_jump_deletes_nothing() {
    let keep = Keep::all_for(Duration::from_secs(3_600));
    scene(Policy { keep, ..unverified() }, |mut scene| {
        for _ in 0..100 {
            scene.commit();
            scene.pass_time(10);
        }
        scene.settle();
        let (deletes, lists) = (
            scene.store.counters().requests(Operation::Delete),
            scene.store.counters().requests(Operation::List),
        );
        scene.jump(10 * 365 * 86_400);
        for _ in 0..100 {
            scene.commit();
            scene.pass_time(10);
        }
        assert_eq!(scene.store.counters().requests(Operation::Delete), deletes);
        // Once by upkeep, and once by the writer before it reports its first file durable (trap 3).
        assert_eq!(scene.store.counters().requests(Operation::List), lists + 2);
        scene.newest_is_what_the_application_has();
    });
}

/// A writer that ends and starts again finds what it kept, and goes on where it was.
#[test]
fn levels_go_on_after_a_restart() {
    scene(unverified(), |mut scene| {
        for _ in 0..6 {
            for _ in 0..40 {
                scene.commit();
                scene.pass_time(5);
            }
            scene = scene.restart();
        }
        let levels = scene.levels();
        assert!(levels[1] > 3 && levels[2] >= 1, "{levels:?}");
        scene.newest_is_what_the_application_has();
        let points = sqlite_replica::points(&scene.catalogue()).len();
        assert!(points > 10, "{points}");
    });
}

/// Every point that `restore list` shows can be restored, after compaction and retention have been at work.
#[test]
fn p2_every_listed_point_restores() {
    scene(unverified(), |mut scene| {
        for _ in 0..150 {
            scene.commit();
            scene.pass_time(10);
        }
        let all = sqlite_replica::points(&scene.catalogue());
        assert!(all.len() > 10);
        for point in all {
            assert!(scene.restores(Some(point.txid)).proven, "{}", point.txid);
        }
    });
}

/// Pruning by hand comes to the same plan, shows it, and does it.
#[test]
fn prune_by_hand_plans_and_applies() {
    scene(Policy { levels: [Duration::from_secs(30); 3], ..unverified() }, |mut scene| {
        scene.faults.deny(Operation::Delete, true);
        for _ in 0..200 {
            scene.commit();
            scene.pass_time(10);
        }
        scene.settle();
        scene.faults.deny(Operation::Delete, false);
        let (store, clock) = (scene.store.clone(), scene.clock.clone());
        let found = scene.verified(false);
        assert!(found.ok && found.bytes > 0, "{found:?}");
        let through = found.provable.unwrap().parse().unwrap();
        let proven = Proven::new(through, clock.unix_ms(), By::Verify, found.how);
        scene.wait(proven.announce(&store)).unwrap();
        let policy = Policy::default();
        let plan = scene.wait(sqlite_replica::plan_prune(&store, &policy, &*clock)).unwrap();
        assert!(plan.deletions.len() > 50, "{plan}");
        let before = scene.levels();
        let pruned = scene.wait(sqlite_replica::prune(&store, &plan));
        assert_eq!((pruned.gone.len(), pruned.failed), (plan.deletions.len(), 0));
        assert!(scene.levels()[0] < before[0]);
        let again = scene.wait(sqlite_replica::plan_prune(&store, &policy, &*clock)).unwrap();
        assert!(again.deletions.is_empty(), "{again}");
        scene.newest_is_what_the_application_has();
        let restored = scene.verified(true);
        assert!(restored.ok && restored.proven, "{restored:?}");
    });
}

/// Timers for which nothing is to be done do not ask whose the replica is.
#[test]
fn p7_a_fresh_replica_that_rests_costs_no_listing() {
    scene(unverified(), |mut scene| {
        scene.commit();
        for _ in 0..10 {
            scene.pass_time(10);
        }
        assert!(scene.told(|r| matches!(r, Report::RestorePoint { proven: true, .. })));
        let before = scene.store.counters();
        for _ in 0..60 {
            scene.pass_time(10);
        }
        assert_eq!(scene.store.counters(), before);
    });
}

/// A drill beside a busy writer notes a point that nobody told the writer about.
#[test]
fn p3_a_point_that_a_drill_noted_meanwhile_stays_exactly() {
    scene(unverified(), |mut scene| {
        let mut noted = None;
        for round in 0..400 {
            scene.commit();
            scene.pass_time(10);
            if round == 150 {
                noted = scene.newest();
                let now = scene.clock.unix_ms();
                let proven = Proven::new(noted.unwrap(), now, By::Drill, How::Restore);
                scene.wait(proven.announce(&scene.store)).unwrap();
            }
        }
        scene.settle();
        assert!(scene.told(|r| matches!(r, Report::Pruned { deleted, .. } if *deleted > 0)));
        let points = sqlite_replica::points(&scene.catalogue());
        let behind = noted.unwrap().next();
        assert!(points.iter().all(|point| point.txid != behind), "the one behind it is merged away");
        assert_eq!(scene.restores(noted).txid, noted.unwrap().to_string());
    });
}

/// Somebody proves from outside every few minutes, as a drill does, and leaves a mark each time: they go with their points.
#[test]
fn p3_marks_of_proofs_go_with_what_they_mark() {
    let policy = Policy { verify: Some(Duration::from_secs(900)), reads: false, ..Policy::default() };
    scene(policy, |mut scene| {
        let mut marked = 0;
        for round in 0..600 {
            scene.commit();
            scene.pass_time(10);
            if round % 20 == 0 {
                let through = scene.newest().unwrap();
                let proven =
                    Proven::new(through, scene.clock.unix_ms(), By::Drill, sqlite_replica::How::Restore);
                scene.wait(proven.announce(&scene.store)).unwrap();
                marked += 1;
            }
        }
        scene.settle();
        let catalogue = scene.catalogue();
        let newest = scene.catalogue().proofs.last().copied();
        let points: Vec<_> = sqlite_replica::points(&catalogue).into_iter().map(|point| point.txid).collect();
        let of_no_use =
            catalogue.proofs.iter().filter(|mark| !points.contains(mark) && Some(**mark) != newest);
        // Those that were made since the last look at the replica, every quarter of an hour, are not known yet.
        let (left, of_no_use) = (catalogue.proofs.len(), of_no_use.count());
        assert!(marked == 30 && left < 15 && of_no_use <= 5, "{left} of {marked}, {of_no_use} of no use");
        assert!(scene.told(|r| matches!(r, Report::Pruned { deleted, .. } if *deleted > 0)));
        scene.newest_is_what_the_application_has();
    });
}

/// A flipped bit in a stored file is found when it is read back, and an image is put over it.
#[test]
fn p1_damage_is_found_by_reading_back_and_bridged() {
    let policy = Policy { verify: Some(Duration::from_secs(3600)), ..Policy::default() };
    scene(policy, |mut scene| {
        for _ in 0..30 {
            scene.commit();
            scene.pass_time(10);
        }
        let plan = sqlite_replica::RestorePlan::new(&scene.catalogue(), None).unwrap();
        let entry = plan.files.iter().find(|e| (1..9).contains(&e.level.0)).unwrap().clone();
        scene.damage(&entry.key);
        let found = scene.verified(false);
        assert!(!found.ok && !found.findings.is_empty(), "{found:?}");
        for _ in 0..(7 * 60) {
            scene.pass_time(60);
        }
        scene.until(|s| s.told(|r| matches!(r, Report::ImageStored { .. })));
        assert!(scene.told(|r| matches!(r, Report::Verified { ok: false, .. })));
        scene.newest_is_what_the_application_has();
    });
}

/// The access probe: one request, and it notices credentials that stopped working.
#[test]
fn the_access_probe_is_one_request() {
    scene(unverified(), |scene| {
        let store = scene.store.clone();
        let before = store.counters().total_requests();
        scene.wait(sqlite_replica::probe(&store)).unwrap();
        assert_eq!(store.counters().total_requests(), before + 1);
        scene.faults.deny(Operation::Put, true);
        assert!(scene.wait(sqlite_replica::probe(&store)).is_err());
        scene.faults.deny(Operation::Put, false);
    });
}

/// Silence is not only counted by us: the events an idle writer tells say that it is caught up.
#[test]
fn events_of_an_idle_writer_are_only_that_it_is_caught_up() {
    scene(unverified(), |mut scene| {
        scene.commit();
        scene.pass_time(1);
        scene.settle();
        scene.events.lock().unwrap().clear();
        for _ in 0..10 {
            scene.pass_time(3);
        }
        let events = scene.events.lock().unwrap().clone();
        assert!(!events.is_empty() && events.iter().all(|e| *e == Event::CaughtUp), "{events:?}");
        let rows: i64 = Connection::open(scene.restored(None).0)
            .unwrap()
            .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
            .unwrap();
        assert_eq!(rows, 1);
    });
}
