//! Copying published frames into a sink, and the proof that a restart of the WAL skipped nothing.

use super::{Tail, read_exact};
use crate::protocol::Then;
use crate::wal::{Checksum, FRAME_HEADER, FrameHeader, HEADER, WalHeader};
use crate::wal_index::WalIndex;
use crate::{Error, Position, Sink};

/// Most bytes of the WAL in memory at a time.
const BUFFER: usize = 256 * 1024;

/// What a copy delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Frames.
    pub frames: u32,
    /// Transactions.
    pub commits: u32,
    /// The WAL had been restarted: these frames begin a new generation.
    pub restarted: bool,
    /// The position before.
    pub from: Position,
    /// The position now.
    pub to: Position,
}

impl Tail {
    /// Copies everything published now and advances the position. On any error the position stays (or is gone, after
    /// a gap), and what the sink got since must not be shipped, see [`Sink`].
    pub fn copy(&mut self, sink: &mut dyn Sink) -> Result<Copied, Error> {
        self.copy_some(sink, u32::MAX)
    }

    /// As [`Tail::copy`], but stops at the first end of a transaction at or after `max_frames` frames.
    pub fn copy_some(&mut self, sink: &mut dyn Sink, max_frames: u32) -> Result<Copied, Error> {
        if !self.hold.is_pinned() {
            // Before copying, because copying may take long and a FULL may be waiting for READ_LOCK(0).
            self.drive(sink, Then::Copy)?;
        }
        let target = self.index()?;
        let copied = self.copy_to(&target, max_frames, sink)?;
        self.seen = target;
        Ok(copied)
    }

