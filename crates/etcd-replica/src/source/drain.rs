//! Draining a stream at full speed: the member's read transaction lives until the last byte is taken, and pages that are
//! freed meanwhile cannot be used again (a stalled reader grew a file by half in 20 s).
//!
//! Receiving and storing run side by side over a queue of at most 4 MiB, so that neither digest nor disk holds up the network
//! more than it must. Progress is counted in bytes: a server whose read failed goes on sending empty messages.

use crate::intake::{Intake, Received};
use crate::{Error, Result};
use prost::Message;
use prost::bytes::{Bytes, BytesMut};
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tonic::codec::Streaming;

/// Talos sends 1 KiB at a time; a queue of such crumbs would cost more than their content.
const BATCH: usize = 64 << 10;
const QUEUE: usize = 64;

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
    let (queue, mut items) = mpsc::channel::<Bytes>(QUEUE);
    let start = Instant::now();
    let mut first = true;
    let mut batch = BytesMut::with_capacity(BATCH);
    let (mut got, mut deadline) = (0u64, start + limits.idle);
    // The announced size is known before anything is stored.
    let mut over = loop {
        match next(&mut stream, place, got, start, deadline, limits).await? {
            Some(answer) => {
                let (bytes, remaining) = blob(answer);
                if first && let Some(remaining) = remaining {
                    intake.announce(remaining + bytes.len() as u64)?;
                }
                first = false;
                if !bytes.is_empty() {
                    got += bytes.len() as u64;
                    deadline = Instant::now() + limits.idle;
                    batch.extend_from_slice(&bytes);
                    break false;
                }
            }
            None => break true,
        }
    };
    let worker = tokio::task::spawn_blocking(move || {
        while let Some(bytes) = items.blocking_recv() {
            intake.push(&bytes)?;
        }
        Ok::<_, Error>(intake)
    });
    let mut failed = None;
    while !over {
        match next(&mut stream, place, got, start, deadline, limits).await {
            Ok(Some(answer)) => {
                let (bytes, _) = blob(answer);
                got += bytes.len() as u64;
                let any = !bytes.is_empty();
                batch.extend_from_slice(&bytes);
                if batch.len() >= BATCH && queue.send(batch.split().freeze()).await.is_err() {
                    break; // the worker failed; its error is told below
                }
                if any {
                    // After the queue took it: waiting for our own disk is not the server's silence.
                    deadline = Instant::now() + limits.idle;
                }
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
    if failed.is_none() && !batch.is_empty() {
        let _ = queue.send(batch.freeze()).await;
    }
    drop(queue);
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
