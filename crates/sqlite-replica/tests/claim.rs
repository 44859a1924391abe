//! One writer (P4): who claims, who inherits, who has lost, and what each of them may still do.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]

use clock::{Clock, ManualClock, SeededIds, SystemClock};
use rusqlite::Connection;
use sqlite_replica::{
    Basis, Catalogue, Claim, Claimant, Claiming, Class, Config, Error, Event, Finish, Identity, Integrity,
    Progress, RestoreOptions, RestorePlan, Restored, StateDir, restore, run, unlock,
};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::fault::{FaultStore, Faults};
use store::{MemoryStore, ObjectStore, OpenConfig, RetryPolicy, Store};
use tempfile::TempDir;
use tokio::sync::watch;

/// A bucket with a clock of its own.
struct Place {
    store: Store,
    faults: Faults,
    date: Arc<ManualClock>,
    ids: SeededIds,
}

/// A volume with one database.
struct Volume {
    dir: TempDir,
    events: Arc<Mutex<Vec<Event>>>,
}

fn identity(app: &str) -> Identity {
    Identity { cluster: String::new(), app: app.into(), database: "app.db".into() }
}

impl Place {
    fn new() -> Place {
        let date = Arc::new(ManualClock::at(SystemClock.unix_ms()));
        Place::over(Arc::new(MemoryStore::new(date.clone())), date)
    }

    fn over(backend: Arc<dyn ObjectStore>, date: Arc<ManualClock>) -> Place {
        let (backend, faults) = FaultStore::new(backend);
        let mut config = OpenConfig::new(Arc::new(SystemClock), Arc::new(SeededIds::new(1)));
        config.retry = RetryPolicy::immediate(2);
        Place { store: Store::new(Arc::new(backend), &config), faults, date, ids: SeededIds::new(11) }
    }

    async fn claim(&self, volume: &Volume, basis: Basis) -> Result<Claim, Error> {
        let claimant = Claimant {
            store: &self.store,
            replica: "memory://test",
            identity: &identity("test"),
            clock: &SystemClock,
            ids: &self.ids,
            protection: &seal::Protection::Plain,
        };
        claimant.claim(&volume.db(), basis).await
    }

    /// What `restore init` does once the file is in place.
    fn restored(&self, volume: &Volume, tabulated: Option<u64>) -> Result<(), Error> {
        let identity = identity("test");
        let (store, replica) = (&self.store, "memory://test");
        Claimant {
            store,
            replica,
            identity: &identity,
            clock: &SystemClock,
            ids: &self.ids,
            protection: &seal::Protection::Plain,
        }
        .restored(&volume.db(), tabulated)
    }

    async fn unlock(&self) -> Claim {
        unlock(&self.store, Some(&identity("test")), &SystemClock, &self.ids).await.unwrap()
    }

    /// Every object with its size and write id.
    async fn objects(&self) -> Vec<(String, Option<String>)> {
        let all = self.store.list_all("").await.unwrap();
        all.into_iter().map(|o| (o.key, o.etag)).collect()
    }

    async fn restore(&self, to: &Path, txid: Option<u64>) -> Restored {
        let catalogue = Catalogue::load(&self.store).await.unwrap();
        let plan = RestorePlan::new(&catalogue, txid.and_then(ltx::Txid::new)).unwrap();
        let options = RestoreOptions { integrity: Integrity::Full, ..RestoreOptions::default() };
        restore(&self.store, &plan, to, &options, Arc::new(Progress::default())).await.unwrap()
    }

    async fn restored_rows(&self) -> i64 {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out.db");
        self.restore(&out, None).await;
        rows(&Connection::open(out).unwrap())
    }
}

impl Volume {
    fn new() -> Volume {
        Volume { dir: tempfile::tempdir().unwrap(), events: Arc::default() }
    }

    fn db(&self) -> PathBuf {
        self.dir.path().join("app.db")
    }

    /// One more committed row.
    fn write(&self) {
        let db = Connection::open(self.db()).unwrap();
        db.execute_batch(
            "PRAGMA journal_mode=wal; CREATE TABLE IF NOT EXISTS t(x); INSERT INTO t VALUES(randomblob(100))",
        )
        .unwrap();
    }

