//! A store in memory with the semantics of S3: for tests and simulation.
//!
//! Entity tags are MD5 sums as S3 gives them, uploads in parts included, so that the fence takes the same paths.
//! [`MemoryStore::without_create_only`] behaves like stores that ignore `If-None-Match`.

use crate::fence::md5_hex;
use crate::object::{
    GetResult, ObjectMeta, ObjectStore, Page, Part, PutMode, PutOptions, PutResult, ServerDate, Upload, clip,
};
use crate::upload::etag_of_parts;
use crate::{Error, Kind, Result};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use clock::Clock;
use futures::stream::{self, StreamExt};
use std::collections::{BTreeMap, HashMap};
use std::ops::{Bound, Range};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

#[derive(Clone)]
struct Object {
    body: Bytes,
    meta: ObjectMeta,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Object>,
    uploads: HashMap<String, (PutOptions, BTreeMap<u32, Bytes>)>,
    next_upload: u64,
}

/// Objects in memory; clones share them.
#[derive(Clone)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    clock: Arc<dyn Clock>,
    create_only: Option<bool>,
    part_size: usize,
}

/// The store that `memory://name` names; the same for every open in this process.
pub(crate) fn named(name: &str, clock: Arc<dyn Clock>) -> Arc<MemoryStore> {
    static STORES: OnceLock<Mutex<HashMap<String, Arc<MemoryStore>>>> = OnceLock::new();
    let mut stores = STORES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    stores.entry(name.to_owned()).or_insert_with(|| Arc::new(MemoryStore::new(clock))).clone()
}

impl MemoryStore {
    /// An empty store.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { state: Arc::default(), clock, create_only: Some(true), part_size: 8 << 20 }
    }

    /// The same store seen as one that accepts create-only puts again and again.
    pub fn without_create_only(mut self) -> Self {
        self.create_only = None;
        self
    }

    /// Smaller parts, so that tests reach the upload path with little data.
    pub fn with_part_size(mut self, bytes: usize) -> Self {
        self.part_size = bytes.max(1);
        self
    }

    /// Unfinished uploads.
    pub fn pending_uploads(&self) -> usize {
        self.lock().uploads.len()
    }

    /// Flips one byte of an object, as bit rot would; false if there is no such byte.
    pub fn corrupt(&self, key: &str, offset: usize) -> bool {
        let mut state = self.lock();
        let Some(object) = state.objects.get_mut(key) else { return false };
        let mut body = BytesMut::from(&object.body[..]);
        let Some(byte) = body.get_mut(offset) else { return false };
        *byte ^= 1;
        object.body = body.freeze();
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, key: &str, body: Bytes, etag: String, opts: &PutOptions) -> Result<PutResult> {
        let mut state = self.lock();
        let refuses = opts.mode == PutMode::Create && self.create_only == Some(true);
        if refuses && state.objects.contains_key(key) {
            return Err(Error::exists(key));
        }
        let meta = ObjectMeta {
            key: key.to_owned(),
            size: body.len() as u64,
            modified_ms: self.clock.unix_ms(),
            etag: Some(etag.clone()),
            metadata: opts.metadata.iter().cloned().collect(),
        };
        state.objects.insert(key.to_owned(), Object { body, meta });
        Ok(PutResult { etag: Some(etag), version: None })
    }
}

#[async_trait]
impl ObjectStore for MemoryStore {
    fn kind(&self) -> Kind {
        Kind::Memory
    }

    fn create_only(&self) -> Option<bool> {
        self.create_only
    }

    fn part_size(&self, _bound: Option<u64>) -> usize {
        self.part_size
    }

    /// The clock it was given is also the server's.
    fn server_date(&self) -> Option<ServerDate> {
        let now = self.clock.unix_ms();
        Some(ServerDate { server_ms: now, local_ms: now })
    }

    async fn put(&self, key: &str, body: Bytes, opts: &PutOptions) -> Result<PutResult> {
        let etag = md5_hex(&body);
        self.insert(key, body, etag, opts)
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<GetResult> {
        let object = self.lock().objects.get(key).cloned().ok_or_else(|| Error::not_found(key))?;
        let range = clip(key, range, object.meta.size)?;
        let body = object.body.slice(range.start as usize..range.end as usize);
        Ok(GetResult { meta: object.meta, range, stream: stream::iter([Ok(body)]).boxed() })
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        self.lock().objects.get(key).map(|o| o.meta.clone()).ok_or_else(|| Error::not_found(key))
    }

    async fn list_page(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Page> {
        let state = self.lock();
        let from = match start_after.filter(|after| *after >= prefix) {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included(prefix),
        };
        let mut found = state
            .objects
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(k, _)| k.starts_with(prefix));
        let plain = |o: &Object| ObjectMeta { metadata: BTreeMap::new(), ..o.meta.clone() };
        let objects: Vec<ObjectMeta> = found.by_ref().take(limit).map(|(_, o)| plain(o)).collect();
        Ok(Page { objects, more: found.next().is_some() })
    }

    async fn delete(&self, keys: &[String]) -> Result<Vec<Result<()>>> {
        let mut state = self.lock();
        for key in keys {
            state.objects.remove(key);
        }
        Ok(keys.iter().map(|_| Ok(())).collect())
    }

    async fn start_upload(&self, key: &str, opts: &PutOptions) -> Result<Upload> {
        let mut state = self.lock();
        state.next_upload += 1;
        let id = state.next_upload.to_string();
        state.uploads.insert(id.clone(), (opts.clone(), BTreeMap::new()));
        Ok(Upload { key: key.to_owned(), id })
    }

    async fn put_part(&self, upload: &Upload, number: u32, body: Bytes) -> Result<Part> {
        let etag = md5_hex(&body);
        let mut state = self.lock();
        let (_, parts) = state.uploads.get_mut(&upload.id).ok_or_else(|| Error::not_found(&upload.key))?;
        parts.insert(number, body);
        Ok(Part { number, etag })
    }

    async fn complete_upload(&self, upload: &Upload, parts: &[Part], opts: &PutOptions) -> Result<PutResult> {
        let (started, stored) =
            self.lock().uploads.get(&upload.id).cloned().ok_or_else(|| Error::not_found(&upload.key))?;
        let mut body = BytesMut::new();
        for part in parts {
            let bytes =
                stored.get(&part.number).ok_or_else(|| Error::corrupt(&upload.key, "a part is missing"))?;
            body.extend_from_slice(bytes);
        }
        let etag =
            etag_of_parts(parts).ok_or_else(|| Error::corrupt(&upload.key, "a part has a strange tag"))?;
        let done =
            self.insert(&upload.key, body.freeze(), etag, &PutOptions { mode: opts.mode, ..started })?;
        self.lock().uploads.remove(&upload.id);
        Ok(done)
    }

    async fn abort_upload(&self, upload: &Upload) -> Result<()> {
        self.lock().uploads.remove(&upload.id);
        Ok(())
    }
}
