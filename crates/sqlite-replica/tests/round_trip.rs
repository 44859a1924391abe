//! A live database into a store in memory and back, in one process: the paths that need size or an awkward store.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]

use clock::{ManualClock, SeededIds, SystemClock};
use rusqlite::Connection;
use sqlite_replica::{
    Catalogue, Claiming, Config, Error, Event, Finish, Identity, Integrity, Progress, RestoreOptions,
    RestorePlan, Restored, point_at, points, restore, run,
};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::fault::{FaultStore, Faults, When, lost};
use store::{MemoryStore, OpenConfig, Operation, Store};
use tokio::sync::watch;

struct Scene {
    dir: tempfile::TempDir,
    store: Store,
    faults: Faults,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Scene {
    fn new() -> Scene {
        let clock = Arc::new(SystemClock);
        let (backend, faults) = FaultStore::new(Arc::new(MemoryStore::new(clock.clone())));
        let mut config = OpenConfig::new(clock, Arc::new(SeededIds::new(1)));
        config.retry.max_attempts = 2;
        config.retry.base = Duration::from_millis(1);
        let store = Store::new(Arc::new(backend), &config);
        Scene { dir: tempfile::tempdir().unwrap(), store, faults, events: Arc::default() }
    }

    fn db(&self) -> PathBuf {
        self.dir.path().join("app.db")
    }

    fn config(&self) -> Config {
        Config {
            database: self.db(),
            replica: "memory://test".into(),
            identity: Identity { cluster: String::new(), app: "test".into(), database: "app.db".into() },
            sync_interval: Duration::from_millis(20),
            drain: Duration::from_secs(30),
            adopt: false,
            once: true,
            convert_to_wal: false,
            upkeep: None,
            claim: Claiming::ByHand,
            protection: seal::Protection::Plain,
            l0_retention: Duration::from_secs(300),
        }
    }

    async fn sync(&self, config: Config) -> Result<Finish, Error> {
        let (_keep, stop) = watch::channel(false);
        let events = self.events.clone();
        let tell = Arc::new(move |event| events.lock().unwrap().push(event));
        run(config, self.store.clone(), Arc::new(SystemClock), Arc::new(SeededIds::new(7)), tell, stop).await
    }

    async fn once(&self) {
        assert_eq!(self.sync(self.config()).await.unwrap(), Finish::Complete);
    }

    async fn restored(&self, txid: Option<ltx::Txid>) -> (PathBuf, Restored) {
        let out = self.dir.path().join("out.db");
        let _ = std::fs::remove_file(&out);
        let catalogue = Catalogue::load(&self.store).await.unwrap();
        let plan = RestorePlan::new(&catalogue, txid).unwrap();
        let options = RestoreOptions { integrity: Integrity::Full, ..RestoreOptions::default() };
        let done = restore(&self.store, &plan, &out, &options, Arc::new(Progress::default())).await.unwrap();
        (out, done)
    }
}

fn application(path: &Path) -> Connection {
    let db = Connection::open(path).unwrap();
    db.execute_batch("PRAGMA journal_mode=wal; CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, x BLOB)")
        .unwrap();
    db
}

fn fill(db: &Connection, rows: u32, bytes: u32) {
    let all = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) INSERT INTO t(x) SELECT randomblob({bytes}) FROM n"
    );
    db.execute_batch(&all).unwrap();
}

/// What the application sees, folded into one file without touching the live one.
fn same(db: &Connection, restored: &Path) {
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let live = PathBuf::from(db.path().unwrap());
    let (a, b) = (std::fs::read(live).unwrap(), std::fs::read(restored).unwrap());
    assert_eq!(a.len(), b.len());
    let differing = a.chunks(512).zip(b.chunks(512)).filter(|(x, y)| x != y).count();
    assert_eq!(differing, 0, "blocks of 512 bytes that differ");
}

#[tokio::test]
async fn p7_an_image_beyond_the_staging_limit_is_streamed_and_comes_back() {
    let scene = Scene::new();
    let db = application(&scene.db());
    fill(&db, 9_000, 3_000);
    scene.once().await;
    assert!(std::fs::metadata(scene.db()).unwrap().len() > 16 << 20);
    let staged = std::fs::metadata(scene.dir.path().join(".highwater/app.db/staged.ltx")).unwrap();
    assert!(staged.len() < 1_000, "no local copy of the image, only the file without pages behind it");
    let (out, done) = scene.restored(None).await;
    assert!(done.proven);
    same(&db, &out);
}

