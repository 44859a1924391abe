//! Writing into a tree without ever leaving it.
//!
//! Parents are opened one segment at a time and never through a link; files are made under a temporary name in a directory of `stage/`
//! ([`Stage`]), on the same file system, and renamed. Owners and attributes that this user may not set are counted, not fatal: a pod
//! that is not root restores its own files.

mod sparse;
mod stage;

use crate::entry::{Entry, Kind, Time};
use crate::path::RelPath;
use crate::scan::{Look, look_at};
use crate::{Error, Result};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
pub(super) use sparse::Sparse;
pub(crate) use stage::{Publisher, Stage, Staged};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A tree being written; shared by threads.
pub(crate) struct Tree {
    root: PathBuf,
    root_fd: OwnedFd,
    stage: PathBuf,
    next: AtomicU64,
    /// Entries whose owner could not be set.
    pub(super) foreign: AtomicU64,
    /// Attributes that could not be set.
    pub(super) lost_xattrs: AtomicU64,
}

/// What lies at a path and the directory it lies in, reached without following a link; `None` if nothing does, or a link or a file
/// is in the way.
pub(super) fn reach(root: &Path, path: &RelPath) -> Result<Option<(OwnedFd, Look)>> {
    let Some(dir) = reach_parent(root, path)? else { return Ok(None) };
    let look = look_at(&dir, path.name(), root)?;
    Ok(look.map(|look| (dir, look)))
}

/// The directory a path lies in, reached without following a link; `None` if it is not there, or a link or a file is in the way.
pub(super) fn reach_parent(root: &Path, path: &RelPath) -> Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(root, flags, Mode::empty()).map_err(Error::sys(root, "open"))?;
    match descend(dir, path) {
        Ok(dir) => Ok(Some(dir)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(Error::sys(&root.join(path.as_path()), "look at")(errno)),
    }
}

fn descend(mut dir: OwnedFd, path: &RelPath) -> rustix::io::Result<OwnedFd> {
    let Some(parent) = path.parent() else { return Ok(dir) };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for segment in parent.as_bytes().split(|b| *b == b'/') {
        dir = rustix::fs::openat(&dir, segment, flags, Mode::empty())?;
    }
    Ok(dir)
}

