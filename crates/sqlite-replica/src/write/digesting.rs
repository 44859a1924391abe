//! Files that are digested: while they are written, and when they are read again.

use crate::error::{Error, Result};
use crate::write::form::Plain;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

/// Hex digest of a file; `each` sees its chunks.
pub(crate) fn digest(path: &Path, mut each: impl FnMut(&[u8])) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io(path, "open"))?;
    let (mut digest, mut chunk) = (Sha256::new(), vec![0; 64 << 10]);
    loop {
        let n = file.read(&mut chunk).map_err(Error::io(path, "read"))?;
        if n == 0 {
            return Ok(hex::encode(digest.finalize()));
        }
        digest.update(&chunk[..n]);
        each(&chunk[..n]);
    }
}

/// Creates a file that is digested while it is written.
pub(crate) fn create(path: &Path) -> Result<BufWriter<Digesting>> {
    let file = File::create(path).map_err(Error::io(path, "create"))?;
    Ok(BufWriter::new(Digesting { file, digest: Sha256::new() }))
}

/// Makes such a file durable.
pub(crate) fn finish(writer: BufWriter<Digesting>, path: &Path) -> Result<Plain> {
    let digesting = writer.into_inner().map_err(|e| Error::io(path, "write")(e.into_error()))?;
    digesting.file.sync_data().map_err(Error::io(path, "sync"))?;
    let size = digesting.file.metadata().map_err(Error::io(path, "stat"))?.len();
    Ok(Plain { path: path.to_owned(), size, sha256: hex::encode(digesting.digest.finalize()) })
}

/// Writes and digests at once.
pub(crate) struct Digesting {
    file: File,
    digest: Sha256,
}

impl Write for Digesting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.digest.update(&bytes[..n]);
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
