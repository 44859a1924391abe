//! A live database, a store in memory that fails on command, and a writer that takes a pass when the test says so.

use clock::{ManualClock, SeededIds};
use rusqlite::Connection;
use seal::{Identities, Protection};
use sqlite_replica::{
    Catalogue, Claiming, Config, Event, Identity, Inbox, Integrity, Policy, Progress, Report, RestoreOptions,
    RestorePlan, Restored, RuntimeHost, Step, Surroundings, Verification, VerifyOptions, Writer, restore,
    verify,
};
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::fault::{FaultStore, Faults};
use store::{MemoryStore, ObjectStore, OpenConfig, PutOptions, Store};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// Turns of a loop that would mean that something never comes.
const FOREVER: usize = 20_000;

pub(crate) struct Scene {
    // Before the application: its descriptors outlive no connection of another kind.
    pub(crate) writer: Writer,
    rest: Rest,
}

/// Everything but the writer.
pub(crate) struct Rest {
    pub(crate) app: Connection,
    pub(crate) store: Store,
    pub(crate) faults: Faults,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) events: Arc<Mutex<Vec<Event>>>,
    memory: Arc<MemoryStore>,
    pub(crate) handle: Handle,
    policy: Policy,
    protection: Protection,
    identities: Option<Arc<Identities>>,
    stop: watch::Sender<bool>,
    dir: tempfile::TempDir,
    rows: u64,
}

/// A scene whose writer has ended.
pub(crate) struct Stopped(Rest);

impl Stopped {
    /// Starts another writer, with a changed configuration or volume.
    pub(crate) fn try_start(
        &self,
        change: impl FnOnce(&Path, &mut Config),
    ) -> Result<Writer, sqlite_replica::Error> {
        let Rest { handle, store, clock, events, policy, protection, dir, .. } = &self.0;
        self.0.stop.send_replace(false);
        let around = around(handle, store, clock, events, self.0.stop.subscribe());
        let mut config = config(dir.path(), policy, protection);
        change(dir.path(), &mut config);
        Writer::start(config, around)
    }

    pub(crate) fn go_on(self, writer: Writer) -> Scene {
        Scene { writer, rest: self.0 }
    }
}

impl Rest {
    pub(crate) fn wait<T>(&self, answer: impl Future<Output = T>) -> T {
        self.handle.block_on(answer)
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Deref for Stopped {
    type Target = Rest;
    fn deref(&self) -> &Rest {
        &self.0
    }
}

impl Deref for Scene {
    type Target = Rest;
    fn deref(&self) -> &Rest {
        &self.rest
    }
}

impl DerefMut for Scene {
    fn deref_mut(&mut self) -> &mut Rest {
        &mut self.rest
    }
}

/// Runs `play` on a thread of its own beside a runtime.
pub(crate) fn scene(policy: Policy, play: impl FnOnce(Scene) + Send + 'static) {
    scene_of(policy, Protection::Plain, None, play);
}

/// The same of a replica that may be sealed.
pub(crate) fn scene_of(
    policy: Policy,
    protection: Protection,
    identities: Option<Arc<Identities>>,
    play: impl FnOnce(Scene) + Send + 'static,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    runtime.block_on(async move {
        tokio::task::spawn_blocking(move || play(Scene::new(policy, protection, identities, handle)))
            .await
            .unwrap();
    });
}

impl Scene {
    fn new(
        policy: Policy,
        protection: Protection,
        identities: Option<Arc<Identities>>,
        handle: Handle,
    ) -> Scene {
        let clock = Arc::new(ManualClock::at(1_700_000_000_000));
        let memory = Arc::new(MemoryStore::new(clock.clone()));
        let (backend, faults) = FaultStore::new(memory.clone());
        let mut open = OpenConfig::new(clock.clone(), Arc::new(SeededIds::new(1)));
        open.retry.max_attempts = 2;
        open.retry.base = Duration::from_millis(1);
        let store = Store::new(Arc::new(backend), &open);
        let dir = tempfile::tempdir().unwrap();
        let app = Connection::open(dir.path().join("app.db")).unwrap();
        app.execute_batch("PRAGMA journal_mode=wal; CREATE TABLE t(id INTEGER PRIMARY KEY, x BLOB)").unwrap();
        app.execute_batch("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 400) INSERT INTO t(id, x) SELECT -i, randomblob(900) FROM n; DELETE FROM t").unwrap();
        let (stop, stopped) = watch::channel(false);
        let events = Arc::new(Mutex::new(Vec::new()));
        let around = around(&handle, &store, &clock, &events, stopped);
        let writer = Writer::start(config(dir.path(), &policy, &protection), around).unwrap();
        let rest = Rest {
            app,
            store,
            faults,
            clock,
            events,
            memory,
            handle,
            policy,
            protection,
            identities,
            stop,
            dir,
            rows: 0,
        };
        Scene { writer, rest }
    }

