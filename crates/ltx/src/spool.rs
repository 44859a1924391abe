//! Where an encoder keeps the index of the file it writes.
//!
//! The index comes after the pages, so it has to wait somewhere: about three bytes per page, 75 MiB
//! for 100 GiB of pages of 4 KiB. Memory does for files of a few million pages; a temporary file
//! keeps the promise of bounded memory (P7) for any size. This crate opens no files, the caller does.

use std::io::{self, Read, Seek, SeekFrom, Write};

/// A place for bytes that are written once and read once.
pub trait Spool {
    /// Adds `bytes` at the end. Called with chunks of a few KiB.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Everything appended, from the beginning.
    fn replay(&mut self) -> io::Result<Box<dyn Read + '_>>;
}

/// Keeps the index in memory.
#[derive(Debug, Default)]
pub struct MemorySpool(Vec<u8>);

impl Spool for MemorySpool {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn replay(&mut self) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(self.0.as_slice()))
    }
}

/// Keeps the index in anything seekable, such as an unnamed temporary file. What the file held
/// before is overwritten from its beginning.
#[derive(Debug)]
pub struct SeekSpool<F> {
    file: F,
    len: u64,
}

impl<F: Read + Write + Seek> SeekSpool<F> {
    /// Starts at the beginning of `file`.
    pub fn new(mut file: F) -> io::Result<SeekSpool<F>> {
        file.seek(SeekFrom::Start(0))?;
        Ok(SeekSpool { file, len: 0 })
    }
}

impl<F: Read + Write + Seek> Spool for SeekSpool<F> {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn replay(&mut self) -> io::Result<Box<dyn Read + '_>> {
        self.file.flush()?;
        self.file.seek(SeekFrom::Start(0))?;
        Ok(Box::new((&mut self.file).take(self.len)))
    }
}
