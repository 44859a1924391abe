//! The start of a pod on real volumes: the twenty cases of a user's own robustness report, and what an interrupted start leaves.

use crate::scene::{Scene, application, fill, rows};
use clock::{SeededIds, SystemClock};
use protect::RestoreMode;
use protect::handover::Outcome;
use sqlite_replica::init::{Done, Task, init};
use sqlite_replica::{Catalogue, Claiming, Class, Error, Integrity, Progress, RestoreOptions, StateDir};
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::sync::Arc;
use store::{PutOptions, Store};
use testkit::dirs::copy_dir;

fn task(scene: &Scene) -> Task {
    Task {
        database: scene.db(),
        store: scene.store.clone(),
        first_look: scene.store.clone(),
        url: "memory://test".into(),
        identity: scene.identity(),
        mode: RestoreMode::Auto,
        at: None,
        integrity: Integrity::Quick,
        options: RestoreOptions::default(),
        protection: seal::Protection::Plain,
    }
}

async fn start(task: &Task) -> Result<Done, Error> {
    let ids = SeededIds::new(std::process::id().into());
    init(task, &SystemClock, &ids, &Arc::new(Progress::default())).await
}

async fn objects(store: &Store) -> Vec<String> {
    store.list_all("").await.unwrap().into_iter().map(|o| o.key).collect()
}

/// An empty volume: what a new node has.
fn lose_volume(scene: &Scene) {
    for entry in fs::read_dir(scene.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }
}

fn lose_database(scene: &Scene) {
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{suffix}", scene.db().display()));
    }
}

fn overwrite(scene: &Scene, offset: u64, bytes: &[u8]) {
    // Whatever the WAL holds would hide the damage.
    let db = application(&scene.db());
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(db);
    let file = fs::OpenOptions::new().write(true).open(scene.db()).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}

