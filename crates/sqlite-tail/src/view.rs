//! The whole database as of one committed state, readable while the application keeps writing.
//!
//! A view rests on a read transaction whose wal-index header `h` is known exactly (it was equal before and after
//! `BEGIN`). If everything was backfilled then, the database file alone is the state. Otherwise it is the file overlaid
//! with the newest frame `<= mxFrame(h)` of each page beyond `nBackfill`. Both stand still while the view lives: nobody
//! backfills beyond our mark, nobody restarts the WAL over frames we may need.
//!
//! While a view is open the WAL cannot be restarted, so it grows with what the application writes (trap 16).

use crate::connection::Quiet;
use crate::files::Files;
use crate::overlay::Overlay;
use crate::tail::{Tail, read_exact};
use crate::wal::{Checksum, FRAME_HEADER, FrameHeader, HEADER};
use crate::wal_index::WalIndex;
use crate::{Error, Position};
use std::io;
use std::os::unix::fs::FileExt;

/// How often a header that stands still across `BEGIN` is hoped for before the write barrier makes it.
const ATTEMPTS: u32 = 50;
const BUFFER: usize = 256 * 1024;
/// The page that contains this byte carries SQLite's locks and never data.
const LOCK_BYTE: u32 = 0x4000_0000;

/// A frozen database. Dropping it ends its read transaction; the tail's own hold, and its position, stay as they
/// were. [`View::accept`] (or [`Tail::start_at`] with [`View::position`] afterwards) continues from here.
#[derive(Debug)]
pub struct View<'a> {
    tail: &'a mut Tail,
    still: Still,
}

/// One committed state, and where each page of it lies. It stands still as long as a read transaction at `index` is open.
#[derive(Debug)]
pub(crate) struct Still {
    pub(crate) index: WalIndex,
    pub(crate) position: Position,
    overlay: Overlay,
}

impl Tail {
    /// Freezes the newest committed state.
    pub fn view(&mut self) -> Result<View<'_>, Error> {
        let index = self.begin_exactly(None)?;
        match self.still_at(index) {
            Ok(still) => {
                self.viewed = Some(still.position);
                Ok(View { tail: self, still })
            }
            Err(error) => {
                self.reader.end()?;
                Err(error)
            }
        }
    }

    /// Opens a transaction at a known header, on `other` or on our reader.
    pub(crate) fn begin_exactly(&mut self, other: Option<&Quiet>) -> Result<WalIndex, Error> {
        for _ in 0..ATTEMPTS {
            if let Some(index) = self.begin_once(other)? {
                return Ok(index);
            }
        }
        let since = self.take_still()?;
        let begun = self.begin_once(other);
        self.end_still(since)?;
        match begun {
            Ok(Some(index)) => Ok(index),
            Ok(None) => Err(Error::Busy {
                path: self.files.path.clone(),
                what: "the wal-index moved under the barrier",
            }),
            Err(error) => Err(error),
        }
    }

    fn begin_once(&mut self, other: Option<&Quiet>) -> Result<Option<WalIndex>, Error> {
        let before = self.index()?;
        self.begin_read(other)?;
        let after = self.index();
        if let Ok(after) = &after
            && after.same_state(&before)
        {
            return Ok(Some(*after));
        }
        other.unwrap_or(&self.reader).end()?;
        after.map(|_| None)
    }

    pub(crate) fn still_at(&self, index: WalIndex) -> Result<Still, Error> {
        let commit = match index.db_pages {
            // The index was built from an empty WAL: the file tells, rounded up as SQLite does.
            0 => {
                let bytes = self.files.db.metadata().map_err(Error::io("stat", &self.files.path))?.len();
                bytes.div_ceil(u64::from(self.page_size)) as u32
            }
            pages => pages,
        };
        let (salt1, salt2) = index.salts();
        let Checksum { s1, s2 } = if index.mx_frame > 0 { index.checksum } else { Checksum::default() };
        let position = Position {
            salt1,
            salt2,
            frame: index.mx_frame,
            cksum1: s1,
            cksum2: s2,
            page_size: self.page_size,
            commit,
        };
        self.verify_frames(&index)?;
        let overlay = overlay(&self.files, self.page_size, &index, 1)?;
        Ok(Still { index, position, overlay })
    }

    /// P2: the frames a view is made of continue the checksum chain up to the published one.
    fn verify_frames(&self, index: &WalIndex) -> Result<(), Error> {
        if index.behind() == 0 {
            return Ok(());
        }
        let wal_path = &self.files.wal_path;
        let corrupt = |frame, what| Error::Corrupt { path: wal_path.clone(), frame, what };
        let size = FRAME_HEADER + self.page_size as usize;
        let mut frame = index.n_backfill;
        let mut checksum = if frame == 0 {
            self.generation_seed(index)?
        } else {
            frame_header(&self.files, self.page_size, frame)?.checksum
        };
        let per_read = (BUFFER / size).max(1).min(index.behind() as usize);
        let mut buffer = vec![0; per_read * size];
        while frame < index.mx_frame {
            let chunk = &mut buffer[..per_read.min((index.mx_frame - frame) as usize) * size];
            let offset = HEADER as u64 + u64::from(frame) * size as u64;
            if !read_exact(&self.files.wal, chunk, offset).map_err(Error::io("read", wal_path))? {
                return Err(corrupt(frame + 1, "the wal is shorter than published"));
            }
            for bytes in chunk.chunks_exact(size) {
                frame += 1;
                checksum = FrameHeader::verify(bytes, index.salts(), checksum, index.big_endian)
                    .ok_or_else(|| corrupt(frame, "salts or checksum do not fit"))?
                    .checksum;
            }
        }
        if checksum == index.checksum {
            Ok(())
        } else {
            Err(corrupt(frame, "another checksum than published"))
        }
    }
}

