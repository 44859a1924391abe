//! What a restore replaces is set aside on the same volume, never deleted (P3).
//!
//! `.highwater/<database>/aside/<time>-<reason>/` gets the file and its companions by rename, the database first: a crash in between
//! leaves a missing database, which is restored again, and never one without its WAL, which would silently be an older one. Companions
//! without a database are set aside as well: an old WAL must never meet a new file.

use crate::error::{Error, Result};
use crate::restore::target::with_suffix;
use clock::UnixMs;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Sets the database and its companions aside; gives the directory, or `None` if there was nothing.
pub(crate) fn set_aside(
    database: &Path,
    state_dir: &Path,
    reason: &str,
    now: UnixMs,
) -> Result<Option<PathBuf>> {
    let time = clock::format_unix_ms(now).replace(':', "");
    let dir = state_dir.join("aside").join(format!("{time}-{reason}"));
    let mut moved = false;
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let from = with_suffix(database, suffix);
        if fs::symlink_metadata(&from).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
            continue;
        }
        fs::create_dir_all(&dir).map_err(Error::io(&dir, "create"))?;
        let to = dir.join(from.file_name().expect("a database has a name"));
        fs::rename(&from, &to).map_err(Error::io(&from, "set aside"))?;
        moved = true;
    }
    if !moved {
        return Ok(None);
    }
    for dir in [dir.as_path(), crate::restore::target::parent(database)] {
        File::open(dir).and_then(|d| d.sync_all()).map_err(Error::io(dir, "sync"))?;
    }
    Ok(Some(dir))
}
