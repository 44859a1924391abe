//! Our descriptors of the database, `-wal` and `-shm`, and the gates in front of them.
//!
//! The order is the point (traps 6, 7): everything that `stat` can tell is asked first, the file is registered by
//! (dev, inode), and only then opened. What was opened stays open until the connections are closed, because closing
//! any descriptor of the database or `-shm` would drop the locks SQLite holds for us.

use crate::locks::{self, Neighbours};
use crate::recognise::{Kind, cannot_see, kind_of, page_size};
use crate::registry::{FileId, Registration};
use crate::stamp::FileStamp;
use crate::{Error, Options};
use nix::sys::statfs::statfs;
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::geteuid;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// File systems without coherent shared memory or reliable locks between hosts.
const NETWORK: [(u32, &str); 5] =
    [(0x6969, "nfs"), (0x517b, "smb"), (0xff53_4d42, "cifs"), (0xfe53_4d42, "smb2"), (0x5346_414f, "afs")];

/// How often and how long apart a suspicious lock is looked at again: connections being opened or closed pass
/// through states that look like a foreign WAL. A disk that stalls under them can take longer than that.
const SUSPICION: (u32, Duration) = (25, Duration::from_millis(20));

/// What the gates let through: registered, the database open, no connection yet.
#[derive(Debug)]
pub(crate) struct Gated {
    pub(crate) path: PathBuf,
    pub(crate) page_size: u32,
    pub(crate) kind: Kind,
    db: File,
    early_shm: Option<File>,
    id: FileId,
    registration: Registration,
}

/// Every descriptor we hold; dropped after the connections.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) path: PathBuf,
    pub(crate) wal_path: PathBuf,
    pub(crate) db: Arc<File>,
    pub(crate) wal: Arc<File>,
    pub(crate) shm: File,
    _early_shm: Option<File>,
    id: FileId,
    wal_id: FileId,
    _registration: Registration,
}

pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

impl Gated {
    pub(crate) fn pass(path: &Path, options: &Options) -> Result<Self, Error> {
        let path = &fs::canonicalize(path).map_err(|e| cannot_see(path, e))?;
        let meta = fs::metadata(path).map_err(|e| cannot_see(path, e))?;
        if !meta.is_file() {
            let hint = if meta.is_dir() {
                "it is a directory; name the file in it"
            } else {
                "it is no regular file"
            };
            return Err(Error::NotADatabase { path: path.clone(), hint });
        }
        if meta.len() == 0 {
            return Err(Error::NotFound {
                path: path.clone(),
                hint: "the file is empty; the application has not created its database yet",
            });
        }
        let id = FileId::of(&meta);
        let registration = Registration::new(id, path)?;
        let euid = geteuid().as_raw();
        if euid != 0 && euid != meta.uid() {
            return Err(Error::refused(
                path,
                format!("it belongs to uid {} and we run as uid {euid}", meta.uid()),
                format!("set securityContext.runAsUser: {}", meta.uid()),
            ));
        }
        if meta.nlink() != 1 {
            return Err(Error::refused(
                path,
                format!("it has {} hard links", meta.nlink()),
                "another name means another wal; keep one link",
            ));
        }
        let fs_type =
            statfs(path).map_err(|e| Error::io("statfs", path)(e.into()))?.filesystem_type().0 as u32;
        if let Some((_, name)) = NETWORK.iter().find(|(magic, _)| *magic == fs_type) {
            return Err(Error::refused(path, format!("it lies on {name}"), "use a local or block volume"));
        }
        // A kernel makes a volume read-only that it no longer trusts, and an operator mounts it writable again: nothing to refuse for good.
        let volume = statvfs(path).map_err(|e| Error::io("statvfs", path)(e.into()))?;
        if volume.flags().contains(FsFlags::ST_RDONLY) {
            return Err(Error::io("write beside", path)(io::Error::from_raw_os_error(nix::libc::EROFS)));
        }
        let db = File::open(path).map_err(|e| cannot_see(path, e))?;
        let mut head = Vec::with_capacity(4096);
        (&db).take(4096).read_to_end(&mut head).map_err(Error::io("read", path))?;
        let not = |hint| Err(Error::NotADatabase { path: path.clone(), hint });
        let kind = match kind_of(&head) {
            kind @ (Kind::Wal | Kind::Rollback) => kind,
            Kind::Encrypted => {
                return not("its first page looks encrypted; only plain databases can be streamed");
            }
            _ => return not("the header is not 'SQLite format 3'"),
        };
        if kind == Kind::Rollback && !options.convert_to_wal {
            return Err(Error::RollbackJournal { path: path.clone() });
        }
        let Some(page_size) = page_size(&head) else {
            return not("the page size in its header is impossible");
        };
        let early_shm = File::open(beside(path, "-shm")).ok();
        let gated = Self { path: path.clone(), page_size, kind, db, early_shm, id, registration };
        check_neighbours(path, &gated.db, gated.early_shm.as_ref())?;
        Ok(gated)
    }

