//! Numbered, create-only commits: the fence all rooms use (P3, P4).
//!
//! A replica is a sequence of objects with ascending numbers in their keys. Whoever creates number *n+1* owns it; a
//! second writer collides there, has overwritten nothing, and learns it ([`Error::Fenced`]). There is no lock and no
//! lease. The *epoch* (who writes, since which claim) rides inside the object, where the room that knows the format
//! puts it; a *claim* is simply a commit of the next number that carries a new epoch and that retention keeps.
//!
//! The protocol of one commit:
//! 1. `PUT key, If-None-Match: *`. Success: committed.
//! 2. 409, 5xx, timeout, lost connection: the effect is unknown; the same put is repeated.
//! 3. 412: something is there. Compare before judging, because a put whose reply was lost meets itself:
//!    - HEAD (LIST where reading is forbidden): other size: fenced. Same write id in the metadata: ours.
//!    - entity tag is the MD5 of our body: ours. Another MD5, from a store known to answer with MD5s: fenced.
//!    - otherwise (encrypted with KMS, a file system): GET and compare bytes.
//!    - no right to find out: [`Error::Undecided`], never "fenced".
//!
//! Weaker mode, where [`crate::Capabilities::create_only`] is false: HEAD before each PUT, with the same comparison.
//! It catches every writer that is not between its own HEAD and PUT at this moment.
//!
//! Cost: a commit is one PUT; one that meets itself is PUT and HEAD.

use crate::counters::Operation;
use crate::object::{ObjectMeta, PutMode, PutOptions, PutResult};
use crate::store::Store;
use crate::{Error, Result, Trouble};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use md5::{Digest, Md5};
use std::io;
use std::sync::atomic::Ordering::Relaxed;

/// Metadata name that identifies one write: the same id means the same object.
pub const WRITE_ID: &str = "highwater-write-id";

/// How a commit ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// This call created the object.
    Created,
    /// The identical object was there already: our own, after a lost reply or a crash.
    Repeated,
}

/// What we know about the object that we want to be there.
pub(crate) enum Ours<'a> {
    Body(&'a Bytes),
    Stream(&'a (dyn Fn() -> BoxStream<'static, io::Result<Bytes>> + Send + Sync)),
}

/// Values of `Shared::etags`.
const ETAG_IS_MD5: u8 = 1;
const ETAG_IS_OTHER: u8 = 2;

