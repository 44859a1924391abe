//! From the spool to the store: zstd, age, parts, and the digest of what was sent.
//!
//! Compression and sealing run in a thread beside the network, a part of the upload ahead of it; memory does not grow with the snapshot
//! (P7). The spool can be read again, so a failed attempt begins from its start, a bounded number of times.

use crate::intake::Received;
use crate::{Error, Result};
use seal::{Options, PlainWriter, Protection, Sealer};
use sha2::{Digest, Sha256};
use std::io::{self, Read, Write};
use store::{Feed, PutOptions, Store};

/// Bytes read from the spool at a time.
const CHUNK: usize = 256 << 10;
/// One part of an upload: while it is on its way, the next is compressed.
const AHEAD: usize = 8 << 20;
/// Uncompressed bytes of a block; the window of the compression is within it.
const BLOCK: usize = 2 << 20;
/// Attempts in all, each from the spool's beginning; single requests were repeated before.
const ATTEMPTS: u32 = 3;

/// What was stored.
pub(crate) struct Stored {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// What goes to the store, counted and hashed on its way.
struct Sink {
    feed: Feed,
    digest: Sha256,
    bytes: u64,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.feed.write(bytes)?;
        self.digest.update(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.feed.flush()
    }
}

/// Stores the snapshot under `key`, create-only.
pub(crate) async fn upload(
    store: &Store,
    key: &str,
    received: &Received,
    protection: &Protection,
) -> Result<Stored> {
    for attempt in 1.. {
        // A first attempt may have been completed although its reply was lost; the key holds the body's digest, so writing it
        // again replaces nothing but the same snapshot.
        let options = if attempt == 1 { PutOptions::create() } else { PutOptions::overwrite() };
        match once(store, key, received, protection, &options).await {
            Err(Error::Store(error)) if error.is_retriable() && attempt < ATTEMPTS => {
                tracing::warn!(key, attempt, %error, "the upload starts again from the spool");
            }
            Err(Error::Store(store::Error::AlreadyExists { .. })) => {
                return Err(Error::Busy(format!(
                    "{key} exists already: another job ships the same snapshot"
                )));
            }
            done => return done,
        }
    }
    unreachable!("the last attempt returns")
}

async fn once(
    store: &Store,
    key: &str,
    received: &Received,
    protection: &Protection,
    options: &PutOptions,
) -> Result<Stored> {
    let (feed, body) = store::feed_ahead(AHEAD);
    let mut source: Box<dyn Read + Send> = Box::new(received.spool.reader());
    let payload = received.body + crate::proof::TRAILER;
    if !received.trailer {
        source = Box::new(source.chain(io::Cursor::new(received.sha256)));
    }
    let protection = protection.clone();
    let work = move || {
        let sink = Sink { feed, digest: Sha256::new(), bytes: 0 };
        let options = Options { block_bytes: BLOCK, ..Options::default() };
        let sink = match protection {
            Protection::Sealed(recipients) => {
                let mut writer = Sealer::new(sink, &recipients, options)?;
                copy(&mut *source, &mut writer)?;
                writer.finish()?
            }
            Protection::Plain => {
                let mut writer = PlainWriter::new(sink, options)?;
                copy(&mut *source, &mut writer)?;
                writer.finish()?
            }
        };
        sink.feed.finish().map_err(Error::local("hand over the last chunk"))?;
        Ok::<_, Error>(Stored { bytes: sink.bytes, sha256: hex::encode(sink.digest.finalize()) })
    };
    let worker = tokio::task::spawn_blocking(work);
    // zstd grows incompressible data by a fraction of a percent, age by 16 bytes per 64 KiB.
    let bound = payload + payload / 128 + (1 << 20);
    let put = store.put_stream(key, body, Some(bound), options).await;
    let sealed = worker.await.map_err(|error| Error::Source(format!("sealing ended: {error}")))?;
    match (put, sealed) {
        (Ok(_), sealed) => sealed,
        // The store's reason is the cause; the worker only saw its reader go.
        (Err(error), Ok(_)) => Err(error.into()),
        (Err(error), Err(worker)) => match worker {
            Error::Local { .. } | Error::Seal(seal::Error::Io(_)) => Err(error.into()),
            other => Err(other),
        },
    }
}

fn copy(source: &mut dyn Read, writer: &mut dyn Write) -> Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = source.read(&mut buffer).map_err(Error::local("read the spool"))?;
        if count == 0 {
            return Ok(());
        }
        writer.write_all(&buffer[..count]).map_err(Error::local("seal the snapshot"))?;
    }
}
