//! Accounting: every request to a store is counted, by operation.
//!
//! Budgets are stated in requests ("one PUT per change"), so tests assert on these numbers. Telemetry exports
//! histograms through [`Observer`].

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, RwLock};
use std::time::Duration;

/// Kinds of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Whole object in one request.
    Put,
    /// Object or range.
    Get,
    /// Description of an object.
    Head,
    /// One page of a listing.
    List,
    /// One or many keys.
    Delete,
    /// Begin an upload in parts.
    StartUpload,
    /// One part.
    PutPart,
    /// Make the parts an object.
    CompleteUpload,
    /// Throw the parts away.
    AbortUpload,
}

impl Operation {
    /// All operations, in the order of their discriminants.
    pub const ALL: [Operation; 9] = [
        Operation::Put,
        Operation::Get,
        Operation::Head,
        Operation::List,
        Operation::Delete,
        Operation::StartUpload,
        Operation::PutPart,
        Operation::CompleteUpload,
        Operation::AbortUpload,
    ];

    /// The label used in metrics and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Put => "put",
            Operation::Get => "get",
            Operation::Head => "head",
            Operation::List => "list",
            Operation::Delete => "delete",
            Operation::StartUpload => "start_upload",
            Operation::PutPart => "put_part",
            Operation::CompleteUpload => "complete_upload",
            Operation::AbortUpload => "abort_upload",
        }
    }
}

/// One finished request.
#[derive(Debug, Clone, Copy)]
pub struct Observation {
    /// What was asked.
    pub operation: Operation,
    /// `ok`, or [`crate::Error::reason`].
    pub outcome: &'static str,
    /// From sending to the answer's headers.
    pub duration: Duration,
    /// Body bytes sent.
    pub sent: u64,
}

/// Receives every finished request; must be quick.
pub trait Observer: Send + Sync {
    /// Called once per request, retries included.
    fn observe(&self, observation: &Observation);
}

/// Totals of one operation since the store was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OperationCounters {
    /// Requests sent, retries included.
    pub requests: u64,
    /// Requests that failed, for whatever reason (an expected 404 or 412 too).
    pub errors: u64,
    /// Requests that repeated a failed one.
    pub retries: u64,
    /// Body bytes received.
    pub bytes_in: u64,
    /// Body bytes sent.
    pub bytes_out: u64,
}

/// A snapshot of all totals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters([OperationCounters; 9]);

impl Counters {
    /// Totals of one operation.
    pub fn of(&self, operation: Operation) -> OperationCounters {
        self.0[operation as usize]
    }

    /// Requests of one operation.
    pub fn requests(&self, operation: Operation) -> u64 {
        self.of(operation).requests
    }

    /// Requests of all operations.
    pub fn total_requests(&self) -> u64 {
        self.0.iter().map(|c| c.requests).sum()
    }

    /// What happened since `earlier`.
    pub fn since(&self, earlier: &Counters) -> Counters {
        let mut out = *self;
        for (now, then) in out.0.iter_mut().zip(earlier.0) {
            now.requests -= then.requests;
            now.errors -= then.errors;
            now.retries -= then.retries;
            now.bytes_in -= then.bytes_in;
            now.bytes_out -= then.bytes_out;
        }
        out
    }
}

#[derive(Default)]
struct Cell {
    requests: AtomicU64,
    errors: AtomicU64,
    retries: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

/// The live totals behind [`Counters`].
#[derive(Default)]
pub(crate) struct Meter {
    cells: [Cell; 9],
    observer: RwLock<Option<Arc<dyn Observer>>>,
}

impl Meter {
    pub(crate) fn set_observer(&self, observer: Arc<dyn Observer>) {
        *self.observer.write().unwrap_or_else(|e| e.into_inner()) = Some(observer);
    }

    pub(crate) fn record(&self, observation: &Observation, retry: bool) {
        let cell = &self.cells[observation.operation as usize];
        cell.requests.fetch_add(1, Relaxed);
        cell.bytes_out.fetch_add(observation.sent, Relaxed);
        if observation.outcome != "ok" {
            cell.errors.fetch_add(1, Relaxed);
        }
        if retry {
            cell.retries.fetch_add(1, Relaxed);
        }
        if let Some(observer) = &*self.observer.read().unwrap_or_else(|e| e.into_inner()) {
            observer.observe(observation);
        }
    }

    pub(crate) fn received(&self, operation: Operation, bytes: u64) {
        self.cells[operation as usize].bytes_in.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Counters {
        let mut out = Counters::default();
        for (to, from) in out.0.iter_mut().zip(&self.cells) {
            *to = OperationCounters {
                requests: from.requests.load(Relaxed),
                errors: from.errors.load(Relaxed),
                retries: from.retries.load(Relaxed),
                bytes_in: from.bytes_in.load(Relaxed),
                bytes_out: from.bytes_out.load(Relaxed),
            };
        }
        out
    }
}
