//! The file a restore writes: temporary until it is proven, then renamed into place (P2: never half a file under the final name).

use crate::error::{Error, Result};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A database being put together, page by page, newest version first.
#[derive(Debug)]
pub(crate) struct Target {
    file: File,
    temp: PathBuf,
    output: PathBuf,
    page_size: usize,
    commit: u32,
    /// One bit per page: written by a newer file already (P7: 32 KiB per GiB of 4 KiB pages).
    written: Vec<AtomicU64>,
    count: AtomicU64,
    /// XOR of the checksums of all written pages.
    rolling: AtomicU64,
    finished: bool,
}

impl Target {
    /// Creates `<output>.restoring`, after checking that the volume has room for `commit` pages.
    pub(crate) fn create(output: &Path, page_size: usize, commit: u32) -> Result<Target> {
        let mut name = output.file_name().unwrap_or_default().to_owned();
        name.push(".restoring");
        let temp = output.with_file_name(name);
        let size = u64::from(commit) * page_size as u64;
        let dir = parent(output);
        let fs =
            nix::sys::statvfs::statvfs(dir).map_err(|e| Error::io(dir, "look at the volume")(e.into()))?;
        let free = fs.blocks_available() as u64 * fs.fragment_size() as u64;
        if free < size {
            return Err(Error::Io {
                path: dir.to_owned(),
                doing: "restore here",
                source: io::Error::new(
                    io::ErrorKind::StorageFull,
                    format!("the database needs {size} bytes and the volume has {free} left"),
                ),
            });
        }
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(true).clone();
        let file = options.open(&temp).map_err(Error::io(&temp, "create"))?;
        file.set_len(size).map_err(Error::io(&temp, "size"))?;
        let words = commit as usize / 64 + 1;
        Ok(Target {
            file,
            temp,
            output: output.to_owned(),
            page_size,
            commit,
            written: (0..words).map(|_| AtomicU64::new(0)).collect(),
            count: AtomicU64::new(0),
            rolling: AtomicU64::new(0),
            finished: false,
        })
    }

    /// The temporary file.
    pub(crate) fn temp(&self) -> &Path {
        &self.temp
    }

    /// Writes a page unless a newer file has written it, or it lies beyond the final size.
    pub(crate) fn offer(&self, pgno: u32, page: &[u8]) -> io::Result<()> {
        if pgno > self.commit {
            return Ok(());
        }
        let bit = 1 << (pgno % 64);
        if self.written[(pgno / 64) as usize].fetch_or(bit, Ordering::Relaxed) & bit != 0 {
            return Ok(());
        }
        self.rolling.fetch_xor(ltx::checksum::page_checksum(pgno, page), Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.file.write_all_at(page, u64::from(pgno - 1) * self.page_size as u64)
    }

    /// Pages that no file of the plan held.
    pub(crate) fn missing(&self, lock_page: u32) -> u64 {
        let expected = u64::from(self.commit) - u64::from(lock_page <= self.commit);
        expected - self.count.load(Ordering::Relaxed)
    }

    /// The rolling checksum of what was written.
    pub(crate) fn rolling(&self) -> u64 {
        self.rolling.load(Ordering::Relaxed) | ltx::checksum::FLAG
    }

    /// Makes the file durable and gives it its name. A database already there, and its `-wal` and `-shm`, which must never meet
    /// the new file, are set aside first and removed last.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.file.sync_all().map_err(Error::io(&self.temp, "sync"))?;
        let mut aside = Vec::new();
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let old = with_suffix(&self.output, suffix);
            let moved = with_suffix(&self.output, &format!(".replaced{suffix}"));
            match fs::rename(&old, &moved) {
                Ok(()) => aside.push(moved),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(Error::io(&old, "set aside")(e)),
            }
        }
        fs::rename(&self.temp, &self.output).map_err(Error::io(&self.output, "rename into place"))?;
        self.finished = true;
        let dir = parent(&self.output);
        File::open(dir).and_then(|d| d.sync_all()).map_err(Error::io(dir, "sync"))?;
        for moved in aside {
            fs::remove_file(&moved).map_err(Error::io(&moved, "remove"))?;
        }
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.finished {
            // A half restore is worth nothing to the next attempt; leaving it would only fill the volume.
            let _ = fs::remove_file(&self.temp);
        }
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