    /// As [`Tail::copy`], in steps of some `slice` frames, as long as `goes_on` says so in between; `None` if it did not. What was copied until
    /// then is whole transactions, and the position is behind them.
    pub fn copy_while(
        &mut self,
        sink: &mut dyn Sink,
        slice: u32,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Copied>, Error> {
        if !self.hold.is_pinned() {
            self.drive(sink, Then::Copy)?;
        }
        // What is published now and no more: a writer that is quicker than we are does not keep us.
        let target = self.index()?;
        let mut all = self.copy_to(&target, slice, sink)?;
        while all.to.frame < target.mx_frame {
            if !goes_on() {
                return Ok(None);
            }
            let more = self.copy_to(&target, slice, sink)?;
            let (frames, commits) = (all.frames + more.frames, all.commits + more.commits);
            all = Copied { frames, commits, to: more.to, ..all };
        }
        self.seen = target;
        Ok(Some(all))
    }

    /// Whether nobody can restart the WAL.
    pub(crate) fn is_pinned(&self) -> bool {
        self.hold.is_pinned()
    }

    pub(crate) fn copy_to(
        &mut self,
        target: &WalIndex,
        max_frames: u32,
        sink: &mut dyn Sink,
    ) -> Result<Copied, Error> {
        let Some(from) = self.position else { return Err(self.gap("there is no position to copy from")) };
        let restarted = from.salts() != target.salts();
        let start = if restarted {
            self.prove_restart(&from)?;
            let (salt1, salt2) = target.salts();
            Position { salt1, salt2, frame: 0, cksum1: 0, cksum2: 0, ..from }
        } else if target.mx_frame < from.frame {
            return Err(self.gap("published frames vanished"));
        } else {
            from
        };
        let (to, commits) = match self.deliver(start, target, max_frames, sink) {
            Err(Error::Corrupt { .. }) if self.index()?.salts() != target.salts() => {
                // Not corrupt: overwritten while we read. Possible only if the position was proven by `resume` after
                // the pin had been released without one.
                return Err(self.gap("the wal was restarted while it was read"));
            }
            delivered => delivered?,
        };
        self.position = Some(to);
        let frames = to.frame - start.frame;
        self.stats.frames += u64::from(frames);
        self.stats.commits += u64::from(commits);
        self.stats.wal_restarts += u64::from(restarted);
        Ok(Copied { frames, commits, restarted, from, to })
    }

    /// The salts changed. On a pin nobody can restart the WAL; on READ_LOCK(0) nobody can backfill, so only what was
    /// complete when the pin was released can be restarted, and what was empty since. By the protocol that was copied,
    /// unless there was no position then: this is the check on it.
    fn prove_restart(&mut self, from: &Position) -> Result<(), Error> {
        let complete = if from.salts() == self.mark.salts() {
            from.frame >= self.mark.mx_frame
        } else {
            from.frame == 0
        };
        if complete { Ok(()) } else { Err(self.gap("the wal was restarted before it was copied")) }
    }

    fn deliver(
        &self,
        start: Position,
        target: &WalIndex,
        max_frames: u32,
        sink: &mut dyn Sink,
    ) -> Result<(Position, u32), Error> {
        let mut at = start;
        if at.frame == target.mx_frame {
            let same = at.frame == 0 || checksum_of(&at) == target.checksum;
            return if same {
                Ok((at, 0))
            } else {
                Err(self.corrupt(at.frame, "another checksum than published"))
            };
        }
        let failed = || Error::io("read", &self.files.wal_path);
        let mut checksum = if at.frame > 0 { checksum_of(&at) } else { self.generation_seed(target)? };
        let frame_size = FRAME_HEADER + self.page_size as usize;
        let per_read = (BUFFER / frame_size).max(1).min((target.mx_frame - at.frame) as usize);
        let mut buffer = vec![0; per_read * frame_size];
        let (mut frame, mut commits) = (at.frame, 0);
        while frame < target.mx_frame {
            let count = per_read.min((target.mx_frame - frame) as usize);
            let chunk = &mut buffer[..count * frame_size];
            let offset = HEADER as u64 + u64::from(frame) * frame_size as u64;
            if !read_exact(&self.files.wal, chunk, offset).map_err(failed())? {
                return Err(self.corrupt(frame + 1, "the wal is shorter than published"));
            }
            for bytes in chunk.chunks_exact(frame_size) {
                let header = FrameHeader::verify(bytes, target.salts(), checksum, target.big_endian)
                    .ok_or_else(|| self.corrupt(frame + 1, "salts or checksum do not fit"))?;
                let to_sink = || Error::io("copy a page of", &self.files.wal_path);
                sink.page(header.pgno, &bytes[FRAME_HEADER..]).map_err(to_sink())?;
                frame += 1;
                checksum = header.checksum;
                if header.commit == 0 {
                    continue;
                }
                sink.commit(header.commit).map_err(to_sink())?;
                commits += 1;
                at =
                    Position { frame, cksum1: checksum.s1, cksum2: checksum.s2, commit: header.commit, ..at };
                if frame - start.frame >= max_frames && frame < target.mx_frame {
                    return Ok((at, commits));
                }
            }
        }
        if at.frame != frame {
            return Err(self.corrupt(frame, "the last published frame does not commit"));
        }
        if checksum != target.checksum {
            return Err(self.corrupt(frame, "another checksum than published"));
        }
        Ok((at, commits))
    }

    /// The checksum before frame 1 of the generation `target` describes.
    pub(crate) fn generation_seed(&self, target: &WalIndex) -> Result<Checksum, Error> {
        let mut head = [0; HEADER];
        let read =
            read_exact(&self.files.wal, &mut head, 0).map_err(Error::io("read", &self.files.wal_path))?;
        let header = read.then(|| WalHeader::parse(&head)).flatten();
        match header {
            Some(header)
                if header.salts() == target.salts()
                    && header.page_size == self.page_size
                    && header.big_endian == target.big_endian =>
            {
                Ok(header.checksum)
            }
            _ => Err(self.corrupt(0, "the header is not that of the published generation")),
        }
    }
}

fn checksum_of(at: &Position) -> Checksum {
    Checksum { s1: at.cksum1, s2: at.cksum2 }
}