fn asides(scene: &Scene) -> Vec<String> {
    let dir = StateDir::path_for(&scene.db()).join("aside");
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn case_01_first_deployment_starts_fresh_and_claims() {
    let scene = Scene::new();
    let done = start(&task(&scene)).await.unwrap();
    assert_eq!((done.outcome, done.claim.unwrap().epoch, done.claim.unwrap().txid), (Outcome::Fresh, 1, 0));
    assert!(!scene.db().exists(), "the application makes its database itself");
    // What it makes then is replicated under the inherited claim.
    fill(&application(&scene.db()), 20, 900);
    scene.sync_as(Claiming::Inherited(done.claim.unwrap())).await.unwrap();
    lose_volume(&scene);
    assert_eq!(start(&task(&scene)).await.unwrap().outcome, Outcome::Restored);
    assert_eq!(rows(&scene.db()), 20);
}

#[tokio::test]
async fn case_02_first_deployment_on_existing_data_keeps_it() {
    let scene = Scene::new();
    fill(&application(&scene.db()), 20, 900);
    let done = start(&task(&scene)).await.unwrap();
    assert_eq!(done.outcome, Outcome::Kept);
    assert!(done.claim.is_some());
    assert_eq!(rows(&scene.db()), 20);
}

#[tokio::test]
async fn case_03_empty_volume_is_restored_up_to_the_claim_and_followed() {
    let scene = Scene::new();
    scene.history(3).await;
    let newest = Catalogue::load(&scene.store).await.unwrap().newest().unwrap();
    lose_volume(&scene);
    let done = start(&task(&scene)).await.unwrap();
    assert_eq!(done.outcome, Outcome::Restored);
    let claim = done.claim.unwrap();
    assert_eq!(claim.txid, newest.get() + 1, "trap 4: the claim is the number after the newest");
    assert_eq!(rows(&scene.db()), 60);
    assert!(asides(&scene).is_empty());
    // P2: what the volume remembers of its pages was noted while they were written.
    let pages = fs::read(scene.db()).unwrap();
    let sums = pages.chunks(4096).zip(1..).map(|(page, pgno)| ltx::checksum::page_checksum(pgno, page));
    let remembered = fs::read(StateDir::path_for(&scene.db()).join("pages")).unwrap();
    assert_eq!(remembered, sums.flat_map(u64::to_le_bytes).collect::<Vec<_>>());
    // The application writes, the sidecar follows under the claim it inherits.
    fill(&application(&scene.db()), 5, 900);
    scene.sync_as(Claiming::Inherited(claim)).await.unwrap();
    lose_volume(&scene);
    start(&task(&scene)).await.unwrap();
    assert_eq!(rows(&scene.db()), 65);
}

#[tokio::test]
async fn case_04_healthy_local_data_is_kept_without_a_download() {
    let scene = Scene::new();
    scene.history(3).await;
    scene.faults.take_log();
    let before = fs::metadata(scene.db()).unwrap();
    let done = start(&task(&scene)).await.unwrap();
    assert_eq!(done.outcome, Outcome::Kept);
    assert_eq!(fs::metadata(scene.db()).unwrap().ino(), before.ino());
    assert!(done.restored.is_none());
    assert_eq!(rows(&scene.db()), 60);
}

#[tokio::test]
async fn case_05_local_data_ahead_of_the_replica_is_kept() {
    let scene = Scene::new();
    scene.history(2).await;
    fill(&application(&scene.db()), 7, 900);
    let done = start(&task(&scene)).await.unwrap();
    assert_eq!(done.outcome, Outcome::Kept);
    scene.sync_as(Claiming::Inherited(done.claim.unwrap())).await.unwrap();
    lose_volume(&scene);
    start(&task(&scene)).await.unwrap();
    assert_eq!(rows(&scene.db()), 47);
}

/// Corrupted header, middle, and a file cut to half: with a replica.
#[tokio::test]
async fn cases_06_to_08_corrupt_with_replica_is_restored_and_kept_aside() {
    for (name, offset, bytes) in [
        ("header", 0, vec![0x5a; 100]),
        ("middle", 4096, vec![0x5a; 30_000]),
        ("all of it", 0, vec![7; 60_000]),
    ] {
        let scene = Scene::new();
        scene.history(3).await;
        overwrite(&scene, offset, &bytes);
        let damaged = fs::read(scene.db()).unwrap();
        let done = start(&task(&scene)).await.unwrap();
        assert_eq!(done.outcome, Outcome::Restored, "{name}");
        assert_eq!(rows(&scene.db()), 60, "{name}");
        let aside = done.aside.unwrap();
        assert!(aside.to_string_lossy().ends_with("-corrupt"), "{name}: {}", aside.display());
        assert_eq!(fs::read(aside.join("app.db")).unwrap(), damaged, "{name}: never deleted");
    }
}

#[tokio::test]
async fn cases_09_to_11_corrupt_without_replica_does_not_start_on_nothing() {
    for (name, offset, bytes) in [
        ("header", 0, vec![0x5a; 100]),
        ("middle", 4096, vec![0x5a; 30_000]),
        ("all of it", 0, vec![7; 60_000]),
    ] {
        let scene = Scene::new();
        fill(&application(&scene.db()), 60, 900);
        overwrite(&scene, offset, &bytes);
        let damaged = fs::read(scene.db()).unwrap();
        let error = start(&task(&scene)).await.unwrap_err();
        assert_eq!(error.class(), Class::Refused, "{name}: {error}");
        assert!(error.to_string().contains("corrupt"), "{name}: {error}");
        assert_eq!(fs::read(scene.db()).unwrap(), damaged, "{name}");
        assert!(objects(&scene.store).await.is_empty(), "{name}: no claim");
    }
}

#[tokio::test]
async fn case_12_empty_file_with_replica_is_restored() {
    let scene = Scene::new();
    scene.history(2).await;
    lose_database(&scene);
    fs::write(scene.db(), b"").unwrap();
    assert_eq!(start(&task(&scene)).await.unwrap().outcome, Outcome::Restored);
    assert_eq!(rows(&scene.db()), 40);
}

#[tokio::test]
async fn case_13_empty_file_without_replica_is_fresh() {
    let scene = Scene::new();
    fs::write(scene.db(), b"").unwrap();
    assert_eq!(start(&task(&scene)).await.unwrap().outcome, Outcome::Fresh);
}

#[tokio::test]
async fn case_14_database_deleted_while_running_comes_back_and_its_wal_does_not() {
    let scene = Scene::new();
    scene.history(2).await;
    fs::remove_file(scene.db()).unwrap();
    fs::write(format!("{}-wal", scene.db().display()), vec![1; 8192]).unwrap();
    let done = start(&task(&scene)).await.unwrap();
    assert_eq!(done.outcome, Outcome::Restored);
    assert_eq!(rows(&scene.db()), 40);
    assert!(done.aside.unwrap().join("app.db-wal").exists(), "an old WAL never meets a new file");
}

#[tokio::test]
async fn case_15_graceful_shutdown_skips_the_deep_check() {
    let scene = Scene::new();
    scene.history(2).await;
    start(&task(&scene)).await.unwrap();
    // Nothing touched the file since it was checked: damage that only a full read would find is not looked for.
    let file = fs::OpenOptions::new().write(true).open(scene.db()).unwrap();
    let (times, len) = (fs::metadata(scene.db()).unwrap(), fs::metadata(scene.db()).unwrap().len());
    file.write_all_at(&[0x5a; 2000], len - 3000).unwrap();
    let set = fs::FileTimes::new().set_modified(times.modified().unwrap());
    file.set_times(set).unwrap();
    drop(file);
    assert_eq!(start(&task(&scene)).await.unwrap().outcome, Outcome::Kept);
    // Touched, it is read again.
    let file = fs::OpenOptions::new().write(true).open(scene.db()).unwrap();
    file.write_all_at(&[0x5b; 30_000], 4096).unwrap();
    drop(file);
    assert_eq!(start(&task(&scene)).await.unwrap().outcome, Outcome::Restored);
}

#[tokio::test]
async fn case_16_rapid_restarts_change_nothing_but_claims() {
    let scene = Scene::new();
    scene.history(1).await;
    let mut epochs = Vec::new();
    for _ in 0..8 {
        let done = start(&task(&scene)).await.unwrap();
        assert_eq!(done.outcome, Outcome::Kept);
        epochs.push(done.claim.unwrap().epoch);
    }
    assert!(epochs.windows(2).all(|w| w[1] == w[0] + 1), "{epochs:?}");
    assert_eq!(rows(&scene.db()), 20);
    lose_volume(&scene);
    start(&task(&scene)).await.unwrap();
    assert_eq!(rows(&scene.db()), 20);
}

#[tokio::test]
async fn case_17_store_unreachable_and_data_must_come_from_it_fails_and_writes_nothing() {
    let scene = Scene::new();
    scene.history(1).await;
    lose_volume(&scene);
    scene.faults.offline(true);
    let error = start(&task(&scene)).await.unwrap_err();
    assert!(sqlite_replica::init::is_worth_retrying(&error), "{error}");
    assert!(!scene.db().exists());
    scene.faults.offline(false);
    assert_eq!(start(&task(&scene)).await.unwrap().outcome, Outcome::Restored);
}

#[tokio::test]
async fn trap_13_case_18_store_unreachable_and_healthy_data_of_this_volume_starts_unclaimed() {
    let scene = Scene::new();
    scene.history(1).await;
    scene.faults.offline(true);
    let done = start(&task(&scene)).await.unwrap();
    assert_eq!((done.outcome, done.claim), (Outcome::Kept, None));
    assert_ne!(done.lineage, 0, "the sidecar learns which history it has to find");
    // Without a lineage of its own nobody knows whether this is the newest data.
    fs::remove_dir_all(scene.path().join(".highwater")).unwrap();
    assert!(sqlite_replica::init::is_worth_retrying(&start(&task(&scene)).await.unwrap_err()));
}

#[tokio::test]
async fn p3_case_19_a_replica_that_is_gone_is_not_a_first_deployment() {
    let scene = Scene::new();
    scene.history(1).await;
    lose_database(&scene);
    let keys = objects(&scene.store).await;
    scene.store.delete_all(&keys).await.unwrap();
    let error = start(&task(&scene)).await.unwrap_err();
    assert_eq!(error.class(), Class::Refused);
    assert!(error.to_string().contains("remembers"), "{error}");
}

#[tokio::test]
async fn p3_case_20_another_history_is_left_to_a_person() {
    let scene = Scene::new();
    scene.history(1).await;
    lose_volume(&scene);
    fill(&application(&scene.db()), 3, 100);
    let error = start(&task(&scene)).await.unwrap_err();
    assert_eq!(error.class(), Class::Refused, "{error}");
    assert!(error.to_string().contains("--adopt"), "{error}");
    assert_eq!(rows(&scene.db()), 3);
}

#[tokio::test]
async fn p3_a_volume_that_another_pod_went_past_is_refused_with_a_choice() {
    let scene = Scene::new();
    scene.history(2).await;
    let old = tempfile::tempdir().unwrap();
    copy_dir(scene.path(), old.path()).unwrap();
    scene.history(2).await;
    lose_volume(&scene);
    copy_dir(old.path(), scene.path()).unwrap();
    let error = start(&task(&scene)).await.unwrap_err();
    assert_eq!(error.class(), Class::Refused, "{error}");
    assert!(error.to_string().contains("went on without this volume"), "{error}");
    assert_eq!(rows(&scene.db()), 40, "nothing was touched");
}

/// Trap 10: a power loss takes commits that are in the replica already; local goes forward, the replica never back.
#[tokio::test]
async fn trap_10_a_wal_that_lost_what_was_sent_is_rolled_forward() {
    let scene = Scene::new();
    let db = application(&scene.db());
    fill(&db, 20, 900);
    scene.sync().await.unwrap();
    fill(&db, 20, 900);
    scene.sync().await.unwrap();
    // The frames after the header go, as if they had never been synced; the connection must not checkpoint when it closes.
    let wal = format!("{}-wal", scene.db().display());
    let lost = fs::read(&wal).unwrap()[..32 + 24 + 4096].to_vec();
    let kept = fs::read(scene.db()).unwrap();
    drop(db);
    fs::write(scene.db(), kept).unwrap();
    fs::write(&wal, lost).unwrap();
    let _ = fs::remove_file(format!("{}-shm", scene.db().display()));
    let done = start(&task(&scene)).await.unwrap();
    assert_eq!(done.outcome, Outcome::Restored);
    assert_eq!(rows(&scene.db()), 40);
    assert!(done.aside.unwrap().to_string_lossy().ends_with("lost-commits"));
}

#[tokio::test]
async fn restore_at_is_applied_once_per_value_and_sets_aside() {
    let scene = Scene::new();
    scene.history(1).await;
    let between = clock::Clock::unix_ms(&SystemClock);
    while clock::Clock::unix_ms(&SystemClock) <= between + 2 {}
    scene.history(2).await;
    let mut at = task(&scene);
    at.at = Some(between);
    let done = start(&at).await.unwrap();
    assert_eq!(done.outcome, Outcome::Forced);
    assert_eq!(rows(&scene.db()), 20);
    assert!(done.aside.unwrap().join("app.db").exists());
    // The sidecar goes on with a full image; the points before it stay.
    fill(&application(&scene.db()), 1, 100);
    scene.sync_as(Claiming::Inherited(done.claim.unwrap())).await.unwrap();
    // The same value again: applied already.
    let again = start(&at).await.unwrap();
    assert_eq!(again.outcome, Outcome::Kept);
    assert_eq!(rows(&scene.db()), 21);
    lose_volume(&scene);
    at.at = None;
    start(&at).await.unwrap();
    assert_eq!(rows(&scene.db()), 21);
}

#[tokio::test]
async fn require_and_never_mean_what_they_say() {
    let scene = Scene::new();
    let mut require = task(&scene);
    require.mode = RestoreMode::Require;
    let error = start(&require).await.unwrap_err();
    assert!(error.to_string().contains("require"), "{error}");
    scene.history(1).await;
    lose_volume(&scene);
    let mut never = task(&scene);
    never.mode = RestoreMode::Never;
    assert_eq!(start(&never).await.unwrap().outcome, Outcome::Fresh);
    assert!(!scene.db().exists());
    lose_volume(&scene);
    assert_eq!(start(&require).await.unwrap().outcome, Outcome::Restored);
}

/// Killed between the claim and the end of the restore: the claim's record no longer says what the old file was.
#[tokio::test]
async fn an_interrupted_restore_begins_again_and_never_keeps_what_it_was_to_replace() {
    let scene = Scene::new();
    scene.history(2).await;
    overwrite(&scene, 4096, &[0x5a; 30_000]);
    // Everything that is read after the claim fails: lineage twice and one header come before it.
    for n in 4..60 {
        let gone = store::Error::Other { what: "get".into(), detail: "injected".into() };
        scene.faults.fail_nth(Some(store::Operation::Get), n, store::fault::When::Before, gone);
    }
    let error = start(&task(&scene)).await.unwrap_err();
    assert!(error.to_string().contains("injected"), "{error}");
    let newest = Catalogue::load(&scene.store).await.unwrap().newest().unwrap();
    assert_eq!(newest.get(), 5, "the claim was made");
    assert_eq!(
        fs::read(scene.db()).unwrap()[4096..4100],
        [0x5a; 4],
        "nothing under the final name was touched"
    );
    scene.faults.clear();
    // Even if the file is healthy again by then: it is not what was claimed.
    lose_database(&scene);
    fill(&application(&scene.db()), 1, 10);
    assert_eq!(start(&task(&scene)).await.unwrap().outcome, Outcome::Restored);
    assert_eq!(rows(&scene.db()), 40);
    let left: Vec<_> = fs::read_dir(scene.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("restor")), "{left:?}");
}

