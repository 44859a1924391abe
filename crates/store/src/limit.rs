//! A wrapper that keeps uploads below a rate: one budget for all stores of a process.
//!
//! Bodies are counted before they are sent: a body may start while the budget is not in debt, and leaves it in debt by its
//! size. So a single body goes at full speed and the average over bodies is the limit; the longest burst is one part
//! (8 MiB as a rule). Reads, listings and removals are not held up, and neither is a commit behind another one's retry.

use crate::object::{
    GetResult, ObjectMeta, ObjectStore, Page, Part, PutOptions, PutResult, ServerDate, Upload,
};
use crate::{Kind, Result};
use async_trait::async_trait;
use bytes::Bytes;
use clock::Clock;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Bytes per second for all uploads that share it.
pub struct UploadLimit {
    bytes_per_second: u64,
    clock: Arc<dyn Clock>,
    /// Monotonic time at which the budget is even again, ns.
    even_at: Mutex<u64>,
}

impl std::fmt::Debug for UploadLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UploadLimit")
            .field("bytes_per_second", &self.bytes_per_second)
            .finish_non_exhaustive()
    }
}

impl UploadLimit {
    /// A budget of this many bytes per second, at least 1.
    pub fn new(bytes_per_second: u64, clock: Arc<dyn Clock>) -> Arc<Self> {
        let even_at = Mutex::new(clock.monotonic_ns());
        Arc::new(Self { bytes_per_second: bytes_per_second.max(1), clock, even_at })
    }

    /// Books a body and says how long it has to wait.
    fn book(&self, bytes: u64) -> Duration {
        let now = self.clock.monotonic_ns();
        let cost = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let mut even_at = self.even_at.lock().unwrap_or_else(PoisonError::into_inner);
        let start = (*even_at).max(now);
        *even_at = start.saturating_add(u64::try_from(cost).unwrap_or(u64::MAX));
        Duration::from_nanos(start - now)
    }

    async fn wait(&self, bytes: usize) {
        let pause = self.book(bytes as u64);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
}

/// A backend whose uploads are held below a limit.
pub(crate) struct Limited {
    pub(crate) inner: Arc<dyn ObjectStore>,
    pub(crate) limit: Arc<UploadLimit>,
}

#[async_trait]
impl ObjectStore for Limited {
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
        self.limit.wait(body.len()).await;
        self.inner.put(key, body, opts).await
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<GetResult> {
        self.inner.get(key, range).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        self.inner.head(key).await
    }

    async fn list_page(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Page> {
        self.inner.list_page(prefix, start_after, limit).await
    }

    async fn delete(&self, keys: &[String]) -> Result<Vec<Result<()>>> {
        self.inner.delete(keys).await
    }

    async fn start_upload(&self, key: &str, opts: &PutOptions) -> Result<Upload> {
        self.inner.start_upload(key, opts).await
    }

    async fn put_part(&self, upload: &Upload, number: u32, body: Bytes) -> Result<Part> {
        self.limit.wait(body.len()).await;
        self.inner.put_part(upload, number, body).await
    }

    async fn complete_upload(&self, upload: &Upload, parts: &[Part], opts: &PutOptions) -> Result<PutResult> {
        self.inner.complete_upload(upload, parts, opts).await
    }

    async fn abort_upload(&self, upload: &Upload) -> Result<()> {
        self.inner.abort_upload(upload).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clock::ManualClock;

    #[test]
    fn p7_the_average_over_bodies_is_the_limit() {
        let clock = Arc::new(ManualClock::at(0));
        let limit = UploadLimit::new(1_000, clock.clone());
        assert_eq!(limit.book(5_000), Duration::ZERO, "the first body goes at once");
        assert_eq!(limit.book(1_000), Duration::from_secs(5), "the next pays for it");
        assert_eq!(limit.book(0), Duration::from_secs(6));
        clock.advance_ms(60_000);
        assert_eq!(limit.book(1), Duration::ZERO, "idle time is not saved up");
        assert_eq!(limit.book(u64::MAX), Duration::from_millis(1));
        assert!(limit.book(1) > Duration::from_secs(1 << 30), "it saturates");
    }
}
