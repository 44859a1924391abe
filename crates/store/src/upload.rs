//! Bodies of unknown length: one part in memory, many on the wire (P7).
//!
//! A body that ends within the first part is one put. Anything longer is an upload in equal parts (R2 insists on equal
//! ones), each repeated on its own; it becomes visible only when it is complete, and is thrown away when the body or a
//! request fails, or when the caller gives up half-way. S3 allows 10,000 parts, so the part size follows from the
//! bound of the whole size; a directory allows any number.

use crate::counters::Operation;
use crate::fence::is_md5;
use crate::object::{Part, PutMode, PutOptions, PutResult, Upload};
use crate::store::{Shared, Store};
use crate::{Error, Result, WRITE_ID};
use bytes::{Bytes, BytesMut};
use futures::stream::{BoxStream, StreamExt};
use md5::{Digest, Md5};
use std::io;
use std::sync::Arc;

/// A body of unknown length.
pub(crate) type Body = BoxStream<'static, io::Result<Bytes>>;

impl Store {
    /// Stores a stream. `size_bound` is an upper bound of its length (it sets the part size; without it a body may
    /// have at most 10,000 parts of 8 MiB). With [`PutMode::Create`] a taken key is [`Error::AlreadyExists`].
    ///
    /// The stream cannot be read twice, so only its parts are repeated; see [`Store::commit_stream`] for more.
    pub async fn put_stream(
        &self,
        key: &str,
        body: Body,
        size_bound: Option<u64>,
        opts: &PutOptions,
    ) -> Result<PutResult> {
        let full = self.full(key)?;
        self.upload(&full, body, size_bound, opts).await
    }

    pub(crate) async fn upload(
        &self,
        full: &str,
        body: Body,
        size_bound: Option<u64>,
        opts: &PutOptions,
    ) -> Result<PutResult> {
        let mut parts =
            Parts { body, rest: Bytes::new(), size: self.shared.backend.part_size(size_bound), key: full };
        let first = parts.next().await?;
        if first.len() < parts.size {
            return self.put_whole(full, first, opts).await;
        }
        let backend = &self.shared.backend;
        let upload = self.repeat(Operation::StartUpload, 0, || backend.start_upload(full, opts)).await?;
        let mut guard = Guard { store: self.clone(), upload: Some(upload.clone()) };
        let done = self.send_parts(&upload, first, &mut parts, opts).await;
        // A completed upload has nothing left to abort; a failed one is thrown away before the error is told.
        guard.upload = None;
        if done.is_err() {
            self.throw_away(&upload).await;
        }
        done
    }

    async fn put_whole(&self, full: &str, body: Bytes, opts: &PutOptions) -> Result<PutResult> {
        if opts.mode == PutMode::Create {
            return self.create_full(full, body, opts).await;
        }
        let sent = body.len() as u64;
        self.repeat(Operation::Put, sent, || self.shared.backend.put(full, body.clone(), opts)).await
    }

    async fn send_parts(
        &self,
        upload: &Upload,
        first: Bytes,
        parts: &mut Parts<'_>,
        opts: &PutOptions,
    ) -> Result<PutResult> {
        let backend = &self.shared.backend;
        let mut sent: Vec<Part> = Vec::new();
        let mut part = first;
        while !part.is_empty() {
            let number = sent.len() as u32 + 1;
            if number > backend.max_parts() {
                let what = format!("the body of {} is larger than its announced bound", upload.key);
                return Err(Error::Refused(what));
            }
            let length = part.len();
            let put = || backend.put_part(upload, number, part.clone());
            sent.push(self.repeat(Operation::PutPart, length as u64, put).await?);
            part = if length < parts.size { Bytes::new() } else { parts.next().await? };
        }
        let weak = opts.mode == PutMode::Create && !self.capabilities().await?.create_only;
        if weak && self.look(&upload.key).await?.is_some() {
            return Err(Error::exists(&upload.key));
        }
        self.complete(upload, &sent, opts).await
    }

    /// Completes, and finds out after a lost reply whether that had worked.
    async fn complete(&self, upload: &Upload, parts: &[Part], opts: &PutOptions) -> Result<PutResult> {
        let mut tries = self.tries();
        loop {
            let call = self.shared.backend.complete_upload(upload, parts, opts);
            match self.attempt(Operation::CompleteUpload, 0, tries.attempt > 1, call).await {
                Err(error) if error.is_retriable() => tries.pause(error).await?,
                Err(Error::NotFound { .. } | Error::AlreadyExists { .. }) if tries.attempt > 1 => {
                    return self.completed_before(upload, parts, opts).await;
                }
                done => return done,
            }
        }
    }

    async fn completed_before(
        &self,
        upload: &Upload,
        parts: &[Part],
        opts: &PutOptions,
    ) -> Result<PutResult> {
        let key = &upload.key;
        let there = self.look(key).await?;
        let Some(there) = there else {
            return Err(Error::Undecided {
                key: key.clone(),
                why: "the upload is gone and no object is there".into(),
            });
        };
        let same_id = opts
            .metadata_value(WRITE_ID)
            .is_some_and(|id| there.metadata.get(WRITE_ID).is_some_and(|t| t == id));
        let same_tag = there.etag.is_some() && there.etag == etag_of_parts(parts);
        if same_id || same_tag {
            return Ok(PutResult { etag: there.etag, version: None });
        }
        match opts.mode {
            PutMode::Create => Err(Error::exists(key)),
            PutMode::Overwrite => Err(Error::Undecided {
                key: key.clone(),
                why: "the reply was lost and another object is there".into(),
            }),
        }
    }

    async fn throw_away(&self, upload: &Upload) {
        let backend = &self.shared.backend;
        if let Err(error) = self.repeat(Operation::AbortUpload, 0, || backend.abort_upload(upload)).await {
            tracing::warn!(key = upload.key, %error, "an unfinished upload stays behind");
        }
    }
}

/// Cuts a stream into equal parts.
struct Parts<'a> {
    body: Body,
    rest: Bytes,
    size: usize,
    key: &'a str,
}

impl Parts<'_> {
    /// The next part: exactly `size` bytes, or fewer at the end, or none.
    async fn next(&mut self) -> Result<Bytes> {
        let mut part = BytesMut::new();
        loop {
            let missing = self.size - part.len();
            let taken = self.rest.split_to(missing.min(self.rest.len()));
            if part.is_empty() && taken.len() == self.size {
                return Ok(taken);
            }
            part.extend_from_slice(&taken);
            if part.len() == self.size {
                return Ok(part.freeze());
            }
            match self.body.next().await {
                Some(Ok(chunk)) => self.rest = chunk,
                Some(Err(error)) => {
                    return Err(Error::other(format_args!("read the body for {}", self.key), error));
                }
                None => return Ok(part.freeze()),
            }
        }
    }
}

/// Throws an upload away if its future is dropped half-way.
struct Guard {
    store: Store,
    upload: Option<Upload>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let (Some(upload), Ok(runtime)) = (self.upload.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        let shared: Arc<Shared> = self.store.shared.clone();
        runtime.spawn(async move {
            let _ = shared.backend.abort_upload(&upload).await;
        });
    }
}

/// The entity tag S3 gives to an object made of parts: MD5 over the parts' MD5s, and their number.
pub(crate) fn etag_of_parts(parts: &[Part]) -> Option<String> {
    let mut all = Md5::new();
    for part in parts {
        all.update(hex::decode(Some(&part.etag).filter(|tag| is_md5(tag))?).ok()?);
    }
    Some(format!("{}-{}", hex::encode(all.finalize()), parts.len()))
}
