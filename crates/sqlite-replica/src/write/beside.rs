//! Work beside the writer: its result arrives in a channel, and the writer wakes for it.

use crate::write::engine::Writer;
use futures::future::BoxFuture;
use std::future::Future;
use std::sync::mpsc::{Receiver, channel};
use tokio::sync::Semaphore;

impl Writer {
    /// Starts `work` at once.
    pub(crate) fn beside<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Receiver<T> {
        let (work, result) = self.told(work);
        self.host.spawn(work);
        result
    }

    /// Starts `work` when it is its turn among all databases of this process (P7). It may hold files or connections.
    pub(crate) fn in_turn<T: Send + 'static>(
        &self,
        turns: &'static Semaphore,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Receiver<T> {
        let (work, result) = self.told(async move {
            let _turn = turns.acquire().await;
            work.await
        });
        self.host.spawn_holding(work);
        result
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
