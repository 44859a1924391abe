//! What is on the volume: the file, SQLite's opinion of it, and whether the WAL still holds what was sent.
//!
//! The file is opened as an application would open it (a hot journal is rolled back, a WAL is read), and closed without a trace: no
//! checkpoint, no deleted WAL (trap 7). A file that did not change since the streamer drained completely, or since it was last checked,
//! is not read again. "Cannot be read" is an error and never "corrupt": it would be set aside for a bad cable (P6).

use crate::error::{Error, Result};
use crate::restore::init::decide::Local;
use crate::restore::integrity::Integrity;
use crate::restore::target::with_suffix;
use crate::state::Mark;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use serde::{Deserialize, Serialize};
use sqlite_tail::wal::{FRAME_HEADER, FrameHeader, HEADER, WalHeader};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// A file as the file system shows it, to notice that it was touched. Only a reason to skip a check, never to skip a proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Shape {
    ino: u64,
    size: u64,
    mtime: i64,
    mtime_nsec: i64,
}

/// The database and its WAL when they were last known to be good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Good {
    database: Option<Shape>,
    wal: Option<Shape>,
    journal: Option<Shape>,
}

const GOOD: &str = "good.json";

/// Remembers, in the state directory, that the database is good as it is now: after a complete drain, and after a check.
pub fn remember_good(database: &Path, state_dir: &Path) -> Result<()> {
    let good = Good::of(database)?;
    let path = state_dir.join(GOOD);
    let text = serde_json::to_string(&good).expect("plain fields serialise");
    fs::write(&path, text).map_err(Error::io(&path, "write"))
}

impl Good {
    fn of(database: &Path) -> Result<Good> {
        let of = |suffix| shape(&with_suffix(database, suffix));
        Ok(Good { database: of("")?, wal: of("-wal")?, journal: of("-journal")? })
    }

    fn is_remembered(&self, state_dir: &Path) -> bool {
        let text = fs::read_to_string(state_dir.join(GOOD)).unwrap_or_default();
        serde_json::from_str::<Good>(&text).is_ok_and(|remembered| remembered == *self)
    }
}

fn shape(path: &Path) -> Result<Option<Shape>> {
    match fs::metadata(path) {
        Ok(m) => {
            Ok(Some(Shape { ino: m.ino(), size: m.len(), mtime: m.mtime(), mtime_nsec: m.mtime_nsec() }))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(path, "look at")(e)),
    }
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) local: Local,
    /// SQLite's first finding, where it is corrupt.
    pub(crate) finding: Option<String>,
    pub(crate) bytes: u64,
}

/// Looks at the file; reads all of it unless it is known to be good.
pub(crate) fn look(database: &Path, state_dir: &Path, depth: Integrity) -> Result<Found> {
    let found = |local, finding, bytes| Ok(Found { local, finding, bytes });
    let meta = match fs::symlink_metadata(database) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return found(Local::Missing, None, 0),
        Err(e) => return Err(Error::io(database, "look at")(e)),
    };
    if !meta.is_file() {
        let what = if meta.is_dir() { "is a directory" } else { "is no regular file" };
        return Err(Error::Refused {
            what: format!("{} {what}", database.display()),
            hint: "name the database file itself".into(),
        });
    }
    if meta.len() == 0 {
        return found(Local::Empty, None, 0);
    }
    if Good::of(database)?.is_remembered(state_dir) {
        return found(Local::Healthy, None, meta.len());
    }
    match ask(database, depth)? {
        None => {
            remember_good(database, state_dir)?;
            found(Local::Healthy, None, meta.len())
        }
        Some(finding) => found(Local::Corrupt, Some(finding), meta.len()),
    }
}

/// SQLite's opinion; `None` is a clean one.
fn ask(database: &Path, depth: Integrity) -> Result<Option<String>> {
    let pragma = match depth {
        Integrity::None => "PRAGMA schema_version",
        Integrity::Quick => "PRAGMA quick_check(1)",
        Integrity::Full => "PRAGMA integrity_check(1)",
    };
    let asked = (|| {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(database, flags)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        connection.execute_batch("PRAGMA wal_autocheckpoint=0")?;
        match depth {
            Integrity::None => connection.query_row(pragma, [], |_| Ok("ok".to_owned())),
            _ => connection.query_row(pragma, [], |row| row.get::<_, String>(0)),
        }
    })();
    match asked {
        Ok(text) if text == "ok" => Ok(None),
        Ok(text) => Ok(Some(text)),
        Err(e) => match e.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Ok(Some(e.to_string())),
            _ => Err(Error::Io {
                path: database.to_owned(),
                doing: "ask SQLite about",
                source: io::Error::other(e),
            }),
        },
    }
}

/// True if the WAL has lost frames that this volume has sent: its generation is the one we read, and our frame is not in it. Salts are
/// drawn at random at every restart, so any other salts prove nothing (trap 18).
pub(crate) fn lost_frames(database: &Path, mark: &Mark) -> Result<bool> {
    let at = mark.position();
    if at.salts() == (0, 0) || at.frame == 0 {
        return Ok(false);
    }
    let path = with_suffix(database, "-wal");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(Error::io(&path, "open")(e)),
    };
    let mut head = [0; HEADER];
    if !read(&file, &mut head, 0).map_err(Error::io(&path, "read"))? {
        return Ok(false);
    }
    if WalHeader::parse(&head).is_none_or(|header| header.salts() != at.salts()) {
        return Ok(false);
    }
    let mut frame = [0; FRAME_HEADER];
    let offset = at.wal_offset() - FRAME_HEADER as u64 - u64::from(at.page_size);
    if !read(&file, &mut frame, offset).map_err(Error::io(&path, "read"))? {
        return Ok(true);
    }
    let frame = FrameHeader::parse(&frame);
    let same = (frame.salt1, frame.salt2) == at.salts()
        && (frame.checksum.s1, frame.checksum.s2) == (at.cksum1, at.cksum2);
    Ok(!same)
}

fn read(file: &File, into: &mut [u8], offset: u64) -> io::Result<bool> {
    match file.read_exact_at(into, offset) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}
