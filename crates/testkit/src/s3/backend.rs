//! The S3 operations over a [`Disk`]: the semantics our clients depend on, and nothing else.
//!
//! Kept as S3 does it: create-only and compare-and-swap PUTs (also for CompleteMultipartUpload), MD5 ETags, user
//! metadata on GET and HEAD, ranges (416 beyond the end), LIST in byte order with at most 1,000 lines a page,
//! idempotent DELETE, parts of at least 5 MiB. Not kept: versions, ACLs, encryption, stored `x-amz-checksum-*`.
//! File reads and writes are done in place: they hit the page cache, and a hop to a thread pool costs more.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use md5::{Digest, Md5};
use s3s::dto::*;
use s3s::stream::{ByteStream, RemainingLength};
use s3s::{S3Error, S3ErrorCode, S3Result, StdError, s3_error};

use super::disk::{CommitError, Condition, Disk, Meta};
use super::faults::Faults;
use super::listing::{self, Entry, Query};

/// Bytes per step of a download.
const READ_CHUNK: usize = 256 << 10;

/// Lines per page of a listing.
pub(super) const PAGE: usize = 1000;

/// The store behind the protocol.
#[derive(Debug)]
pub(super) struct Backend {
    pub(super) disk: Arc<Disk>,
    pub(super) faults: Arc<Faults>,
}

/// A body on disk, before it has a name.
pub(super) struct Received {
    pub(super) path: PathBuf,
    pub(super) md5: [u8; 16],
}

impl Drop for Received {
    fn drop(&mut self) {
        // Already renamed when it was committed.
        let _ = fs::remove_file(&self.path);
    }
}

impl Backend {
    pub(super) fn check(&self, bucket: &str, key: &str) -> S3Result<PathBuf> {
        self.bucket(bucket)?;
        self.disk.path(bucket, key).ok_or_else(|| s3_error!(InvalidArgument, "keys are paths here"))
    }

    pub(super) fn bucket(&self, bucket: &str) -> S3Result<PathBuf> {
        self.disk.bucket(bucket).ok_or_else(|| s3_error!(NoSuchBucket, "no such bucket"))
    }

    pub(super) fn condition(
        &self,
        none_match: &Option<ETagCondition>,
        matching: &Option<ETagCondition>,
    ) -> S3Result<Condition> {
        if self.faults.ignores_conditions() {
            return Ok(Condition::Always);
        }
        match (none_match, matching) {
            (None, None) => Ok(Condition::Always),
            (Some(ETagCondition::Any), None) => Ok(Condition::Absent),
            (None, Some(ETagCondition::ETag(etag))) => Ok(Condition::Etag(etag.value().to_owned())),
            _ => Err(s3_error!(
                NotImplemented,
                "A header you provided implies functionality that is not implemented"
            )),
        }
    }

    /// Streams a body into a temp file, hashing it on the way.
    pub(super) async fn receive(&self, body: Option<StreamingBlob>, md5: Option<&str>) -> S3Result<Received> {
        let (mut file, path) = self.disk.temp().map_err(internal)?;
        let mut received = Received { path, md5: [0; 16] };
        let mut hasher = Md5::new();
        if let Some(mut body) = body {
            while let Some(chunk) = body.next().await {
                let chunk =
                    chunk.map_err(|error| S3Error::with_source(S3ErrorCode::IncompleteBody, error))?;
                hasher.update(&chunk);
                file.write_all(&chunk).map_err(internal)?;
            }
        }
        received.md5 = hasher.finalize().into();
        if md5.is_some_and(|expected| expected != base64(&received.md5)) {
            return Err(s3_error!(BadDigest, "the Content-MD5 does not match what was received"));
        }
        Ok(received)
    }

    pub(super) async fn put(&self, input: PutObjectInput) -> S3Result<PutObjectOutput> {
        self.check(&input.bucket, &input.key)?;
        let condition = self.condition(&input.if_none_match, &input.if_match)?;
        let received = self.receive(input.body, input.content_md5.as_deref()).await?;
        let mut meta =
            new_meta(hex::encode(received.md5), input.content_type, input.content_encoding, input.metadata);
        self.disk
            .commit((&input.bucket, &input.key), &received.path, &mut meta, &condition)
            .map_err(refused)?;
        Ok(PutObjectOutput { e_tag: Some(ETag::Strong(meta.etag)), ..Default::default() })
    }

