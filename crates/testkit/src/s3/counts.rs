//! What the server was asked: counters per operation, bytes, and a bounded log of the last requests.
//!
//! Budgets ("1 PUT per change", "0 requests while quiescent") are proven with these, so every request that reaches
//! the HTTP layer counts once, also those a fault answers; refused connections do not.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::operation::Operation;

/// Requests kept for [`super::S3Server::log`].
const LOG_LIMIT: usize = 2000;

/// Requests by operation, and bytes of bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are S3's")]
pub struct Counts {
    pub put: u64,
    pub copy: u64,
    pub get: u64,
    pub head: u64,
    pub list: u64,
    pub delete: u64,
    pub multipart_create: u64,
    pub upload_part: u64,
    pub complete: u64,
    pub abort: u64,
    pub other: u64,
    /// Requests answered (or cut) by a fault instead of the store.
    pub faulted: u64,
    /// Answers with status 400 or above, faults included.
    pub errors: u64,
    /// Bytes of request bodies.
    pub bytes_in: u64,
    /// Bytes of response bodies.
    pub bytes_out: u64,
}

impl Counts {
    /// All requests.
    pub fn total(&self) -> u64 {
        self.writes() + self.get + self.head + self.list + self.delete + self.abort + self.other
    }

    /// Requests that S3 bills as writes: PUT, COPY, POST of parts and uploads.
    pub fn writes(&self) -> u64 {
        self.put + self.copy + self.multipart_create + self.upload_part + self.complete
    }

    /// What was added since an earlier reading.
    pub fn since(&self, earlier: &Counts) -> Counts {
        Counts {
            put: self.put - earlier.put,
            copy: self.copy - earlier.copy,
            get: self.get - earlier.get,
            head: self.head - earlier.head,
            list: self.list - earlier.list,
            delete: self.delete - earlier.delete,
            multipart_create: self.multipart_create - earlier.multipart_create,
            upload_part: self.upload_part - earlier.upload_part,
            complete: self.complete - earlier.complete,
            abort: self.abort - earlier.abort,
            other: self.other - earlier.other,
            faulted: self.faulted - earlier.faulted,
            errors: self.errors - earlier.errors,
            bytes_in: self.bytes_in - earlier.bytes_in,
            bytes_out: self.bytes_out - earlier.bytes_out,
        }
    }

    fn slot(&mut self, operation: Operation) -> &mut u64 {
        match operation {
            Operation::Put => &mut self.put,
            Operation::Copy => &mut self.copy,
            Operation::Get => &mut self.get,
            Operation::Head => &mut self.head,
            Operation::List => &mut self.list,
            Operation::Delete => &mut self.delete,
            Operation::MultipartCreate => &mut self.multipart_create,
            Operation::UploadPart => &mut self.upload_part,
            Operation::Complete => &mut self.complete,
            Operation::Abort => &mut self.abort,
            Operation::Other => &mut self.other,
        }
    }
}

/// One request of the log.
#[derive(Clone, Debug)]
pub struct Request {
    /// Since the server started.
    pub at: Duration,
    /// What it was.
    pub operation: Operation,
    /// HTTP method.
    pub method: String,
    /// Percent-encoded key; empty for requests on the bucket.
    pub key: String,
    /// Query and the headers that matter (`range`, `if-none-match`).
    pub detail: String,
    /// HTTP status; `None` when the connection was cut instead.
    pub status: Option<u16>,
    /// The fault that answered.
    pub fault: Option<String>,
}

/// Counters and log of one server.
#[derive(Debug)]
pub(super) struct Ledger {
    started: Instant,
    state: Mutex<(Counts, VecDeque<Request>)>,
}

impl Ledger {
    pub(super) fn new() -> Ledger {
        Ledger { started: Instant::now(), state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, (Counts, VecDeque<Request>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn arrived(&self, operation: Operation) {
        *self.lock().0.slot(operation) += 1;
    }

    pub(super) fn answered(&self, request: Request) {
        let mut state = self.lock();
        state.0.faulted += u64::from(request.fault.is_some());
        state.0.errors += u64::from(request.status.is_some_and(|status| status >= 400));
        if state.1.len() == LOG_LIMIT {
            state.1.pop_front();
        }
        state.1.push_back(request);
    }

    pub(super) fn received(&self, bytes: u64) {
        self.lock().0.bytes_in += bytes;
    }

    pub(super) fn sent(&self, bytes: u64) {
        self.lock().0.bytes_out += bytes;
    }

    pub(super) fn counts(&self) -> Counts {
        self.lock().0
    }

    pub(super) fn log(&self) -> Vec<Request> {
        self.lock().1.iter().cloned().collect()
    }

    pub(super) fn reset(&self) {
        *self.lock() = Default::default();
    }
}
