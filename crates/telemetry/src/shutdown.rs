//! Graceful shutdown: SIGTERM or SIGINT cancels a token that everybody holds; a second signal ends the process at once.
//!
//! A token is cancelled once and for good. [`Shutdown::deadline`] bounds the drain that follows: what is not done by then
//! is reported as [`Exit::Partial`], before the kubelet's SIGKILL would hide it.
//! What it does not do: decide what is drained, or in which order.

use crate::{Error, Exit};
use std::future::Future;
use std::process;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// A token that is cancelled when the process has to end; cheap to clone.
#[derive(Debug, Clone)]
pub struct Shutdown {
    sender: Arc<watch::Sender<bool>>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::manual()
    }
}

impl Shutdown {
    /// A token that only [`Self::cancel`] cancels: for tests, and for parts that end on their own.
    pub fn manual() -> Self {
        Self { sender: Arc::new(watch::Sender::new(false)) }
    }

    /// A token that SIGTERM and SIGINT cancel. Call it once, inside the runtime, before the work begins.
    /// The second signal ends the process with code 1, because somebody insists.
    pub fn on_signals() -> Result<Self, Error> {
        let token = Self::manual();
        let terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
        let interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
        tokio::spawn(watch_signals(token.clone(), terminate, interrupt));
        Ok(token)
    }

    /// Cancels the token.
    pub fn cancel(&self) {
        self.sender.send_replace(true);
    }

    /// Whether it is cancelled.
    pub fn is_cancelled(&self) -> bool {
        *self.sender.borrow()
    }

    /// Waits until it is cancelled; returns at once when it is.
    pub async fn cancelled(&self) {
        // The sender lives in `self`, so the channel cannot close while we wait.
        let _ = self.sender.subscribe().wait_for(|cancelled| *cancelled).await;
    }

    /// Runs `work` until it ends, or at most `grace` beyond the cancellation; `None` when it was cut off.
    pub async fn deadline<T>(&self, grace: Duration, work: impl Future<Output = T>) -> Option<T> {
        let cut = async {
            self.cancelled().await;
            tokio::time::sleep(grace).await;
        };
        tokio::select! {
            biased;
            done = work => Some(done),
            () = cut => {
                tracing::error!(grace_ms = grace.as_millis() as u64, "drain cut off at its deadline");
                None
            }
        }
    }
}

async fn watch_signals(token: Shutdown, mut terminate: Signal, mut interrupt: Signal) {
    let name = next(&mut terminate, &mut interrupt).await;
    tracing::info!(signal = name, "draining; a second signal ends at once");
    token.cancel();
    let name = next(&mut terminate, &mut interrupt).await;
    tracing::warn!(signal = name, "ended at once by a second signal");
    process::exit(i32::from(Exit::Failed.code()));
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    #[test]
    fn all_clones_see_the_cancellation() {
        run(async {
            let token = Shutdown::manual();
            let waiting = tokio::spawn({
                let token = token.clone();
                async move { token.cancelled().await }
            });
            assert!(!token.is_cancelled());
            token.clone().cancel();
            waiting.await.unwrap();
            assert!(token.is_cancelled());
            token.cancelled().await;
        });
    }

    #[test]
    fn the_deadline_counts_from_the_cancellation() {
        run(async {
            let token = Shutdown::manual();
            assert_eq!(token.deadline(Duration::ZERO, async { 7 }).await, Some(7));
            token.cancel();
            assert_eq!(token.deadline(Duration::ZERO, std::future::pending::<()>()).await, None);
            assert_eq!(token.deadline(Duration::from_secs(3600), async { 8 }).await, Some(8));
        });
    }

    #[test]
    fn sigterm_cancels() {
        run(async {
            let token = Shutdown::on_signals().unwrap();
            let pid = process::id().to_string();
            assert!(process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
            token.cancelled().await;
        });
    }
}
