//! Databases are found, also later, and never twice.

use crate::scene::{Scene, config, insert};
use sqlite_replica::{FleetConfig, Limits, State};
use std::time::Duration;

#[tokio::test]
async fn databases_that_match_are_followed_each_under_its_own_name() {
    let scene = Scene::new();
    let _open = (scene.database("a.db", 2), scene.database("sub/b.db", 3), scene.database("c.sqlite", 4));
    std::fs::write(scene.path("fake.db"), "a shopping list").unwrap();
    let fleet = scene.start(config(vec![scene.search(Some("**/*.db"))]));
    fleet.synced("a.db").await;
    fleet.synced("sub/b.db").await;
    let names: Vec<String> = fleet.handle.databases().into_iter().map(|s| s.name).collect();
    assert_eq!(names, ["a.db", "sub/b.db"]);
    assert_eq!(scene.restored_rows("sub/b.db").await, 3);
    fleet.stop().await;
}

/// By a hint at once, and without any hint by looking.
#[tokio::test]
async fn a_database_created_while_running_is_found() {
    let scene = Scene::new();
    let fleet = scene.start(config(vec![scene.search(None)]));
    let _a = scene.database("new/a.db", 5);
    fleet.until("new/a.db", State::Following).await;
    fleet.synced("new/a.db").await;
    assert_eq!(scene.restored_rows("new/a.db").await, 5);
    fleet.stop().await;
}

#[tokio::test]
async fn a_named_database_is_not_found_once_more_and_two_entries_for_one_conflict() {
    let scene = Scene::new();
    let _a = scene.database("a.db", 1);
    let fleet = scene.fleet(config(vec![scene.search(None), scene.target("a.db")])).unwrap();
    assert_eq!(fleet.handle().databases().len(), 1);
    let both = config(vec![scene.search(None), scene.search(Some("*.db"))]);
    let conflict = scene.fleet(both).err().unwrap().to_string();
    assert!(conflict.starts_with("test: *.db: ") && conflict.contains("(test: all)"), "{conflict}");
    let conflict = scene.fleet(config(vec![scene.search(Some("a[b.db"))])).err().unwrap().to_string();
    assert!(conflict.contains("is not a pattern"), "{conflict}");
}

#[tokio::test]
async fn p4_one_file_under_two_names_and_replicas_within_each_other_conflict() {
    let scene = Scene::new();
    let _a = scene.database("a.db", 1);
    std::os::unix::fs::symlink("a.db", scene.path("b.db")).unwrap();
    let conflict = scene.fleet(config(vec![scene.target("a.db"), scene.target("b.db")])).err().unwrap();
    assert!(conflict.to_string().contains("b.db is the same file"), "{conflict}");
    for (first, second, conflicts) in [
        ("memory://p", "memory://p/x", true),
        ("memory://p/x", "memory://p", true),
        ("memory://p/x", "memory://p/y", false),
        ("memory://p", "memory://px", false),
        ("memory://p/", "memory://p", true),
        ("memory://p?a=1&b=2", "memory://p?b=2&a=1", true),
    ] {
        let (mut a, mut c) = (scene.target("a.db"), scene.target("c.db"));
        a.writer.replica = first.into();
        c.writer.replica = second.into();
        assert_eq!(scene.fleet(config(vec![a, c])).is_err(), conflicts, "{first} {second}");
    }
}

/// A database whose first image takes its time, or whose store is dead, does not keep the others.
#[tokio::test]
async fn one_slow_database_does_not_delay_the_others() {
    let scene = Scene::new();
    let big = scene.database("big.db", 1);
    big.execute_batch(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000) INSERT INTO t(x) SELECT randomblob(3000) FROM n",
    )
    .unwrap();
    let small: Vec<_> = (0..5).map(|n| scene.database(&format!("small{n}.db"), 1)).collect();
    // Each answer that its start waits for, one after the other.
    scene.big_faults.latency(Duration::from_secs(5));
    let limits = Limits { rescan: Duration::from_millis(100), ..Limits::default() };
    let fleet = scene.start(FleetConfig { limits, ..config(vec![scene.search(None)]) });
    for (n, db) in small.iter().enumerate() {
        let name = format!("small{n}.db");
        insert(db, 1);
        fleet.synced(&name).await;
        assert_eq!(scene.restored_rows(&name).await, 2);
    }
    let status = fleet.status("big.db").unwrap();
    println!("when the small ones were durable the big one was {:?}, TXID {}", status.state, status.txid);
    assert_eq!((status.state, status.txid), (State::Starting, 0), "the small ones did not wait for it");
    scene.big_faults.latency(Duration::ZERO);
    fleet.synced("big.db").await;
    fleet.stop().await;
}
