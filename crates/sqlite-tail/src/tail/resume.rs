//! Going on after a downtime: what proves that nothing was missed, and what proves that something is lost (trap 18).

use super::{Tail, read_exact};
use crate::wal::{Checksum, FRAME_HEADER, FrameHeader};
use crate::{Error, Position, Resume};

impl Tail {
    /// Whether copying can go on at `at`, a position from before a downtime; if so, it is the position now.
    ///
    /// Proven only by the same salts, enough frames and our running checksum at our frame (trap 18). Salts of zero
    /// are those of any WAL that was empty when its index was built, so they prove nothing. Salts are drawn at random
    /// at every restart, and a generation is only ever appended to: if the salts are ours and our frame is not there,
    /// the volume has lost it.
    pub fn resume(&mut self, at: Position) -> Result<Resume, Error> {
        self.position = None;
        let unproven = |reason| Ok(Resume::Unproven { reason });
        let rolled_back = |reason| Ok(Resume::RolledBack { reason });
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
            return rolled_back("the wal is shorter than what was copied");
        }
        if at.frame > 0 {
            let offset = at.wal_offset() - FRAME_HEADER as u64 - u64::from(at.page_size);
            let mut head = [0; FRAME_HEADER];
            if !read_exact(&self.files.wal, &mut head, offset)
                .map_err(Error::io("read", &self.files.wal_path))?
            {
                return rolled_back("the wal file is too short");
            }
            let frame = FrameHeader::parse(&head);
            let same = (frame.salt1, frame.salt2) == at.salts()
                && frame.checksum == Checksum { s1: at.cksum1, s2: at.cksum2 };
            // Without a pin the frame may have been overwritten while it was read.
            if !same && self.index()?.salts() == at.salts() {
                return rolled_back("the wal has another frame at our offset");
            }
        }
        if self.index()?.salts() != at.salts() {
            return unproven("the wal was restarted");
        }
        self.position = Some(at);
        Ok(Resume::Proven)
    }
}
