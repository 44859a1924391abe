//! [`Tail`]: the driver that does with SQLite and files what [`Protocol`] decides.
//!
//! The *hold* is a lock of our own on `-shm`, from attaching to dropping. One connection reads for views and takes the
//! write barrier, a second one checkpoints. Everything else is reading: 136 bytes of `-shm` say what is published, the
//! WAL has the frames.

mod copy;
mod drive;
mod look;
mod resume;
mod wait;

pub use copy::Copied;
pub use drive::{Checkpoint, Maintenance};
pub use look::Look;
pub use wait::Wake;

use crate::connection::Quiet;
use crate::files::{Files, Gated};
use crate::hold::Hold;
use crate::pace::Pace;
use crate::protocol::{Facts, Protocol};
use crate::recognise::Kind;
use crate::signal::{Signal, Waker};
use crate::stamp::{FileIdentity, FileStamp};
use crate::wal_index::WalIndex;
use crate::watch::Watch;
use crate::{Error, Options, Position, Stats};
use clock::Clock;
use look::read_index;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// One live database, attached. Fields drop in this order: connections first, descriptors last (trap 7).
pub struct Tail {
    pub(crate) reader: Quiet,
    checkpointer: Quiet,
    watch: Watch,
    pace: Pace,
    pub(crate) files: Arc<Files>,
    hold: Hold,
    signal: Arc<Signal>,
    clock: Arc<dyn Clock>,
    options: Options,
    protocol: Protocol,
    stats: Stats,
    pub(crate) page_size: u32,
    /// The wal-index read under READ_LOCK(0) and a pin, before either is released.
    incoming: WalIndex,
    /// The wal-index of the last time the pin was released: from there on one restart is possible.
    mark: WalIndex,
    pub(crate) position: Option<Position>,
    /// Where the last view ended, as long as no pin was released since.
    pub(crate) viewed: Option<Position>,
    /// The database file as it was when READ_LOCK(0) became the hold, as long as it is.
    resting: Option<FileStamp>,
    /// The index the caller last saw: what [`Tail::wait`] compares with.
    seen: WalIndex,
}

impl Tail {
    /// Passes the gates, opens the connections and takes the first pin. Blocks for at most a few times
    /// `busy_timeout`.
    pub fn attach(path: &Path, options: Options, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let signal = Arc::new(Signal::new(path)?);
        let gated = Gated::pass(path, &options)?;
        let path = gated.path.clone();
        // Whatever fails from here on drops connections before `gated`: locals drop in reverse order.
        let reader = Quiet::open(&path, options.busy_timeout)?;
        if gated.kind == Kind::Rollback && !reader.convert_to_wal()? {
            return Err(Error::refused(&path, "it uses a rollback journal", "sqlite would not convert it"));
        }
        reader.touch()?;
        let checkpointer = Quiet::open(&path, options.busy_timeout)?;
        for connection in [&reader, &checkpointer] {
            connection.do_not_wait()?;
        }
        let page_size = gated.page_size;
        let files = match gated.open_rest() {
            Ok(files) => Arc::new(files),
            Err((error, gated)) => {
                drop((reader, checkpointer));
                drop(gated);
                return Err(error);
            }
        };
        let watch = Watch::new(&files.wal_path, &files.path, Arc::clone(&signal), clock.monotonic_ns());
        let mut stats = Stats::default();
        let held = first_pin(&files, options.busy_timeout)
            .and_then(|pinned| Ok((pinned, read_index(&files, &reader, &mut stats)?)));
        let ((hold, mark), now) = match held {
            Ok(held) => held,
            Err(error) => {
                drop((reader, checkpointer));
                return Err(error);
            }
        };
        let protocol = Protocol::new(options.limits(page_size), mark, facts(&now), clock.monotonic_ns());
        Ok(Self {
            reader,
            checkpointer,
            watch,
            pace: Pace::new(),
            files,
            hold,
            signal,
            clock,
            options,
            protocol,
            stats,
            page_size,
            incoming: now,
            mark: now,
            position: None,
            viewed: None,
            resting: None,
            seen: now,
        })
    }

    /// Bytes per page.
    pub fn page_size(&self) -> u32 {
        self.page_size
    }

    /// The database, as the canonical path that was attached.
    pub fn path(&self) -> &Path {
        &self.files.path
    }

