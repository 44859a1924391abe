//! What is published, from 136 bytes of `-shm`, and what is written but not published yet (trap 1).

use super::{Tail, read_exact};
use crate::Error;
use crate::connection::Quiet;
use crate::files::Files;
use crate::locks;
use crate::stats::Stats;
use crate::wal::{FRAME_HEADER, FrameHeader, HEADER, WalHeader};
use crate::wal_index::{self, WalIndex};
use std::thread;
use std::time::Duration;

/// What [`Tail::look`] saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Something is published that is not copied (or there is no position yet).
    pub news: bool,
    /// A whole frame lies beyond what is published and its writer is at work: a commit may be about to appear (trap 1).
    pub pending_publication: bool,
    /// Somebody wrote the database file while nobody may ([`Tail::rested`]): it must be compared before anything is shipped.
    pub disturbed: bool,
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
    /// What is published now, from 136 bytes of `-shm`; also notices a replaced file and a neighbour with another
    /// WAL (trap 6).
    pub fn look(&mut self) -> Result<Look, Error> {
        let stamp = self.files.still_ours()?;
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
            pending_publication: !news
                && self.pending_publication(&index)?
                && !self.is_rolled_back(&index)?,
            disturbed: self.resting.is_some_and(|resting| resting != stamp),
            mx_frame: index.mx_frame,
            frames_ahead,
            n_backfill: index.n_backfill,
            wal_bytes,
        })
    }

    /// Frames behind the published ones are of a transaction that was rolled back, or whose writer died: a commit is published
    /// before its writer lets go of its lock, so without a lock and without a change nothing is coming.
    fn is_rolled_back(&mut self, seen: &WalIndex) -> Result<bool, Error> {
        let failed = |e: nix::errno::Errno| Error::io("read locks of", &self.files.path)(e.into());
        Ok(!locks::is_writing(&self.files.shm).map_err(failed)? && self.index()?.same_state(seen))
    }

    /// Whether a whole, valid frame lies right behind the published ones.
    pub(super) fn pending_publication(&self, index: &WalIndex) -> Result<bool, Error> {
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
}

/// Reads the header until it stands still. A header that stays broken was left by a writer that crashed: then a read
/// transaction on `healer` (no transaction open on it, or one that does not matter) lets SQLite recover it.
pub(super) fn read_index(files: &Files, healer: &Quiet, stats: &mut Stats) -> Result<WalIndex, Error> {
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
