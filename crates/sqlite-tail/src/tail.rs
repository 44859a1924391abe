//! [`Tail`]: the driver that does with SQLite and files what [`Protocol`] decides.
//!
//! Two connections take turns as the *hold*, a read transaction that exists from attaching to dropping; a third one
//! checkpoints. Everything else is reading: 136 bytes of `-shm` say what is published, the WAL has the frames.

mod copy;
mod drive;
mod wait;

pub use copy::Copied;
pub use drive::{Checkpoint, Maintenance};
pub use wait::Wake;

use crate::connection::Quiet;
use crate::files::{Files, Gated};
use crate::protocol::{Facts, Limits, Protocol};
use crate::recognise::Kind;
use crate::signal::{Signal, Waker};
use crate::wal::{Checksum, FRAME_HEADER, FrameHeader, HEADER, WalHeader};
use crate::wal_index::{self, WalIndex};
use crate::watch::Watch;
use crate::{Error, Options, Position, Resume, Stats};
use clock::Clock;
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
    hold: Quiet,
    pub(crate) spare: Quiet,
    checkpointer: Quiet,
    watch: Watch,
    pub(crate) files: Files,
    signal: Arc<Signal>,
    clock: Arc<dyn Clock>,
    options: Options,
    protocol: Protocol,
    stats: Stats,
    pub(crate) page_size: u32,
    /// The wal-index right after the spare's read transaction began, during a hand-over.
    incoming: WalIndex,
    /// The wal-index right after the hold began: on READ_LOCK(0) a restart is possible once all of it is copied.
    mark: WalIndex,
    position: Option<Position>,
    /// Where the last view ended, as long as the hold is the one it was taken under.
    pub(crate) viewed: Option<Position>,
    /// The index the caller last saw: what [`Tail::wait`] compares with.
    seen: WalIndex,
}

/// What [`Tail::look`] saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Something is published that is not copied (or there is no position yet).
    pub news: bool,
    /// A whole frame lies beyond what is published: a commit is about to appear, or was rolled back (trap 1).
    pub pending_publication: bool,
    /// Published frames of this WAL generation.
    pub mx_frame: u32,
    /// Published frames not yet copied.
    pub frames_ahead: u32,
    /// Frames already in the database file.
    pub n_backfill: u32,
    /// Size of the WAL file.
    pub wal_bytes: u64,
}

