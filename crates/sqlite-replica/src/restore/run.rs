//! Neighbouring pages of one decoder, on their way into a file together: a call for each page costs as much as decoding it, and writers
//! of one file wait for each other.

use crate::restore::buffers::{Buffer, Buffers};

/// Bytes of a run (P7: one run for each decoder at work).
const LONGEST: usize = 256 << 10;

/// Pages in ascending order without a gap, and their checksums.
#[derive(Debug)]
pub(crate) struct Run {
    first: u32,
    bytes: Buffer,
    sums: Vec<u64>,
}

impl Run {
    /// An empty one.
    pub(crate) fn new(buffers: &Buffers) -> Run {
        Run { first: 0, bytes: buffers.take(LONGEST as u64), sums: Vec::new() }
    }

    /// True if this page can be its next one.
    pub(crate) fn continues(&self, pgno: u32) -> bool {
        self.sums.is_empty() || (pgno == self.first + self.sums.len() as u32 && self.bytes.len() < LONGEST)
    }

    /// Takes a page that [`Run::continues`] it.
    pub(crate) fn push(&mut self, pgno: u32, page: &[u8], sum: u64) {
        if self.sums.is_empty() {
            self.first = pgno;
        }
        self.bytes.extend_from_slice(page);
        self.sums.push(sum);
    }

    /// Hands number, bytes and checksums of its pages to `write`, if there are any, and is empty.
    pub(crate) fn drain<E>(
        &mut self,
        write: impl FnOnce(u32, &[u8], &[u64]) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.sums.is_empty() {
            write(self.first, &self.bytes, &self.sums)?;
        }
        self.bytes.clear();
        self.sums.clear();
        Ok(())
    }
}
