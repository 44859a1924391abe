//! Which files this process is attached to, by (dev, inode): the guard against trap 7.
//!
//! POSIX locks belong to the process: closing *any* descriptor of a file drops all of them. So whoever wants to
//! look into a database file asks here, with `stat` alone, before it opens anything.

use crate::Error;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Identity of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId {
    dev: u64,
    ino: u64,
}

impl FileId {
    pub(crate) fn of(meta: &fs::Metadata) -> Self {
        Self { dev: meta.dev(), ino: meta.ino() }
    }
}

/// How often, and with what pause between, a file that is attached is looked at again.
const LETTING_GO: (u32, Duration) = (50, Duration::from_millis(20));

static ATTACHED: Mutex<Vec<FileId>> = Mutex::new(Vec::new());

fn attached() -> MutexGuard<'static, Vec<FileId>> {
    ATTACHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the file at `path` is attached by this process; opens nothing.
pub fn is_attached(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| attached().contains(&FileId::of(&meta)))
}

/// What `open` gives, unless the file is attached by this process; nobody attaches to it meanwhile, so that `open` may close it
/// again.
pub(crate) fn unless_attached<T>(meta: &fs::Metadata, open: impl FnOnce() -> T) -> Option<T> {
    let attached = attached();
    (!attached.contains(&FileId::of(meta))).then(open)
}

/// A file marked as attached until dropped.
#[derive(Debug)]
pub(crate) struct Registration(FileId);

impl Registration {
    /// Waits a moment for whoever is just letting go: a registration outlives the last descriptor (trap 7), by when the number of a
    /// deleted file may already be another file's; and a frozen view ends with the thread that reads it, which a disk can hold up for
    /// longer than anybody waits here: then it is to be tried again.
    pub(crate) fn new(id: FileId, path: &Path) -> Result<Self, Error> {
        for _ in 0..LETTING_GO.0 {
            let mut list = attached();
            if !list.contains(&id) {
                list.push(id);
                return Ok(Self(id));
            }
            drop(list);
            thread::sleep(LETTING_GO.1);
        }
        Err(Error::Busy { path: path.to_owned(), what: "already attached in this process; list it once" })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        attached().retain(|id| *id != self.0);
    }
}