impl Tail {
    /// Passes the gates, opens the connections and takes the first hold. Blocks for at most a few times
    /// `busy_timeout`.
    pub fn attach(path: &Path, options: Options, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let signal = Arc::new(Signal::new(path)?);
        let gated = Gated::pass(path, &options)?;
        let path = gated.path.clone();
        // Whatever fails from here on drops connections before `gated`: locals drop in reverse order.
        let hold = Quiet::open(&path, options.busy_timeout)?;
        if gated.kind == Kind::Rollback && !hold.convert_to_wal()? {
            return Err(Error::refused(&path, "it uses a rollback journal", "sqlite would not convert it"));
        }
        hold.touch()?;
        let spare = Quiet::open(&path, options.busy_timeout)?;
        let checkpointer = Quiet::open(&path, options.busy_timeout)?;
        for connection in [&hold, &spare, &checkpointer] {
            connection.do_not_wait()?;
        }
        let page_size = gated.page_size;
        let files = match gated.open_rest() {
            Ok(files) => files,
            Err((error, gated)) => {
                drop((hold, spare, checkpointer));
                drop(gated);
                return Err(error);
            }
        };
        let watch = Watch::new(&files.wal_path, &files.path, Arc::clone(&signal));
        let before = read_index(&files, &spare, &mut Stats::default());
        let begun = before.and_then(|before| {
            hold.begin_read(options.busy_timeout)?;
            Ok((before, read_index(&files, &spare, &mut Stats::default())?))
        });
        let (before, mark) = match begun {
            Ok(pair) => pair,
            Err(error) => {
                drop((hold, spare, checkpointer));
                return Err(error);
            }
        };
        let limits = Limits {
            checkpoint_frames: options.checkpoint_frames,
            barrier_max_frames: options.barrier_max_frames,
            idle_ns: options.idle_checkpoint.as_nanos() as u64,
        };
        let protocol = Protocol::new(limits, facts(&before), facts(&mark), clock.monotonic_ns());
        let stats = Stats::default();
        Ok(Self {
            hold,
            spare,
            checkpointer,
            watch,
            files,
            signal,
            clock,
            options,
            protocol,
            stats,
            page_size,
            incoming: mark,
            mark,
            position: None,
            viewed: None,
            seen: mark,
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

    /// Whether copying can go on at `at`, a position from before a downtime; if so, it is the position now.
    ///
    /// Proven only by the same salts, enough frames and our running checksum at our frame (trap 18). Salts of zero
    /// are those of any WAL that was empty when its index was built, so they prove nothing.
    pub fn resume(&mut self, at: Position) -> Result<Resume, Error> {
        self.position = None;
        let unproven = |reason| Ok(Resume::Unproven { reason });
        if at.page_size != self.page_size {
            return unproven("another page size");
        }
        let index = self.index()?;
        if index.salts() != at.salts() {
            return unproven("the wal was restarted");
        }
        if at.salts() == (0, 0) {
            return unproven("the wal was empty");
        }
        if index.mx_frame < at.frame {
            return unproven("the wal became shorter");
        }
        if at.frame > 0 {
            let offset = at.wal_offset() - FRAME_HEADER as u64 - u64::from(at.page_size);
            let mut head = [0; FRAME_HEADER];
            if !read_exact(&self.files.wal, &mut head, offset)
                .map_err(Error::io("read", &self.files.wal_path))?
            {
                return unproven("the wal file is too short");
            }
            let frame = FrameHeader::parse(&head);
            if (frame.salt1, frame.salt2) != at.salts()
                || frame.checksum != (Checksum { s1: at.cksum1, s2: at.cksum2 })
            {
                return unproven("another frame at our offset");
            }
        }
        if self.index()?.salts() != at.salts() {
            return unproven("the wal was restarted");
        }
        self.position = Some(at);
        Ok(Resume::Proven)
    }

    /// Starts copying where the last [`View`](crate::View) ended. Only that position is accepted, and only until the
    /// hold it was taken under is replaced.
    pub fn start_at(&mut self, view_end: Position) -> Result<(), Error> {
        if self.viewed != Some(view_end) {
            return Err(self.gap("the hold of the view is gone"));
        }
        self.position = Some(view_end);
        Ok(())
    }

    /// What is published now, from 136 bytes of `-shm`; also notices a replaced file and a neighbour with another
    /// WAL (trap 6).
    pub fn look(&mut self) -> Result<Look, Error> {
        self.files.still_ours()?;
        let index = self.index()?;
        self.files.check_neighbours()?;
        self.seen = index;
        let frames_ahead = match self.position {
            Some(at) if at.salts() == index.salts() => index.mx_frame.saturating_sub(at.frame),
            _ => index.mx_frame,
        };
        let news = self.position.is_none_or(|at| at.salts() != index.salts() || at.frame != index.mx_frame);
        let wal_bytes = self.files.wal.metadata().map_err(Error::io("stat", &self.files.wal_path))?.len();
        Ok(Look {
            news,
            pending_publication: !news && self.pending_publication(&index)?,
            mx_frame: index.mx_frame,
            frames_ahead,
            n_backfill: index.n_backfill,
            wal_bytes,
        })
    }

    /// Whether a whole, valid frame lies right behind the published ones.
    fn pending_publication(&self, index: &WalIndex) -> Result<bool, Error> {
        let wal = &self.files.wal;
        let failed = || Error::io("read", &self.files.wal_path);
        let (salts, before, big_endian) = if index.mx_frame > 0 {
            (index.salts(), index.checksum, index.big_endian)
        } else {
            // The index does not know the header of a generation without commits.
            let mut head = [0; HEADER];
            match read_exact(wal, &mut head, 0).map_err(failed())?.then(|| WalHeader::parse(&head)).flatten()
            {
                Some(header) => (header.salts(), header.checksum, header.big_endian),
                None => return Ok(false),
            }
        };
        let size = FRAME_HEADER + self.page_size as usize;
        let offset = HEADER as u64 + u64::from(index.mx_frame) * size as u64;
        let mut head = [0; FRAME_HEADER];
        if !read_exact(wal, &mut head, offset).map_err(failed())?
            || (FrameHeader::parse(&head).salt1, FrameHeader::parse(&head).salt2) != salts
        {
            return Ok(false);
        }
        let mut frame = vec![0; size];
        Ok(read_exact(wal, &mut frame, offset).map_err(failed())?
            && FrameHeader::verify(&frame, salts, before, big_endian).is_some())
    }

    /// A consistent wal-index header, after recovery by SQLite if need be.
    pub(crate) fn index(&mut self) -> Result<WalIndex, Error> {
        read_index(&self.files, &self.spare, &mut self.stats)
    }

    pub(crate) fn set_position(&mut self, at: Position) {
        self.position = Some(at);
    }

    pub(crate) fn begin_spare(&self) -> Result<(), Error> {
        self.spare.begin_read(self.options.busy_timeout)
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

/// Reads the header until it stands still. A header that stays broken was left by a writer that crashed: then a read
/// transaction on `healer` (no transaction open on it, or one that does not matter) lets SQLite recover it.
fn read_index(files: &Files, healer: &Quiet, stats: &mut Stats) -> Result<WalIndex, Error> {
    const SPINS: u32 = 50;
    const NAPS: u32 = 20;
    for heal in 0..3 {
        for attempt in 0..SPINS + NAPS {
            let mut bytes = [0; wal_index::LEN];
            if read_exact(&files.shm, &mut bytes, 0).map_err(Error::io("read shm of", &files.path))?
                && let Some(index) = WalIndex::parse(&bytes)
            {
                return Ok(index);
            }
            if attempt < SPINS { thread::yield_now() } else { thread::sleep(Duration::from_micros(500)) }
        }
        if heal < 2 && !healer.holds() {
            stats.index_recoveries += 1;
            match healer.touch() {
                Ok(()) | Err(Error::Busy { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Err(Error::Busy { path: files.path.clone(), what: "the wal-index never stood still" })
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
