//! A volume with applications' databases, a store, and a fleet beside them.

use clock::{SeededIds, SystemClock};
use futures::TryStreamExt;
use futures::future::BoxFuture;
use rusqlite::Connection;
use sqlite_replica::{
    Catalogue, Config, Conflict, Database, Event, Fill, Fleet, FleetConfig, FleetHandle, Found, Identity,
    Integrity, Limits, News, Outcome, Progress, RestoreOptions, RestorePlan, State, Status, Stores, Target,
    restore,
};
use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::fault::{FaultStore, Faults};
use store::{MemoryStore, OpenConfig, Store};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// See the module.
pub(crate) struct Scene {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) faults: Faults,
    /// The same store as `big.db` finds it.
    big: Store,
    pub(crate) big_faults: Faults,
    pub(crate) told: Told,
}

/// What the fleet told, in order: name of the database and a word.
pub(crate) type Told = Arc<Mutex<Vec<(String, String)>>>;

/// A fleet at work.
pub(crate) struct Running {
    pub(crate) handle: FleetHandle,
    stop: watch::Sender<bool>,
    ended: JoinHandle<Vec<Outcome>>,
}

struct Scoped {
    store: Store,
    big: Store,
}

impl Stores for Scoped {
    fn open<'a>(&'a self, database: &'a Database) -> BoxFuture<'a, store::Result<Store>> {
        let scope = database.replica.strip_prefix("memory://").unwrap().to_owned();
        let store = if scope == "big.db" { &self.big } else { &self.store };
        Box::pin(async move { store.scoped(&scope) })
    }
}

impl Scene {
    pub(crate) fn new() -> Scene {
        let clock = Arc::new(SystemClock);
        let memory = Arc::new(MemoryStore::new(clock.clone()));
        let mut config = OpenConfig::new(clock, Arc::new(SeededIds::new(1)));
        config.retry.max_attempts = 2;
        config.retry.base = Duration::from_millis(1);
        let open = || {
            let (backend, faults) = FaultStore::new(memory.clone());
            (Store::new(Arc::new(backend), &config), faults)
        };
        let ((store, faults), (big, big_faults)) = (open(), open());
        Scene { dir: tempfile::tempdir().unwrap(), store, faults, big, big_faults, told: Arc::default() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// An application's database with a table and this many rows.
    pub(crate) fn database(&self, name: &str, rows: u32) -> Connection {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let db = Connection::open(path).unwrap();
        db.execute_batch(
            "PRAGMA journal_mode=wal; CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, x BLOB)",
        )
        .unwrap();
        insert(&db, rows);
        db
    }

    pub(crate) fn writer(&self, name: &str) -> Config {
        Config {
            database: self.path(name),
            replica: format!("memory://{name}"),
            identity: Identity { cluster: String::new(), app: "test".into(), database: name.into() },
            sync_interval: Duration::from_millis(20),
            drain: Duration::from_secs(30),
            adopt: false,
            once: false,
            convert_to_wal: false,
            upkeep: None,
            claim: sqlite_replica::Claiming::ByHand,
            protection: seal::Protection::Plain,
            l0_retention: Duration::from_secs(300),
        }
    }

    pub(crate) fn target(&self, name: &str) -> Target {
        Target { place: format!("test: {name}"), writer: self.writer(name), found: None }
    }

    /// Every database below the scene's directory that matches.
    pub(crate) fn search(&self, pattern: Option<&str>) -> Target {
        let fill = Fill(Arc::new(|name: &str, writer: &mut Config| {
            writer.replica = format!("memory://{name}");
            true
        }));
        let found = Found {
            root: self.dir.path().to_owned(),
            directory: PathBuf::new(),
            pattern: pattern.map(str::to_owned),
            fill,
        };
        let place = format!("test: {}", pattern.unwrap_or("all"));
        Target { place, writer: self.writer("to be filled in"), found: Some(found) }
    }

    pub(crate) fn fleet(&self, config: FleetConfig) -> Result<Fleet, Conflict> {
        let told = self.told.clone();
        let listener = Arc::new(move |database: &Database, news: News<'_>| {
            let word = match news {
                News::Writer(event) => word(&event),
                News::State(state) => format!("{state:?}"),
                News::Failed { error, retry_in } => {
                    format!("failed (again: {}): {error}", retry_in.is_some())
                }
            };
            told.lock().unwrap().push((database.name.clone(), word));
        });
        let stores = Arc::new(Scoped { store: self.store.clone(), big: self.big.clone() });
        Fleet::new(config, stores, Arc::new(SystemClock), Arc::new(SeededIds::new(7)), listener)
    }

    pub(crate) fn start(&self, config: FleetConfig) -> Running {
        let fleet = self.fleet(config).unwrap();
        let handle = fleet.handle();
        let (stop, stopped) = watch::channel(false);
        Running { handle, stop, ended: tokio::spawn(fleet.run(stopped)) }
    }

    /// How often the fleet said this of a database.
    pub(crate) fn told(&self, name: &str, word: &str) -> usize {
        self.told.lock().unwrap().iter().filter(|(n, w)| n == name && w.contains(word)).count()
    }

    /// Rows in the newest restorable state.
    pub(crate) async fn restored_rows(&self, name: &str) -> i64 {
        rows(&Connection::open(self.restored(name).await).unwrap())
    }

    /// The newest restorable state as a file of the volume.
    pub(crate) async fn restored(&self, name: &str) -> PathBuf {
        let out = self.dir.path().join(".highwater/restored.db");
        std::fs::create_dir_all(out.parent().unwrap()).unwrap();
        let _ = std::fs::remove_file(&out);
        let store = self.store.scoped(name).unwrap();
        let plan = RestorePlan::new(&Catalogue::load(&store).await.unwrap(), None).unwrap();
        let options = RestoreOptions { integrity: Integrity::Full, ..RestoreOptions::default() };
        restore(&store, &plan, &out, &options, Arc::new(Progress::default())).await.unwrap();
        out
    }

    /// Keys and bytes of a replica.
    pub(crate) async fn objects(&self, name: &str) -> BTreeMap<String, Vec<u8>> {
        let store = self.store.scoped(name).unwrap();
        let keys: Vec<_> = store.list("", None).try_collect().await.unwrap();
        let mut objects = BTreeMap::new();
        for meta in keys {
            let bytes = store.get_bytes(&meta.key, None).await.unwrap();
            objects.insert(meta.key, bytes.to_vec());
        }
        objects
    }
}

impl Running {
    pub(crate) fn status(&self, name: &str) -> Option<Status> {
        self.handle.databases().into_iter().find(|status| status.name == name)
    }

