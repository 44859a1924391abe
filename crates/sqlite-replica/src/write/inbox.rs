//! What a fleet and its writer say to each other: questions, the share of memory, and what the writer leaves behind.

use crate::error::Result;
use crate::state::Record;
use crate::write::keep::Keeping;
use sqlite_tail::Waker;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Everything committed before the question is in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synced {
    /// Newest TXID that is durable.
    pub txid: u64,
}

/// What a writer may be asked.
#[derive(Debug)]
pub(crate) enum Request {
    /// Make everything committed before now durable, then answer (P1).
    Sync(oneshot::Sender<Result<Synced>>),
    /// Take a full image as soon as possible; the answer says that it was understood.
    Snapshot(oneshot::Sender<Result<Synced>>),
}

/// Bytes of pages a writer holds in memory, if nobody says otherwise.
const MEMORY: usize = 4 << 20;

/// Where the questions wait. A question dropped unanswered tells the asker that the writer ended.
pub struct Inbox {
    waiting: Mutex<Waiting>,
    memory: AtomicUsize,
    /// The writer is to end for the sake of others, and may finish what it is at.
    unhurried: AtomicBool,
    /// When the process was told to stop, monotonic ns; 0 for not yet.
    stopped_ns: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    requests: VecDeque<Request>,
    waker: Option<Waker>,
    parted: Option<Record>,
    keeping: Option<Keeping>,
    claimed: Option<(u32, u64)>,
}

impl Default for Inbox {
    fn default() -> Inbox {
        Inbox {
            waiting: Mutex::default(),
            memory: AtomicUsize::new(MEMORY),
            unhurried: AtomicBool::new(false),
            stopped_ns: AtomicU64::new(0),
        }
    }
}

impl Inbox {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks; a writer that is still starting answers once it follows.
    pub(crate) fn ask(&self, request: Request) {
        self.waiting().requests.push_back(request);
        self.wake();
    }

    /// Ends the writer's wait: it was asked, or told to stop. One that is still starting looks for itself.
    pub(crate) fn wake(&self) {
        if let Some(waker) = &self.waiting().waker {
            waker.wake();
        }
    }

    /// From now on questions wake this tail.
    pub(crate) fn attend(&self, waker: Waker) {
        self.waiting().waker = Some(waker);
    }

    /// The questions so far.
    pub(crate) fn take(&self) -> VecDeque<Request> {
        std::mem::take(&mut self.waiting().requests)
    }

    /// Whether questions wait.
    pub(crate) fn is_asked(&self) -> bool {
        !self.waiting().requests.is_empty()
    }

    /// The writer has ended: nobody answers any more.
    pub(crate) fn close(&self) {
        let mut waiting = self.waiting();
        waiting.requests.clear();
        waiting.waker = None;
    }

    /// The writer ends with everything durable, this record on the volume, and this known of the upkeep.
    pub(crate) fn part(&self, record: Option<&Record>, keeping: Option<Keeping>) {
        let mut waiting = self.waiting();
        waiting.parted = record.cloned();
        waiting.keeping = keeping;
    }

    /// A writer of this process has claimed under this epoch with this TXID.
    pub(crate) fn claim(&self, epoch: u32, txid: u64) {
        self.waiting().claimed = Some((epoch, txid));
    }

    /// The last claim of this process.
    pub(crate) fn claimed(&self) -> Option<(u32, u64)> {
        self.waiting().claimed
    }

    /// What the last writer knew of the upkeep, for the next one.
    pub(crate) fn keeping(&self) -> Option<Keeping> {
        self.waiting().keeping.take()
    }

    /// When upkeep needs a writer again, monotonic ns; `u64::MAX` for not before something changes.
    pub(crate) fn upkeep_due(&self) -> u64 {
        self.waiting().keeping.as_ref().map_or(u64::MAX, Keeping::due_at)
    }

    /// Whether a writer that is told to stop may first finish the task of upkeep it is at.
    pub(crate) fn do_not_hurry(&self, unhurried: bool) {
        self.unhurried.store(unhurried, Ordering::Relaxed);
    }

    pub(crate) fn is_unhurried(&self) -> bool {
        self.unhurried.load(Ordering::Relaxed)
    }

    /// The process ends: what a drain may take counts from here, wherever the writer is.
    pub(crate) fn stop(&self, now: u64) {
        self.stopped_ns.store(now.max(1), Ordering::Relaxed);
    }

    /// What is left of a drain at `now`.
    pub(crate) fn drain_left(&self, now: u64, drain: Duration) -> Duration {
        match self.stopped_ns.load(Ordering::Relaxed) {
            0 => drain,
            stopped => drain.saturating_sub(Duration::from_nanos(now.saturating_sub(stopped))),
        }
    }

    /// What the last writer left behind.
    pub(crate) fn parted(&self) -> Option<Record> {
        self.waiting().parted.clone()
    }

    /// How many bytes of pages the writer may hold in memory (P7).
    pub(crate) fn grant(&self, bytes: usize) {
        self.memory.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn granted(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("waiting", &self.waiting().requests.len()).finish()
    }
}