    /// The metadata of an object and its file, after the conditions of a read.
    fn found(
        &self,
        bucket: &str,
        key: &str,
        none_match: &Option<ETagCondition>,
        matching: &Option<ETagCondition>,
    ) -> S3Result<(Meta, File)> {
        self.bucket(bucket)?;
        let (meta, file) = self.disk.open_object(bucket, key).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
                s3_error!(NoSuchKey, "The specified key does not exist.")
            }
            _ => internal(error),
        })?;
        let is = |condition: &ETagCondition| match condition {
            ETagCondition::Any => true,
            ETagCondition::ETag(etag) => etag.value() == meta.etag,
        };
        if matching.as_ref().is_some_and(|condition| !is(condition)) {
            return Err(s3_error!(PreconditionFailed, "At least one of the preconditions did not hold"));
        }
        if none_match.as_ref().is_some_and(is) {
            return Err(s3_error!(NotModified));
        }
        Ok((meta, file))
    }

    pub(super) fn get(&self, input: GetObjectInput) -> S3Result<GetObjectOutput> {
        let (meta, mut file) =
            self.found(&input.bucket, &input.key, &input.if_none_match, &input.if_match)?;
        let range = match &input.range {
            None => 0..meta.size,
            Some(range) => range.check(meta.size).map_err(|_| s3_error!(InvalidRange, "beyond the end"))?,
        };
        file.seek(SeekFrom::Start(range.start)).map_err(internal)?;
        let left = usize::try_from(range.end - range.start).expect("files fit the address space");
        let content_range = input
            .range
            .map(|_| format!("bytes {}-{}/{}", range.start, range.end.saturating_sub(1), meta.size));
        Ok(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            body: Some(StreamingBlob::new(FileStream { file, left })),
            content_encoding: meta.headers.get("content-encoding").cloned(),
            content_length: Some(left as i64),
            content_range,
            content_type: meta.headers.get("content-type").cloned(),
            e_tag: Some(ETag::Strong(meta.etag.clone())),
            last_modified: Some(meta.modified.into()),
            metadata: user_metadata(&meta),
            ..Default::default()
        })
    }

    pub(super) fn head(&self, input: HeadObjectInput) -> S3Result<HeadObjectOutput> {
        let (meta, _) = self.found(&input.bucket, &input.key, &input.if_none_match, &input.if_match)?;
        Ok(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_encoding: meta.headers.get("content-encoding").cloned(),
            content_length: Some(meta.size as i64),
            content_type: meta.headers.get("content-type").cloned(),
            e_tag: Some(ETag::Strong(meta.etag.clone())),
            last_modified: Some(meta.modified.into()),
            metadata: user_metadata(&meta),
            ..Default::default()
        })
    }

    /// One page: objects, common prefixes, and the entry to continue behind.
    pub(super) fn list(
        &self,
        bucket: &str,
        mut query: Query,
        delimiter: Option<&str>,
        encode: bool,
    ) -> S3Result<(ObjectList, CommonPrefixList, Option<Entry>)> {
        query.delimited = match delimiter {
            None | Some("") => false,
            Some("/") => true,
            Some(_) => return Err(s3_error!(NotImplemented, "only / is known as a delimiter")),
        };
        query.max = query.max.min(PAGE);
        let name = |name: &str| if encode { url_encode(name) } else { name.to_owned() };
        let (entries, more) = listing::list(&self.bucket(bucket)?, &query).map_err(internal)?;
        let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
        for entry in &entries {
            match entry {
                Entry::Prefix(prefix) => prefixes.push(CommonPrefix { prefix: Some(name(prefix)) }),
                // Gone since the walk: a listing without it is as true.
                Entry::Key(key) => objects.extend(self.disk.meta(bucket, key).ok().map(|meta| Object {
                    e_tag: Some(ETag::Strong(meta.etag)),
                    key: Some(name(key)),
                    last_modified: Some(meta.modified.into()),
                    size: Some(meta.size as i64),
                    storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
                    ..Default::default()
                })),
            }
        }
        Ok((objects, prefixes, entries.last().filter(|_| more).cloned()))
    }
}

/// Bytes of a file from where it stands.
struct FileStream {
    file: File,
    left: usize,
}

impl Stream for FileStream {
    type Item = Result<Bytes, StdError>;

    fn poll_next(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let mut chunk = BytesMut::zeroed(self.left.min(READ_CHUNK));
        if let Err(error) = self.file.read_exact(&mut chunk) {
            return Poll::Ready(Some(Err(error.into())));
        }
        self.left -= chunk.len();
        Poll::Ready(Some(Ok(chunk.freeze())))
    }
}

impl ByteStream for FileStream {
    fn remaining_length(&self) -> RemainingLength {
        RemainingLength::new_exact(self.left)
    }
}

pub(super) fn new_meta(
    etag: String,
    content_type: Option<String>,
    content_encoding: Option<String>,
    user: Option<Metadata>,
) -> Meta {
    let headers = [("content-type", content_type), ("content-encoding", content_encoding)];
    let headers = headers.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    let user = user.unwrap_or_default().into_iter().collect();
    Meta { etag, size: 0, modified: SystemTime::UNIX_EPOCH, headers, user }
}

fn user_metadata(meta: &Meta) -> Option<Metadata> {
    (!meta.user.is_empty()).then(|| meta.user.clone().into_iter().collect())
}

pub(super) fn internal(error: std::io::Error) -> S3Error {
    S3Error::with_message(S3ErrorCode::InternalError, error.to_string())
}

pub(super) fn refused(error: CommitError) -> S3Error {
    match error {
        CommitError::Precondition => {
            s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold")
        }
        CommitError::Missing => s3_error!(NoSuchKey, "The specified key does not exist."),
        CommitError::Io(error) => internal(error),
    }
}

pub(super) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let index = (word >> (18 - 6 * i)) as usize & 63;
            text.push(if i <= chunk.len() { char::from(ALPHABET[index]) } else { '=' });
        }
    }
    text
}

pub(super) fn url_encode(key: &str) -> String {
    key.bytes().fold(String::new(), |mut text, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                text.push(char::from(byte))
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
        text
    })
}
