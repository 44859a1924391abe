//! Work beside the writer: its result arrives in a channel, and the writer wakes for it.
//!
//! A file of level 0 is sent whatever becomes of its writer: a delayed PUT is the same bytes under the same number. Everything else is a
//! [`Job`]: it ends with the writer that began it, in the middle of a request if need be, so that whoever lost the replica sends
//! nothing more (P4, decision 0006). What a job does on a thread cannot be dropped with it; it asks its [`Leash`] instead.

use crate::write::engine::Writer;
use futures::future::{AbortHandle, Abortable, BoxFuture};
use std::future::Future;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use tokio::sync::Semaphore;

/// Work under way. Dropping it breaks the work off.
pub(crate) struct Job<T> {
    result: Receiver<T>,
    leash: Leash,
}

impl<T> Job<T> {
    /// Its result, if there is one.
    pub(crate) fn try_recv(&self) -> Result<T, TryRecvError> {
        self.result.try_recv()
    }
}

impl<T> Drop for Job<T> {
    fn drop(&mut self) {
        self.leash.0.abort();
    }
}

/// Tells the threads of a job whether anybody still waits for it.
#[derive(Debug, Clone)]
pub(crate) struct Leash(AbortHandle);

impl Leash {
    /// An error once the job was broken off.
    pub(crate) fn check(&self) -> io::Result<()> {
        match self.0.is_aborted() {
            false => Ok(()),
            true => Err(io::Error::other("its writer has ended")),
        }
    }
}

/// Reads until the job is broken off.
pub(crate) struct Leashed<R>(pub(crate) R, pub(crate) Leash);

impl<R: Read> Read for Leashed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.1.check()?;
        self.0.read(into)
    }
}

impl Writer {
    /// Starts `work` at once; it goes on without its writer.
    pub(crate) fn beside<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Receiver<T> {
        let (work, result) = self.told(work);
        self.host.spawn(work);
        result
    }

    /// Starts a job when it is its turn among all databases of this process (P7). It may hold files or connections.
    pub(crate) fn in_turn<T: Send + 'static, W: Future<Output = T> + Send + 'static>(
        &self,
        turns: &'static Semaphore,
        work: impl FnOnce(Leash) -> W,
    ) -> Job<T> {
        let (handle, registration) = AbortHandle::new_pair();
        let leash = Leash(handle);
        let work = work(leash.clone());
        let (work, result) = self.told(async move {
            let _turn = turns.acquire().await;
            work.await
        });
        let work = Abortable::new(work, registration);
        self.host.spawn_holding(Box::pin(async move {
            // Broken off: there is nobody to tell.
            let _ = work.await;
        }));
        Job { result, leash }
    }

    fn told<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> (BoxFuture<'static, ()>, Receiver<T>) {
        let (done, result) = channel();
        let waker = self.tail.waker();
        let told = async move {
            // A writer that is gone asks for nothing.
            let _ = done.send(work.await);
            waker.wake();
        };
        (Box::pin(told), result)
    }
}