    fn config(&self, claim: Claiming) -> Config {
        Config {
            database: self.db(),
            replica: "memory://test".into(),
            identity: identity("test"),
            sync_interval: Duration::from_millis(1),
            drain: Duration::from_secs(30),
            adopt: false,
            once: true,
            convert_to_wal: false,
            upkeep: None,
            claim,
            protection: seal::Protection::Plain,
            l0_retention: Duration::from_secs(300),
        }
    }

    /// A streamer that makes everything durable and ends.
    async fn sync(&self, place: &Place, claim: Claiming) -> Result<Finish, Error> {
        let (_keep, stopped) = watch::channel(false);
        let events = self.events.clone();
        let tell = Arc::new(move |event| events.lock().unwrap().push(event));
        let ids = Arc::new(SeededIds::new(std::process::id().into()));
        run(self.config(claim), place.store.clone(), Arc::new(SystemClock), ids, tell, stopped).await
    }

    fn told(&self, what: fn(&Event) -> bool) -> usize {
        self.events.lock().unwrap().iter().filter(|e| what(e)).count()
    }

    fn is_fenced(&self) -> bool {
        // Whoever tells it says that himself.
        self.told(|e| matches!(e, Event::Fenced { why } if !why.contains("fenced"))) > 0
    }
}

fn rows(db: &Connection) -> i64 {
    db.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
}

fn done(finish: Result<Finish, Error>) {
    assert_eq!(finish.unwrap(), Finish::Complete);
}

fn lost(finish: Result<Finish, Error>) {
    let error = finish.unwrap_err();
    assert!(matches!(error, Error::Lost { .. }), "{error}");
    assert_eq!(error.to_string().matches("fenced").count(), 1, "said once: {error}");
    assert_eq!(error.class(), Class::Fenced);
}

/// A pod on an empty replica: init claims by the lineage alone, the sidecar writes the first image, and restarts without a claim.
#[tokio::test]
async fn p4_a_sidecar_inherits_its_claim_and_never_makes_one() {
    let (place, volume) = (Place::new(), Volume::new());
    let claim = place.claim(&volume, Basis::Kept).await.unwrap();
    assert_eq!((claim.epoch, claim.txid), (1, 0));
    for round in 1..=3 {
        volume.write();
        done(volume.sync(&place, Claiming::Inherited(claim)).await);
        let newest = Catalogue::load(&place.store).await.unwrap().newest().unwrap();
        // The first image, and the file without pages that keeps level 0 from being empty.
        assert_eq!(newest.get(), round + 1, "one file per sync and none for a claim");
    }
    assert_eq!(place.restored_rows().await, 3);
    // The next pod on the same volume: one claim by init, none by the sidecar.
    let claim = place.claim(&volume, Basis::Kept).await.unwrap();
    assert_eq!((claim.epoch, claim.txid), (2, 5));
    done(volume.sync(&place, Claiming::Inherited(claim)).await);
    assert_eq!(Catalogue::load(&place.store).await.unwrap().newest().unwrap().get(), 5);
    assert_eq!(volume.told(|e| matches!(e, Event::ImageStarted { .. })), 1);
}

/// Trap 4: init claims, then restores exactly up to the claim; the old pod collides, and the new sidecar continues.
#[tokio::test]
async fn p4_init_claims_before_it_restores_and_the_old_pod_loses() {
    let (place, old, new) = (Place::new(), Volume::new(), Volume::new());
    let first = place.claim(&old, Basis::Kept).await.unwrap();
    old.write();
    done(old.sync(&place, Claiming::Inherited(first)).await);

    let second = place.claim(&new, Basis::Restored).await.unwrap();
    old.write();
    let before = place.objects().await;
    lost(old.sync(&place, Claiming::Inherited(first)).await);
    assert!(old.is_fenced());
    assert_eq!(place.objects().await, before, "the loser has written nothing");

    std::fs::write(new.db(), std::fs::read(old.db()).unwrap()).unwrap();
    assert_eq!(place.restored(&new, None).unwrap_err().class(), Class::Damaged, "not the state of the claim");
    std::fs::remove_file(new.db()).unwrap();
    place.restore(&new.db(), Some(second.txid)).await;
    place.restored(&new, None).unwrap();
    // The application may be faster than its sidecar.
    new.write();
    done(new.sync(&place, Claiming::Inherited(second)).await);
    assert_eq!(new.told(|e| matches!(e, Event::ImageStarted { .. })), 0, "the restored file proves itself");
    assert_eq!(place.restored_rows().await, 2);
}

