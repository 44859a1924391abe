//! What upkeep has under way when something else happens: the claim is lost, in the middle of a request or before the first one (P4), or a file is
//! confirmed that a listing does not show yet (P6).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]

use clock::{ManualClock, SeededIds, SystemClock};
use futures::future::BoxFuture;
use rusqlite::Connection;
use sqlite_replica::{
    Catalogue, Claiming, Config, Error, Event, Host, Identity, Inbox, Policy, Report, RuntimeHost, Step,
    Surroundings, Writer, unlock,
};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use store::fault::{FaultStore, Faults};
use store::{MemoryStore, OpenConfig, Operation, Store};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// Runs everything at once but for the tasks of upkeep, which wait until the test gives them their time.
struct Held {
    host: RuntimeHost,
    tasks: Mutex<Vec<BoxFuture<'static, ()>>>,
}

impl Host for Held {
    fn spawn(&self, work: BoxFuture<'static, ()>) {
        self.host.spawn(work);
    }
    fn spawn_holding(&self, work: BoxFuture<'static, ()>) {
        self.tasks.lock().unwrap().push(work);
    }
    fn finish(&self, work: BoxFuture<'_, ()>) {
        self.host.finish(work);
    }
    fn offload(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}

fn identity() -> Identity {
    Identity { cluster: String::new(), app: "test".into(), database: "app.db".into() }
}

fn config(dir: &Path, policy: Policy) -> Config {
    Config {
        database: dir.join("app.db"),
        replica: "memory://test".into(),
        identity: identity(),
        sync_interval: Duration::from_millis(100),
        drain: Duration::from_secs(30),
        adopt: false,
        once: false,
        convert_to_wal: false,
        upkeep: Some(policy),
        claim: Claiming::ByHand,
        protection: seal::Protection::Plain,
        l0_retention: Duration::from_secs(300),
    }
}

/// A writer with a merge that is due, and everything around it.
struct Scene {
    dir: tempfile::TempDir,
    app: Connection,
    writer: Writer,
    host: Arc<Held>,
    store: Store,
    faults: Faults,
    clock: Arc<ManualClock>,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Scene {
    fn new(handle: Handle, policy: Policy) -> Scene {
        let clock = Arc::new(ManualClock::at(1_700_000_000_000));
        let (backend, faults) = FaultStore::new(Arc::new(MemoryStore::new(clock.clone())));
        let store =
            Store::new(Arc::new(backend), &OpenConfig::new(clock.clone(), Arc::new(SeededIds::new(1))));
        let dir = tempfile::tempdir().unwrap();
        let app = Connection::open(dir.path().join("app.db")).unwrap();
        app.execute_batch("PRAGMA journal_mode=wal; CREATE TABLE t(x)").unwrap();
        let events: Arc<Mutex<Vec<Event>>> = Arc::default();
        let told = events.clone();
        let host = Arc::new(Held { host: RuntimeHost(handle), tasks: Mutex::default() });
        let around = Surroundings {
            store: store.clone(),
            clock: clock.clone(),
            ids: Arc::new(SeededIds::new(7)),
            host: host.clone(),
            events: Arc::new(move |event: Event| told.lock().unwrap().push(event)),
            // A channel without its sender: nobody stops the writer.
            stop: watch::channel(false).1,
            tail: sqlite_tail::Options::default(),
            inbox: Arc::new(Inbox::default()),
        };
        let writer = Writer::start(config(dir.path(), policy), around).unwrap();
        Scene { dir, app, writer, host, store, faults, clock, events }
    }

    /// The application commits, and passes are taken until the store has that or the writer has ended.
    fn commit(&mut self) -> Result<(), Error> {
        self.app.execute("INSERT INTO t VALUES(randomblob(1000))", []).unwrap();
        self.clock.advance_ms(1_000);
        let before = self.faults.take_log().len();
        for _ in 0..2_000 {
            assert!(matches!(self.writer.pass()?, Step::Wait(_)));
            self.writer.wait(Duration::from_millis(5));
            let sent = self.faults.log().iter().filter(|call| call.operation == Operation::Put).count();
            // One more pass takes the answer in.
            if sent > 0 {
                self.writer.wait(Duration::from_millis(20));
                self.writer.pass()?;
                return Ok(());
            }
        }
        panic!("nothing is sent; {before} requests before");
    }

    /// Commits until a task of upkeep waits for its time.
    fn task_begins(&mut self) -> BoxFuture<'static, ()> {
        for _ in 0..100 {
            self.commit().unwrap();
            if let Some(task) = self.host.tasks.lock().unwrap().pop() {
                return task;
            }
        }
        panic!("no task is ever due");
    }
}

fn poll(task: &mut BoxFuture<'static, ()>) -> Poll<()> {
    task.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

fn on_its_own_thread(policy: Policy, play: impl FnOnce(Scene, Handle) + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    runtime.block_on(async move {
        tokio::task::spawn_blocking(move || play(Scene::new(handle.clone(), policy), handle)).await.unwrap();
    });
}

#[test]
fn p4_a_merge_that_has_begun_ends_with_the_claim() {
    for begun in [false, true] {
        on_its_own_thread(Policy::default(), move |mut scene, handle| {
            let mut merge = scene.task_begins();
            let _inside = handle.enter();
            if begun {
                // Its PUT is on the way, and takes its time.
                scene.faults.latency(Duration::from_secs(3_600));
                assert_eq!(poll(&mut merge), Poll::Pending);
                scene.faults.latency(Duration::ZERO);
            }
            handle
                .block_on(unlock(&scene.store, Some(&identity()), &SystemClock, &SeededIds::new(3)))
                .unwrap();
            let lost = (0..3).find_map(|_| scene.commit().err()).expect("another claim is behind ours");
            assert!(matches!(lost, Error::Lost { .. }), "{lost}");
            assert_eq!(lost.to_string().matches("fenced").count(), 1, "{lost}");

            scene.faults.take_log();
            assert_eq!(poll(&mut merge), Poll::Ready(()), "broken off, begun: {begun}");
            drop(merge);
            assert_eq!(scene.faults.take_log(), [], "no request after the loss, begun: {begun}");
            let entries = handle.block_on(Catalogue::load(&scene.store)).unwrap().entries;
            assert!(entries.iter().all(|entry| entry.level.0 != 1), "{entries:?}");
            let spool = scene.dir.path().join(".highwater/app.db/spool");
            let left = |name: &str| spool.join(name).exists();
            assert!(!left("merging") && !left("merging.object"), "nothing half-done stays");
        });
    }
}

/// The scheduled check lists the replica while a file is on its way: what the listing cannot show is not lost.
#[test]
fn p6_a_file_that_is_confirmed_while_the_replica_is_listed_is_not_lost() {
    let never = Duration::from_secs(1 << 30);
    let policy = Policy { levels: [never; 3], verify: Some(Duration::from_secs(20)), ..Policy::default() };
    on_its_own_thread(policy, |mut scene, handle| {
        let listing = scene.task_begins();
        let _inside = handle.enter();
        let verified = |scene: &Scene| -> Vec<bool> {
            let events = scene.events.lock().unwrap();
            let of = |event: &Event| match event {
                Event::Upkeep(Report::Verified { ok, .. }) => Some(*ok),
                _ => None,
            };
            events.iter().filter_map(of).collect()
        };
        assert!(verified(&scene).is_empty());
        let durable = |scene: &Scene| {
            let events = scene.events.lock().unwrap();
            events.iter().filter(|event| matches!(event, Event::Durable { .. })).count()
        };
        // What the runtime was given before, it has begun then.
        let turn = || handle.block_on(handle.spawn(async {})).unwrap();
        // The PUT takes its time; the listing overtakes it.
        scene.faults.take_log();
        scene.faults.latency(Duration::from_secs(3));
        scene.app.execute("INSERT INTO t VALUES(1)", []).unwrap();
        scene.clock.advance_ms(1_000);
        for _ in 0..10 {
            scene.writer.pass().unwrap();
            scene.writer.wait(Duration::from_millis(5));
            turn();
        }
        scene.faults.latency(Duration::ZERO);
        handle.block_on(listing);
        let log = scene.faults.take_log();
        assert!(log.iter().all(|call| call.operation == Operation::List), "the listing came first: {log:?}");
        for _ in 0..6_000 {
            std::thread::sleep(Duration::from_millis(5));
            if !scene.faults.log().is_empty() {
                break;
            }
        }
        // Its answer is on the way to the writer.
        turn();
        let before = durable(&scene);
        scene.writer.pass().unwrap();
        assert_eq!(durable(&scene), before + 1, "one pass takes in both: {:?}", scene.events.lock().unwrap());
        assert_eq!(verified(&scene), [true], "{:?}", scene.events.lock().unwrap());
    });
}
