//! `file://`: a directory (a NAS share, a second disk) with the semantics of an object store.
//!
//! - Create: temporary file in the same directory, fsync, `link(2)` (fails if the name is taken), unlink the temporary
//!   name, fsync the directory. Two creators: exactly one succeeds, on NFS too. Needs hard links.
//! - Overwrite: the same with `rename(2)`.
//! - Listings are in byte order of whole keys, which is not the order of directories (`a.txt` comes before `a/b`).
//! - Metadata is not kept, except the modification time.
//!
//! P6, an unmounted share must not look like an empty replica: the root directory has to exist. Every call on a missing
//! root is [`Error::NoRoot`], puts included. `create=true` in the URL says that a missing root is an empty replica; the
//! first put then creates that one directory, never its parents. Point the URL at a directory *inside* the share,
//! because a mount point exists without its mount.
//!
//! Below the root no symbolic link is followed: it is refused, wherever it leads.

mod errors;
mod publish;
#[cfg(test)]
mod tests;
mod walk;

use crate::object::{GetResult, ObjectMeta, ObjectStore, Page, Part, PutOptions, PutResult, Upload, clip};
use crate::{Error, Kind, Result};
use async_trait::async_trait;
use bytes::Bytes;
use clock::IdGen;
use errors::failed;
use futures::stream::{self, StreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Bytes per part of a streamed put, and what it holds in memory. Their number has no bound: a database of a TiB is a file like any other.
const PART: usize = 1 << 20;
/// Bytes per read.
const CHUNK: u64 = 256 << 10;

/// A directory as a store.
#[derive(Clone)]
pub struct FileStore(Arc<Inner>);

struct Inner {
    root: PathBuf,
    create: bool,
    ids: Arc<dyn IdGen>,
    part: usize,
    sync_dir: fn(&Path) -> io::Result<()>,
    swept: Mutex<BTreeSet<PathBuf>>,
    synced: Mutex<BTreeSet<PathBuf>>,
}

impl FileStore {
    /// The directory `root`; with `create` it may be missing until the first put.
    pub fn new(root: &Path, create: bool, ids: Arc<dyn IdGen>) -> Self {
        let (root, (swept, synced)) = (root.to_owned(), Default::default());
        Self(Arc::new(Inner { root, create, ids, part: PART, sync_dir: publish::sync_dir, swept, synced }))
    }

    /// Runs file system calls off the runtime's thread: an fsync on a share may take seconds.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = self.0.clone();
        let joined = tokio::task::spawn_blocking(move || work(&inner)).await;
        joined.unwrap_or_else(|e| Err(Error::other("file system call", e)))
    }
}

impl Inner {
    /// What a call means when something on the way to `key` is missing: the object, or the whole root?
    fn absent(&self, key: &str) -> Error {
        match self.check_root() {
            Ok(_) => Error::not_found(key),
            Err(error) => error,
        }
    }

    /// The root's identity; `None` if it may be created.
    fn check_root(&self) -> Result<Option<(u64, u64)>> {
        match fs::metadata(&self.root) {
            Ok(meta) if meta.is_dir() => Ok(Some((meta.dev(), meta.ino()))),
            Ok(_) => Err(Error::Refused(format!("{} is not a directory", self.root.display()))),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if self.create && self.root.parent().is_some_and(Path::is_dir) {
                    return Ok(None);
                }
                let hint = "is the share mounted? create the directory once, or add create=true to the url";
                Err(Error::NoRoot {
                    root: format!("directory {}", self.root.display()),
                    hint: hint.to_owned(),
                })
            }
            Err(error) => Err(failed("open", &self.root.display().to_string(), error)),
        }
    }

    /// The path of a key whose directories are real ones.
    fn path(&self, key: &str) -> Result<PathBuf> {
        let mut path = self.root.clone();
        let mut segments = key.split('/').peekable();
        while let Some(segment) = segments.next() {
            path.push(segment);
            if segments.peek().is_some()
                && let Ok(meta) = fs::symlink_metadata(&path)
                && meta.is_symlink()
            {
                return Err(refuse_link(&path));
            }
        }
        Ok(path)
    }

    fn stat(&self, key: &str) -> Result<Metadata> {
        let path = self.path(key)?;
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_file() => Ok(meta),
            Ok(meta) if meta.is_symlink() => Err(refuse_link(&path)),
            Ok(_) => Err(Error::not_found(key)),
            Err(error) if is_absence(&error) => Err(self.absent(key)),
            Err(error) => Err(failed("head", key, error)),
        }
    }

    fn open(&self, key: &str) -> Result<(File, ObjectMeta)> {
        let path = self.path(key)?;
        let flags = (nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK).bits();
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(&path) {
            Ok(file) => file,
            Err(error) if is_absence(&error) => return Err(self.absent(key)),
            Err(error) if error.raw_os_error() == Some(nix::errno::Errno::ELOOP as i32) => {
                return Err(refuse_link(&path));
            }
            Err(error) => return Err(failed("get", key, error)),
        };
        let meta = file.metadata().map_err(|e| failed("get", key, e))?;
        if !meta.is_file() {
            return Err(Error::not_found(key));
        }
        Ok((file, describe(key.to_owned(), &meta)))
    }
}

