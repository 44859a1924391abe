//! The store the rooms use: a backend with retries, accounting and a scope.
//!
//! Retries happen here and nowhere else. What is repeated:
//! - reads, listings, removals, overwriting puts: repeating them is harmless;
//! - create-only puts: after an attempt whose effect is unknown, "exists already" is compared with our body before it
//!   counts as somebody else's ([`crate::fence`], trap: a lost reply looks like a second writer).
//!
//! Cloning is cheap; clones share connections, counters and what is known about the store.

use crate::capability::Capability;
use crate::counters::{Counters, Meter, Observation, Observer, Operation};
use crate::key::check_key;
use crate::object::{ObjectMeta, ObjectStore, PutMode, PutOptions, PutResult, ServerDate};
use crate::{Error, Kind, OpenConfig, Result, RetryPolicy};
use bytes::Bytes;
use clock::{Clock, IdGen};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8};
use std::time::Duration;

/// The result of removing one object.
#[derive(Debug, Clone)]
pub struct DeleteResult {
    /// Key as given.
    pub key: String,
    /// Removed (or not there), or why not.
    pub result: Result<()>,
}

pub(crate) struct Shared {
    pub(crate) backend: Arc<dyn ObjectStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn IdGen>,
    pub(crate) retry: RetryPolicy,
    pub(crate) meter: Meter,
    pub(crate) capability: Capability,
    /// Whether this store's entity tags are MD5 sums of plain puts; learned from its answers.
    pub(crate) etags: AtomicU8,
    pub(crate) single_deletes: AtomicBool,
}

