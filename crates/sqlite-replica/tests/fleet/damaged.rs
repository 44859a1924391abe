//! A damaged local database does not become the newest state of a good chain (P3).

use crate::scene::{Scene, config};
use rusqlite::Connection;
use sqlite_replica::{FleetConfig, State};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Everything in one file of some pages, with a freelist.
fn sample(scene: &Scene) -> Connection {
    let db = scene.database("a.db", 400);
    db.execute_batch("CREATE INDEX i ON t(x); DELETE FROM t WHERE id > 200").unwrap();
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    db
}

fn page(path: &Path, pgno: u64) -> Vec<u8> {
    fs::read(path).unwrap()[(pgno as usize - 1) * 4096..][..4096].to_vec()
}

fn write(path: &Path, at: u64, bytes: &[u8]) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, at).unwrap();
}

/// A way to damage a file.
type Way = (&'static str, fn(&Path));

const WAYS: [Way; 5] = [
    ("page count", |path| write(path, 28, &3_u32.to_be_bytes())),
    ("first free page", |path| write(path, 32, &9_999_u32.to_be_bytes())),
    ("number of free pages", |path| write(path, 36, &7_777_u32.to_be_bytes())),
    ("a trunk of the freelist", |path| {
        let trunk = u32::from_be_bytes(page(path, 1)[32..36].try_into().unwrap());
        write(path, u64::from(trunk - 1) * 4096 + 4, &u32::MAX.to_be_bytes());
    }),
    ("the root of the table", |path| write(path, 4096, &[0xff; 64])),
];

#[tokio::test]
async fn p3_a_damaged_database_is_refused_over_a_chain_and_followed_where_there_is_none() {
    for (what, damage) in WAYS {
        let scene = Scene::new();
        drop(sample(&scene));
        let fleet = scene.start(config(vec![scene.target("a.db")]));
        fleet.until("a.db", State::Following).await;
        fleet.stop().await;
        assert_eq!(scene.told("a.db", "Damaged"), 0);
        let before = scene.objects("a.db").await;
        damage(&scene.path("a.db"));
        let fleet = scene.start(FleetConfig { stay: true, ..config(vec![scene.target("a.db")]) });
        let status = fleet.until("a.db", State::Refused).await;
        println!("{what}: {}", status.error.unwrap());
        fleet.stop().await;
        assert_eq!(scene.objects("a.db").await, before, "{what}");
        assert_eq!(scene.restored_rows("a.db").await, 200, "the last good point stays");
    }
}

/// What SQLite itself cannot open is refused as well.
#[tokio::test]
async fn p3_a_database_that_sqlite_cannot_open_is_told_and_nothing_is_written() {
    let scene = Scene::new();
    drop(sample(&scene));
    let fleet = scene.start(config(vec![scene.target("a.db")]));
    fleet.until("a.db", State::Following).await;
    fleet.stop().await;
    let before = scene.objects("a.db").await;
    write(&scene.path("a.db"), 16, &2048_u16.to_be_bytes());
    let fleet = scene.start(FleetConfig { stay: true, ..config(vec![scene.target("a.db")]) });
    let status = fleet.until("a.db", State::Refused).await;
    assert!(status.error.unwrap().contains("malformed"));
    fleet.stop().await;
    assert_eq!(scene.objects("a.db").await, before);
}

/// Better a damaged copy than none, and it is said.
#[tokio::test]
async fn a_damaged_database_without_a_chain_is_followed_and_said() {
    let scene = Scene::new();
    drop(sample(&scene));
    let (_, damage) = WAYS[4];
    damage(&scene.path("a.db"));
    let fleet = scene.start(config(vec![scene.target("a.db")]));
    fleet.until("a.db", State::Following).await;
    assert_eq!(scene.told("a.db", "Damaged"), 1);
    fleet.stop().await;
}

/// What breaks a rule of the schema, or needs what we do not have, is no damage.
#[tokio::test]
async fn a_broken_constraint_is_no_damage() {
    let scene = Scene::new();
    let db = scene.database("a.db", 3);
    db.execute_batch(
        "CREATE TABLE n(x); INSERT INTO n VALUES(NULL); PRAGMA writable_schema=ON;
         UPDATE sqlite_schema SET sql='CREATE TABLE n(x NOT NULL)' WHERE name='n'",
    )
    .unwrap();
    let fleet = scene.start(config(vec![scene.target("a.db")]));
    fleet.until("a.db", State::Following).await;
    assert_eq!(scene.told("a.db", "Damaged"), 0);
    fleet.stop().await;
}