fn refuse_link(path: &Path) -> Error {
    Error::Refused(format!("{} is a symbolic link; a replica holds none", path.display()))
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Entity tag: changes with every replacement; deliberately not shaped like an MD5.
fn describe(key: String, meta: &Metadata) -> ObjectMeta {
    let etag = format!("{:x}-{:x}-{:x}.{:x}", meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec());
    let modified_ms = meta.mtime() * 1_000 + meta.mtime_nsec() / 1_000_000;
    ObjectMeta { key, size: meta.len(), modified_ms, etag: Some(etag), metadata: BTreeMap::new() }
}

#[async_trait]
impl ObjectStore for FileStore {
    fn kind(&self) -> Kind {
        Kind::File
    }

    fn part_size(&self, _bound: Option<u64>) -> usize {
        self.0.part
    }

    fn max_parts(&self) -> u32 {
        u32::MAX
    }

    fn page_size(&self) -> usize {
        10_000 // every page reads the directories again
    }

    async fn put(&self, key: &str, body: Bytes, opts: &PutOptions) -> Result<PutResult> {
        let (key, opts) = (key.to_owned(), opts.clone());
        self.blocking(move |inner| {
            let mut temp = inner.temp_for(&key)?;
            temp.write_at(&body, 0)?;
            inner.publish(temp, &opts)
        })
        .await
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<GetResult> {
        let owned = key.to_owned();
        let (file, meta) = self.blocking(move |inner| inner.open(&owned)).await?;
        let range = clip(key, range, meta.size)?;
        let state = (Arc::new(file), range.clone(), key.to_owned());
        let stream = stream::try_unfold(state, read_chunk).boxed();
        Ok(GetResult { meta, range, stream })
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        let key = key.to_owned();
        self.blocking(move |inner| inner.stat(&key).map(|meta| describe(key, &meta))).await
    }

    async fn list_page(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Page> {
        let (prefix, after) = (prefix.to_owned(), start_after.map(str::to_owned));
        self.blocking(move |inner| inner.walk(&prefix, after.as_deref(), limit)).await
    }

    async fn delete(&self, keys: &[String]) -> Result<Vec<Result<()>>> {
        let keys = keys.to_vec();
        self.blocking(move |inner| Ok(keys.iter().map(|key| inner.remove(key)).collect())).await
    }

    async fn start_upload(&self, key: &str, _opts: &PutOptions) -> Result<Upload> {
        let key = key.to_owned();
        self.blocking(move |inner| {
            let id = inner.temp_for(&key)?.keep();
            Ok(Upload { key, id })
        })
        .await
    }

    async fn put_part(&self, upload: &Upload, number: u32, body: Bytes) -> Result<Part> {
        let upload = upload.clone();
        self.blocking(move |inner| {
            let mut temp = inner.reopen(&upload)?;
            let written = temp.write_at(&body, u64::from(number - 1) * inner.part as u64);
            temp.keep(); // also after a failure: the part is repeated
            written?;
            Ok(Part { number, etag: String::new() })
        })
        .await
    }

    async fn complete_upload(&self, upload: &Upload, parts: &[Part], opts: &PutOptions) -> Result<PutResult> {
        let (upload, count, opts) = (upload.clone(), parts.len() as u64, opts.clone());
        self.blocking(move |inner| {
            let temp = inner.reopen(&upload)?;
            let size = temp.size()?;
            if size.div_ceil(inner.part as u64) != count {
                return Err(Error::corrupt(
                    &upload.key,
                    format!("{count} parts were sent, the file has {size} bytes"),
                ));
            }
            inner.publish(temp, &opts)
        })
        .await
    }

    async fn abort_upload(&self, upload: &Upload) -> Result<()> {
        let upload = upload.clone();
        self.blocking(move |inner| match inner.reopen(&upload) {
            Ok(temp) => {
                drop(temp);
                Ok(())
            }
            Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        })
        .await
    }
}

type Reading = (Arc<File>, Range<u64>, String);

async fn read_chunk((file, rest, key): Reading) -> Result<Option<(Bytes, Reading)>> {
    if rest.is_empty() {
        return Ok(None);
    }
    let (source, start, length) = (file.clone(), rest.start, (rest.end - rest.start).min(CHUNK) as usize);
    let read = tokio::task::spawn_blocking(move || {
        let mut buffer = vec![0; length];
        let n = source.read_at(&mut buffer, start)?;
        buffer.truncate(n);
        Ok::<_, io::Error>(buffer)
    });
    let chunk = read.await.map_err(|e| Error::other("get", e))?.map_err(|e| failed("get", &key, e))?;
    if chunk.is_empty() {
        return Err(Error::corrupt(&key, format!("the file ends at byte {start} while it is being read")));
    }
    let rest = start + chunk.len() as u64..rest.end;
    Ok(Some((Bytes::from(chunk), (file, rest, key))))
}
