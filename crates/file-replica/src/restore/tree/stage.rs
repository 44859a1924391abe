//! Unfinished files: written under a number in a directory of their own, then given their names.
//!
//! Each worker has a directory for itself below `stage/`: the kernel lets one thread at a time make a name in a directory, and everything
//! here is making names. Opened once, because a path from the root is looked up segment by segment for every file; the
//! directory that files are moved to is kept open as long as the next one goes there too, which is most of the time in a pack.

use super::{Sparse, Tree};
use crate::entry::{Content, Entry};
use crate::path::RelPath;
use crate::{Error, Result};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// A worker's directory.
pub(crate) struct Stage {
    dir: OwnedFd,
    place: PathBuf,
    next: AtomicU64,
}

/// A finished file that has not got its name yet.
pub(crate) struct Staged {
    number: u64,
    path: RelPath,
}

impl Stage {
    /// A file that nobody else can find.
    pub(crate) fn temporary(&self) -> Result<(u64, File)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.dir, number.to_string(), flags, Mode::from_raw_mode(0o644))
            .map_err(Error::sys(&self.place(number), "create"))?;
        Ok((number, file.into()))
    }

    /// Where a temporary file lies, for messages.
    pub(crate) fn place(&self, number: u64) -> PathBuf {
        self.place.join(number.to_string())
    }

    /// The directory, to look at what lies in it.
    pub(crate) fn dir(&self) -> &OwnedFd {
        &self.dir
    }
}

impl Tree {
    /// A directory for one worker.
    pub(crate) fn stage(&self) -> Result<Stage> {
        let place = self.stage.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        std::fs::create_dir(&place).map_err(Error::io(&place, "create"))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::open(&place, flags, Mode::empty()).map_err(Error::sys(&place, "open"))?;
        Ok(Stage { dir, place, next: AtomicU64::new(0) })
    }

    /// Writes content under a temporary name, with everything that belongs to it.
    pub(in crate::restore) fn write(
        &self,
        stage: &Stage,
        entry: &Entry,
        content: &Content,
        bytes: &[u8],
    ) -> Result<Staged> {
        let (number, mut file) = stage.temporary()?;
        let mut out = Sparse::new(&mut file, content.sparse);
        out.write_all(bytes)
            .and_then(|()| out.end())
            .map_err(|e| Error::io(&stage.place(number), "write")(e))?;
        self.finish(stage, number, &file, entry)
    }

    /// Gives a written temporary file its metadata.
    pub(crate) fn finish(&self, stage: &Stage, number: u64, file: &File, entry: &Entry) -> Result<Staged> {
        self.dress(file, &stage.place(number), entry)?;
        Ok(Staged { number, path: entry.path.clone() })
    }
}

/// Gives files of one stage their names.
pub(crate) struct Publisher<'a> {
    tree: &'a Tree,
    stage: &'a Stage,
    /// The directory the last file went to.
    parent: Option<(RelPath, OwnedFd)>,
}

impl<'a> Publisher<'a> {
    pub(crate) fn new(tree: &'a Tree, stage: &'a Stage) -> Publisher<'a> {
        Publisher { tree, stage, parent: None }
    }

    pub(crate) fn publish(&mut self, staged: Staged) -> Result<()> {
        let parent = match self.parent.take() {
            Some((last, dir)) if last.parent_bytes() == staged.path.parent_bytes() => dir,
            _ => self.tree.parent(&staged.path)?,
        };
        rustix::fs::renameat(&self.stage.dir, staged.number.to_string(), &parent, staged.path.name())
            .map_err(Error::sys(&self.tree.place(&staged.path), "rename into place"))?;
        self.parent = Some((staged.path, parent));
        Ok(())
    }
}