#[tokio::test]
async fn p7_a_vacuum_is_sent_from_the_staged_file() {
    let scene = Scene::new();
    let db = application(&scene.db());
    fill(&db, 100, 1_000);
    scene.once().await;
    fill(&db, 6_000, 3_000);
    db.execute_batch("DELETE FROM t WHERE id % 3 = 0; VACUUM").unwrap();
    scene.once().await;
    let (out, _) = scene.restored(None).await;
    same(&db, &out);
    db.execute_batch("DELETE FROM t WHERE id > 1500; VACUUM").unwrap();
    scene.once().await;
    let (out, done) = scene.restored(None).await;
    assert!(done.bytes < 6 << 20, "the restored file shrank with the database");
    same(&db, &out);
}

#[tokio::test]
async fn litestream_1199_pages_that_grew_without_a_frame_are_in_the_chain() {
    let scene = Scene::new();
    let db = application(&scene.db());
    fill(&db, 10, 100);
    scene.once().await;
    // One transaction grows the file and frees what it wrote: SQLite need not write free pages.
    db.execute_batch("BEGIN").unwrap();
    fill(&db, 500, 4_000);
    db.execute_batch("DELETE FROM t WHERE id > 10; COMMIT").unwrap();
    scene.once().await;
    let (out, done) = scene.restored(None).await;
    assert!(done.proven);
    let rows: i64 =
        Connection::open(out).unwrap().query_row("SELECT count(*) FROM t", [], |r| r.get(0)).unwrap();
    assert_eq!(rows, 10);
}

#[tokio::test]
async fn p2_every_listed_point_is_a_state_that_existed() {
    let scene = Scene::new();
    let db = application(&scene.db());
    let mut states = Vec::new();
    for round in 0..5 {
        fill(&db, 3 + round, 700);
        scene.once().await;
        states.push(db.query_row("SELECT count(*) FROM t", [], |r| r.get::<_, i64>(0)).unwrap());
    }
    let catalogue = Catalogue::load(&scene.store).await.unwrap();
    let mut seen = Vec::new();
    for point in points(&catalogue) {
        let (out, done) = scene.restored(Some(point.txid)).await;
        seen.push(
            Connection::open(out)
                .unwrap()
                .query_row("SELECT count(*) FROM t", [], |r| r.get::<_, i64>(0))
                .unwrap(),
        );
        let at = clock::parse_unix_ms(&done.timestamp).unwrap();
        assert_eq!(point_at(&scene.store, &catalogue, at).await.unwrap().0.txid, point.txid);
    }
    seen.dedup();
    assert_eq!(seen, states);
    assert!(point_at(&scene.store, &catalogue, 0).await.is_err(), "nothing before the first commit");
}

#[tokio::test]
async fn p3_a_hole_is_bridged_by_an_image_and_named_in_a_restore() {
    let scene = Scene::new();
    let db = application(&scene.db());
    for _ in 0..3 {
        fill(&db, 5, 500);
        scene.once().await;
    }
    let catalogue = Catalogue::load(&scene.store).await.unwrap();
    let lost: Vec<String> = catalogue.entries.iter().skip(2).map(|e| e.key.clone()).collect();
    scene.store.delete_all(&lost).await.unwrap();
    fill(&db, 5, 500);
    scene.once().await;
    let (out, done) = scene.restored(None).await;
    assert!(done.proven);
    same(&db, &out);
    assert!(
        scene
            .events
            .lock()
            .unwrap()
            .iter()
            .any(|e| matches!(e, Event::ImageStarted { why, .. } if why.contains("missing")))
    );
}

#[tokio::test]
async fn p6_an_unreachable_store_is_no_first_start() {
    let scene = Scene::new();
    let db = application(&scene.db());
    fill(&db, 5, 500);
    scene.faults.offline(true);
    let error = scene.sync(scene.config()).await.unwrap_err();
    assert_eq!(error.class(), sqlite_replica::Class::Retriable, "{error}");
    scene.faults.offline(false);
    assert!(Catalogue::load(&scene.store).await.unwrap().entries.is_empty());
    scene.once().await;
    same(&db, &scene.restored(None).await.0);
}

#[tokio::test]
async fn timestamps_rise_even_if_the_clock_is_set_back() {
    let scene = Scene::new();
    let db = application(&scene.db());
    let hour = 3_600_000;
    for now in [10 * hour, 2 * hour] {
        fill(&db, 5, 500);
        let (_keep, stop) = watch::channel(false);
        let clock = Arc::new(ManualClock::at(now));
        let done = run(
            scene.config(),
            scene.store.clone(),
            clock,
            Arc::new(SeededIds::new(now as u64)),
            Arc::new(drop),
            stop,
        );
        assert_eq!(done.await.unwrap(), Finish::Complete);
    }
    let mut catalogue = Catalogue::load(&scene.store).await.unwrap();
    catalogue.entries.sort_by_key(|entry| entry.name.max);
    let mut last = 0;
    for entry in &catalogue.entries {
        let time = sqlite_replica::read_header(&scene.store, entry).await.unwrap().timestamp_ms;
        assert!(time > last, "{} is not after {last}", time);
        last = time;
    }
}