fn overlay(files: &Files, page_size: u32, index: &WalIndex, low: u32) -> Result<Overlay, Error> {
    let mut overlay = Overlay::from_page(low);
    for frame in index.n_backfill + 1..=index.mx_frame {
        overlay.note(frame_header(files, page_size, frame)?.pgno, frame);
    }
    overlay.settle();
    Ok(overlay)
}

fn frame_header(files: &Files, page_size: u32, frame: u32) -> Result<FrameHeader, Error> {
    let mut head = [0; FRAME_HEADER];
    let offset = HEADER as u64 + u64::from(frame - 1) * (FRAME_HEADER as u64 + u64::from(page_size));
    files.wal.read_exact_at(&mut head, offset).map_err(Error::io("read", &files.wal_path))?;
    Ok(FrameHeader::parse(&head))
}

impl Tail {
    /// Reads page `pgno` of the database *file*, whatever the WAL says; zeros behind the end of the file. For pages that came into
    /// being without a frame when the database grew.
    pub fn read_file_page(&self, pgno: u32, into: &mut [u8]) -> Result<(), Error> {
        read_file(&self.files, pgno, self.page_size, into)
    }
}

impl View<'_> {
    /// Size of the database in pages.
    pub fn commit(&self) -> u32 {
        self.still.position.commit
    }

    /// Bytes per page.
    pub fn page_size(&self) -> u32 {
        self.still.position.page_size
    }

    /// The end of this state in the WAL: where copying continues behind it.
    pub fn position(&self) -> Position {
        self.still.position
    }

    /// The page that carries SQLite's locks; it reads as zeros, and a replica skips it.
    pub fn lock_page(&self) -> u32 {
        self.still.lock_page()
    }

    /// Reads page `pgno` (from 1) into `into`, which is one page long. Pages the file does not reach are zeros, as
    /// they are for SQLite. Ascending order is cheapest.
    pub fn read_page(&mut self, pgno: u32, into: &mut [u8]) -> Result<(), Error> {
        self.still.read_page(&self.tail.files, pgno, into)
    }

    /// All pages in ascending order, read 256 KiB at a time. May be called again: the state stands still.
    pub fn for_each_page(&mut self, visit: impl FnMut(u32, &[u8]) -> io::Result<()>) -> Result<(), Error> {
        self.still.for_each_page(&self.tail.files, visit)
    }

    /// Ends the view and makes its end the position of the tail: copying continues behind it.
    pub fn accept(self) -> Position {
        let position = self.still.position;
        self.tail.set_position(position);
        position
    }
}

impl Still {
    pub(crate) fn lock_page(&self) -> u32 {
        LOCK_BYTE / self.position.page_size + 1
    }

    fn read_page(&mut self, files: &Files, pgno: u32, into: &mut [u8]) -> Result<(), Error> {
        self.cover(files, pgno)?;
        match self.overlay.frame(pgno) {
            Some(frame) => self.read_frame(files, frame, into),
            None if pgno == self.lock_page() => {
                into.fill(0);
                Ok(())
            }
            None => read_file(files, pgno, self.position.page_size, into),
        }
    }

    pub(crate) fn for_each_page(
        &mut self,
        files: &Files,
        mut visit: impl FnMut(u32, &[u8]) -> io::Result<()>,
    ) -> Result<(), Error> {
        let Position { page_size, commit, .. } = self.position;
        let size = page_size as usize;
        let per_read = (BUFFER / size).max(1) as u32;
        let mut buffer = vec![0; per_read as usize * size];
        let mut pgno = 1;
        while pgno <= commit {
            let count = per_read.min(commit - pgno + 1);
            let chunk = &mut buffer[..count as usize * size];
            read_file(files, pgno, page_size, chunk)?;
            for page in chunk.chunks_exact_mut(size) {
                self.cover(files, pgno)?;
                if let Some(frame) = self.overlay.frame(pgno) {
                    self.read_frame(files, frame, page)?;
                } else if pgno == self.lock_page() {
                    page.fill(0);
                }
                visit(pgno, page).map_err(Error::io("pass on a page of", &files.path))?;
                pgno += 1;
            }
        }
        Ok(())
    }

    fn cover(&mut self, files: &Files, pgno: u32) -> Result<(), Error> {
        if !self.overlay.covers(pgno) {
            self.overlay = overlay(files, self.position.page_size, &self.index, pgno)?;
        }
        Ok(())
    }

    fn read_frame(&self, files: &Files, frame: u32, into: &mut [u8]) -> Result<(), Error> {
        let size = u64::from(self.position.page_size);
        let head = FRAME_HEADER as u64;
        let offset = HEADER as u64 + u64::from(frame - 1) * (head + size) + head;
        files.wal.read_exact_at(into, offset).map_err(Error::io("read", &files.wal_path))
    }
}

/// Fills `into` from the database file, with zeros behind its end.
fn read_file(files: &Files, pgno: u32, page_size: u32, into: &mut [u8]) -> Result<(), Error> {
    let start = u64::from(pgno - 1) * u64::from(page_size);
    let mut filled = 0;
    while filled < into.len() {
        match files.db.read_at(&mut into[filled..], start + filled as u64) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::io("read", &files.path)(e)),
        }
    }
    into[filled..].fill(0);
    Ok(())
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.tail.reader.end() {
            tracing::warn!(%error, "the transaction of a view would not end");
        }
    }
}
