//! The table of decision 0005: what happens to a database whose file goes, comes back, or is another one (P3).

use crate::scene::{Running, Scene, config, insert, rows};
use rusqlite::Connection;
use sqlite_replica::{Finish, FleetConfig, State};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// A database of another history, complete in one file.
pub(crate) fn other(scene: &Scene, rows: u32) -> std::path::PathBuf {
    let db = scene.database("elsewhere/other", rows);
    fold(&db);
    drop(db);
    scene.path("elsewhere/other")
}

fn fold(db: &Connection) {
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
}

pub(crate) fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{suffix}", path.display()));
    }
}

/// A fleet that follows `a.db` with 20 rows; the application has gone.
pub(crate) async fn followed(scene: &Scene) -> Running {
    let db = scene.database("a.db", 0);
    for _ in 0..19 {
        db.execute("INSERT INTO t(x) VALUES(randomblob(3000))", []).unwrap();
    }
    // From here on the WAL has some of the pages only: one with all of them makes up for any file it lies beside.
    fold(&db);
    let fleet = scene.start(FleetConfig { stay: true, ..config(vec![scene.target("a.db")]) });
    fleet.until("a.db", State::Following).await;
    insert(&db, 1);
    fleet.synced("a.db").await;
    settle(&db).await;
    fleet
}

/// As an application that ends: everything in the file. The fleet lets it, once it has copied everything.
async fn settle(db: &Connection) {
    for _ in 0..2_000 {
        let columns = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
        let (frames, copied) = db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], columns).unwrap();
        // Both are -1 beside another checkpoint.
        if frames == copied && frames >= 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the WAL cannot be copied back");
}

async fn refused(scene: &Scene, fleet: Running, says: &str) {
    let before = scene.objects("a.db").await;
    let status = fleet.until("a.db", State::Refused).await;
    let error = status.error.unwrap();
    assert!(error.contains(says), "{error}");
    fleet.stop().await;
    assert_eq!(scene.objects("a.db").await, before, "a refusal writes nothing");
    assert_eq!(scene.restored_rows("a.db").await, 20);
    // It is refused by the next process too.
    let fleet = scene.start(FleetConfig { stay: true, ..config(vec![scene.target("a.db")]) });
    fleet.until("a.db", State::Refused).await;
    fleet.stop().await;
    assert_eq!(scene.objects("a.db").await, before);
}

#[tokio::test]
async fn p3_another_database_renamed_over_it_is_refused() {
    let scene = Scene::new();
    let fleet = followed(&scene).await;
    let new = other(&scene, 30);
    remove(&scene.path("a.db"));
    fs::rename(new, scene.path("a.db")).unwrap();
    refused(&scene, fleet, "replaced by another one").await;
}

#[tokio::test]
async fn p3_deleted_and_created_anew_is_refused_and_the_replica_stays() {
    let scene = Scene::new();
    let fleet = followed(&scene).await;
    remove(&scene.path("a.db"));
    fleet.until("a.db", State::Gone).await;
    assert_eq!(scene.restored_rows("a.db").await, 20);
    let _new = scene.database("a.db", 25);
    refused(&scene, fleet, "replaced by another one").await;
}

#[tokio::test]
async fn p3_moved_away_and_back_goes_on() {
    let scene = Scene::new();
    let fleet = followed(&scene).await;
    fs::rename(scene.path("a.db"), scene.path("aside")).unwrap();
    fleet.until("a.db", State::Gone).await;
    fs::rename(scene.path("aside"), scene.path("a.db")).unwrap();
    fleet.until("a.db", State::Following).await;
    let db = scene.database("a.db", 1);
    fleet.synced("a.db").await;
    assert_eq!(scene.restored_rows("a.db").await, rows(&db));
    fleet.stop().await;
}

/// The same content in another file, as `restore` and `rsync` leave it, is the newest state: nothing is lost by going on.
#[tokio::test]
async fn p3_another_file_with_the_same_pages_goes_on() {
    let scene = Scene::new();
    let fleet = followed(&scene).await;
    fleet.stop().await;
    let db = Connection::open(scene.path("a.db")).unwrap();
    fold(&db);
    drop(db);
    fs::copy(scene.path("a.db"), scene.path("copy")).unwrap();
    remove(&scene.path("a.db"));
    fs::rename(scene.path("copy"), scene.path("a.db")).unwrap();
    let fleet = scene.start(config(vec![scene.target("a.db")]));
    fleet.until("a.db", State::Following).await;
    let db = scene.database("a.db", 2);
    fleet.synced("a.db").await;
    assert_eq!(scene.restored_rows("a.db").await, rows(&db));
    assert_eq!(scene.told("a.db", "ImageStarted"), 1, "no second image");
    fleet.stop().await;
}

