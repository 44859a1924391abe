//! More databases than may be attached: they take turns, and nothing is lost between the turns (trap 14, P1, P7).

use crate::scene::{Running, Scene, config, insert, rows};
use sqlite_replica::{Catalogue, Finish, FleetConfig, Level, Limits, Policy, State};
use std::time::Duration;
use store::Operation;

fn few(scene: &Scene, attached: usize) -> FleetConfig {
    let mut config = config(vec![scene.search(None)]);
    config.limits = Limits { attached, turn: Duration::from_millis(300), ..config.limits };
    config
}

/// Attached at the moment.
fn attached(fleet: &Running) -> usize {
    let busy = |state| matches!(state, State::Starting | State::Following);
    fleet.handle.databases().into_iter().filter(|s| busy(s.state)).count()
}

#[tokio::test]
async fn p7_thirty_databases_share_four_slots_and_every_commit_comes_through() {
    let scene = Scene::new();
    let open: Vec<_> = (0..30).map(|n| scene.database(&format!("d{n:02}.db"), 1)).collect();
    let fleet = scene.start(few(&scene, 4));
    for round in 1..=3_i64 {
        for (n, db) in open.iter().enumerate() {
            if n % 3 == round as usize % 3 || round == 3 {
                insert(db, 2);
            }
        }
        for n in 0..open.len() {
            fleet.synced(&format!("d{n:02}.db")).await;
            assert!(attached(&fleet) <= 4);
        }
    }
    for n in [0, 1, 2, 29] {
        assert_eq!(scene.restored_rows(&format!("d{n:02}.db")).await, rows(&open[n]));
    }
    let ended = fleet.stop().await;
    assert!(ended.iter().all(|o| matches!(o.finish, Ok(Finish::Complete))), "{ended:?}");
}

/// A commit to a database without a writer brings it back without being asked, and costs one PUT and nothing else: no listing,
/// no claim.
#[tokio::test]
async fn p1_a_cold_database_comes_back_for_a_commit_with_one_put() {
    let scene = Scene::new();
    let (a, _b) = (scene.database("a.db", 1), scene.database("b.db", 1));
    let fleet = scene.start(few(&scene, 1));
    fleet.until("b.db", State::Following).await;
    fleet.until("a.db", State::Cold).await;
    scene.faults.take_log();
    let before = fleet.status("a.db").unwrap().txid;
    insert(&a, 1);
    for _ in 0..3_000 {
        if fleet.status("a.db").unwrap().txid > before {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let log: Vec<_> =
        scene.faults.take_log().into_iter().filter(|call| call.key.starts_with("a.db")).collect();
    assert_eq!(log.len(), 1, "{log:?}");
    assert_eq!(log[0].operation, Operation::Put);
    assert_eq!(scene.restored_rows("a.db").await, 2);
    // And a question about a database at rest is answered without a writer.
    fleet.until("b.db", State::Cold).await;
    let answers = fleet.handle.sync(Some("b.db")).await;
    assert!(answers[0].1.is_ok());
    fleet.stop().await;
}

/// Somebody else wrote to the replica while the database was at rest: found out at the next object, and nothing is overwritten.
#[tokio::test]
async fn p4_a_database_taken_over_while_cold_is_fenced() {
    let scene = Scene::new();
    let (a, _b) = (scene.database("a.db", 1), scene.database("b.db", 1));
    let fleet = scene.start(few(&scene, 1));
    fleet.until("a.db", State::Cold).await;
    let store = scene.store.scoped("a.db").unwrap();
    let newest = sqlite_replica::Catalogue::load(&store).await.unwrap().newest().unwrap();
    let key = format!("0000/{0}-{0}.ltx", newest.next());
    store.put(&key, "somebody else".into(), &store::PutOptions::create()).await.unwrap();
    insert(&a, 1);
    fleet.until("a.db", State::Fenced).await;
    assert_eq!(store.get_bytes(&key, None).await.unwrap(), "somebody else");
    fleet.stop().await;
}

/// What is due for the replica of a database at rest brings it back as well, and nothing is forgotten between its turns.
#[tokio::test]
async fn levels_are_merged_although_every_database_must_leave() {
    let scene = Scene::new();
    let (a, b) = (scene.database("a.db", 1), scene.database("b.db", 1));
    let mut config = few(&scene, 1);
    let soon = Duration::from_millis(1_500);
    let policy = Policy { levels: [soon, 2 * soon, 4 * soon], verify: None, ..Policy::default() };
    config.targets.iter_mut().for_each(|target| target.writer.upkeep = Some(policy.clone()));
    let fleet = scene.start(config);
    for _ in 0..4 {
        for (name, db) in [("a.db", &a), ("b.db", &b)] {
            insert(db, 1);
            fleet.synced(name).await;
        }
    }
    for (name, db) in [("a.db", &a), ("b.db", &b)] {
        let store = scene.store.scoped(name).unwrap();
        let mut merged = false;
        for _ in 0..3_000 {
            let catalogue = Catalogue::load(&store).await.unwrap();
            let reaches = |level: u8| {
                catalogue.entries.iter().filter(|e| e.level == Level(level)).map(|e| e.name.max).max()
            };
            merged = reaches(1).is_some() && reaches(1) == catalogue.newest();
            if merged {
                break;
            }
            // A single file stays where it is: if a merge came before the last commit, that needs another one.
            if reaches(1).is_some_and(|end| Some(end.next()) == catalogue.newest()) {
                insert(db, 1);
                fleet.synced(name).await;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(merged, "{name} has no level 1 up to its newest commit");
        assert_eq!(scene.restored_rows(name).await, rows(db));
    }
    fleet.stop().await;
}
