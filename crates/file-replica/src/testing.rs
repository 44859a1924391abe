//! What the tests of this crate share: a tree, a store with faults, a clock.

use crate::restore::{Options, Progress, RestorePlan, Restored, Want, restore};
use crate::{Committed, Filter, Identity, Result, Settings, Steps, Writer};
use clock::{ManualClock, SeededIds};
use seal::{Identities, Protection};
use std::path::Path;
use std::sync::Arc;
use store::fault::{FaultStore, Faults};
use store::{MemoryStore, OpenConfig, RetryPolicy, Store};
use tempfile::TempDir;

pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) ids: Arc<SeededIds>,
    pub(crate) store: Store,
    pub(crate) faults: Faults,
    pub(crate) settings: Settings,
}

pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

impl Bench {
    pub(crate) fn new() -> Bench {
        let clock = Arc::new(ManualClock::at(1_790_000_000_000));
        let memory = MemoryStore::new(clock.clone());
        Self::over(memory, clock)
    }

    pub(crate) fn over(memory: MemoryStore, clock: Arc<ManualClock>) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("tree");
        std::fs::create_dir(&root).unwrap();
        let ids = Arc::new(SeededIds::new(7));
        let (backend, faults) = FaultStore::new(Arc::new(memory));
        let config =
            OpenConfig { retry: RetryPolicy::immediate(3), ..OpenConfig::new(clock.clone(), ids.clone()) };
        let settings = Settings {
            root,
            identity: Identity { cluster: "c".into(), app: "a".into(), tree: ".".into() },
            protection: Protection::Plain,
            filter: Filter::new(&[]).unwrap(),
            must_exist: vec![],
            adopt: false,
            origin: None,
            writer: "test".into(),
        };
        Bench { dir, clock, ids, store: Store::new(Arc::new(backend), &config), faults, settings }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.settings.root
    }

    pub(crate) fn put(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let at = self.root().join(path);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        std::fs::write(at, bytes).unwrap();
    }

    pub(crate) fn remove(&self, path: &str) {
        let at = self.root().join(path);
        if at.is_dir() { std::fs::remove_dir_all(at).unwrap() } else { std::fs::remove_file(at).unwrap() }
    }

    pub(crate) async fn writer(&self) -> Result<Writer> {
        self.writer_with(self.settings.clone(), Steps::default()).await
    }

    pub(crate) async fn writer_with(&self, settings: Settings, steps: Steps) -> Result<Writer> {
        let (clock, ids) = (self.clock.clone(), self.ids.clone());
        Writer::begin(settings, self.store.clone(), clock, ids, None, None, steps).await
    }

    /// A short-lived writer: claim, look, commit.
    pub(crate) async fn commit(&self) -> Result<Committed> {
        self.writer().await?.snapshot(|_| {}).await
    }

    pub(crate) async fn restore_to(&self, target: &Path) -> Result<Restored> {
        self.restore_want(target, Want::Newest, None, Options::default()).await
    }

    pub(crate) async fn restore_want(
        &self,
        target: &Path,
        want: Want,
        identities: Option<Arc<Identities>>,
        options: Options,
    ) -> Result<Restored> {
        let plan = RestorePlan::new(&self.store, want, &[], identities.as_deref()).await?;
        let progress = Arc::new(Progress::default());
        restore(&self.store, &plan, target, identities, &options, &*self.clock, progress).await
    }

    /// Requests since the last call, by name.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.faults.take_log().into_iter().map(|c| format!("{} {}", c.operation.as_str(), c.key)).collect()
    }
}