    /// Ends the writer as SIGTERM does and starts another one.
    #[allow(dead_code)] // not every test that uses this scene restarts
    pub(crate) fn restart(self) -> Scene {
        self.restart_with(|_, _| ())
    }

    /// As [`Scene::restart`], with a changed configuration or volume.
    pub(crate) fn restart_with(self, change: impl FnOnce(&Path, &mut Config)) -> Scene {
        let stopped = self.stop();
        let writer = stopped.try_start(change).unwrap();
        stopped.go_on(writer)
    }

    /// Ends the writer as SIGTERM does.
    pub(crate) fn stop(self) -> Stopped {
        let Scene { mut writer, rest } = self;
        rest.stop.send_replace(true);
        for turn in 0.. {
            if matches!(writer.pass().unwrap(), Step::Done(_)) {
                break;
            }
            writer.wait(Duration::from_millis(20));
            assert!(turn < FOREVER, "the writer never ends");
        }
        Stopped(rest)
    }

    /// The process ends without a word.
    #[allow(dead_code)] // not every test that uses this scene crashes
    pub(crate) fn crash(self) -> Stopped {
        drop(self.writer);
        Stopped(self.rest)
    }

    pub(crate) fn db(&self) -> PathBuf {
        self.dir.path().join("app.db")
    }

    /// A transaction of the application.
    pub(crate) fn commit(&mut self) {
        self.rows += 1;
        self.app.execute("INSERT INTO t(x) VALUES(randomblob(200))", []).unwrap();
    }

    /// Passes until everything committed is durable and what was due by now is done.
    pub(crate) fn work(&mut self) {
        for turn in 0.. {
            let confirmed = self.writer.pass().unwrap();
            assert!(matches!(confirmed, Step::Wait(_)));
            let caught_up = self.events.lock().unwrap().last() == Some(&Event::CaughtUp);
            if caught_up && !self.writer.is_at_work() {
                return;
            }
            self.writer.wait(Duration::from_millis(20));
            assert!(turn < FOREVER, "the writer never comes to rest");
        }
    }

    /// Lets time pass, then the writer work.
    pub(crate) fn pass_time(&mut self, seconds: u64) {
        self.clock.advance_ms(seconds * 1_000);
        self.work();
    }

    /// Sets the wall clock ahead.
    pub(crate) fn jump(&mut self, seconds: i64) {
        use clock::Clock;
        self.clock.jump_to(self.clock.unix_ms() + seconds * 1_000);
    }

    /// Lets time pass without commits until nothing is due any more.
    pub(crate) fn settle(&mut self) {
        for turn in 0.. {
            self.pass_time(60);
            if self.writer.is_settled() {
                return;
            }
            assert!(turn < 3_000, "upkeep never settles");
        }
    }

    pub(crate) fn until(&mut self, done: impl Fn(&Scene) -> bool) {
        for turn in 0.. {
            if done(self) {
                return;
            }
            self.work();
            assert!(turn < FOREVER, "it never comes: {:?}", self.reports());
        }
    }

    pub(crate) fn catalogue(&self) -> Catalogue {
        self.wait(Catalogue::load(&self.store)).unwrap()
    }

    /// The newest TXID, as the writer told it.
    pub(crate) fn newest(&self) -> Option<ltx::Txid> {
        let events = self.events.lock().unwrap();
        events.iter().rev().find_map(|e| match e {
            Event::Durable { txid, .. } => ltx::Txid::new(*txid),
            _ => None,
        })
    }

    /// Files per level.
    pub(crate) fn levels(&self) -> [usize; 10] {
        let mut levels = [0; 10];
        self.catalogue().entries.iter().for_each(|e| levels[usize::from(e.level.0)] += 1);
        levels
    }

    /// The TXIDs of the snapshots.
    pub(crate) fn images(&self) -> Vec<ltx::Txid> {
        let entries = self.catalogue().entries;
        entries.iter().filter(|e| e.level == sqlite_replica::Level::SNAPSHOT).map(|e| e.name.max).collect()
    }

