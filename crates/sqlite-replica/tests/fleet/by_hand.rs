//! A database that an operator has restored in place, and whose application commits before any writer has looked (`origin`, decision
//! 0007): the writer goes on from it, and only from it (P3, P4).

use crate::replaced::{followed, other, remove};
use crate::scene::{Scene, config, insert, rows};
use clock::{SeededIds, SystemClock};
use ltx::Txid;
use rusqlite::Connection;
use sqlite_replica::{
    Catalogue, Descent, FleetConfig, Progress, RestoreOptions, RestorePlan, State, StateDir, Target, restore,
    unlock,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What `restore sqlite --force -o OUTPUT` does with the replica of `name`.
async fn by_hand(scene: &Scene, name: &str, txid: Option<Txid>, output: &Path) {
    let store = scene.store.scoped(name).unwrap();
    let catalogue = Catalogue::load(&store).await.unwrap();
    let plan = RestorePlan::new(&catalogue, txid).unwrap();
    let descent = Descent::of(&store, catalogue.clone()).await.unwrap();
    assert!(descent.is_some());
    let options = RestoreOptions { descent, ..RestoreOptions::default() };
    restore(&store, &plan, output, &options, Arc::new(Progress::default())).await.unwrap();
    assert!(note(output).exists());
}

fn note(database: &Path) -> PathBuf {
    StateDir::path_for(database).join("origin.json")
}

/// An application that is quicker than the writer; it leaves what it commits in the WAL.
fn commit(database: &Path, count: u32) -> Connection {
    let db = Connection::open(database).unwrap();
    insert(&db, count);
    db
}

async fn newest(scene: &Scene, name: &str) -> Txid {
    Catalogue::load(&scene.store.scoped(name).unwrap()).await.unwrap().newest().unwrap()
}

/// Rows of an older point.
async fn rows_at(scene: &Scene, name: &str, txid: Txid) -> i64 {
    let store = scene.store.scoped(name).unwrap();
    let plan = RestorePlan::new(&Catalogue::load(&store).await.unwrap(), Some(txid)).unwrap();
    let out = scene.path("point.db");
    restore(&store, &plan, &out, &RestoreOptions::default(), Arc::new(Progress::default())).await.unwrap();
    rows(&Connection::open(out).unwrap())
}

/// A writer goes on from what is there, and everything in the replica stays as it was.
async fn goes_on(scene: &Scene, target: Target, live: &Connection) {
    let before = scene.objects("a.db").await;
    let (name, database) = (target.writer.identity.database.clone(), target.writer.database.clone());
    let fleet = scene.start(config(vec![target]));
    fleet.until(&name, State::Following).await;
    insert(live, 1);
    fleet.synced(&name).await;
    fleet.stop().await;
    assert_eq!(scene.restored_rows("a.db").await, rows(live));
    let after = scene.objects("a.db").await;
    let kept = |(key, bytes): (&String, &Vec<u8>)| after.get(key) == Some(bytes);
    assert!(
        before.iter().filter(|(key, _)| !key.ends_with("owner.json")).all(kept),
        "nothing of the history is touched"
    );
    assert!(!note(&database).exists(), "it has served");
}

async fn is_refused(scene: &Scene) {
    let before = scene.objects("a.db").await;
    let fleet = scene.start(FleetConfig { stay: true, ..config(vec![scene.target("a.db")]) });
    fleet.until("a.db", State::Refused).await;
    fleet.stop().await;
    assert_eq!(scene.objects("a.db").await, before, "a refusal writes nothing");
}

#[tokio::test]
async fn p3_restored_by_hand_it_goes_on_though_its_application_was_quicker() {
    let scene = Scene::new();
    followed(&scene).await.stop().await;
    let point = newest(&scene, "a.db").await;
    by_hand(&scene, "a.db", None, &scene.path("a.db")).await;
    let live = commit(&scene.path("a.db"), 3);
    goes_on(&scene, scene.target("a.db"), &live).await;
    assert_eq!(scene.told("a.db", "ImageStarted"), 2, "a new full image");
    assert_eq!(rows_at(&scene, "a.db", point).await, 20);
}

/// The volume is another one: nothing but the note says what the file is.
#[tokio::test]
async fn p3_restored_by_hand_on_a_new_volume_it_goes_on_as_well() {
    let scene = Scene::new();
    followed(&scene).await.stop().await;
    remove(&scene.path("a.db"));
    fs::remove_dir_all(scene.path(".highwater")).unwrap();
    by_hand(&scene, "a.db", None, &scene.path("a.db")).await;
    let live = commit(&scene.path("a.db"), 3);
    goes_on(&scene, scene.target("a.db"), &live).await;
}

#[tokio::test]
async fn restored_by_hand_and_untouched_it_goes_on_without_an_image() {
    let scene = Scene::new();
    followed(&scene).await.stop().await;
    by_hand(&scene, "a.db", None, &scene.path("a.db")).await;
    let fleet = scene.start(config(vec![scene.target("a.db")]));
    fleet.until("a.db", State::Following).await;
    let live = commit(&scene.path("a.db"), 2);
    fleet.synced("a.db").await;
    fleet.stop().await;
    assert_eq!(scene.restored_rows("a.db").await, rows(&live));
    assert_eq!(scene.told("a.db", "ImageStarted"), 1);
    assert!(!note(&scene.path("a.db")).exists());
}

/// Somebody wanted the older state, and goes on from it; the newer one stays a point of its own.
#[tokio::test]
async fn p3_an_older_point_by_intention_becomes_the_newest_and_the_newer_one_stays() {
    let scene = Scene::new();
    let fleet = followed(&scene).await;
    let older = newest(&scene, "a.db").await;
    let db = commit(&scene.path("a.db"), 5);
    fleet.synced("a.db").await;
    fleet.stop().await;
    drop(db);
    let left = newest(&scene, "a.db").await;
    assert!(left > older);
    by_hand(&scene, "a.db", Some(older), &scene.path("a.db")).await;
    let live = commit(&scene.path("a.db"), 1);
    assert_eq!(rows(&live), 21);
    goes_on(&scene, scene.target("a.db"), &live).await;
    assert_eq!(rows_at(&scene, "a.db", left).await, 25);
}

#[tokio::test]
async fn p3_another_file_in_the_place_of_the_restored_one_is_refused() {
    let scene = Scene::new();
    followed(&scene).await.stop().await;
    by_hand(&scene, "a.db", None, &scene.path("a.db")).await;
    // The same pages and a commit more, in another file.
    fs::copy(scene.path("a.db"), scene.path("copy")).unwrap();
    fs::rename(scene.path("copy"), scene.path("a.db")).unwrap();
    let _live = commit(&scene.path("a.db"), 1);
    is_refused(&scene).await;
}

#[tokio::test]
async fn p3_copied_over_the_restored_file_it_is_refused() {
    let scene = Scene::new();
    followed(&scene).await.stop().await;
    by_hand(&scene, "a.db", None, &scene.path("a.db")).await;
    let new = other(&scene, 400);
    // Many changes, so that the count of them does not tell.
    let db = Connection::open(&new).unwrap();
    (0..60).for_each(|n| db.execute_batch(&format!("CREATE TABLE more{n}(x)")).unwrap());
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(db);
    fs::copy(new, scene.path("a.db")).unwrap();
    let _live = commit(&scene.path("a.db"), 1);
    is_refused(&scene).await;
}

/// Whoever wrote or claimed after the restore may have what this volume lacks.
#[tokio::test]
async fn p4_a_replica_that_moved_on_after_the_restore_is_not_taken() {
    let scene = Scene::new();
    followed(&scene).await.stop().await;
    by_hand(&scene, "a.db", None, &scene.path("a.db")).await;
    let store = scene.store.scoped("a.db").unwrap();
    unlock(&store, None, &SystemClock, &SeededIds::new(99)).await.unwrap();
    let _live = commit(&scene.path("a.db"), 1);
    is_refused(&scene).await;
}

#[tokio::test]
async fn p4_what_was_restored_from_another_replica_is_refused() {
    let scene = Scene::new();
    followed(&scene).await.stop().await;
    let db = scene.database("b.db", 20);
    let fleet = scene.start(config(vec![scene.target("b.db")]));
    fleet.synced("b.db").await;
    fleet.stop().await;
    drop(db);
    by_hand(&scene, "b.db", None, &scene.path("a.db")).await;
    let _live = commit(&scene.path("a.db"), 1);
    is_refused(&scene).await;
}

/// A volume that lost its replica to another one is refused; restored by hand it takes it back, once, and the other one is refused.
#[tokio::test]
async fn p4_of_two_volumes_restored_by_hand_the_last_one_writes() {
    let scene = Scene::new();
    followed(&scene).await.stop().await;
    let second = scene.path("two/a.db");
    fs::create_dir(scene.path("two")).unwrap();
    by_hand(&scene, "a.db", None, &second).await;
    let mut target = scene.target("a.db");
    target.writer.database = second.clone();
    let live = commit(&second, 2);
    goes_on(&scene, target.clone(), &live).await;
    drop(live);

    drop(commit(&scene.path("a.db"), 1));
    is_refused(&scene).await;
    by_hand(&scene, "a.db", None, &scene.path("a.db")).await;
    let live = commit(&scene.path("a.db"), 4);
    goes_on(&scene, scene.target("a.db"), &live).await;

    let before = scene.objects("a.db").await;
    drop(commit(&second, 1));
    let fleet = scene.start(FleetConfig { stay: true, ..config(vec![target]) });
    fleet.until("a.db", State::Refused).await;
    fleet.stop().await;
    assert_eq!(scene.objects("a.db").await, before);
}

/// A restore that was cut off before its file got the name: the note is about a file that is not there.
#[tokio::test]
async fn p2_a_note_without_its_file_changes_nothing() {
    let scene = Scene::new();
    followed(&scene).await.stop().await;
    fs::create_dir(scene.path("aside")).unwrap();
    by_hand(&scene, "a.db", None, &scene.path("aside/a.db")).await;
    fs::copy(note(&scene.path("aside/a.db")), note(&scene.path("a.db"))).unwrap();
    let live = commit(&scene.path("a.db"), 2);
    goes_on(&scene, scene.target("a.db"), &live).await;
    assert_eq!(scene.told("a.db", "ImageStarted"), 1, "its own record is believed");
}