    /// Waits until a database is in a state.
    #[track_caller]
    pub(crate) fn until<'a>(&'a self, name: &'a str, state: State) -> impl Future<Output = Status> + 'a {
        let at = std::panic::Location::caller();
        async move {
            for _ in 0..PATIENCE.as_millis() / 5 {
                if let Some(status) = self.status(name).filter(|status| status.state == state) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            panic!("{at}: {name} never was {state:?}: {:?}", self.status(name));
        }
    }

    /// Everything committed so far is in the store.
    pub(crate) async fn synced(&self, name: &str) -> u64 {
        let mut answers = self.handle.sync(Some(name)).await;
        assert_eq!(answers.len(), 1);
        answers.remove(0).1.unwrap().txid
    }

    pub(crate) async fn stop(self) -> Vec<Outcome> {
        self.stop.send_replace(true);
        self.ended.await.unwrap()
    }

    pub(crate) async fn ended(self) -> Vec<Outcome> {
        tokio::time::timeout(PATIENCE, self.ended).await.unwrap().unwrap()
    }
}

pub(crate) fn insert(db: &Connection, rows: u32) {
    for _ in 0..rows {
        db.execute("INSERT INTO t(x) VALUES(randomblob(200))", []).unwrap();
    }
}

pub(crate) fn rows(db: &Connection) -> i64 {
    db.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
}

pub(crate) fn config(targets: Vec<Target>) -> FleetConfig {
    let limits =
        Limits { quiet: Duration::from_millis(50), rescan: Duration::from_millis(100), ..Limits::default() };
    FleetConfig { targets, limits, stay: false }
}

fn word(event: &Event) -> String {
    let text = format!("{event:?}");
    text.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
}
