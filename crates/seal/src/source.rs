//! The reader below: its own failures are told apart from damage, and the age header is bounded.
//!
//! age gives one `io::Error` for both "the network broke" and "this is not what was written". The first is retried, the
//! second is an alarm, so the source marks its own. age also reads a header of any length into memory; here it may
//! have 1 MiB, which is room for thousands of recipients (P7).

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const LONGEST_HEADER: u64 = 1 << 20;

/// A reader whose errors are marked with [`SourceFailed`].
pub(crate) struct Source<R> {
    inner: R,
    in_header: Arc<AtomicBool>,
    read: u64,
}

impl<R> Source<R> {
    /// The source, and the switch that ends its header; a plain object has none.
    pub(crate) fn new(inner: R) -> (Self, Arc<AtomicBool>) {
        let in_header = Arc::new(AtomicBool::new(true));
        (Self { inner, in_header: Arc::clone(&in_header), read: 0 }, in_header)
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read > LONGEST_HEADER && self.in_header.load(Ordering::Relaxed) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the age header is longer than 1 MiB"));
        }
        let count = self.inner.read(buffer).map_err(marked)?;
        self.read += count as u64;
        Ok(count)
    }
}

impl<R: Seek> Seek for Source<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to).map_err(marked)
    }
}

fn marked(error: io::Error) -> io::Error {
    // Interrupted means "again" to every caller, so it must stay what it is.
    if error.kind() == io::ErrorKind::Interrupted {
        error
    } else {
        io::Error::new(error.kind(), SourceFailed(error))
    }
}

/// Marks an error as the source's own.
#[derive(Debug)]
pub(crate) struct SourceFailed(io::Error);

impl fmt::Display for SourceFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for SourceFailed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}