/// `cp backup.db a.db` under a fleet that follows it: the inode stays, the bytes do not.
#[tokio::test]
async fn p2_copied_over_in_place_is_refused_before_anything_is_shipped() {
    let scene = Scene::new();
    let fleet = followed(&scene).await;
    let new = other(&scene, 40);
    // The tail rests once everything is in the file; before that the WAL is still part of the database.
    wait_for_rest(&scene).await;
    fs::copy(new, scene.path("a.db")).unwrap();
    refused(&scene, fleet, "written from outside sqlite").await;
}

/// The same while nobody follows it, with the WAL left beside it.
#[tokio::test]
async fn p3_copied_over_in_place_during_a_downtime_is_refused() {
    let scene = Scene::new();
    let fleet = followed(&scene).await;
    wait_for_rest(&scene).await;
    fleet.stop().await;
    let new = other(&scene, 40);
    fs::copy(new, scene.path("a.db")).unwrap();
    let fleet = scene.start(FleetConfig { stay: true, ..config(vec![scene.target("a.db")]) });
    // The structural check or the comparison, whichever comes first.
    refused(&scene, fleet, "the replica").await;
}

/// A touch changes nothing and is forgiven.
#[tokio::test]
async fn a_touched_file_goes_on() {
    let scene = Scene::new();
    let fleet = followed(&scene).await;
    wait_for_rest(&scene).await;
    // By name: opening and closing the file here would drop the locks of this process.
    nix::sys::stat::utimes(
        &scene.path("a.db"),
        &nix::sys::time::TimeVal::new(1, 0),
        &nix::sys::time::TimeVal::new(1, 0),
    )
    .unwrap();
    let db = scene.database("a.db", 3);
    fleet.synced("a.db").await;
    assert_eq!(scene.restored_rows("a.db").await, rows(&db));
    fleet.stop().await;
}

/// The operator restores a refused database from its replica: another file is in its place, so it is looked at again.
#[tokio::test]
async fn p3_a_refused_database_goes_on_once_the_right_file_is_back() {
    let scene = Scene::new();
    let fleet = followed(&scene).await;
    let new = other(&scene, 30);
    remove(&scene.path("a.db"));
    fs::rename(new, scene.path("a.db")).unwrap();
    fleet.until("a.db", State::Refused).await;
    let restored = scene.restored("a.db").await;
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{suffix}", scene.path("a.db").display()));
    }
    fs::rename(restored, scene.path("a.db")).unwrap();
    fleet.until("a.db", State::Following).await;
    let db = scene.database("a.db", 1);
    fleet.synced("a.db").await;
    assert_eq!(scene.restored_rows("a.db").await, rows(&db));
    let ended = fleet.stop().await;
    assert!(matches!(ended[0].finish, Ok(Finish::Complete)));
}

/// With `--adopt` the operator says that it is meant; what was before stays restorable.
#[tokio::test]
async fn p3_an_adopted_replacement_is_shipped_on_top_of_the_history() {
    let scene = Scene::new();
    let fleet = followed(&scene).await;
    let before = scene.objects("a.db").await;
    fleet.stop().await;
    remove(&scene.path("a.db"));
    let _new = scene.database("a.db", 31);
    let mut target = scene.target("a.db");
    target.writer.adopt = true;
    let fleet = scene.start(config(vec![target]));
    fleet.synced("a.db").await;
    fleet.stop().await;
    assert_eq!(scene.restored_rows("a.db").await, 31);
    let after = scene.objects("a.db").await;
    assert!(
        before.iter().all(|(key, bytes)| after.get(key) == Some(bytes)),
        "nothing of the history was touched"
    );
}

/// Until the tail has everything in the database file and holds it there.
async fn wait_for_rest(scene: &Scene) {
    let mut last = None;
    let mut same = 0;
    for _ in 0..2_000 {
        let now = fs::metadata(scene.path("a.db")).unwrap().modified().unwrap();
        same = if last == Some(now) { same + 1 } else { 0 };
        last = Some(now);
        if same > 60 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the database file never rests");
}