/// An object store: backend, retries, accounting, capability. See the module documentation.
#[derive(Clone)]
pub struct Store {
    pub(crate) shared: Arc<Shared>,
    scope: Arc<str>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("kind", &self.kind())
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// A store over any backend: for tests and wrappers; others use [`crate::open`].
    pub fn new(backend: Arc<dyn ObjectStore>, config: &OpenConfig) -> Self {
        let capability = Capability::new(backend.create_only());
        let shared = Shared {
            backend,
            clock: config.clock.clone(),
            ids: config.ids.clone(),
            retry: config.retry.clone(),
            meter: Meter::default(),
            capability,
            etags: AtomicU8::new(0),
            single_deletes: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared), scope: Arc::from("") }
    }

    /// The same store seen from below `prefix` (no leading or trailing `/`): keys are relative to it.
    pub fn scoped(&self, prefix: &str) -> Result<Self> {
        check_key(prefix)?;
        Ok(Self { shared: self.shared.clone(), scope: Arc::from(format!("{}{prefix}/", self.scope)) })
    }

    /// The same store seen from below a root that no key of ours may have (`/`, `./`): other programs' buckets hold such keys, and
    /// they have to be readable.
    pub fn below_odd_root(&self, root: &str) -> Self {
        Self { shared: self.shared.clone(), scope: Arc::from(format!("{}{root}", self.scope)) }
    }

    /// Which backend this is.
    pub fn kind(&self) -> Kind {
        self.shared.backend.kind()
    }

    /// Totals since the store was opened, shared by all clones and scopes.
    pub fn counters(&self) -> Counters {
        self.shared.meter.snapshot()
    }

    /// Has every request reported to `observer` (one per store; the last wins).
    pub fn set_observer(&self, observer: Arc<dyn Observer>) {
        self.shared.meter.set_observer(observer);
    }

    /// The last `Date` a server sent, with our clock at its arrival.
    pub fn server_date(&self) -> Option<ServerDate> {
        self.shared.backend.server_date()
    }

    /// Server clock minus ours in ms, at the last answer (resolution one second).
    pub fn server_date_skew(&self) -> Option<i64> {
        self.server_date().map(|d| d.server_ms - d.local_ms)
    }

    /// Stores an object. With [`PutMode::Create`] a taken key is [`Error::AlreadyExists`], except when it holds this
    /// very body after a lost reply.
    pub async fn put(&self, key: &str, body: Bytes, opts: &PutOptions) -> Result<PutResult> {
        match opts.mode {
            PutMode::Create => self.create(key, body, opts).await,
            PutMode::Overwrite => {
                let full = self.full(key)?;
                let sent = body.len() as u64;
                self.repeat(Operation::Put, sent, || self.shared.backend.put(&full, body.clone(), opts)).await
            }
        }
    }

    /// Reads an object, or a range of it, into memory; resumes where a broken body ended.
    pub async fn get_bytes(&self, key: &str, range: Option<std::ops::Range<u64>>) -> Result<Bytes> {
        self.get(key, range).await?.bytes().await
    }

    /// Describes an object.
    pub async fn head(&self, key: &str) -> Result<ObjectMeta> {
        let full = self.full(key)?;
        let meta = self.repeat(Operation::Head, 0, || self.shared.backend.head(&full)).await?;
        Ok(self.unscope(meta))
    }

    /// Removes objects, 1,000 per request; absent ones count as removed. Never fails as a whole: every key has its
    /// result, in the order given.
    pub async fn delete(&self, keys: &[String]) -> Vec<DeleteResult> {
        let mut out = Vec::with_capacity(keys.len());
        for batch in keys.chunks(1_000) {
            let results = self.delete_batch(batch).await;
            out.extend(batch.iter().cloned().zip(results).map(|(key, result)| DeleteResult { key, result }));
        }
        out
    }

    /// Removes objects and returns the first failure, if any; the others were removed all the same.
    pub async fn delete_all(&self, keys: &[String]) -> Result<()> {
        self.delete(keys).await.into_iter().try_for_each(|d| d.result)
    }

    async fn delete_batch(&self, keys: &[String]) -> Vec<Result<()>> {
        use std::sync::atomic::Ordering::Relaxed;
        let full: Vec<String> = match keys.iter().map(|k| self.full(k)).collect() {
            Ok(full) => full,
            Err(error) => return keys.iter().map(|_| Err(Error::clone(&error))).collect(),
        };
        if full.len() > 1 && !self.shared.single_deletes.load(Relaxed) {
            match self.repeat(Operation::Delete, 0, || self.shared.backend.delete(&full)).await {
                Ok(mut results) => {
                    // Single keys of a batch may fail for a moment; they are tried once more, each on its own.
                    for (key, result) in full.iter().zip(&mut results) {
                        if result.as_ref().is_err_and(Error::is_retriable) {
                            *result = self.delete_one(key).await;
                        }
                    }
                    return results;
                }
                // Some gateways know only single removals, or want a checksum header we do not send.
                Err(Error::Refused(_)) => self.shared.single_deletes.store(true, Relaxed),
                Err(error) => return full.iter().map(|_| Err(error.clone())).collect(),
            }
        }
        let mut results = Vec::with_capacity(full.len());
        for key in &full {
            results.push(self.delete_one(key).await);
        }
        results
    }

    async fn delete_one(&self, full: &String) -> Result<()> {
        let key = std::slice::from_ref(full);
        let results = self.repeat(Operation::Delete, 0, || self.shared.backend.delete(key)).await?;
        results.into_iter().next().unwrap_or(Ok(()))
    }

    /// The key in the backend.
    pub(crate) fn full(&self, key: &str) -> Result<String> {
        check_key(key)?;
        Ok(format!("{}{key}", self.scope))
    }

    pub(crate) fn scope(&self) -> &str {
        &self.scope
    }

    pub(crate) fn unscope(&self, mut meta: ObjectMeta) -> ObjectMeta {
        if let Some(rest) = meta.key.strip_prefix(&*self.scope) {
            meta.key = rest.to_owned();
        }
        meta
    }

    /// One counted request.
    pub(crate) async fn attempt<T>(
        &self,
        operation: Operation,
        sent: u64,
        retry: bool,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let start = self.shared.clock.monotonic_ns();
        let result = call.await;
        let duration = Duration::from_nanos(self.shared.clock.monotonic_ns().saturating_sub(start));
        let outcome = result.as_ref().map_or_else(Error::reason, |_| "ok");
        self.shared.meter.record(&Observation { operation, outcome, duration, sent }, retry);
        result
    }

    /// Requests until one succeeds, fails for good, or the policy ends it.
    pub(crate) async fn repeat<T, F, Fut>(&self, operation: Operation, sent: u64, call: F) -> Result<T>
    where
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        let mut tries = self.tries();
        loop {
            match self.attempt(operation, sent, tries.attempt > 1, call()).await {
                Err(error) if error.is_retriable() => tries.pause(error).await?,
                done => return done,
            }
        }
    }

    pub(crate) fn tries(&self) -> Tries {
        Tries { shared: self.shared.clone(), attempt: 1, failed: None }
    }
}

/// The attempts of one operation.
pub(crate) struct Tries {
    shared: Arc<Shared>,
    pub(crate) attempt: u32,
    /// When the first of them failed, ns. What it had taken until then is a slow line's affair, not the store's.
    failed: Option<u64>,
}

impl Tries {
    /// Waits before the next attempt, or gives `error` back when there is none.
    pub(crate) async fn pause(&mut self, error: Error) -> Result<()> {
        let now = self.shared.clock.monotonic_ns();
        let elapsed = Duration::from_nanos(now.saturating_sub(*self.failed.get_or_insert(now)));
        let Some(delay) = self.shared.retry.delay(self.attempt, elapsed, &*self.shared.ids) else {
            return Err(error);
        };
        tracing::debug!(
            attempt = self.attempt,
            reason = error.reason(),
            delay_ms = delay.as_millis() as u64,
            "store request is repeated"
        );
        tokio::time::sleep(delay).await;
        self.attempt += 1;
        Ok(())
    }
}