/// A lost claim stays lost over restarts, without a request; only another claim by init ends it.
#[tokio::test]
async fn p4_a_lost_claim_stays_lost_after_a_restart() {
    let (place, volume) = (Place::new(), Volume::new());
    let claim = place.claim(&volume, Basis::Kept).await.unwrap();
    volume.write();
    done(volume.sync(&place, Claiming::Inherited(claim)).await);
    place.unlock().await;
    volume.write();
    lost(volume.sync(&place, Claiming::Inherited(claim)).await);
    place.faults.take_log();
    for _ in 0..2 {
        lost(volume.sync(&place, Claiming::Inherited(claim)).await);
        lost(volume.sync(&place, Claiming::Late).await);
    }
    assert_eq!(place.faults.take_log(), [], "no request after the loss");
    // By hand it is a refusal, that only --adopt overrules.
    assert_eq!(volume.sync(&place, Claiming::ByHand).await.unwrap_err().class(), Class::Refused);
    // Kept data behind another's claim is not claimed again either.
    let refused = place.claim(&volume, Basis::Kept).await.unwrap_err();
    assert_eq!(refused.class(), Class::Refused, "{refused}");
    let claim = place.claim(&volume, Basis::Forced).await.unwrap();
    // Interrupted before the forced state was in place: what is there is not taken for it.
    assert_eq!(place.claim(&volume, Basis::Kept).await.unwrap_err().class(), Class::Refused);
    place.restored(&volume, None).unwrap();
    done(volume.sync(&place, Claiming::Inherited(claim)).await);
    assert_eq!(place.restored_rows().await, 2);
}

/// `restore unlock` takes the claim of a writer that is still there.
#[tokio::test]
async fn p4_unlock_fences_whoever_held_the_claim() {
    let (place, volume) = (Place::new(), Volume::new());
    let nothing = unlock(&place.store, None, &SystemClock, &place.ids).await.unwrap_err();
    assert_eq!(nothing.class(), Class::Refused);
    volume.write();
    done(volume.sync(&place, Claiming::ByHand).await);
    let stranger = unlock(&place.store, Some(&identity("other")), &SystemClock, &place.ids).await;
    assert_eq!(stranger.unwrap_err().class(), Class::Refused);
    let (before, claim) = (place.objects().await, place.unlock().await);
    assert_eq!((claim.epoch, claim.txid), (2, 3));
    assert_eq!(place.objects().await.len(), before.len() + 1);
    volume.write();
    assert_eq!(volume.sync(&place, Claiming::ByHand).await.unwrap_err().class(), Class::Refused);
    assert_eq!(place.restored_rows().await, 1);
}

/// Trap 3: everything of the successor, its claim included, was removed while a zombie slept; its create succeeds, and is not
/// reported durable.
#[tokio::test]
async fn p4_trap_3_a_zombie_older_than_l0_retention_looks_before_it_reports() {
    for away_s in [100, 151] {
        let (place, volume) = (Place::new(), Volume::new());
        volume.write();
        let (stop, stopped) = watch::channel(false);
        let events = volume.events.clone();
        let tell = Arc::new(move |event| events.lock().unwrap().push(event));
        let config = Config { once: false, ..volume.config(Claiming::ByHand) };
        let ids = Arc::new(SeededIds::new(5));
        let zombie =
            tokio::spawn(run(config, place.store.clone(), Arc::new(SystemClock), ids, tell, stopped));
        let durable = |e: &Event| matches!(e, Event::Durable { .. });
        until(|| volume.told(|e| matches!(e, Event::CaughtUp)) > 0 && volume.told(durable) == 1).await;
        // The successor's files 2 to 4, of which retention leaves the last.
        for _ in 0..3 {
            place.unlock().await;
        }
        let level = "0000/";
        let gone: Vec<String> =
            place.objects().await.into_iter().map(|o| o.0).filter(|k| k.starts_with(level)).collect();
        place.store.delete_all(&gone[1..3]).await.unwrap();
        place.date.advance_ms(away_s * 1_000);
        volume.write();
        if away_s > 150 {
            let error = zombie.await.unwrap().unwrap_err();
            assert_eq!(error.class(), Class::Fenced, "{error}");
            assert!(error.to_string().contains("lies behind"), "{error}");
            assert_eq!(volume.told(durable), 1, "what it wrote after losing is not reported");
        } else {
            // Within half of the retention the successor's claim would still be there: no request is spent.
            until(|| volume.told(durable) == 2).await;
            stop.send_replace(true);
            done(zombie.await.unwrap());
        }
    }
}

