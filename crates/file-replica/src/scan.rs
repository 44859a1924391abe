//! One look at a whole tree. Events are hints, scans are truth.
//!
//! Directories are opened relative to each other and never through a link; other file systems mounted inside are not entered.
//! Any error of a listing but "it is gone" ends the scan: an aborted scan can never look like deletions, and what cannot be looked at may
//! be a directory (P3, P6). A file whose content cannot be read is in the list all the same. Every directory is announced
//! before it is listed, so that a watch set then misses nothing (new-directory race).

mod look;
mod sqlite;

use crate::entry::Time;
use crate::filter::{Filter, OWN_DIR};
use crate::path::RelPath;
use crate::{Error, Result};
pub(crate) use look::{Look, look_at};
use rustix::fs::{Dir, FileType, Mode, OFlags};
use sqlite::{Header, Headers};
pub(crate) use sqlite::{base_of, is_database};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Deeper trees are refused (P7: one descriptor per level).
const DEEPEST: usize = 256;

/// One thing that was found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) path: RelPath,
    pub(crate) look: Look,
    /// It may be a database, or belong to one: the disk did not give the first bytes that would tell. Not to be read this time.
    pub(crate) hidden: bool,
}

impl Found {
    fn is_no_directory(&self) -> bool {
        self.look.kind != FileType::Directory
    }
}

/// What was left out, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// By a pattern or a built-in rule.
    pub filtered: u64,
    /// SQLite databases and their side files.
    pub sqlite: u64,
    /// Mount points of other file systems.
    pub mounts: u64,
    /// Sockets and devices.
    pub special: u64,
}

/// The result of a scan, ordered by path.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) found: Vec<Found>,
    pub(crate) left_out: LeftOut,
    /// Where other file systems are mounted.
    pub(crate) mounts: Vec<RelPath>,
    /// Time of the file system when the scan began.
    pub(crate) began: Time,
}

/// Looks at one tree again and again; remembers which headers it has read.
pub(crate) struct Scanner {
    root: PathBuf,
    headers: Headers,
    databases: Vec<PathBuf>,
}

/// Databases whose places are remembered (P7); what more there are is heard like any other file.
const REMEMBERED: usize = 1024;

impl Scanner {
    pub(crate) fn new(root: &Path) -> Scanner {
        Scanner { root: root.to_owned(), headers: Headers::default(), databases: Vec::new() }
    }

    /// The SQLite databases that the last scan met, side files apart.
    pub(crate) fn databases(&self) -> &[PathBuf] {
        &self.databases
    }

    /// Device of the root; a change means that another volume was mounted.
    pub(crate) fn device(root: &Path) -> Result<u64> {
        let stat = rustix::fs::stat(root).map_err(Error::sys(root, "look at the tree"))?;
        Ok(Look::from(stat).dev)
    }

    /// Scans the tree; `announce` hears of every directory before it is listed.
    pub(crate) fn scan(
        &mut self,
        filter: &Filter,
        began: Time,
        announce: &mut dyn FnMut(&Path),
    ) -> Result<Scan> {
        self.walk(filter, began, announce, false)
    }

    /// Whether there is anything but directories; stops at the first.
    pub(crate) fn has_files(&mut self, filter: &Filter) -> Result<bool> {
        let scan = self.walk(filter, Time::default(), &mut |_| {}, true)?;
        Ok(scan.found.iter().any(Found::is_no_directory))
    }

    fn walk(
        &mut self,
        filter: &Filter,
        began: Time,
        announce: &mut dyn FnMut(&Path),
        one_is_enough: bool,
    ) -> Result<Scan> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&self.root, flags, Mode::empty())
            .map_err(Error::sys(&self.root, "open the tree"))?;
        let look = Look::from(rustix::fs::fstat(&root).map_err(Error::sys(&self.root, "look at the tree"))?);
        self.headers.begin();
        self.databases.clear();
        let mut walk = Walk {
            root: &self.root,
            filter,
            dev: look.dev,
            headers: &mut self.headers,
            databases: &mut self.databases,
            announce,
            one_is_enough,
            found: Vec::new(),
            left_out: LeftOut::default(),
            mounts: Vec::new(),
        };
        walk.directory(root, None, 0)?;
        let (mut found, left_out, mounts) = (walk.found, walk.left_out, walk.mounts);
        self.headers.end();
        found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(Scan { found, left_out, mounts, began })
    }
}

/// Names in one directory: databases, and files that may be some.
#[derive(Default)]
struct Databases<'n> {
    bases: Vec<&'n [u8]>,
    unknown: Vec<&'n [u8]>,
}

