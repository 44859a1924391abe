//! Content written from its beginning to its end; of a sparse file, blocks of zeros become holes.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

const BLOCK: usize = 4096;

/// A file that is written from its beginning to its end.
pub(in crate::restore) struct Sparse<'a> {
    file: &'a mut File,
    sparse: bool,
    length: u64,
}

impl<'a> Sparse<'a> {
    pub(in crate::restore) fn new(file: &'a mut File, sparse: bool) -> Self {
        Self { file, sparse, length: 0 }
    }

    pub(in crate::restore) fn end(self) -> io::Result<()> {
        if self.sparse { self.file.set_len(self.length) } else { Ok(()) }
    }
}

impl Write for Sparse<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.sparse {
            let n = self.file.write(bytes)?;
            self.length += n as u64;
            return Ok(n);
        }
        let to_boundary = BLOCK - (self.length % BLOCK as u64) as usize;
        let piece = &bytes[..bytes.len().min(to_boundary)];
        if piece.iter().all(|b| *b == 0) {
            self.file.seek(SeekFrom::Current(piece.len() as i64))?;
        } else {
            self.file.write_all(piece)?;
        }
        self.length += piece.len() as u64;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
