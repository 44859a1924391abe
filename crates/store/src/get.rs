//! Reading with resumption: a body that breaks is continued where it ended, from the same object only.
//!
//! The entity tag and the size of every continuation must be those of the first answer; an object that was replaced
//! while being read is an error, never a mixture (P2).

use crate::counters::Operation;
use crate::object::{GetResult, ObjectMeta};
use crate::store::{Store, Tries};
use crate::{Error, Result, Trouble};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use std::ops::Range;

struct Reading {
    store: Store,
    key: String,
    meta: ObjectMeta,
    rest: Range<u64>,
    body: BoxStream<'static, Result<Bytes>>,
    tries: Tries,
}

impl Store {
    /// Opens an object, or the half-open byte `range` of it, as a stream. A range is clipped to the object; one that
    /// starts at or beyond its end is [`Error::Corrupt`], an empty one costs a `head` and yields nothing.
    pub async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<GetResult> {
        if let Some(range) = range.clone().filter(|r| r.start >= r.end) {
            let meta = self.head(key).await?;
            return Ok(GetResult { meta, range: range.start..range.start, stream: stream::empty().boxed() });
        }
        let full = self.full(key)?;
        let tries = self.tries();
        let opened = self.repeat(Operation::Get, 0, || self.shared.backend.get(&full, range.clone())).await?;
        let meta = opened.meta.clone();
        let rest = opened.range.clone();
        let reading =
            Reading { store: self.clone(), key: full, meta: opened.meta, rest, body: opened.stream, tries };
        let stream = stream::try_unfold(reading, next_chunk).boxed();
        Ok(GetResult { meta: self.unscope(meta), range: opened.range, stream })
    }
}

async fn next_chunk(mut r: Reading) -> Result<Option<(Bytes, Reading)>> {
    loop {
        let error = match r.body.next().await {
            Some(Ok(chunk)) if chunk.is_empty() => continue,
            Some(Ok(chunk)) => {
                let length = chunk.len() as u64;
                if length > r.rest.end - r.rest.start {
                    return Err(Error::corrupt(&r.key, "the body is longer than announced"));
                }
                r.rest.start += length;
                r.store.shared.meter.received(Operation::Get, length);
                r.tries = r.store.tries();
                return Ok(Some((chunk, r)));
            }
            None if r.rest.is_empty() => return Ok(None),
            None => short(&r),
            Some(Err(_)) if r.rest.is_empty() => return Ok(None),
            Some(Err(error)) => error,
        };
        if !error.is_retriable() {
            return Err(error);
        }
        r.tries.pause(error).await?;
        resume(&mut r).await?;
    }
}

fn short(r: &Reading) -> Error {
    let missing = r.rest.end - r.rest.start;
    let detail = format!("short body, {missing} bytes are missing");
    Error::unavailable(format_args!("get {}", r.key), Trouble::Connect, detail)
}

/// Opens the rest of the same object.
async fn resume(r: &mut Reading) -> Result<()> {
    let backend = r.store.shared.backend.clone();
    loop {
        let call = backend.get(&r.key, Some(r.rest.clone()));
        match r.store.attempt(Operation::Get, 0, true, call).await {
            Ok(next) if next.meta.etag != r.meta.etag || next.meta.size != r.meta.size => {
                return Err(Error::corrupt(&r.key, "the object was replaced while it was being read"));
            }
            Ok(next) if next.range != r.rest => {
                return Err(Error::corrupt(&r.key, "the store answered with another range than asked"));
            }
            Ok(next) => {
                r.body = next.stream;
                return Ok(());
            }
            Err(error) if error.is_retriable() => r.tries.pause(error).await?,
            Err(error) => return Err(error),
        }
    }
}