struct Walk<'a> {
    root: &'a Path,
    filter: &'a Filter,
    dev: u64,
    headers: &'a mut Headers,
    databases: &'a mut Vec<PathBuf>,
    announce: &'a mut dyn FnMut(&Path),
    one_is_enough: bool,
    found: Vec<Found>,
    left_out: LeftOut,
    mounts: Vec<RelPath>,
}

impl Walk<'_> {
    fn directory(&mut self, dir: OwnedFd, path: Option<&RelPath>, depth: usize) -> Result<()> {
        let place = path.map_or_else(|| self.root.to_owned(), |p| self.root.join(p.as_path()));
        if depth > DEEPEST {
            return Err(Error::refused(
                format!("{} is more than {DEEPEST} levels deep", place.display()),
                "exclude it",
            ));
        }
        (self.announce)(&place);
        let mut names: Vec<Vec<u8>> = Vec::new();
        for entry in Dir::read_from(&dir).map_err(Error::sys(&place, "list"))? {
            let entry = entry.map_err(Error::sys(&place, "list"))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
        }
        // A mounted ConfigMap or Secret: what is in it comes from the cluster, not from the application.
        if names.iter().any(|n| n == b"..data") {
            self.left_out.filtered += names.len() as u64;
            return Ok(());
        }
        names.sort_unstable();
        if path.is_some() && names.iter().any(|n| n == b"CACHEDIR.TAG") && sqlite::is_cache(&dir) {
            self.left_out.filtered += names.len() as u64;
            return Ok(());
        }
        let mut looks: Vec<(Vec<u8>, Look)> = Vec::with_capacity(names.len());
        for name in names {
            if let Some(look) = look_at(&dir, &name, &place)? {
                looks.push((name, look));
            }
        }
        let sqlite = self.sqlite(&dir, path, &looks);
        let belongs_to_any = |name: &[u8], bases: &[&[u8]]| bases.iter().any(|b| sqlite::belongs_to(name, b));
        for (name, look) in &looks {
            if self.one_is_enough && self.found.last().is_some_and(Found::is_no_directory) {
                return Ok(());
            }
            let child = RelPath::below(path, name);
            let (name, look) = (name.as_slice(), *look);
            let is_dir = look.kind == FileType::Directory;
            if self.filter.leaves_out(&child, is_dir) {
                if name != OWN_DIR.as_bytes() {
                    self.left_out.filtered += 1;
                }
                continue;
            }
            // Some file systems have them, and no reader of a manifest takes them (P1).
            if !child.is_readable() {
                let name = String::from_utf8_lossy(name);
                return Err(Error::refused(
                    format!("{}: the path of {name:.40} is too long to be restored", place.display()),
                    "exclude or rename it",
                ));
            }
            match look.kind {
                FileType::Directory if look.dev != self.dev => {
                    self.left_out.mounts += 1;
                    self.mounts.push(child);
                }
                FileType::Directory => {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let opened = match rustix::fs::openat(&dir, name, flags, Mode::empty()) {
                        Ok(opened) => opened,
                        // Gone, or replaced by something else, since it was listed: the next scan sees what is there.
                        Err(
                            rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP,
                        ) => continue,
                        Err(errno) => {
                            return Err(Error::sys(&self.root.join(child.as_path()), "open")(errno));
                        }
                    };
                    self.found.push(Found { path: child.clone(), look, hidden: false });
                    self.directory(opened, Some(&child), depth + 1)?;
                }
                FileType::RegularFile => {
                    if belongs_to_any(name, &sqlite.bases) {
                        self.left_out.sqlite += 1;
                    } else {
                        let hidden = belongs_to_any(name, &sqlite.unknown);
                        self.found.push(Found { path: child, look, hidden });
                    }
                }
                FileType::Symlink | FileType::Fifo => {
                    self.found.push(Found { path: child, look, hidden: false });
                }
                _ => self.left_out.special += 1,
            }
        }
        Ok(())
    }

    /// Names of the SQLite databases of a directory.
    fn sqlite<'n>(
        &mut self,
        dir: &OwnedFd,
        path: Option<&RelPath>,
        looks: &'n [(Vec<u8>, Look)],
    ) -> Databases<'n> {
        let mut databases = Databases::default();
        for (name, look) in looks.iter().filter(|(_, look)| look.kind == FileType::RegularFile) {
            if self.filter.leaves_out(&RelPath::below(path, name), false) {
                continue;
            }
            match self.headers.of(dir, name, look) {
                Header::Database => {
                    if self.databases.len() < REMEMBERED {
                        self.databases.push(self.root.join(RelPath::below(path, name).as_path()));
                    }
                    databases.bases.push(name.as_slice());
                }
                Header::Unknown => databases.unknown.push(name.as_slice()),
                Header::Other => {}
            }
        }
        databases
    }
}
