//! A body that a blocking thread writes while it is sent.
//!
//! [`feed`] gives the thread's end, a [`Write`], and the body for [`Store::put_stream`](crate::Store::put_stream). A few chunks lie between
//! them, so that memory is bounded and the writer waits for the network (P7). Only [`Feed::finish`] ends the body: a writer that
//! fails, panics or is dropped breaks it off with an error, so that half of an object is never stored as a whole one (P1).

use bytes::{Bytes, BytesMut};
use futures::stream::{BoxStream, StreamExt, unfold};
use std::io::{self, Write};
use tokio::sync::mpsc;

/// Bytes per message.
const CHUNK: usize = 256 << 10;
/// Messages between writer and upload.
const QUEUE: usize = 4;

enum Message {
    Chunk(Bytes),
    End,
}

/// The writer's end; blocks while the queue is full, so it belongs on a thread that may block.
pub struct Feed {
    queue: mpsc::Sender<Message>,
    chunk: BytesMut,
}

/// A writer and the body it writes.
pub fn feed() -> (Feed, BoxStream<'static, io::Result<Bytes>>) {
    feed_ahead(QUEUE * CHUNK)
}

/// The same, with a writer that may be `bytes` ahead: a part of an upload is read to its end before it is sent, and with fewer bytes between
/// them thread and network take turns instead of working side by side.
pub fn feed_ahead(bytes: usize) -> (Feed, BoxStream<'static, io::Result<Bytes>>) {
    let (queue, messages) = mpsc::channel((bytes / CHUNK).max(1));
    let body = unfold(Some(messages), |messages| async move {
        let mut messages = messages?;
        match messages.recv().await {
            Some(Message::Chunk(chunk)) => Some((Ok(chunk), Some(messages))),
            Some(Message::End) => None,
            None => Some((Err(io::Error::other("its writer gave the body up")), None)),
        }
    });
    (Feed { queue, chunk: BytesMut::new() }, body.boxed())
}

impl Feed {
    /// Hands over the rest and marks the end: the object is complete.
    pub fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.send(Message::End)
    }

    fn send(&self, message: Message) -> io::Result<()> {
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the upload has ended");
        self.queue.blocking_send(message).map_err(gone)
    }
}

impl Write for Feed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.chunk.capacity() == 0 {
            self.chunk.reserve(CHUNK);
        }
        let taken = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        if self.chunk.len() == CHUNK {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::take(&mut self.chunk).freeze();
        self.send(Message::Chunk(chunk))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, MemoryStore, OpenConfig, PutOptions, Store};
    use clock::SystemClock;
    use std::sync::Arc;

    fn store() -> Store {
        Store::new(Arc::new(MemoryStore::new(Arc::new(SystemClock))), &OpenConfig::default())
    }

    /// What a thread writes, stored under `a`.
    async fn put(
        store: &Store,
        write: impl FnOnce(Feed) + Send + 'static,
    ) -> Result<crate::PutResult, Error> {
        let (feed, body) = feed();
        let writer = tokio::task::spawn_blocking(move || write(feed));
        let done = store.put_stream("a", body, None, &PutOptions::create()).await;
        writer.await.expect("the writer does not panic");
        done
    }

    #[tokio::test]
    async fn what_was_written_arrives() {
        let bytes: Vec<u8> = (0..3 * CHUNK + 17).map(|i| (i % 251) as u8).collect();
        let (store, expected) = (store(), bytes.clone());
        put(&store, move |mut feed| {
            for piece in bytes.chunks(70_001) {
                feed.write_all(piece).expect("the upload takes it");
            }
            feed.finish().expect("the upload takes the end");
        })
        .await
        .expect("stored");
        assert_eq!(store.get_bytes("a", None).await.expect("there"), expected);
    }

    #[tokio::test]
    async fn p1_a_body_that_was_given_up_is_not_stored() {
        let store = store();
        let done = put(&store, |mut feed| {
            feed.write_all(b"half").expect("buffered");
            feed.flush().expect("taken"); // and dropped without an end
        });
        assert!(done.await.is_err());
        assert!(matches!(store.get_bytes("a", None).await, Err(Error::NotFound { .. })));
    }
}
