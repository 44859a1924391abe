//! Who runs what takes time while the writer goes on: the runtime of the process, or a simulator in one thread.
//!
//! With the clock, the ids, the store and the host injected, a writer does nothing by itself: what is called decides when a PUT
//! is answered, in which order, and whether at all (decision 0006).

use crate::error::{Error, Result};
use futures::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Runs futures and blocking work for a writer.
pub trait Host: Send + Sync + 'static {
    /// Runs `work` beside the writer. Dropping it unfinished is like losing the connection: it is sent again.
    fn spawn(&self, work: BoxFuture<'static, ()>);
    /// As [`Host::spawn`], for work that holds files or connections of this process: nothing of it outlives the process.
    fn spawn_holding(&self, work: BoxFuture<'static, ()>) {
        self.spawn(work);
    }
    /// Runs `work` to its end.
    fn finish(&self, work: BoxFuture<'_, ()>);
    /// Runs `work`, which waits for a disk, where nobody else has to wait for it.
    fn offload(&self, work: Box<dyn FnOnce() + Send>);
}

/// The runtime of the process.
#[derive(Debug, Clone)]
pub struct RuntimeHost(pub Handle);

impl Host for RuntimeHost {
    fn spawn(&self, work: BoxFuture<'static, ()>) {
        self.0.spawn(work);
    }

    fn finish(&self, work: BoxFuture<'_, ()>) {
        self.0.block_on(work);
    }

    fn offload(&self, work: Box<dyn FnOnce() + Send>) {
        self.0.spawn_blocking(work);
    }
}

/// Blocking work as a future.
pub(crate) async fn offload<T: Send + 'static>(
    host: &dyn Host,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (done, answer) = oneshot::channel();
    host.offload(Box::new(move || {
        let _ = done.send(work());
    }));
    // Only a host that is being torn down drops work.
    answer.await.unwrap_or(Err(Error::Stopped))
}
