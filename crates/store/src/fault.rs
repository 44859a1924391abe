//! A wrapper that fails on command: the requests of a store as a stage for accidents.
//!
//! Because [`ObjectStore`] is one request per call, every single request can fail, before its effect (nothing
//! happened) or after it (the reply is lost), be delayed, or be denied. The log of calls shows what was really sent.
//! Tests of all rooms use it; nothing in the binaries does.

use crate::object::{
    GetResult, ObjectMeta, ObjectStore, Page, Part, PutOptions, PutResult, ServerDate, Upload,
};
use crate::{DeniedReason, Error, Kind, Operation, Result, Trouble};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use std::collections::HashSet;
use std::future::Future;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// When a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// It never reaches the store.
    Before,
    /// It takes effect and the reply is lost.
    After,
}

/// One request that reached the wrapper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What was asked.
    pub operation: Operation,
    /// Key, or prefix of a listing, or the first of the removed keys.
    pub key: String,
    /// `ok` or the reason of the error.
    pub outcome: &'static str,
}

struct Rule {
    operation: Option<Operation>,
    skip: u64,
    count: u64,
    when: When,
    error: Error,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    denied: HashSet<Operation>,
    latency: Duration,
    offline: bool,
    cut_bodies: Option<(u64, u64)>,
    log: Vec<Call>,
}

/// The handle that gives the orders; clones command the same wrapper.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<State>>);

impl Faults {
    /// The `n`-th request of `operation` from now on (1 is the next; `None` counts all) fails with `error`.
    pub fn fail_nth(&self, operation: Option<Operation>, n: u64, when: When, error: Error) {
        self.rule(operation, n.saturating_sub(1), 1, when, error);
    }

    /// The next `count` requests of `operation` fail with `error`.
    pub fn fail_next(&self, operation: Option<Operation>, count: u64, when: When, error: Error) {
        self.rule(operation, 0, count, when, error);
    }

    /// The next `count` requests of `operation` take effect, but their replies are lost.
    pub fn lose_reply_next(&self, operation: Operation, count: u64) {
        self.rule(Some(operation), 0, count, When::After, lost());
    }

    /// The next `count` requests of any kind are throttled.
    pub fn throttle_next(&self, count: u64) {
        self.rule(
            None,
            0,
            count,
            When::Before,
            Error::unavailable("request", Trouble::Throttled, "injected 503"),
        );
    }

    /// Denies an operation, or allows it again.
    pub fn deny(&self, operation: Operation, denied: bool) {
        let mut state = self.lock();
        if denied {
            state.denied.insert(operation);
        } else {
            state.denied.remove(&operation);
        }
    }

    /// Cuts the store off, or connects it again.
    pub fn offline(&self, offline: bool) {
        self.lock().offline = offline;
    }

    /// Delays every request.
    pub fn latency(&self, delay: Duration) {
        self.lock().latency = delay;
    }

    /// The next `count` read bodies break off after `bytes` bytes.
    pub fn cut_next_bodies(&self, count: u64, bytes: u64) {
        self.lock().cut_bodies = Some((count, bytes));
    }

    /// Forgets all orders.
    pub fn clear(&self) {
        let mut state = self.lock();
        *state = State { log: std::mem::take(&mut state.log), ..State::default() };
    }

    /// The requests so far.
    pub fn log(&self) -> Vec<Call> {
        self.lock().log.clone()
    }

    /// The requests so far; the log starts anew.
    pub fn take_log(&self) -> Vec<Call> {
        std::mem::take(&mut self.lock().log)
    }

    fn rule(&self, operation: Option<Operation>, skip: u64, count: u64, when: When, error: Error) {
        self.lock().rules.push(Rule { operation, skip, count, when, error });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn verdict(&self, operation: Operation) -> Option<(When, Error)> {
        let mut state = self.lock();
        if state.offline {
            return Some((
                When::Before,
                Error::unavailable(operation.as_str(), Trouble::Connect, "injected outage"),
            ));
        }
        if state.denied.contains(&operation) {
            let error = Error::denied(operation.as_str(), DeniedReason::Access, "injected AccessDenied");
            return Some((When::Before, error));
        }
        let mut verdict = None;
        for rule in &mut state.rules {
            if rule.operation.is_some_and(|o| o != operation) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
            } else if verdict.is_none() && rule.count > 0 {
                rule.count -= 1;
                verdict = Some((rule.when, rule.error.clone()));
            }
        }
        state.rules.retain(|rule| rule.count > 0);
        verdict
    }