    pub(crate) fn reports(&self) -> Vec<Report> {
        let events = self.events.lock().unwrap();
        events
            .iter()
            .filter_map(|e| match e {
                Event::Upkeep(report) => Some(report.clone()),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn reports_of(&self, like: impl Fn(&Report) -> bool) -> usize {
        self.reports().iter().filter(|r| like(r)).count()
    }

    pub(crate) fn told(&self, like: impl Fn(&Report) -> bool) -> bool {
        self.reports_of(like) > 0
    }

    pub(crate) fn caught_up(&self) -> usize {
        self.events.lock().unwrap().iter().filter(|e| **e == Event::CaughtUp).count()
    }

    /// Bytes in the spool.
    pub(crate) fn spooled(&self) -> u64 {
        let spool = self.dir.path().join(".highwater/app.db/spool");
        let levels = std::fs::read_dir(spool).into_iter().flatten().flatten();
        let files = levels.flat_map(|level| std::fs::read_dir(level.path()).into_iter().flatten().flatten());
        files.map(|file| file.metadata().unwrap().len()).sum()
    }

    pub(crate) fn restored(&self, txid: Option<ltx::Txid>) -> (PathBuf, Restored) {
        let out = self.dir.path().join("out.db");
        let _ = std::fs::remove_file(&out);
        let plan = RestorePlan::new(&self.catalogue(), txid).unwrap();
        let identities = self.identities.clone();
        let options = RestoreOptions { integrity: Integrity::Full, identities, ..RestoreOptions::default() };
        let progress = Arc::new(Progress::default());
        let done = self.wait(restore(&self.store, &plan, &out, &options, progress)).unwrap();
        (out, done)
    }

    pub(crate) fn restores(&self, txid: Option<ltx::Txid>) -> Restored {
        self.restored(txid).1
    }

    /// Restores, and compares rows with the application's.
    pub(crate) fn newest_is_what_the_application_has(&self) {
        let (out, done) = self.restored(None);
        assert!(done.proven, "{done:?}");
        let all = "SELECT count(*), coalesce(sum(length(x)), 0), coalesce(max(id), 0), hex(max(x)) FROM t";
        let of = |db: &Connection| {
            db.query_row(all, [], |r| {
                Ok((r.get::<_, i64>(0)?, r.get::<_, i64>(1)?, r.get::<_, i64>(2)?, r.get::<_, String>(3)?))
            })
        };
        assert_eq!(of(&Connection::open(out).unwrap()).unwrap(), of(&self.app).unwrap());
    }

    /// What `restore verify` says.
    pub(crate) fn verified(&self, full: bool) -> Verification {
        let (scratch, restore) = (self.dir().to_owned(), RestoreOptions::default());
        let options = VerifyOptions { all: false, full, scratch, restore };
        self.wait(verify(&self.store, &options, &Arc::new(Progress::default()))).unwrap()
    }

    /// Flips a bit in the middle of a stored object.
    pub(crate) fn damage(&self, key: &str) {
        self.wait(async {
            let mut bytes = self.store.get_bytes(key, None).await.unwrap().to_vec();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            self.memory.put(key, bytes.into(), &PutOptions::overwrite()).await.unwrap();
        });
    }
}

fn config(dir: &Path, policy: &Policy, protection: &Protection) -> Config {
    Config {
        database: dir.join("app.db"),
        replica: "memory://test".into(),
        identity: Identity { cluster: String::new(), app: "test".into(), database: "app.db".into() },
        sync_interval: Duration::from_millis(100),
        drain: Duration::from_secs(30),
        adopt: false,
        once: false,
        convert_to_wal: false,
        upkeep: Some(policy.clone()),
        claim: Claiming::ByHand,
        protection: protection.clone(),
        l0_retention: Duration::from_secs(300),
    }
}

fn around(
    handle: &Handle,
    store: &Store,
    clock: &Arc<ManualClock>,
    events: &Arc<Mutex<Vec<Event>>>,
    stop: watch::Receiver<bool>,
) -> Surroundings {
    let events = events.clone();
    Surroundings {
        store: store.clone(),
        clock: clock.clone(),
        ids: Arc::new(SeededIds::new(7)),
        host: Arc::new(RuntimeHost(handle.clone())),
        events: Arc::new(move |event| events.lock().unwrap().push(event)),
        stop,
        tail: sqlite_tail::Options::default(),
        inbox: Arc::new(Inbox::default()),
    }
}