#[tokio::test]
async fn trap_02_owner_and_mode_come_back() {
    let scene = Scene::new();
    fill(&application(&scene.db()), 20, 900);
    fs::set_permissions(scene.db(), fs::Permissions::from_mode(0o640)).unwrap();
    scene.sync().await.unwrap();
    lose_volume(&scene);
    start(&task(&scene)).await.unwrap();
    assert_eq!(fs::metadata(scene.db()).unwrap().mode() & 0o7777, 0o640);
}

#[tokio::test]
async fn p4_a_replica_of_somebody_else_is_refused() {
    let scene = Scene::new();
    scene.history(1).await;
    lose_volume(&scene);
    let mut other = task(&scene);
    other.identity.app = "other".into();
    let error = start(&other).await.unwrap_err();
    assert_eq!(error.class(), Class::Refused, "{error}");
    assert!(!scene.db().exists());
}

#[tokio::test]
async fn p4_a_volume_in_use_is_refused() {
    let scene = Scene::new();
    scene.history(1).await;
    let _held = StateDir::open(&StateDir::path_for(&scene.db())).unwrap();
    assert_eq!(start(&task(&scene)).await.unwrap_err().class(), Class::Fenced);
}

#[tokio::test]
async fn a_damaged_replica_is_not_started_from() {
    let scene = Scene::new();
    scene.history(2).await;
    lose_volume(&scene);
    let first = objects(&scene.store).await.into_iter().find(|k| k.starts_with("0000/")).unwrap();
    let mut bytes = scene.store.get_bytes(&first, None).await.unwrap().to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    scene.store.put(&first, bytes.into(), &PutOptions::overwrite()).await.unwrap();
    let error = start(&task(&scene)).await.unwrap_err();
    assert_eq!(error.class(), Class::Damaged, "{error}");
    assert!(error.to_string().contains(&first), "{error}");
    assert!(!scene.db().exists());
}