    /// To be called once a connection has read, so that `-wal` and `-shm` exist and stay.
    ///
    /// On failure everything opened so far comes back, to be dropped after the connections.
    pub(crate) fn open_rest(self) -> Result<Files, (Error, Box<Self>)> {
        let wal_path = beside(&self.path, "-wal");
        let shm_path = beside(&self.path, "-shm");
        let open = || {
            let wal = File::open(&wal_path).map_err(|e| cannot_see(&wal_path, e))?;
            let wal_id = FileId::of(&wal.metadata().map_err(Error::io("stat", &wal_path))?);
            // Last, so that no failure closes it while connections are open.
            let shm = File::open(&shm_path).map_err(|e| cannot_see(&shm_path, e))?;
            Ok((wal, wal_id, shm))
        };
        let (wal, wal_id, shm) = match open() {
            Ok(opened) => opened,
            Err(error) => return Err((error, Box::new(self))),
        };
        Ok(Files {
            path: self.path,
            wal_path,
            db: Arc::new(self.db),
            wal: Arc::new(wal),
            shm,
            _early_shm: self.early_shm,
            id: self.id,
            wal_id,
            _registration: self.registration,
        })
    }
}

impl Files {
    /// Fails with [`Error::Replaced`] if a path leads to another file than ours.
    /// Gives what the database file looks like.
    pub(crate) fn still_ours(&self) -> Result<FileStamp, Error> {
        let mut stamp = None;
        for (path, id) in [(&self.path, self.id), (&self.wal_path, self.wal_id)] {
            match fs::metadata(path) {
                Ok(meta) if FileId::of(&meta) == id => stamp = stamp.or(Some(FileStamp::of(&meta))),
                Ok(_) => return Err(Error::Replaced { path: path.clone() }),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                    return Err(Error::Replaced { path: path.clone() });
                }
                Err(e) => return Err(Error::io("stat", path)(e)),
            }
        }
        Ok(stamp.expect("the database is the first of the two"))
    }

    pub(crate) fn check_neighbours(&self) -> Result<(), Error> {
        check_neighbours(&self.path, &self.db, Some(&self.shm))
    }
}

fn check_neighbours(path: &Path, db: &File, shm: Option<&File>) -> Result<(), Error> {
    let mut seen = Neighbours::Fine;
    for _ in 0..SUSPICION.0 {
        // A neighbour may create `-shm` while we look: then the path shows it, and only then.
        let late = if shm.is_none() { File::open(beside(path, "-shm")).ok() } else { None };
        seen = locks::neighbours(db, shm.or(late.as_ref()))
            .map_err(|e| Error::io("read locks of", path)(e.into()))?;
        if seen == Neighbours::Fine {
            return Ok(());
        }
        thread::sleep(SUSPICION.1);
    }
    // No refusal for good: it may still be a neighbour on his way. Attaching goes no further as long as it lasts (trap 6).
    let what = match seen {
        Neighbours::Exclusive => {
            "another process holds it exclusively; do not use locking_mode=EXCLUSIVE beside the streamer"
        }
        _ => {
            "another process uses it with another wal; mount the directory instead of the single file (subPath)"
        }
    };
    Err(Error::Busy { path: path.to_owned(), what })
}
