//! Draining a stream at full speed: the member's read transaction lives until the last byte is taken, and pages that are
//! freed meanwhile cannot be used again (a stalled reader grew a file by half in 20 s).
//!
//! Receiving and storing run side by side over a queue of at most 4 MiB, so that neither digest nor disk holds up the network
//! more than it must. Progress is counted in bytes: a server whose read failed goes on sending empty messages.

use crate::intake::{Intake, Received};
use crate::{Error, Result};
use prost::Message;
use prost::bytes::Bytes;
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tonic::codec::Streaming;

/// Bytes that are handed over at a time: Talos sends 1 KiB, etcd 32 or 64 KiB, and a queue of crumbs would cost more than their content.
const BATCH: usize = 128 << 10;
const QUEUE: usize = 32;

/// When a stream is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Without a new byte.
    pub idle: Duration,
    /// In all.
    pub total: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { idle: Duration::from_secs(60), total: Duration::from_secs(300) }
    }
}

/// Takes everything the stream gives; the seconds it took.
pub(crate) async fn drain<A: Message + Default + 'static>(
    mut stream: Streaming<A>,
    place: &str,
    dir: &Path,
    limits: Limits,
    blob: impl Fn(A) -> (Bytes, Option<u64>),
) -> Result<(Received, f64)> {
    let mut intake = Intake::new(dir, true)?;
    let (queue, mut items) = mpsc::channel::<Vec<u8>>(QUEUE);
    let (back, empty) = mpsc::channel::<Vec<u8>>(QUEUE);
    let start = Instant::now();
    let mut first = true;
    let mut outbox = Outbox { batch: Vec::with_capacity(BATCH), queue, empty };
    let (mut got, mut deadline) = (0u64, start + limits.idle);
    let mut head = Bytes::new();
    // The announced size is known before anything is stored.
    let mut over = loop {
        match next(&mut stream, place, got, start, deadline, limits).await? {
            Some(answer) => {
                let (bytes, remaining) = blob(answer);
                if first && let Some(remaining) = remaining {
                    intake.announce(remaining.saturating_add(bytes.len() as u64))?;
                }
                first = false;
                if !bytes.is_empty() {
                    got += bytes.len() as u64;
                    deadline = Instant::now() + limits.idle;
                    head = bytes;
                    break false;
                }
            }
            None => break true,
        }
    };
    let worker = tokio::task::spawn_blocking(move || {
        while let Some(mut bytes) = items.blocking_recv() {
            intake.push(&bytes)?;
            bytes.clear();
            let _ = back.try_send(bytes); // one too many is given up
        }
        Ok::<_, Error>(intake)
    });
    let mut failed = None;
    over |= !outbox.take(&head).await;
    while !over {
        match next(&mut stream, place, got, start, deadline, limits).await {
            Ok(Some(answer)) => {
                let (bytes, _) = blob(answer);
                got += bytes.len() as u64;
                if bytes.is_empty() {
                    continue;
                }
                if !outbox.take(&bytes).await {
                    break; // the worker failed; its error is told below
                }
                // After the queue took it: waiting for our own disk is not the server's silence.
                deadline = Instant::now() + limits.idle;
            }
            Ok(None) => over = true,
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    drop(stream);
    if failed.is_none() {
        let _ = outbox.send().await;
    }
    drop(outbox);
    let intake =
        worker.await.map_err(|error| Error::Source(format!("the spool's writer ended: {error}")))??;
    if let Some(error) = failed {
        tracing::debug!(received = intake.received(), "the stream failed");
        return Err(error);
    }
    let received = tokio::task::spawn_blocking(move || intake.finish())
        .await
        .map_err(|error| Error::Source(format!("the spool's writer ended: {error}")))??;
    Ok((received, seconds))
}

/// What was received on its way to the queue. Buffers come back when they are stored: a new one each time would be memory that the
/// kernel has to clear first, as much of it as the snapshot has, and the member waits meanwhile.
struct Outbox {
    batch: Vec<u8>,
    queue: mpsc::Sender<Vec<u8>>,
    empty: mpsc::Receiver<Vec<u8>>,
}

impl Outbox {
    /// False when nobody takes it any more.
    async fn take(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BATCH - self.batch.len()));
            self.batch.extend_from_slice(now);
            bytes = later;
            if self.batch.len() == BATCH && !self.send().await {
                return false;
            }
        }
        true
    }

    async fn send(&mut self) -> bool {
        if self.batch.is_empty() {
            return true;
        }
        let next = self.empty.try_recv().unwrap_or_else(|_| Vec::with_capacity(BATCH));
        self.queue.send(std::mem::replace(&mut self.batch, next)).await.is_ok()
    }
}

async fn next<A: Message + Default + 'static>(
    stream: &mut Streaming<A>,
    place: &str,
    got: u64,
    start: Instant,
    idle: Instant,
    limits: Limits,
) -> Result<Option<A>> {
    let total = start + limits.total;
    match timeout_at(idle.min(total), stream.message()).await {
        Ok(Ok(answer)) if Instant::now() < idle.min(total) || answer.is_none() => Ok(answer),
        Ok(Err(status)) => Err(Error::Source(format!(
            "{place}: the snapshot broke off after {got} bytes: {}; nothing was kept",
            super::connect::message(&status)
        ))),
        Ok(Ok(_)) | Err(_) if idle <= total => Err(Error::Source(format!(
            "{place}: no new byte for {} s after {got} bytes of the snapshot; nothing was kept",
            limits.idle.as_secs()
        ))),
        Ok(Ok(_)) | Err(_) => Err(Error::Source(format!(
            "{place}: the snapshot took longer than {} s ({got} bytes came); nothing was kept, and the member's pages are free again",
            limits.total.as_secs()
        ))),
    }
}
