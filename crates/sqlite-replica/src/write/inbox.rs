//! Questions to a running writer, from outside its thread.

use crate::error::Result;
use sqlite_tail::Waker;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
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
}

/// Where the questions wait. A question dropped unanswered tells the asker that the writer ended.
#[derive(Default)]
pub struct Inbox(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    requests: VecDeque<Request>,
    waker: Option<Waker>,
}

impl Inbox {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks; a writer that is still starting answers once it follows.
    pub(crate) fn ask(&self, request: Request) {
        let mut waiting = self.waiting();
        waiting.requests.push_back(request);
        if let Some(waker) = &waiting.waker {
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

    /// The writer has ended: nobody answers any more.
    pub(crate) fn close(&self) {
        *self.waiting() = Waiting::default();
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("waiting", &self.waiting().requests.len()).finish()
    }
}