impl Store {
    /// Commits `body` under the numbered `key`, create-only; see the module documentation. The mode in `opts` is
    /// ignored. [`Error::Unavailable`] means that the commit may or may not have happened: commit the same again.
    pub async fn commit(&self, key: &str, body: Bytes, opts: &PutOptions) -> Result<Commit> {
        let opts = PutOptions { mode: PutMode::Create, ..opts.clone() };
        let full = self.full(key)?;
        let weak = !self.capabilities().await?.create_only;
        let mut tries = self.tries();
        loop {
            if weak && let Some(there) = self.look(&full).await? {
                return self.judge(&full, &there, &Ours::Body(&body), &opts).await;
            }
            let call = self.shared.backend.put(&full, body.clone(), &opts);
            match self.attempt(Operation::Put, body.len() as u64, tries.attempt > 1, call).await {
                Ok(result) => {
                    self.learn_etag(&body, &result);
                    return Ok(Commit::Created);
                }
                Err(Error::AlreadyExists { .. }) => {
                    return self.compare(&full, &Ours::Body(&body), &opts).await;
                }
                Err(error) if error.is_retriable() => tries.pause(error).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Commits a large body that `source` can produce again and again, byte for byte. Give it a write id
    /// ([`WRITE_ID`]) in the metadata: a commit that meets itself is then recognised by one HEAD; without it, or on
    /// `file://`, the object is read back and compared with a fresh stream.
    pub async fn commit_stream<F>(
        &self,
        key: &str,
        source: F,
        size_bound: Option<u64>,
        opts: &PutOptions,
    ) -> Result<Commit>
    where
        F: Fn() -> BoxStream<'static, io::Result<Bytes>> + Send + Sync,
    {
        let opts = PutOptions { mode: PutMode::Create, ..opts.clone() };
        let full = self.full(key)?;
        let mut tries = self.tries();
        loop {
            match self.upload(&full, source(), size_bound, &opts).await {
                Ok(_) => return Ok(Commit::Created),
                Err(Error::AlreadyExists { .. } | Error::Undecided { .. }) => {
                    return self.compare(&full, &Ours::Stream(&source), &opts).await;
                }
                Err(error) if error.is_retriable() => tries.pause(error).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// A create-only put outside of a numbered sequence: a taken key is [`Error::AlreadyExists`], unless an earlier
    /// attempt of this call may have taken it and its content is ours.
    pub(crate) async fn create(&self, key: &str, body: Bytes, opts: &PutOptions) -> Result<PutResult> {
        let full = self.full(key)?;
        self.create_full(&full, body, opts).await
    }

    pub(crate) async fn create_full(&self, full: &str, body: Bytes, opts: &PutOptions) -> Result<PutResult> {
        let weak = !self.capabilities().await?.create_only;
        let mut tries = self.tries();
        loop {
            let there = if weak { self.look(full).await? } else { None };
            let outcome = match there {
                Some(_) => Err(Error::exists(full)),
                None => {
                    let call = self.shared.backend.put(full, body.clone(), opts);
                    self.attempt(Operation::Put, body.len() as u64, tries.attempt > 1, call).await
                }
            };
            match outcome {
                Ok(result) => {
                    self.learn_etag(&body, &result);
                    return Ok(result);
                }
                Err(error @ Error::AlreadyExists { .. }) if tries.attempt > 1 => {
                    return match self.compare(full, &Ours::Body(&body), opts).await {
                        Ok(_) => Ok(PutResult::default()),
                        Err(Error::Fenced { .. }) => Err(error),
                        Err(other) => Err(other),
                    };
                }
                Err(error) if error.is_retriable() => tries.pause(error).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Judges the object that stands where ours should be.
    async fn compare(&self, full: &str, ours: &Ours<'_>, opts: &PutOptions) -> Result<Commit> {
        match self.look(full).await {
            Ok(Some(there)) => self.judge(full, &there, ours, opts).await,
            // Removed between the two requests. Whose it was cannot be known; the caller's next commit will tell.
            Ok(None) => Err(Error::unavailable(
                format_args!("commit {full}"),
                Trouble::Conflict,
                "an object was there and has been removed since",
            )),
            Err(Error::Denied { .. }) => Err(undecided(full, "these credentials may neither read nor list")),
            Err(error) => Err(error),
        }
    }

    async fn judge(
        &self,
        full: &str,
        there: &ObjectMeta,
        ours: &Ours<'_>,
        opts: &PutOptions,
    ) -> Result<Commit> {
        let fenced = || Err(Error::Fenced { key: full.to_owned() });
        if let (Some(mine), Some(theirs)) = (opts.metadata_value(WRITE_ID), there.metadata.get(WRITE_ID)) {
            return if mine == theirs { Ok(Commit::Repeated) } else { fenced() };
        }
        if let Ours::Body(body) = ours {
            if there.size != body.len() as u64 {
                return fenced();
            }
            match there.etag.as_deref().filter(|tag| is_md5(tag)) {
                Some(tag) if tag.eq_ignore_ascii_case(&md5_hex(body)) => return Ok(Commit::Repeated),
                Some(_) if self.shared.etags.load(Relaxed) == ETAG_IS_MD5 => return fenced(),
                _ => {}
            }
        }
        match self.same_content(full, there, ours).await {
            Ok(true) => Ok(Commit::Repeated),
            Ok(false) => fenced(),
            Err(Error::Denied { .. }) => Err(undecided(full, "these credentials may not read it")),
            Err(error) => Err(error),
        }
    }

    /// What is there: by HEAD, or by LIST for credentials that may not read. `None` is a proven absence.
    pub(crate) async fn look(&self, full: &str) -> Result<Option<ObjectMeta>> {
        let backend = &self.shared.backend;
        match self.repeat(Operation::Head, 0, || backend.head(full)).await {
            Ok(meta) => Ok(Some(meta)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(Error::Denied { .. }) => {
                let page = self.repeat(Operation::List, 0, || backend.list_page(full, None, 1)).await?;
                Ok(page.objects.into_iter().find(|o| o.key == full))
            }
            Err(error) => Err(error),
        }
    }

    async fn same_content(&self, full: &str, there: &ObjectMeta, ours: &Ours<'_>) -> Result<bool> {
        if there.size == 0 && matches!(ours, Ours::Body(_)) {
            return Ok(true); // sizes were compared before
        }
        let key = full.strip_prefix(self.scope()).unwrap_or(full);
        let mut theirs = self.get(key, None).await?.stream;
        let mut mine = match ours {
            Ours::Body(body) => stream::iter([Ok(Bytes::clone(body))]).boxed(),
            Ours::Stream(source) => source(),
        };
        let (mut a, mut b) = (Bytes::new(), Bytes::new());
        loop {
            if a.is_empty() {
                a = theirs.next().await.transpose()?.unwrap_or_default();
            }
            while b.is_empty() {
                match mine.next().await {
                    Some(chunk) => b = chunk.map_err(|e| Error::other(format_args!("commit {full}"), e))?,
                    None => return Ok(a.is_empty()),
                }
            }
            let n = a.len().min(b.len());
            if n == 0 || a.split_to(n) != b.split_to(n) {
                return Ok(false);
            }
        }
    }

    /// Remembers whether this store's entity tags are MD5 sums (they are not under KMS, nor on file systems).
    pub(crate) fn learn_etag(&self, body: &Bytes, result: &PutResult) {
        if self.shared.etags.load(Relaxed) != 0 {
            return;
        }
        let Some(tag) = &result.etag else { return };
        let kind = if tag.eq_ignore_ascii_case(&md5_hex(body)) { ETAG_IS_MD5 } else { ETAG_IS_OTHER };
        self.shared.etags.store(kind, Relaxed);
    }
}

fn undecided(full: &str, why: &str) -> Error {
    Error::Undecided { key: full.to_owned(), why: why.to_owned() }
}

pub(crate) fn is_md5(tag: &str) -> bool {
    tag.len() == 32 && tag.bytes().all(|b| b.is_ascii_hexdigit())
}

pub(crate) fn md5_hex(body: &[u8]) -> String {
    hex::encode(Md5::digest(body))
}
