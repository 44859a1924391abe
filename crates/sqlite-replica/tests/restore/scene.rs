//! A volume, a store in memory, and a writer that makes everything durable and ends.

use age::secrecy::ExposeSecret;
use clock::{SeededIds, SystemClock};
use rusqlite::Connection;
use seal::{Identities, Protection, Recipients};
use sqlite_replica::{
    Catalogue, Claiming, Config, Error, Finish, Goal, Identity, Integrity, Progress, Recovered, Recovery,
    RestoreOptions, run,
};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use store::fault::{FaultStore, Faults};
use store::{MemoryStore, OpenConfig, Store};
use tokio::sync::watch;

pub(crate) struct Scene {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) faults: Faults,
    pub(crate) protection: Protection,
    pub(crate) identities: Option<Arc<Identities>>,
}

/// One key pair for all sealed scenes of a run.
static KEY: LazyLock<age::x25519::Identity> = LazyLock::new(age::x25519::Identity::generate);

impl Scene {
    pub(crate) fn new() -> Scene {
        let clock = Arc::new(SystemClock);
        let (backend, faults) = FaultStore::new(Arc::new(MemoryStore::new(clock.clone())));
        let mut config = OpenConfig::new(clock, Arc::new(SeededIds::new(1)));
        config.retry.max_attempts = 2;
        config.retry.base = Duration::from_millis(1);
        let store = Store::new(Arc::new(backend), &config);
        let dir = tempfile::tempdir().unwrap();
        Scene { dir, store, faults, protection: Protection::Plain, identities: None }
    }

    /// With a sealed replica, and the key at hand.
    pub(crate) fn sealed() -> Scene {
        let recipients = Recipients::parse(&KEY.to_public().to_string(), "test").unwrap();
        let identities = Identities::parse(KEY.to_string().expose_secret(), "test").unwrap();
        Scene {
            protection: Protection::Sealed(recipients),
            identities: Some(Arc::new(identities)),
            ..Scene::new()
        }
    }

    /// A restore that is checked as deeply as can be.
    pub(crate) fn options(&self) -> RestoreOptions {
        RestoreOptions {
            integrity: Integrity::Full,
            identities: self.identities.clone(),
            ..RestoreOptions::default()
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn db(&self) -> PathBuf {
        self.path().join("app.db")
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity { cluster: "home".into(), app: "test".into(), database: "app.db".into() }
    }

    /// Makes what is committed durable; as the streamer of a pod without `restore init` does.
    pub(crate) async fn sync(&self) -> Result<Finish, Error> {
        self.sync_as(Claiming::ByHand).await
    }

    /// As the sidecar of a pod, with the claim its start made.
    pub(crate) async fn sync_as(&self, claim: Claiming) -> Result<Finish, Error> {
        let config = Config {
            database: self.db(),
            replica: "memory://test".into(),
            identity: self.identity(),
            sync_interval: Duration::from_millis(20),
            drain: Duration::from_secs(30),
            adopt: false,
            once: true,
            convert_to_wal: false,
            upkeep: None,
            claim,
            protection: self.protection.clone(),
            l0_retention: Duration::from_secs(300),
        };
        let (_keep, stop) = watch::channel(false);
        let ids = Arc::new(SeededIds::new(rand_seed()));
        run(config, self.store.clone(), Arc::new(SystemClock), ids, Arc::new(|_| {}), stop).await
    }

    /// `rounds` times some rows and a sync; the number of rows after each.
    pub(crate) async fn history(&self, rounds: u32) {
        for _ in 0..rounds {
            let db = application(&self.db());
            fill(&db, 20, 900);
            drop(db);
            assert_eq!(self.sync().await.unwrap(), Finish::Complete);
        }
    }

    pub(crate) async fn restore(&self, goal: Goal, latest_valid: bool) -> Result<Recovered, Error> {
        let out = self.path().join("out.db");
        let _ = std::fs::remove_file(&out);
        let catalogue = Catalogue::load(&self.store).await?;
        let mut recovery = Recovery::new(&self.store, catalogue, latest_valid);
        recovery.restore(goal, &out, &self.options(), &Arc::new(Progress::default())).await
    }
}

/// Two writers of one test must not draw the same ids.
fn rand_seed() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(100);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub(crate) fn application(path: &Path) -> Connection {
    let db = Connection::open(path).unwrap();
    db.execute_batch("PRAGMA journal_mode=wal; CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, x BLOB)")
        .unwrap();
    db
}

pub(crate) fn fill(db: &Connection, rows: u32, bytes: u32) {
    db.execute_batch(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) INSERT INTO t(x) SELECT randomblob({bytes}) FROM n"
    ))
    .unwrap();
}

pub(crate) fn rows(path: &Path) -> i64 {
    let db = Connection::open(path).unwrap();
    db.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
}
