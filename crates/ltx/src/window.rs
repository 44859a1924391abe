//! A bounded window onto a stream.
//!
//! Page frames say only at their end how long they are. The window always offers the longest frame
//! there can be in one slice, so that frames are decoded by the same code from streams and slices.

use std::io::{ErrorKind, Read};

use crate::error::Result;

/// Bytes read ahead at least, however small the pages.
const READ_AHEAD: usize = 32 * 1024;

/// The unread bytes of a stream, as far as they are known.
pub(crate) struct Window<R> {
    inner: R,
    buf: Box<[u8]>,
    start: usize,
    end: usize,
    /// Offset of `start` in the stream.
    offset: u64,
    at_end: bool,
}

impl<R: Read> Window<R> {
    /// `longest` is the largest amount [`Window::fill`] will be asked for, `offset` how much of the
    /// stream has been read before.
    pub(crate) fn new(inner: R, longest: usize, offset: u64) -> Window<R> {
        let buf = vec![0; (2 * longest).max(READ_AHEAD)].into_boxed_slice();
        Window { inner, buf, start: 0, end: 0, offset, at_end: false }
    }

    /// Makes `want` bytes available, fewer only at the end of the stream, and returns all there are.
    pub(crate) fn fill(&mut self, want: usize) -> Result<&[u8]> {
        let want = want.min(self.buf.len());
        if self.end - self.start < want && !self.at_end {
            self.buf.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            while self.end < want {
                match self.inner.read(&mut self.buf[self.end..]) {
                    Ok(0) => {
                        self.at_end = true;
                        break;
                    }
                    Ok(n) => self.end += n,
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    Err(e) => return Err(e.into()),
                }
            }
        }
        Ok(&self.buf[self.start..self.end])
    }

    /// The last `n` bytes consumed. They are there until the next [`Window::fill`].
    pub(crate) fn behind(&self, n: usize) -> &[u8] {
        &self.buf[self.start.saturating_sub(n)..self.start]
    }

    /// Moves past `n` of the available bytes.
    pub(crate) fn consume(&mut self, n: usize) {
        let n = n.min(self.end - self.start);
        self.start += n;
        self.offset += n as u64;
    }

    /// Offset of the first unread byte.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }
}
