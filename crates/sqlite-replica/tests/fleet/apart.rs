//! Databases of one fleet do not disturb each other.

use crate::scene::{Scene, config, insert};
use clock::SystemClock;
use sqlite_replica::{Class, Error, Finish, FleetConfig, Limits, State};
use sqlite_tail::{Options, Tail};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[tokio::test]
async fn p4_one_database_or_one_replica_twice_is_refused_with_both_places() {
    let scene = Scene::new();
    let twice = config(vec![scene.target("a.db"), scene.target("a.db")]);
    let conflict = scene.fleet(twice).err().unwrap().to_string();
    assert!(conflict.contains("a.db is followed already") && conflict.contains("(test: a.db)"), "{conflict}");
    let mut other = scene.target("b.db");
    other.writer.replica = "memory://a.db".into();
    let conflict = scene.fleet(config(vec![scene.target("a.db"), other])).err().unwrap().to_string();
    assert!(conflict.starts_with("test: b.db: ") && conflict.contains("memory://a.db"), "{conflict}");
}

#[tokio::test]
async fn p1_sync_answers_when_everything_before_it_is_durable() {
    let scene = Scene::new();
    let (a, b) = (scene.database("a.db", 3), scene.database("b.db", 4));
    let fleet = scene.start(config(vec![scene.target("a.db"), scene.target("b.db")]));
    // Asked before anything is attached: answered all the same.
    assert!(fleet.synced("a.db").await > 0);
    for round in 1..=5 {
        insert(&a, 1);
        insert(&b, 2);
        fleet.synced("a.db").await;
        fleet.synced("b.db").await;
        assert_eq!(scene.restored_rows("a.db").await, 3 + round);
        assert_eq!(scene.restored_rows("b.db").await, 4 + 2 * round);
    }
    assert!(fleet.handle.sync(Some("c.db")).await.is_empty());
    assert_eq!(fleet.handle.sync(None).await.len(), 2);
    let ended = fleet.stop().await;
    assert!(ended.iter().all(|o| matches!(o.finish, Ok(Finish::Complete))), "{ended:?}");
}

#[tokio::test]
async fn a_refused_database_stays_visible_and_the_others_go_on() {
    let scene = Scene::new();
    let db = scene.database("good.db", 3);
    std::fs::write(scene.path("bad.db"), "a shopping list").unwrap();
    let fleet = scene.start(config(vec![scene.target("bad.db"), scene.target("good.db")]));
    let refused = fleet.until("bad.db", State::Refused).await;
    assert!(refused.error.unwrap().contains("not an sqlite database"));
    insert(&db, 2);
    fleet.synced("good.db").await;
    assert_eq!(scene.restored_rows("good.db").await, 5);
    let ended = fleet.stop().await;
    assert_eq!(ended[0].finish.as_ref().unwrap_err().class(), Class::Refused);
    assert!(matches!(ended[1].finish, Ok(Finish::Complete)));
}

/// The hint of the refusal says what to do; who did it need not start the sidecar again.
#[tokio::test]
async fn a_database_converted_to_wal_after_its_refusal_is_followed() {
    let scene = Scene::new();
    let db = scene.database("a.db", 3);
    db.pragma_update(None, "journal_mode", "delete").unwrap();
    let limits = Limits { rescan: Duration::from_millis(100), ..Limits::default() };
    let fleet = scene.start(FleetConfig { stay: true, limits, ..config(vec![scene.target("a.db")]) });
    let refused = fleet.until("a.db", State::Refused).await;
    assert!(refused.error.unwrap().contains("rollback journal"));
    db.pragma_update(None, "journal_mode", "wal").unwrap();
    insert(&db, 2);
    fleet.until("a.db", State::Following).await;
    fleet.synced("a.db").await;
    assert_eq!(scene.restored_rows("a.db").await, 5);
    fleet.stop().await;
}

/// A stop ends a wait; nobody finds out by his next poll, up to a second later. Ten of them, because a poll may be near by
/// chance, or the machine stalls.
#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "a test measures real time")]
async fn a_stop_wakes_a_writer_that_waits() {
    let scene = Scene::new();
    let _a = scene.database("a.db", 3);
    let mut stops = Vec::new();
    for _ in 0..10 {
        let fleet = scene.start(config(vec![scene.target("a.db")]));
        fleet.synced("a.db").await;
        let began = Instant::now();
        fleet.stop().await;
        stops.push(began.elapsed());
    }
    stops.sort_unstable();
    assert!(stops[4] < Duration::from_millis(500), "{stops:?}");
}

#[tokio::test]
async fn what_may_pass_is_tried_again_with_the_reason_in_sight() {
    let scene = Scene::new();
    let _a = scene.database("a.db", 1);
    scene.faults.offline(true);
    let fleet = scene.start(config(vec![scene.target("a.db")]));
    let status = fleet.until("a.db", State::Retrying).await;
    assert!(status.error.is_some());
    // Nobody can answer now, and that is said at once.
    let answers = fleet.handle.sync(None).await;
    assert!(matches!(answers[0].1, Err(Error::Stopped)));
    scene.faults.offline(false);
    fleet.until("a.db", State::Following).await;
    fleet.synced("a.db").await;
    assert_eq!(scene.restored_rows("a.db").await, 1);
    assert!(scene.told("a.db", "failed (again: true)") >= 1);
    drop(fleet.stop().await);
}

/// A disk that stalls holds up the thread that reads an image of the last writer: nothing is claimed beside it, and nobody has to come and
/// start the process again.
#[tokio::test]
async fn p4_a_database_that_is_still_attached_is_followed_once_it_is_let_go() {
    let scene = Scene::new();
    let _a = scene.database("a.db", 2);
    let mut tail = Tail::attach(&scene.path("a.db"), Options::default(), Arc::new(SystemClock)).unwrap();
    let frozen = tail.freeze().unwrap();
    drop(tail);
    let fleet = scene.start(config(vec![scene.target("a.db")]));
    let status = fleet.until("a.db", State::Retrying).await;
    assert!(status.error.unwrap().contains("already attached in this process; list it once"));
    assert!(scene.objects("a.db").await.is_empty(), "nothing is claimed");
    drop(frozen);
    fleet.until("a.db", State::Following).await;
    fleet.synced("a.db").await;
    assert_eq!(scene.restored_rows("a.db").await, 2);
    drop(fleet.stop().await);
}

#[tokio::test]
async fn a_fleet_ends_when_all_have_ended_unless_it_is_to_stay() {
    let scene = Scene::new();
    std::fs::write(scene.path("bad.db"), "a shopping list").unwrap();
    let ended = scene.start(config(vec![scene.target("bad.db")])).ended().await;
    assert_eq!(ended[0].finish.as_ref().unwrap_err().class(), Class::Refused);
    let fleet = scene.start(FleetConfig { stay: true, ..config(vec![scene.target("bad.db")]) });
    fleet.until("bad.db", State::Refused).await;
    tokio::task::yield_now().await;
    assert!(fleet.status("bad.db").unwrap().error.is_some());
    assert_eq!(fleet.stop().await.len(), 1);
}
