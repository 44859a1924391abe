//! The raw contract of a backend: one request per call.
//!
//! No retries, no accounting, no splitting of large bodies: [`crate::Store`] does that for all backends alike, so that
//! a backend is small and a fault can be injected at every single request ([`crate::fault`]).

use crate::{Error, Kind, Result};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

/// May an existing object be replaced?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PutMode {
    /// Fails with [`Error::AlreadyExists`] when the key is taken. Atomic: of two creators exactly one succeeds,
    /// as long as the store knows create-only puts ([`crate::Capabilities`]).
    #[default]
    Create,
    /// Replaces atomically: readers see the old or the new object, whole. Last writer wins; a delayed duplicate of an
    /// older request may win too, so use it for status objects only.
    Overwrite,
}

/// How to put an object.
#[derive(Debug, Clone, Default)]
pub struct PutOptions {
    /// Create-only (default) or overwrite.
    pub mode: PutMode,
    /// User metadata; names in lower-case ASCII. `file://` does not keep it.
    pub metadata: Vec<(String, String)>,
    /// Modification time in Unix ms: `file://` sets the mtime; S3 keeps its own time.
    pub modified_ms: Option<i64>,
    /// MIME type.
    pub content_type: Option<String>,
}

impl PutOptions {
    /// Create-only, no metadata.
    pub fn create() -> Self {
        Self::default()
    }

    /// Replace what is there.
    pub fn overwrite() -> Self {
        Self { mode: PutMode::Overwrite, ..Self::default() }
    }

    /// Adds a metadata entry.
    pub fn with_metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.push((name.into(), value.into()));
        self
    }

    /// Sets the modification time.
    pub fn with_modified_ms(mut self, ms: i64) -> Self {
        self.modified_ms = Some(ms);
        self
    }

    pub(crate) fn metadata_value(&self, name: &str) -> Option<&str> {
        self.metadata.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// What a put left behind.
#[derive(Debug, Clone, Default)]
pub struct PutResult {
    /// The store's entity tag without quotes, if it has one.
    pub etag: Option<String>,
    /// Version, where the bucket keeps versions.
    pub version: Option<String>,
}

/// What a store says about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Key relative to the prefix of the URL.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// The store's time of the last change, Unix ms.
    pub modified_ms: i64,
    /// Entity tag without quotes.
    pub etag: Option<String>,
    /// User metadata; `get` and `head` only.
    pub metadata: BTreeMap<String, String>,
}

/// An object, or a range of it, being read.
pub struct GetResult {
    /// The object's description; `size` is that of the whole object.
    pub meta: ObjectMeta,
    /// The bytes the stream will yield, clipped to the object.
    pub range: Range<u64>,
    /// The body. Ends with an error if it is shorter than `range`.
    pub stream: BoxStream<'static, Result<Bytes>>,
}

impl GetResult {
    /// Reads the body into memory.
    pub async fn bytes(mut self) -> Result<Bytes> {
        let expected = self.range.end - self.range.start;
        let Some(first) = self.stream.next().await.transpose()? else { return Ok(Bytes::new()) };
        if first.len() as u64 == expected {
            return Ok(first);
        }
        let mut all = Vec::with_capacity(usize::try_from(expected).unwrap_or(0).min(64 << 20));
        all.extend_from_slice(&first);
        drop(first); // a piece that is held keeps the connection from using its buffer again
        self.append_to(&mut all).await?;
        Ok(all.into())
    }

    /// Reads the body behind what `buffer` holds.
    pub async fn append_to(mut self, buffer: &mut Vec<u8>) -> Result<()> {
        while let Some(chunk) = self.stream.next().await {
            buffer.extend_from_slice(&chunk?);
        }
        Ok(())
    }
}

impl fmt::Debug for GetResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetResult")
            .field("meta", &self.meta)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

/// One page of a listing.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Objects in ascending byte order of their keys.
    pub objects: Vec<ObjectMeta>,
    /// True when more keys follow the last one of this page.
    pub more: bool,
}

/// An upload in parts that is not an object yet.
#[derive(Debug, Clone)]
pub struct Upload {
    /// Key it will have.
    pub key: String,
    /// The backend's handle.
    pub id: String,
}

/// One stored part of an upload.
#[derive(Debug, Clone)]
pub struct Part {
    /// 1-based, ascending.
    pub number: u32,
    /// Entity tag without quotes.
    pub etag: String,
}

/// A response's time, as the server saw it, and ours at its arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerDate {
    /// `Date` header in Unix ms; resolution one second.
    pub server_ms: i64,
    /// Our wall clock at the same moment.
    pub local_ms: i64,
}

/// A backend. Every method is one request (or one system-level operation) and either happens whole or not at all;
/// after [`Error::Unavailable`] the effect is unknown unless stated otherwise.
#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// Which backend this is.
    fn kind(&self) -> Kind;

    /// Whether create-only puts are known to work without asking (`None`: probe first).
    fn create_only(&self) -> Option<bool> {
        Some(true)
    }

    /// Bytes per part of an upload whose total size is at most `bound`; all parts but the last have this size.
    /// Bodies up to one part are one put.
    fn part_size(&self, bound: Option<u64>) -> usize {
        let _ = bound;
        8 << 20
    }

    /// More parts than this no upload can have.
    fn max_parts(&self) -> u32 {
        10_000
    }

    /// Objects to ask for per page of a listing.
    fn page_size(&self) -> usize {
        1_000
    }

    /// The last `Date` the server sent.
    fn server_date(&self) -> Option<ServerDate> {
        None
    }

    /// Stores `body` atomically and durably under `key`; see [`PutMode`].
    async fn put(&self, key: &str, body: Bytes, opts: &PutOptions) -> Result<PutResult>;

    /// Opens an object for reading. `range` is half open and not empty; it is clipped to the object, and an error
    /// ([`Error::Corrupt`]) if it starts at or beyond its end.
    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<GetResult>;

    /// Describes an object.
    async fn head(&self, key: &str) -> Result<ObjectMeta>;

    /// Up to `limit` objects (fewer are legal) whose keys start with `prefix` and are greater than
    /// `start_after`, in ascending byte order. An empty page without `more` is a proven absence.
    async fn list_page(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Page>;

    /// Removes up to 1,000 objects; one result per key in the same order. Removing what is not there is a success.
    async fn delete(&self, keys: &[String]) -> Result<Vec<Result<()>>>;

    /// Starts an upload in parts. Nothing is visible before [`ObjectStore::complete_upload`].
    async fn start_upload(&self, key: &str, opts: &PutOptions) -> Result<Upload>;

    /// Stores part `number` (1-based). Repeating a number replaces the part.
    async fn put_part(&self, upload: &Upload, number: u32, body: Bytes) -> Result<Part>;

    /// Makes the object visible, atomically; honours [`PutMode::Create`].
    async fn complete_upload(&self, upload: &Upload, parts: &[Part], opts: &PutOptions) -> Result<PutResult>;

    /// Throws an unfinished upload away; an unknown upload is a success.
    async fn abort_upload(&self, upload: &Upload) -> Result<()>;
}

/// The range of `0..size` that `wanted` covers, or the error for a range beyond the end.
pub(crate) fn clip(key: &str, wanted: Option<Range<u64>>, size: u64) -> Result<Range<u64>> {
    match wanted {
        None => Ok(0..size),
        Some(range) if range.start < size => Ok(range.start..range.end.min(size)),
        Some(range) => Err(Error::corrupt(
            key,
            format!("range {}..{} starts beyond the end ({size} bytes)", range.start, range.end),
        )),
    }
}