impl Tree {
    pub(crate) fn open(root: &Path, stage: PathBuf) -> Result<Tree> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root_fd = rustix::fs::open(root, flags, Mode::empty()).map_err(Error::sys(root, "open"))?;
        // Leftovers of a run that crashed.
        match std::fs::remove_dir_all(&stage) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(&stage, "clear")(e)),
            _ => {}
        }
        std::fs::create_dir(&stage).map_err(Error::io(&stage, "create"))?;
        Ok(Tree {
            root: root.to_owned(),
            root_fd,
            stage,
            next: AtomicU64::new(0),
            foreign: AtomicU64::new(0),
            lost_xattrs: AtomicU64::new(0),
        })
    }

    pub(super) fn place(&self, path: &RelPath) -> PathBuf {
        self.root.join(path.as_path())
    }

    /// The directory something lies in, reached without following a link.
    fn parent(&self, path: &RelPath) -> Result<OwnedFd> {
        let dir = self.root_fd.try_clone().map_err(Error::io(&self.root, "open"))?;
        descend(dir, path).map_err(Error::sys(&self.place(path), "open (a link or a file in the way?)"))
    }

    /// A directory that only we can enter until everything in it is in place.
    pub(crate) fn make_dir(&self, path: &RelPath) -> Result<()> {
        let parent = self.parent(path)?;
        match rustix::fs::mkdirat(&parent, path.name(), Mode::from_raw_mode(0o700)) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let dir = rustix::fs::openat(&parent, path.name(), flags, Mode::empty())
                    .map_err(Error::sys(&self.place(path), "open as a directory"))?;
                // Left read-only by an earlier attempt; it gets its own mode in the end.
                let _ = rustix::fs::fchmod(&dir, Mode::from_raw_mode(0o700));
                Ok(())
            }
            Err(errno) => Err(Error::sys(&self.place(path), "create")(errno)),
        }
    }

    /// Owner, mode, attributes, time; in this order, because each may undo the next. What is right already is left alone: looking
    /// costs a tenth of a change, which the file system's journal has to hear of.
    fn dress(&self, file: impl AsFd, place: &Path, entry: &Entry) -> Result<()> {
        let is = Look::from(rustix::fs::fstat(&file).map_err(Error::sys(place, "look at"))?);
        let mut mode = entry.mode;
        let is_owned = (is.uid, is.gid) == (entry.uid, entry.gid);
        if !is_owned {
            let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
            match rustix::fs::fchown(&file, Some(uid), Some(gid)) {
                Ok(()) => {}
                Err(Errno::PERM | Errno::INVAL) => {
                    self.foreign.fetch_add(1, Ordering::Relaxed);
                    // Never lend our own rights to a program that belonged to somebody else.
                    mode &= 0o1777;
                }
                Err(errno) => return Err(Error::sys(place, "change the owner of")(errno)),
            }
        }
        // A change of the owner takes bits away.
        if !is_owned || is.mode != mode {
            rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))
                .map_err(Error::sys(place, "change the mode of"))?;
        }
        for xattr in &entry.xattrs {
            let set = rustix::fs::fsetxattr(&file, xattr.name.as_slice(), &xattr.value, XattrFlags::empty());
            if let Err(errno) = set {
                match errno {
                    Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS | Errno::INVAL => {
                        self.lost_xattrs.fetch_add(1, Ordering::Relaxed);
                    }
                    errno => return Err(Error::sys(place, "set an attribute of")(errno)),
                }
            }
        }
        rustix::fs::futimens(&file, &times(entry.mtime)).map_err(Error::sys(place, "set the time of"))
    }

    /// Everything that was written so far is on disk.
    pub(crate) fn sync(&self) -> Result<()> {
        rustix::fs::syncfs(&self.root_fd).map_err(Error::sys(&self.root, "sync"))
    }

    /// Another name of a file that is in place.
    pub(super) fn link(&self, first: &RelPath, entry: &Entry) -> Result<()> {
        let (from, to) = (self.parent(first)?, self.parent(&entry.path)?);
        self.replace(&to, &entry.path, || {
            rustix::fs::linkat(&from, first.name(), &to, entry.path.name(), AtFlags::empty())
        })
    }

    /// A link or a fifo.
    pub(crate) fn make_special(&self, entry: &Entry) -> Result<()> {
        let parent = self.parent(&entry.path)?;
        let name = entry.path.name();
        match &entry.kind {
            Kind::Symlink { target } => {
                self.replace(&parent, &entry.path, || {
                    rustix::fs::symlinkat(target.as_slice(), &parent, name)
                })?;
            }
            Kind::Fifo => self.replace(&parent, &entry.path, || {
                rustix::fs::mknodat(
                    &parent,
                    name,
                    rustix::fs::FileType::Fifo,
                    Mode::from_raw_mode(entry.mode),
                    0,
                )
            })?,
            _ => return Ok(()),
        }
        let place = self.place(&entry.path);
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        match rustix::fs::chownat(&parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::PERM | Errno::INVAL) => {
                self.foreign.fetch_add(1, Ordering::Relaxed);
            }
            Err(errno) => return Err(Error::sys(&place, "change the owner of")(errno)),
        }
        if matches!(entry.kind, Kind::Fifo) {
            let mode = Mode::from_raw_mode(entry.mode);
            rustix::fs::chmodat(&parent, name, mode, AtFlags::empty())
                .map_err(Error::sys(&place, "change the mode of"))?;
        }
        rustix::fs::utimensat(&parent, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(Error::sys(&place, "set the time of"))
    }

    /// The same thing left by an earlier attempt is replaced.
    fn replace(
        &self,
        parent: &OwnedFd,
        path: &RelPath,
        make: impl Fn() -> rustix::io::Result<()>,
    ) -> Result<()> {
        let place = self.place(path);
        match make() {
            Err(Errno::EXIST) => {
                rustix::fs::unlinkat(parent, path.name(), AtFlags::empty())
                    .map_err(Error::sys(&place, "replace"))?;
                make().map_err(Error::sys(&place, "create"))
            }
            other => other.map_err(Error::sys(&place, "create")),
        }
    }

    /// Gives a directory its metadata, after everything in it is in place.
    pub(crate) fn dress_dir(&self, entry: &Entry) -> Result<()> {
        let parent = self.parent(&entry.path)?;
        let place = self.place(&entry.path);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(&parent, entry.path.name(), flags, Mode::empty())
            .map_err(Error::sys(&place, "open"))?;
        self.dress(&dir, &place, entry)
    }
}

fn times(mtime: Time) -> Timestamps {
    let at = Timespec { tv_sec: mtime.sec, tv_nsec: mtime.nsec.into() };
    Timestamps { last_access: at, last_modification: at }
}