    /// What is copied; `None` before [`Tail::resume`] or [`Tail::start_at`] succeeded, and after a gap.
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// Which file is attached.
    pub fn identity(&self) -> Result<FileIdentity, Error> {
        self.files.metadata().map(|meta| FileIdentity::of(&meta))
    }

    /// What the database file looks like while nobody may write it (nothing is left to be backfilled, and we see to it that it
    /// stays so); `None` at other times.
    pub fn rested(&self) -> Option<FileStamp> {
        self.resting
    }

    /// What the database file looks like now.
    pub fn stamp(&self) -> Result<FileStamp, Error> {
        self.files.metadata().map(|meta| FileStamp::of(&meta))
    }

    /// After [`Look::disturbed`]: the file was compared, and holds what it should.
    pub fn forgive(&mut self) -> Result<(), Error> {
        if self.resting.is_some() {
            self.resting = Some(FileStamp::of(&self.files.metadata()?));
        }
        Ok(())
    }

    /// Counters since attaching.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// A handle that interrupts [`Tail::wait`] from any thread.
    pub fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.signal))
    }

    /// The open WAL, to be synced by another thread beside an upload (P1). `-wal` carries no POSIX locks.
    pub fn wal_file(&self) -> Arc<File> {
        Arc::clone(&self.files.wal)
    }

    /// Brings every frame delivered so far to the disk (P1, trap 10): with `synchronous=NORMAL` nobody else does.
    pub fn sync_wal(&self) -> Result<(), Error> {
        self.files.wal.sync_data().map_err(Error::io("sync", &self.files.wal_path))
    }

    /// Starts copying where the last [`View`](crate::View) ended. Only that position is accepted, and only until the
    /// WAL may have been restarted.
    pub fn start_at(&mut self, view_end: Position) -> Result<(), Error> {
        if self.viewed != Some(view_end) {
            return Err(self.gap("the wal may have been restarted since the view"));
        }
        self.position = Some(view_end);
        Ok(())
    }

    /// A consistent wal-index header, after recovery by SQLite if need be.
    pub(crate) fn index(&mut self) -> Result<WalIndex, Error> {
        read_index(&self.files, &self.reader, &mut self.stats)
    }

    pub(crate) fn set_position(&mut self, at: Position) {
        self.position = Some(at);
    }

    pub(crate) fn begin_read(&self, other: Option<&Quiet>) -> Result<(), Error> {
        other.unwrap_or(&self.reader).begin_read(self.options.busy_timeout)
    }

    /// A further connection of the kind that reads for views.
    pub(crate) fn another_reader(&self) -> Result<Quiet, Error> {
        let reader = Quiet::open(&self.files.path, self.options.busy_timeout)?;
        reader.do_not_wait()?;
        Ok(reader)
    }

    /// Takes the write lock on the checkpointer, so that the published state stands still.
    pub(crate) fn take_still(&self) -> Result<u64, Error> {
        self.checkpointer.begin_write(self.options.busy_timeout)?;
        Ok(self.clock.monotonic_ns())
    }

    pub(crate) fn end_still(&mut self, since: u64) -> Result<(), Error> {
        let ended = self.checkpointer.end();
        self.stats.barrier.add(self.clock.monotonic_ns().saturating_sub(since));
        ended
    }

    pub(crate) fn gap(&mut self, what: &'static str) -> Error {
        self.position = None;
        Error::Gap { path: self.files.path.clone(), what }
    }

    fn corrupt(&self, frame: u32, what: &'static str) -> Error {
        Error::Corrupt { path: self.files.wal_path.clone(), frame, what }
    }
}

pub(crate) fn facts(index: &WalIndex) -> Facts {
    Facts { salts: index.salts(), mx_frame: index.mx_frame, n_backfill: index.n_backfill }
}

/// Fills `into` from `offset`; `false` if the file ends before.
pub(crate) fn read_exact(file: &File, into: &mut [u8], offset: u64) -> io::Result<bool> {
    match file.read_exact_at(into, offset) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

/// A pin, as soon as not all slots are locked exclusively.
fn first_pin(files: &Files, patience: Duration) -> Result<(Hold, u32), Error> {
    for _ in 0..patience.as_millis().max(1) {
        if let Some((hold, pin)) = Hold::begin(&files.shm, &files.path)? {
            return Ok((hold, pin.mark));
        }
        thread::sleep(Duration::from_millis(1));
    }
    Err(Error::Busy { path: files.path.clone(), what: "no read lock to be had" })
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail")
            .field("path", &self.files.path)
            .field("position", &self.position)
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}
