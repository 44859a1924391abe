//! A database without a writer, watched by `stat` and 56 bytes of its WAL.
//!
//! What the writer left behind is everything up to a position in a WAL generation. A commit after it either follows it there,
//! with the same salts, or begins a new generation, with other salts in the WAL's header; and whatever else happens to the files
//! shows in their sizes and times. Times are coarse (some milliseconds), so those of a file changed just now prove nothing
//! until it has been looked at once more, later; until then the WAL itself is read at each look. The database and its `-shm` are
//! never opened here, only `-wal`, which carries no locks (trap 7).

use sqlite_tail::Position;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A change younger than this may be followed by another one with the same time.
const YOUNG_MS: i64 = 2_000;
const WAL_HEADER: u64 = 32;
const FRAME_HEADER: usize = 24;

/// Where a file was and what it looked like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    dev: u64,
    ino: u64,
    size: u64,
    mtime: (i64, i64),
}

/// What a writer left behind.
#[derive(Debug, Clone)]
pub(crate) struct Rest {
    path: PathBuf,
    wal: PathBuf,
    position: Position,
    stamps: (Option<Stamp>, Option<Stamp>),
    settled: bool,
    /// When the upkeep of its replica needs a writer, monotonic ns.
    pub(crate) due: u64,
}

/// What a look shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Glance {
    /// Nothing was committed since.
    Unchanged,
    /// Something may have been.
    Changed,
    /// There is no file, or an empty one.
    Gone,
}

impl Stamp {
    /// Of the file behind a path; `None` if there is none.
    pub(crate) fn of(path: &Path) -> io::Result<Option<Stamp>> {
        match fs::metadata(path) {
            Ok(meta) => Ok(Some(Stamp {
                dev: meta.dev(),
                ino: meta.ino(),
                size: meta.len(),
                mtime: (meta.mtime(), meta.mtime_nsec()),
            })),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Whether there is no database at a path yet, or any more: no file, or an empty one. What cannot be told is not missing:
    /// attaching says what is wrong (P6).
    pub(crate) fn is_missing(path: &Path) -> bool {
        matches!(Stamp::of(path), Ok(stamp) if stamp.is_none_or(|stamp| stamp.is_empty()))
    }

    /// Whether both are the same file, whatever is in it.
    pub(crate) fn same_file(&self, other: &Stamp) -> bool {
        (self.dev, self.ino) == (other.dev, other.ino)
    }

    fn is_empty(&self) -> bool {
        self.size == 0
    }

    fn is_old(&self, now_ms: i64) -> bool {
        now_ms - (self.mtime.0 * 1000 + self.mtime.1 / 1_000_000) >= YOUNG_MS
    }
}

impl Rest {
    /// To be called after the writer has closed everything; the first [`Rest::glance`] looks at what came since.
    pub(crate) fn new(path: &Path, position: Position) -> Rest {
        let mut wal = path.as_os_str().to_owned();
        wal.push("-wal");
        let path = path.to_owned();
        let mut rest =
            Rest { path, wal: wal.into(), position, stamps: (None, None), settled: false, due: u64::MAX };
        rest.stamps = rest.stamp().unwrap_or_default();
        rest
    }

    /// The files to be told about.
    pub(crate) fn files(&self) -> [&Path; 2] {
        [&self.path, &self.wal]
    }

    fn stamp(&self) -> io::Result<(Option<Stamp>, Option<Stamp>)> {
        Ok((Stamp::of(&self.path)?, Stamp::of(&self.wal)?))
    }

    /// Whether anything was committed. What cannot be told is a change: attaching will show it.
    pub(crate) fn glance(&mut self, now_ms: i64) -> Glance {
        // The order counts: what is written after the stamps were taken is seen by the reading.
        let Ok(stamps) = self.stamp() else { return Glance::Changed };
        let (Some(db), wal) = stamps else { return Glance::Gone };
        if db.is_empty() {
            return Glance::Gone;
        }
        if self.stamps.0 != Some(db) {
            return Glance::Changed;
        }
        if self.settled && self.stamps.1 == wal {
            return Glance::Unchanged;
        }
        match self.goes_on() {
            Ok(false) => {
                self.stamps = stamps;
                self.settled = db.is_old(now_ms) && wal.is_none_or(|wal| wal.is_old(now_ms));
                Glance::Unchanged
            }
            Ok(true) | Err(_) => Glance::Changed,
        }
    }

    /// Whether the WAL holds a frame behind the position, or is not the one of the position.
    fn goes_on(&self) -> io::Result<bool> {
        let wal = match File::open(&self.wal) {
            Ok(wal) => wal,
            // Without a WAL all is in the database file, whose stamp did not change.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(e),
        };
        let size = wal.metadata()?.len();
        if size < WAL_HEADER {
            return Ok(false);
        }
        let mut header = [0; WAL_HEADER as usize];
        wal.read_exact_at(&mut header, 0)?;
        if salts(&header[16..24]) != self.position.salts() {
            return Ok(true);
        }
        let next = self.position.wal_offset();
        let mut frame = [0; FRAME_HEADER];
        if size < next + FRAME_HEADER as u64 {
            return Ok(false);
        }
        wal.read_exact_at(&mut frame, next)?;
        Ok(salts(&frame[8..16]) == self.position.salts())
    }
}

fn salts(bytes: &[u8]) -> (u32, u32) {
    let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    (word(0), word(4))
}

#[cfg(test)]
#[path = "glance/tests.rs"]
mod tests;
