//! A standby that others read while it follows.

use crate::scene::{Scene, application, fill};
use rusqlite::{Connection, OpenFlags};
use sqlite_replica::{Follower, Goal, RestoreOptions};
use std::fs;

fn reader(path: &std::path::Path) -> Connection {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

fn count(db: &Connection) -> i64 {
    db.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
}

async fn begin(scene: &Scene) -> Follower {
    let done = scene.restore(Goal::Newest, false).await.unwrap();
    let at = done.restored.txid.parse().unwrap();
    Follower::new(&scene.store, &scene.path().join("out.db"), at, RestoreOptions::default()).unwrap()
}

#[tokio::test]
async fn p2_a_reader_sees_each_state_whole_and_the_newest_in_the_end() {
    let scene = Scene::new();
    scene.history(2).await;
    let mut follower = begin(&scene).await;
    let out = scene.path().join("out.db");
    let open = reader(&out);
    assert_eq!(count(&open), 40);
    assert_eq!(follower.step().await.unwrap(), None);
    for round in 3..6 {
        scene.history(1).await;
        let applied = follower.step().await.unwrap().unwrap();
        assert!(!applied.bridged && applied.pages > 0);
        // The same connection, with whatever it has cached.
        assert_eq!(count(&open), 20 * round);
        let check: String = open.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
    }
    assert!(!out.with_file_name("out.db-journal").exists());
    // Shrinking: a VACUUM of half the rows.
    let db = application(&scene.db());
    db.execute_batch("DELETE FROM t WHERE id > 30; VACUUM;").unwrap();
    drop(db);
    scene.sync().await.unwrap();
    follower.step().await.unwrap().unwrap();
    assert_eq!(count(&open), 30);
    assert_eq!(Follower::resume_at(&out).unwrap(), Some(follower.at()));
}

#[tokio::test]
async fn a_standby_bridges_over_what_retention_removed() {
    let scene = Scene::new();
    scene.history(2).await;
    let mut follower = begin(&scene).await;
    scene.history(2).await;
    // What lies between is gone; a full image is what retention leaves: here that of a writer that was told to begin anew.
    let name = "0000000000000001-0000000000000007.ltx";
    let image = {
        scene.restore(Goal::Newest, false).await.unwrap();
        let bytes = fs::read(scene.path().join("out.db")).unwrap();
        snapshot(&bytes, 7)
    };
    // `out.db` was replaced by that restore; the standby of this test starts over from the older state.
    scene.restore(Goal::Txid(ltx::Txid::new(3).unwrap()), false).await.unwrap();
    drop(follower);
    let out = scene.path().join("out.db");
    follower =
        Follower::new(&scene.store, &out, ltx::Txid::new(3).unwrap(), RestoreOptions::default()).unwrap();
    scene.store.put(&format!("0009/{name}"), image.into(), &Default::default()).await.unwrap();
    let gone: Vec<String> = (2..=7).map(|n| format!("0000/{n:016x}-{n:016x}.ltx")).collect();
    scene.store.delete_all(&gone).await.unwrap();
    let applied = follower.step().await.unwrap().unwrap();
    assert!(applied.bridged, "{applied:?}");
    assert_eq!(count(&reader(&out)), 80);
}

/// A snapshot of `bytes` as level 9 holds one.
fn snapshot(bytes: &[u8], txid: u64) -> Vec<u8> {
    let size = u16::from_be_bytes([bytes[16], bytes[17]]);
    let page_size = ltx::PageSize::new(u32::from(size)).unwrap();
    let header = ltx::Header {
        page_size,
        commit: (bytes.len() / page_size.bytes()) as u32,
        min_txid: ltx::Txid::FIRST,
        max_txid: ltx::Txid::new(txid).unwrap(),
        timestamp_ms: 1_800_000_000_000,
        wal_offset: 0,
        wal_size: 0,
        wal_salt1: 0,
        wal_salt2: 0,
        node_id: 0,
        reserved: [0; 20],
    };
    let mut encoder = ltx::Encoder::new(Vec::new(), header, ltx::PageEncoding::Frame).unwrap();
    for (i, page) in bytes.chunks(page_size.bytes()).enumerate() {
        encoder.page(i as u32 + 1, page).unwrap();
    }
    encoder.finish().unwrap().0
}

/// Killed after the first page was overwritten: SQLite itself rolls back what the journal holds.
#[tokio::test]
async fn p2_a_killed_step_is_rolled_back_by_whoever_opens_the_database_next() {
    let scene = Scene::new();
    scene.history(2).await;
    let mut follower = begin(&scene).await;
    let out = scene.path().join("out.db");
    let before = fs::read(&out).unwrap();
    fill(&application(&scene.db()), 20, 900);
    scene.sync().await.unwrap();
    // A reader that holds its lock keeps the step from its end, never from its journal's beginning; so the kill is made of parts.
    let journal = out.with_file_name("out.db-journal");
    follower.step().await.unwrap().unwrap();
    let after = fs::read(&out).unwrap();
    drop(follower);
    let mut torn = after.clone();
    torn[4096..8192].copy_from_slice(&before[4096..8192]);
    fs::write(&out, &torn).unwrap();
    fs::write(&journal, hot_journal(&before, 4096)).unwrap();
    let db = Connection::open(&out).unwrap();
    assert_eq!(count(&db), 40, "rolled back to the state before the step");
    drop(db);
    assert_eq!(fs::read(&out).unwrap(), before);
}

/// A journal with every page of `before`, written by the rules of the file format and not by the code under test.
fn hot_journal(before: &[u8], page_size: usize) -> Vec<u8> {
    let pages = before.len() / page_size;
    let mut out = vec![0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    for word in [pages as u32, 77, pages as u32, 512, page_size as u32] {
        out.extend(word.to_be_bytes());
    }
    out.resize(512, 0);
    for (i, page) in before.chunks(page_size).enumerate() {
        out.extend((i as u32 + 1).to_be_bytes());
        out.extend(page);
        let sum: u32 = (1..)
            .map(|k| page_size as i64 - 200 * k)
            .take_while(|at| *at > 0)
            .fold(77u32, |sum, at| sum.wrapping_add(u32::from(page[at as usize])));
        out.extend(sum.to_be_bytes());
    }
    out
}
