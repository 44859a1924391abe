//! Opening a stored snapshot: fetched, compared with the manifest, unsealed, decompressed, in bounded memory.
//!
//! The network side hands chunks to a thread that unseals; a queue of a few chunks lies between. Every byte of the stored object
//! counts into its SHA-256, so what was opened is what the manifest describes, or an error.

use crate::catalogue::Item;
use crate::manifest::Manifest;
use crate::{Error, Result};
use bytes::Bytes;
use futures::StreamExt;
use seal::{Identities, Item as Sealed, Opener, PlainReader};
use sha2::{Digest, Sha256};
use std::io::{self, Read};
use std::sync::Arc;
use store::{Progress, Store};
use tokio::sync::mpsc;

const QUEUE: usize = 8;

/// A stream of chunks as a reader for a blocking thread.
struct Chunks {
    queue: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.queue.blocking_recv() {
                Some(chunk) => self.current = chunk?,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.current.len());
        buffer[..count].copy_from_slice(&self.current.split_to(count));
        Ok(count)
    }
}

/// The manifest of an item, and its payload's key.
pub(crate) fn described(item: &Item) -> Result<&Manifest> {
    if let Some(why) = &item.unreadable {
        return Err(Error::Damaged(why.clone()));
    }
    let manifest = item.manifest.as_ref();
    let manifest =
        manifest.ok_or_else(|| Error::Refused(format!("{} has no manifest: it is no backup", item.name)))?;
    if item.payload.is_none() {
        return Err(Error::Damaged(format!("{} is gone; only its manifest is left", manifest.object)));
    }
    Ok(manifest)
}

/// SHA-256 and length of the stored object.
pub(crate) async fn digest_stored(store: &Store, key: &str) -> Result<(u64, String)> {
    let mut got = store.get(key, None).await?;
    let (mut bytes, mut digest) = (0, Sha256::new());
    while let Some(chunk) = got.stream.next().await {
        let chunk = chunk?;
        bytes += chunk.len() as u64;
        digest.update(&chunk);
    }
    Ok((bytes, hex::encode(digest.finalize())))
}

/// Compares a stored object with its manifest.
pub(crate) fn compare_stored(manifest: &Manifest, bytes: u64, sha256: &str) -> Result<()> {
    if (bytes, sha256) == (manifest.stored_bytes, manifest.stored_sha256.as_str()) {
        return Ok(());
    }
    Err(Error::Damaged(format!(
        "{} is not what was stored: {bytes} bytes with SHA-256 {sha256}, the manifest says {} with {}",
        manifest.object, manifest.stored_bytes, manifest.stored_sha256
    )))
}

/// Feeds the snapshot to `sink` in a blocking thread and gives back what `finish` makes of it.
pub(crate) async fn open<S, T>(
    store: &Store,
    manifest: &Manifest,
    identities: Option<Arc<Identities>>,
    progress: &Progress,
    mut sink: S,
    mut take: impl FnMut(&mut S, &[u8]) -> Result<()> + Send + 'static,
    finish: impl FnOnce(S) -> Result<T> + Send + 'static,
) -> Result<T>
where
    S: Send + 'static,
    T: Send + 'static,
{
    let sealed = !manifest.recipients.is_empty();
    if sealed && identities.is_none() {
        return Err(Error::Refused(format!(
            "{} is sealed: say --identity FILE (or $HIGHWATER_IDENTITY_FILE)",
            manifest.object
        )));
    }
    let mut got = store.get(&manifest.object, None).await?;
    let (queue, items) = mpsc::channel(QUEUE);
    let worker = tokio::task::spawn_blocking(move || {
        let chunks = Chunks { queue: items, current: Bytes::new() };
        match identities.filter(|_| sealed) {
            Some(identities) => {
                let mut reader = Opener::new(chunks, &identities)?;
                while let Some(item) = reader.next_item()? {
                    if let Sealed::Data(bytes) = item {
                        take(&mut sink, bytes)?;
                    }
                }
            }
            None => {
                let mut reader = PlainReader::new(chunks)?;
                while let Some(item) = reader.next_item()? {
                    if let Sealed::Data(bytes) = item {
                        take(&mut sink, bytes)?;
                    }
                }
            }
        }
        Ok::<_, Error>(sink)
    });
    let (mut bytes, mut digest, mut broken) = (0, Sha256::new(), None);
    while let Some(chunk) = got.stream.next().await {
        match chunk {
            Ok(chunk) => {
                bytes += chunk.len() as u64;
                progress.add(chunk.len() as u64);
                digest.update(&chunk);
                if queue.send(Ok(chunk)).await.is_err() {
                    break; // the reader stopped; its error is told below
                }
            }
            Err(error) => {
                let _ = queue.send(Err(io::Error::other(error.to_string()))).await;
                broken = Some(error);
                break;
            }
        }
    }
    drop(queue);
    let ended = |error| Error::Source(format!("opening {} ended: {error}", manifest.object));
    let sink = worker.await.map_err(ended)?;
    if let Some(error) = broken {
        return Err(error.into());
    }
    let sink = match sink {
        Ok(sink) => sink,
        Err(Error::Seal(error)) => {
            // A damaged header may look like somebody else's: the stored digest knows better than the key.
            let (bytes, sha256) = digest_stored(store, &manifest.object).await?;
            compare_stored(manifest, bytes, &sha256)?;
            return Err(match error.class() {
                seal::Class::Fatal => Error::Damaged(format!("{}: {error}", manifest.object)),
                _ => error.into(),
            });
        }
        Err(error) => return Err(error),
    };
    compare_stored(manifest, bytes, &hex::encode(digest.finalize()))?;
    tokio::task::spawn_blocking(move || finish(sink)).await.map_err(ended)?
}
