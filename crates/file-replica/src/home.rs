//! What the volume remembers: `.highwater/files-replica/` inside the tree.
//!
//! It lives and dies with the volume, which is the point: an emptied, re-formatted or replaced volume has no marker, and without
//! the right marker nothing is uploaded (P3). The directory is never scanned and never watched. Files are replaced atomically
//! (temporary file, sync, rename, sync of the directory).
//!
//! * `lock`: one process at a time (flock); * `marker.json`: whose tree this is, and which snapshot it descends from;
//! * `state`: the last committed tree with fingerprints; * `next`: the same for a commit under way;
//! * `restore.json`: a restore under way; `stage/` its unfinished files; * `allow/`: one-shot overrides of a guard.

use crate::entry::Time;
use crate::filter::OWN_DIR;
use crate::layout::Seq;
use crate::scan::Look;
use crate::{Error, Result};
use rustix::fs::FlockOperation;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Bytes that documents are written and read by: the state of a large tree is never in memory as text (P7).
const BUFFER: usize = 32 << 10;

/// The directory of one tree.
#[derive(Debug, Clone)]
pub struct Home {
    root: PathBuf,
    dir: PathBuf,
}

/// Says whose tree this is and which snapshot it descends from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// Version of this document.
    pub format: u32,
    /// Id of the history.
    pub lineage: String,
    /// The snapshot that was last committed from, or restored into, this tree; 0 before the first.
    pub snapshot: Seq,
    /// Number of the claim under which that happened.
    pub epoch: Seq,
}

impl Marker {
    pub(crate) fn new(lineage: &str, snapshot: Seq, epoch: Seq) -> Marker {
        Marker { format: 1, lineage: lineage.to_owned(), snapshot, epoch }
    }
}

/// Held while a process works on the tree.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Drop for Lock {
    /// A child process that is being started shares the open file until it runs its program, and with it the lock: closing
    /// it here is not enough.
    fn drop(&mut self) {
        // What cannot be unlocked ends with the process.
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

impl Home {
    /// The home of a tree; nothing is created.
    pub fn of(root: &Path) -> Home {
        Home { root: root.to_owned(), dir: root.join(OWN_DIR).join("files-replica") }
    }

    /// The tree.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where unfinished files of a restore lie.
    pub(crate) fn stage(&self) -> PathBuf {
        self.dir.join("stage")
    }

    /// Where a restore puts what it replaces.
    pub(crate) fn set_aside(&self, name: &str) -> PathBuf {
        self.dir.join("set-aside").join(name)
    }

    /// Watched for one-shot overrides.
    pub fn allow_dir(&self) -> PathBuf {
        self.dir.join("allow")
    }

    /// Creates the directory; only the owner may look into it.
    pub(crate) fn create(&self) -> Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        for dir in [&self.dir, &self.allow_dir()] {
            builder.create(dir).map_err(Error::io(dir, "create"))?;
        }
        Ok(())
    }

    /// Takes the tree for this process; another one that holds it is exit code 5.
    pub fn lock(&self) -> Result<Lock> {
        self.create()?;
        let path = self.dir.join("lock");
        let file = File::create(&path).map_err(Error::io(&path, "create"))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lock { file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Fenced {
                what: format!("another process works on {}", self.root.display()),
                hint: "end it first".into(),
            }),
            Err(errno) => Err(Error::sys(&path, "lock")(errno)),
        }
    }

    /// The marker; `None` is a proven absence.
    pub fn marker(&self) -> Result<Option<Marker>> {
        let path = self.dir.join("marker.json");
        let Some(bytes) = read(&path)? else { return Ok(None) };
        match serde_json::from_slice::<Marker>(&bytes) {
            Ok(marker) if marker.format == 1 => Ok(Some(marker)),
            Ok(marker) => Err(Error::refused(
                format!("{} has format {}", path.display(), marker.format),
                "use a newer version",
            )),
            Err(e) => Err(Error::refused(
                format!("{} cannot be read: {e}", path.display()),
                "restore the tree, or remove the file to have it treated as a tree without marker",
            )),
        }
    }

    pub(crate) fn set_marker(&self, marker: &Marker) -> Result<()> {
        self.create()?;
        self.write("marker.json", |out| Ok(serde_json::to_writer_pretty(out, marker)?))
    }

    /// Reads one of the documents; what cannot be read counts as lost, because all of them can be made again.
    pub(crate) fn document<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let path = self.dir.join(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(&path, "read")(e)),
        };
        match serde_json::from_reader(BufReader::with_capacity(BUFFER, file)) {
            Err(e) if e.is_io() => Err(Error::io(&path, "read")(e.into())),
            document => Ok(document.ok()),
        }
    }

    pub(crate) fn set_document<T: Serialize>(&self, name: &str, document: &T) -> Result<()> {
        self.create()?;
        self.write(name, |out| Ok(serde_json::to_writer(out, document)?))
    }

    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        let path = self.dir.join(name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io(&path, "remove")(e)),
            _ => sync_dir(&self.dir),
        }
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (from, to) = (self.dir.join(from), self.dir.join(to));
        fs::rename(&from, &to).map_err(Error::io(&to, "replace"))?;
        sync_dir(&self.dir)
    }

    /// The clock of the file system, which stamps the files: the time of a file written just now.
    pub(crate) fn file_system_time(&self) -> Result<Time> {
        let path = self.dir.join("probe");
        let touch = || -> std::io::Result<Time> {
            let mut file = File::create(&path)?;
            file.write_all(b"\n")?;
            Ok(Look::from(rustix::fs::fstat(&file)?).mtime)
        };
        touch().map_err(Error::io(&path, "write"))
    }

    /// Takes the one-shot override for this plan, if there is one.
    pub(crate) fn take_allowance(&self, plan: &str) -> bool {
        !plan.is_empty() && fs::remove_file(self.allow_dir().join(plan)).is_ok()
    }

    /// Leaves a one-shot override for whoever works on the tree.
    pub fn allow(&self, plan: &str) -> Result<()> {
        if plan.len() != 16 || !plan.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Error::Usage(format!(
                "{plan:?} is no plan (16 hex digits, as the refusal names it)"
            )));
        }
        self.create()?;
        let path = self.allow_dir().join(plan);
        fs::write(&path, b"").map_err(Error::io(&path, "write"))
    }

    fn write(
        &self,
        name: &str,
        document: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
    ) -> Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        let (path, temporary) = (self.dir.join(name), self.dir.join(format!("{name}.tmp")));
        let put = || -> std::io::Result<()> {
            let file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&temporary)?;
            let mut out = BufWriter::with_capacity(BUFFER, file);
            document(&mut out)?;
            out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
            fs::rename(&temporary, &path)
        };
        put().map_err(Error::io(&path, "write"))?;
        sync_dir(&self.dir)
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(path, "read")(e)),
    }
}

pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(Error::io(dir, "sync"))
}
