//! The state directory is removed in the middle of a pass, after that has looked for it: what only the writer knows is not lost with it (P1).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]

use clock::{Clock, ManualClock, SeededIds, UnixMs};
use futures::future::BoxFuture;
use rusqlite::Connection;
use sqlite_replica::{
    Claiming, Config, Event, Host, Identity, Inbox, RuntimeHost, StateDir, Step, Surroundings, Writer,
};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::{MemoryStore, OpenConfig, Store};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// Somebody who cleans up what is not his, at a moment that the test chooses.
struct Cleaner {
    dir: PathBuf,
    /// He comes after so many more; 0 for never.
    moments: Mutex<u32>,
}

impl Cleaner {
    fn new(dir: PathBuf) -> Arc<Cleaner> {
        Arc::new(Cleaner { dir, moments: Mutex::default() })
    }

    fn comes_after(&self, moments: u32) {
        *self.moments.lock().unwrap() = moments;
    }

    fn moment(&self) {
        let mut moments = self.moments.lock().unwrap();
        if *moments == 1 {
            fs::remove_dir_all(&self.dir).unwrap();
        }
        *moments = moments.saturating_sub(1);
    }
}

/// An object that is sent is a moment.
struct Sends(RuntimeHost, Arc<Cleaner>);

impl Host for Sends {
    fn spawn(&self, work: BoxFuture<'static, ()>) {
        self.1.moment();
        self.0.spawn(work);
    }
    fn finish(&self, work: BoxFuture<'_, ()>) {
        self.0.finish(work);
    }
    fn offload(&self, work: Box<dyn FnOnce() + Send>) {
        self.0.offload(work);
    }
}

/// A look at the clock is a moment.
struct Looks(Arc<ManualClock>, Arc<Cleaner>);

impl Clock for Looks {
    fn unix_ms(&self) -> UnixMs {
        self.0.unix_ms()
    }
    fn monotonic_ns(&self) -> u64 {
        self.1.moment();
        self.0.monotonic_ns()
    }
}

struct Scene {
    dir: tempfile::TempDir,
    app: Connection,
    handle: Handle,
    store: Store,
    clock: Arc<ManualClock>,
    ids: Arc<SeededIds>,
    at_a_send: Arc<Cleaner>,
    at_a_look: Arc<Cleaner>,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Scene {
    fn new(handle: Handle) -> Scene {
        let clock = Arc::new(ManualClock::at(1_700_000_000_000));
        let ids = Arc::new(SeededIds::new(7));
        let memory = MemoryStore::new(clock.clone());
        let store = Store::new(Arc::new(memory), &OpenConfig::new(clock.clone(), ids.clone()));
        let dir = tempfile::tempdir().unwrap();
        let app = Connection::open(dir.path().join("app.db")).unwrap();
        app.execute_batch("PRAGMA journal_mode=wal; CREATE TABLE t(x)").unwrap();
        let state = dir.path().join(".highwater");
        let (at_a_send, at_a_look) = (Cleaner::new(state.clone()), Cleaner::new(state));
        Scene { dir, app, handle, store, clock, ids, at_a_send, at_a_look, events: Arc::default() }
    }

    /// As a process that starts, and what ends it.
    fn start(&self) -> (Writer, watch::Sender<bool>) {
        let config = Config {
            database: self.dir.path().join("app.db"),
            replica: "memory://test".into(),
            identity: Identity { cluster: String::new(), app: "test".into(), database: "app.db".into() },
            sync_interval: Duration::from_millis(100),
            drain: Duration::from_secs(30),
            adopt: false,
            once: false,
            convert_to_wal: false,
            upkeep: None,
            claim: Claiming::ByHand,
            protection: seal::Protection::Plain,
            l0_retention: Duration::from_secs(300),
        };
        let (stop, stopped) = watch::channel(false);
        let told = self.events.clone();
        let around = Surroundings {
            store: self.store.clone(),
            clock: Arc::new(Looks(self.clock.clone(), self.at_a_look.clone())),
            ids: self.ids.clone(),
            host: Arc::new(Sends(RuntimeHost(self.handle.clone()), self.at_a_send.clone())),
            events: Arc::new(move |event: Event| told.lock().unwrap().push(event)),
            stop: stopped,
            tail: sqlite_tail::Options::default(),
            inbox: Arc::new(Inbox::default()),
        };
        (Writer::start(config, around).unwrap(), stop)
    }

    fn count(&self, is: fn(&Event) -> bool) -> usize {
        self.events.lock().unwrap().iter().filter(|event| is(event)).count()
    }

    fn images(&self) -> usize {
        self.count(|event| matches!(event, Event::ImageStarted { .. }))
    }

    fn commit(&self) {
        self.app.execute("INSERT INTO t VALUES(randomblob(1000))", []).unwrap();
        self.clock.advance_ms(1_000);
    }

    /// Passes are taken until another file is durable.
    fn follow(&self, writer: &mut Writer) {
        let durable = || self.count(|event| matches!(event, Event::Durable { .. }));
        let before = durable();
        for _ in 0..6_000 {
            assert!(matches!(writer.pass().unwrap(), Step::Wait(_)));
            if durable() > before {
                return;
            }
            writer.wait(Duration::from_millis(5));
        }
        panic!("nothing becomes durable");
    }

    fn has_record(&self) -> bool {
        StateDir::path_for(&self.dir.path().join("app.db")).join("state").exists()
    }
}

fn on_its_own_thread(play: impl FnOnce(Scene) + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    runtime.block_on(async move {
        tokio::task::spawn_blocking(move || play(Scene::new(handle))).await.unwrap();
    });
}

#[test]
fn p1_p4_a_directory_that_goes_while_a_file_is_on_its_way_costs_nothing() {
    on_its_own_thread(|scene| {
        let (mut writer, _stop) = scene.start();
        scene.commit();
        scene.follow(&mut writer);
        scene.at_a_send.comes_after(1);
        scene.commit();
        scene.follow(&mut writer);
        assert!(scene.has_record(), "built anew");
        scene.commit();
        scene.follow(&mut writer);
        drop(writer);
        // Its record says it all.
        scene.commit();
        let (mut writer, _stop) = scene.start();
        scene.follow(&mut writer);
        assert_eq!(scene.images(), 1, "nothing has to be sent anew");
    });
}

/// An end whose last words have no place to be written to. Without the record the next start would know nothing of this database, and ask for
/// `--adopt`.
#[test]
fn p1_a_writer_that_ends_for_want_of_its_directory_puts_it_back() {
    on_its_own_thread(|scene| {
        let (mut writer, stop) = scene.start();
        scene.commit();
        scene.follow(&mut writer);
        stop.send_replace(true);
        // The first look begins the pass, before it looks for the directory.
        scene.at_a_look.comes_after(2);
        let ended = writer.pass();
        assert!(!matches!(ended, Ok(Step::Wait(_))), "{ended:?}");
        assert!(scene.has_record(), "put back");
        drop(writer);
        scene.commit();
        let (mut writer, _stop) = scene.start();
        scene.follow(&mut writer);
        assert_eq!(scene.images(), 1, "nothing has to be sent anew");
    });
}