/// A claim stands on a state that the database need not have: whoever is cut off between it and the image finds nothing to go on from.
#[tokio::test]
async fn p2_a_claim_that_was_cut_off_before_its_image_leaves_no_mark() {
    let scene = Scene::new();
    let db = application(&scene.db());
    fill(&db, 200, 1_000);
    scene.once().await;
    drop(db);
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(scene.dir.path().join(format!("app.db{suffix}")));
    }
    // With its record the volume would be compared with its own pages, and claim for a state that it has.
    std::fs::remove_dir_all(scene.dir.path().join(".highwater")).unwrap();
    let db = application(&scene.db());
    fill(&db, 180, 1_100);
    let before = Catalogue::load(&scene.store).await.unwrap().newest().unwrap();
    // The first PUT is the claim: it gets there, and nobody learns of it. Nothing behind it does.
    scene.faults.fail_nth(Some(Operation::Put), 1, When::After, lost());
    for n in 2..200 {
        scene.faults.fail_nth(Some(Operation::Put), n, When::Before, lost());
        scene.faults.fail_nth(Some(Operation::List), n, When::Before, lost());
    }
    scene.faults.deny(Operation::Head, true);
    let drain = Duration::from_millis(500);
    let ended = scene.sync(Config { adopt: true, drain, ..scene.config() }).await;
    assert!(!matches!(ended, Ok(Finish::Complete)), "{ended:?}");
    scene.faults.clear();
    scene.faults.deny(Operation::Head, false);
    let claimed = Catalogue::load(&scene.store).await.unwrap().newest().unwrap();
    assert_eq!(claimed, before.next(), "the claim, and no image");
    scene.once().await;
    let (out, done) = scene.restored(None).await;
    assert!(done.proven);
    same(&db, &out);
}

/// Trap 10: the volume lost commits that are in the replica.
#[tokio::test]
async fn p3_a_volume_that_lost_commits_is_refused_until_told_otherwise() {
    let scene = Scene::new();
    let db = application(&scene.db());
    db.execute_batch("PRAGMA wal_autocheckpoint=0").unwrap();
    fill(&db, 3, 1000);
    scene.once().await;
    let wal = scene.dir.path().join("app.db-wal");
    let short = std::fs::metadata(&wal).unwrap().len();
    fill(&db, 5, 3000);
    scene.once().await;
    // As after a power loss: the tail of the WAL never reached the disk.
    std::mem::forget(db);
    let copy = scene.dir.path().join("copy.db");
    std::fs::copy(scene.db(), &copy).unwrap();
    let bytes = std::fs::read(&wal).unwrap();
    std::fs::remove_file(scene.db()).unwrap();
    std::fs::remove_file(&wal).unwrap();
    std::fs::remove_file(scene.dir.path().join("app.db-shm")).unwrap();
    std::fs::rename(&copy, scene.db()).unwrap();
    std::fs::write(&wal, &bytes[..short as usize]).unwrap();
    let before = Catalogue::load(&scene.store).await.unwrap().newest();
    for _ in 0..2 {
        let error = scene.sync(scene.config()).await.unwrap_err();
        assert!(error.to_string().contains("lost commits that are in the replica"), "{error}");
    }
    assert_eq!(Catalogue::load(&scene.store).await.unwrap().newest(), before, "nothing was claimed");
    assert_eq!(scene.sync(Config { adopt: true, ..scene.config() }).await.unwrap(), Finish::Complete);
    let (out, _) = scene.restored(None).await;
    let rows: i64 =
        Connection::open(out).unwrap().query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 3);
}

#[tokio::test]
async fn p3_a_database_recreated_empty_is_not_the_newest_state_until_told_so() {
    let scene = Scene::new();
    let db = application(&scene.db());
    fill(&db, 200, 3_000);
    scene.once().await;
    drop(db);
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(scene.dir.path().join(format!("app.db{suffix}")));
    }
    let db = application(&scene.db());
    let before = Catalogue::load(&scene.store).await.unwrap().newest();
    let error = scene.sync(scene.config()).await.unwrap_err();
    assert_eq!(error.class(), sqlite_replica::Class::Refused, "{error}");
    assert_eq!(Catalogue::load(&scene.store).await.unwrap().newest(), before, "nothing was claimed");
    assert_eq!(scene.sync(Config { adopt: true, ..scene.config() }).await.unwrap(), Finish::Complete);
    same(&db, &scene.restored(None).await.0);
    assert!(scene.restored(before).await.1.bytes > 200 * 3_000, "the state before stays restorable");
}
