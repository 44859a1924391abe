//! The object store as one pod sees it: requests that fail before or after their effect, and PUTs that stay under way.
//!
//! Requests of a start are answered at once. A PUT of a running writer is a future that waits in [`Network`] until the world
//! delivers it, possibly long after its sender has died.

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use sqlite_replica::Host;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use store::fault::lost;
use store::{
    GetResult, Kind, ObjectMeta, ObjectStore, Page, Part, PutOptions, PutResult, Result, ServerDate, Upload,
};
use testkit::rng::Rng;

/// What becomes of the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is answered.
    Answered,
    /// It never arrives.
    Unheard,
    /// It takes effect and the answer is lost.
    Unanswered,
}

/// Work that waits for its delivery.
struct UnderWay {
    work: BoxFuture<'static, ()>,
    /// It holds descriptors of its process and ends with it; a PUT may arrive without its sender.
    holding: bool,
}

struct Link {
    rng: Rng,
    /// One request in so many fails; 0 = none does.
    trouble: u64,
    /// The fate of the next request, decided from outside.
    next: Option<Fate>,
    /// The process behind this link is dead: nothing leaves it.
    dead: bool,
    immortal: bool,
    under_way: Vec<UnderWay>,
    log: Vec<String>,
}

/// The connection of one process.
#[derive(Clone)]
pub struct Network {
    inner: Arc<dyn ObjectStore>,
    link: Arc<Mutex<Link>>,
}

impl Network {
    /// A connection to `inner`.
    pub fn new(inner: Arc<dyn ObjectStore>, rng: Rng, trouble: u64) -> Network {
        Self::of(inner, rng, trouble, false)
    }

    /// A connection of nobody who could die.
    pub fn healthy(inner: Arc<dyn ObjectStore>) -> Network {
        Self::of(inner, Rng::new(0), 0, true)
    }

    fn of(inner: Arc<dyn ObjectStore>, rng: Rng, trouble: u64, immortal: bool) -> Network {
        let link =
            Link { rng, trouble, next: None, dead: false, immortal, under_way: Vec::new(), log: Vec::new() };
        Network { inner, link: Arc::new(Mutex::new(link)) }
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// PUTs under way.
    pub fn under_way(&self) -> usize {
        self.link().under_way.len()
    }

    /// Delivers the oldest PUT under way.
    pub fn deliver(&self, fate: Fate) {
        let Some(UnderWay { mut work, .. }) = ({
            let mut link = self.link();
            (!link.under_way.is_empty()).then(|| link.under_way.remove(0))
        }) else {
            return;
        };
        self.link().next = Some(fate);
        let done = (&mut work).now_or_never();
        assert!(done.is_some(), "a simulated request is answered within one poll");
        self.link().next = None;
    }

    /// No more trouble from now on.
    pub fn heal(&self) {
        self.link().trouble = 0;
    }

    /// The process is dead. What is under way may still arrive.
    pub fn die(&self) {
        self.link().dead = true;
    }

    /// What is under way of a dead process.
    pub fn take_under_way(&self) -> Vec<BoxFuture<'static, ()>> {
        let mut link = self.link();
        link.dead = false;
        link.trouble = 0;
        let left = std::mem::take(&mut link.under_way);
        left.into_iter().filter(|one| !one.holding).map(|one| one.work).collect()
    }

    /// Requests since the last question, for the trace.
    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.link().log)
    }

    fn fate(&self) -> Fate {
        let mut link = self.link();
        if link.dead || (crate::disk::is_dead() && !link.immortal) {
            return Fate::Unheard;
        }
        if let Some(fate) = link.next.take() {
            return fate;
        }
        let trouble = link.trouble;
        match trouble {
            0 => Fate::Answered,
            n if link.rng.one_in(n) => *link.rng.pick(&[Fate::Unheard, Fate::Unanswered]),
            _ => Fate::Answered,
        }
    }

    async fn pass<T>(
        &self,
        what: &str,
        key: &str,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let fate = self.fate();
        let result = match fate {
            Fate::Answered => call.await,
            Fate::Unheard => Err(lost()),
            Fate::Unanswered => {
                let _ = call.await;
                Err(lost())
            }
        };
        let outcome = result.as_ref().map_or_else(store::Error::reason, |_| "ok");
        self.link().log.push(format!("{what} {key} {fate:?} {outcome}"));
        result
    }
}

impl Host for Network {
    fn spawn(&self, work: BoxFuture<'static, ()>) {
        self.link().under_way.push(UnderWay { work, holding: false });
    }

    fn spawn_holding(&self, work: BoxFuture<'static, ()>) {
        self.link().under_way.push(UnderWay { work, holding: true });
    }

    fn finish(&self, work: BoxFuture<'_, ()>) {
        assert!(work.now_or_never().is_some(), "a simulated store answers at once");
    }

    fn offload(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}

#[async_trait]
impl ObjectStore for Network {
    fn kind(&self) -> Kind {
        self.inner.kind()
    }
    fn create_only(&self) -> Option<bool> {
        self.inner.create_only()
    }
    fn part_size(&self, bound: Option<u64>) -> usize {
        self.inner.part_size(bound)
    }
    fn max_parts(&self) -> u32 {
        self.inner.max_parts()
    }
    fn server_date(&self) -> Option<ServerDate> {
        self.inner.server_date()
    }
    async fn put(&self, key: &str, body: Bytes, opts: &PutOptions) -> Result<PutResult> {
        self.pass("PUT", key, self.inner.put(key, body, opts)).await
    }
    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<GetResult> {
        self.pass("GET", key, self.inner.get(key, range)).await
    }
    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        self.pass("HEAD", key, self.inner.head(key)).await
    }
    async fn list_page(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Page> {
        self.pass("LIST", prefix, self.inner.list_page(prefix, start_after, limit)).await
    }
    async fn delete(&self, keys: &[String]) -> Result<Vec<Result<()>>> {
        let first = keys.first().map_or("", String::as_str);
        self.pass("DELETE", first, self.inner.delete(keys)).await
    }
    async fn start_upload(&self, key: &str, opts: &PutOptions) -> Result<Upload> {
        self.pass("START", key, self.inner.start_upload(key, opts)).await
    }
    async fn put_part(&self, upload: &Upload, number: u32, body: Bytes) -> Result<Part> {
        self.pass("PART", &upload.key, self.inner.put_part(upload, number, body)).await
    }
    async fn complete_upload(&self, upload: &Upload, parts: &[Part], opts: &PutOptions) -> Result<PutResult> {
        self.pass("COMPLETE", &upload.key, self.inner.complete_upload(upload, parts, opts)).await
    }
    async fn abort_upload(&self, upload: &Upload) -> Result<()> {
        self.pass("ABORT", &upload.key, self.inner.abort_upload(upload)).await
    }
}