    fn take_cut(&self) -> Option<u64> {
        let mut state = self.lock();
        let (count, bytes) = state.cut_bodies?;
        state.cut_bodies = (count > 1).then_some((count - 1, bytes));
        Some(bytes)
    }
}

/// The error of a lost reply.
pub fn lost() -> Error {
    Error::unavailable("request", Trouble::Connect, "injected: the reply was lost")
}

/// A store that fails on command.
#[derive(Clone)]
pub struct FaultStore {
    inner: Arc<dyn ObjectStore>,
    faults: Faults,
}

impl FaultStore {
    /// Wraps a store; the handle gives the orders.
    pub fn new(inner: Arc<dyn ObjectStore>) -> (Self, Faults) {
        let faults = Faults::default();
        (Self { inner, faults: faults.clone() }, faults)
    }

    async fn pass<T>(
        &self,
        operation: Operation,
        key: &str,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let latency = self.faults.lock().latency;
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let result = match self.faults.verdict(operation) {
            Some((When::Before, error)) => Err(error),
            Some((When::After, error)) => {
                let _lost = call.await;
                Err(error)
            }
            None => call.await,
        };
        let outcome = result.as_ref().map_or_else(Error::reason, |_| "ok");
        self.faults.lock().log.push(Call { operation, key: key.to_owned(), outcome });
        result
    }
}

#[async_trait]
impl ObjectStore for FaultStore {
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
    fn page_size(&self) -> usize {
        self.inner.page_size()
    }
    fn server_date(&self) -> Option<ServerDate> {
        self.inner.server_date()
    }
    async fn put(&self, key: &str, body: Bytes, opts: &PutOptions) -> Result<PutResult> {
        self.pass(Operation::Put, key, self.inner.put(key, body, opts)).await
    }
    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<GetResult> {
        let mut got = self.pass(Operation::Get, key, self.inner.get(key, range)).await?;
        if let Some(cut) = self.faults.take_cut() {
            let bytes = GetResult { meta: got.meta.clone(), range: got.range.clone(), stream: got.stream }
                .bytes()
                .await?;
            let kept = bytes.slice(..bytes.len().min(cut as usize));
            got.stream = stream::iter([Ok(kept), Err(lost())]).boxed();
        }
        Ok(got)
    }
    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        self.pass(Operation::Head, key, self.inner.head(key)).await
    }
    async fn list_page(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Page> {
        self.pass(Operation::List, prefix, self.inner.list_page(prefix, start_after, limit)).await
    }
    async fn delete(&self, keys: &[String]) -> Result<Vec<Result<()>>> {
        let first = keys.first().map_or("", String::as_str);
        self.pass(Operation::Delete, first, self.inner.delete(keys)).await
    }
    async fn start_upload(&self, key: &str, opts: &PutOptions) -> Result<Upload> {
        self.pass(Operation::StartUpload, key, self.inner.start_upload(key, opts)).await
    }
    async fn put_part(&self, upload: &Upload, number: u32, body: Bytes) -> Result<Part> {
        self.pass(Operation::PutPart, &upload.key, self.inner.put_part(upload, number, body)).await
    }
    async fn complete_upload(&self, upload: &Upload, parts: &[Part], opts: &PutOptions) -> Result<PutResult> {
        self.pass(Operation::CompleteUpload, &upload.key, self.inner.complete_upload(upload, parts, opts))
            .await
    }
    async fn abort_upload(&self, upload: &Upload) -> Result<()> {
        self.pass(Operation::AbortUpload, &upload.key, self.inner.abort_upload(upload)).await
    }
}