async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Trap 13: the store was away when the pod started; the claim is made late, once, and then inherited.
#[tokio::test]
async fn p4_trap_13_a_late_claim_is_made_once() {
    let (place, volume) = (Place::new(), Volume::new());
    volume.write();
    done(volume.sync(&place, Claiming::ByHand).await);
    done(volume.sync(&place, Claiming::Late).await);
    let newest = Catalogue::load(&place.store).await.unwrap().newest().unwrap();
    done(volume.sync(&place, Claiming::Late).await);
    assert_eq!(Catalogue::load(&place.store).await.unwrap().newest(), Some(newest), "claimed once");
    place.unlock().await;
    volume.write();
    lost(volume.sync(&place, Claiming::Late).await);
}

/// A claim under another identity is refused and writes nothing; so is a volume without the claim of its pod.
#[tokio::test]
async fn p4_a_claim_under_another_identity_is_refused() {
    let (place, volume, copied) = (Place::new(), Volume::new(), Volume::new());
    volume.write();
    done(volume.sync(&place, Claiming::ByHand).await);
    let before = place.objects().await;
    let thief = Claimant {
        store: &place.store,
        replica: "memory://test",
        identity: &identity("thief"),
        clock: &SystemClock,
        ids: &place.ids,
        protection: &seal::Protection::Plain,
    };
    for basis in [Basis::Kept, Basis::Restored, Basis::Forced] {
        assert_eq!(thief.claim(&copied.db(), basis).await.unwrap_err().class(), Class::Refused);
    }
    copied.write();
    let foreign = Claim { lineage: 1, epoch: 1, txid: 1 };
    let error = copied.sync(&place, Claiming::Inherited(foreign)).await.unwrap_err();
    assert_eq!(error.class(), Class::Refused, "{error}");
    assert_eq!(place.objects().await, before);
}

/// What a restore has noted of the pages is believed only if it is the whole file's.
#[tokio::test]
async fn p2_a_table_that_is_not_of_the_restored_file_is_made_anew() {
    let (place, old, new) = (Place::new(), Volume::new(), Volume::new());
    old.write();
    done(old.sync(&place, Claiming::ByHand).await);
    let claim = place.claim(&new, Basis::Restored).await.unwrap();
    let rolling = place.restore(&new.db(), Some(claim.txid)).await.rolling;
    let pages: Vec<u8> = std::fs::read(new.db())
        .unwrap()
        .chunks(4096)
        .zip(1..)
        .flat_map(|(page, pgno)| ltx::checksum::page_checksum(pgno, page).to_le_bytes())
        .collect();
    let table = StateDir::path_for(&new.db()).join("pages");
    std::fs::write(&table, vec![1; pages.len()]).unwrap();
    place.restored(&new, Some(rolling)).unwrap();
    assert_eq!(std::fs::read(&table).unwrap(), pages);
}

/// A store that ignores `If-None-Match` is said to be one, and still refuses the second writer that comes later.
#[tokio::test]
async fn p4_the_weaker_mode_is_declared_and_notices_a_later_writer() {
    let date = Arc::new(ManualClock::at(SystemClock.unix_ms()));
    let weak = MemoryStore::new(date.clone()).without_create_only();
    let (place, volume) = (Place::over(Arc::new(weak), date), Volume::new());
    let claim = place.claim(&volume, Basis::Kept).await.unwrap();
    volume.write();
    done(volume.sync(&place, Claiming::Inherited(claim)).await);
    assert_eq!(volume.told(|e| matches!(e, Event::WeakStore)), 1);
    place.unlock().await;
    volume.write();
    let before = place.objects().await;
    lost(volume.sync(&place, Claiming::Inherited(claim)).await);
    assert_eq!(place.objects().await, before);
}
