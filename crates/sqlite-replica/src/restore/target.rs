//! The file a restore writes: temporary until it is proven, then renamed into place (P2: never half a file under the final name).

use crate::error::{Error, Result};
use crate::restore::flush::Flusher;
use crate::restore::object::Pages;
use crate::restore::proof::Proof;
use crate::restore::run::Run;
use crate::table::PageTable;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// A database being put together, page by page, newest version first.
#[derive(Debug)]
pub(crate) struct Target {
    file: File,
    temp: PathBuf,
    output: PathBuf,
    page_size: usize,
    proof: Proof,
    /// Of a database that a pod will go on from: the checksum of every page.
    table: Option<PageTable>,
    flusher: Flusher,
    /// The temporary file is not ours to remove any more.
    finished: AtomicBool,
}

impl Target {
    /// Creates `<output>.restoring`, after checking that the volume has room for `commit` pages.
    pub(crate) fn create(output: &Path, page_size: usize, commit: u32) -> Result<Target> {
        let temp = temporary(output)?;
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
        let target = Target::open(temp, output, page_size, commit)?;
        target.file.set_len(size).map_err(Error::io(&target.temp, "size"))?;
        Ok(target)
    }

    /// One that somebody else fills, whose size is not known before.
    pub(crate) fn blank(output: &Path) -> Result<Target> {
        Target::open(temporary(output)?, output, 0, 0)
    }

    fn open(temp: PathBuf, output: &Path, page_size: usize, commit: u32) -> Result<Target> {
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(true).clone();
        let file = options.open(&temp).map_err(Error::io(&temp, "create"))?;
        let output = output.to_owned();
        Ok(Target {
            file,
            temp,
            output,
            page_size,
            proof: Proof::new(commit),
            table: None,
            flusher: Flusher::default(),
            finished: AtomicBool::new(false),
        })
    }

    /// Has the checksums of all pages written to the table at `path`, whose content they replace.
    pub(crate) fn remember(mut self, path: &Path) -> Result<Target> {
        self.table = Some(PageTable::scattered(path, self.proof.commit())?);
        Ok(self)
    }

    /// The open temporary file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// The temporary file.
    pub(crate) fn temp(&self) -> &Path {
        &self.temp
    }

    /// What has been written.
    pub(crate) fn proof(&self) -> &Proof {
        &self.proof
    }

    /// Makes the content durable; may be called while others read it.
    pub(crate) fn sync(&self) -> Result<()> {
        self.flusher.end().and_then(|()| self.file.sync_all()).map_err(Error::io(&self.temp, "sync"))?;
        self.table.as_ref().map_or(Ok(()), PageTable::sync)
    }

    /// Makes the file durable and gives it its name. A database already there, and its `-wal` and `-shm`, which must never meet
    /// the new file, are set aside first and removed last.
    pub(crate) fn finish(self) -> Result<()> {
        self.sync()?;
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
        self.finished.store(true, Ordering::Relaxed);
        let dir = parent(&self.output);
        File::open(dir).and_then(|d| d.sync_all()).map_err(Error::io(dir, "sync"))?;
        for moved in aside {
            fs::remove_file(&moved).map_err(Error::io(&moved, "remove"))?;
        }
        Ok(())
    }
}

impl Pages for Target {
    /// Writes a page unless a newer file has written it, or it lies beyond the final size.
    fn offer(&self, run: &mut Run, pgno: u32, page: &[u8]) -> io::Result<()> {
        let Some(sum) = self.proof.accept(pgno, page) else { return Ok(()) };
        if !run.continues(pgno) {
            self.settle(run)?;
        }
        run.push(pgno, page, sum);
        Ok(())
    }

    fn settle(&self, run: &mut Run) -> io::Result<()> {
        run.drain(|first, bytes, sums| {
            self.file.write_all_at(bytes, u64::from(first - 1) * self.page_size as u64)?;
            if let Some(table) = &self.table {
                table.put(first, sums)?;
            }
            self.flusher.wrote(&self.file, bytes.len())
        })
    }

    fn scratch(&self) -> PathBuf {
        parent(&self.output).to_owned()
    }
}

impl Target {
    /// A half restore is worth nothing to the next attempt; leaving it would only fill the volume. Said as soon as that is known:
    /// threads that still write to it may outlast the process's patience, or remove by its name what the next attempt has begun.
    pub(crate) fn abandon(&self) {
        if !self.finished.swap(true, Ordering::Relaxed) {
            let _ = fs::remove_file(&self.temp);
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// The name of the temporary file; what an interrupted restore left under it would count as taken space, and is removed.
fn temporary(output: &Path) -> Result<PathBuf> {
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(".restoring");
    let temp = output.with_file_name(name);
    match fs::remove_file(&temp) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io(&temp, "remove")(e)),
        _ => Ok(temp),
    }
}

/// The directory a file is in.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A name with something behind it: `db` and `-wal`.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
