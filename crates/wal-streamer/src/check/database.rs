//! One database file: there, SQLite in WAL mode, and ours to attach to.

use door::Finding;
use sqlite_tail::{Error, Kind, recognise};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use telemetry::Exit;

/// Looks at it from outside; this process holds no connection, so opening the file drops nobody's locks.
pub(super) fn look(path: &Path) -> Finding {
    let name = path.display().to_string();
    let refused =
        |found: String, hint: String| Finding::failed("database", Exit::Refused, &name, found, hint);
    if let Ok(meta) = path.metadata()
        && let Some(hint) = owner(meta.uid(), meta.gid())
    {
        return refused(format!("belongs to uid {}, this process runs as another", meta.uid()), hint);
    }
    match recognise(path) {
        Ok(Kind::Wal | Kind::Attached) => Finding::ok("database", name, "sqlite in wal mode"),
        Ok(Kind::Rollback) => refused(
            "uses a rollback journal".into(),
            "run 'PRAGMA journal_mode=WAL' in the application, or start with --convert-to-wal".into(),
        ),
        Ok(Kind::Encrypted) => refused("looks encrypted".into(), "only plain SQLite can be followed".into()),
        Ok(Kind::Other) => refused("is no sqlite database".into(), "correct the path".into()),
        Ok(Kind::Empty) | Err(Error::NotFound { .. }) => {
            Finding::ok("database", name, "not there yet; it will be waited for")
        }
        Err(error) => refused(error.to_string(), "correct the path or its permissions".into()),
    }
}

/// The line that is missing, if the owner is somebody else (our -shm and -wal would lock the application out).
fn owner(uid: u32, gid: u32) -> Option<String> {
    let ours = std::fs::metadata("/proc/self").ok()?.uid();
    (ours != 0 && ours != uid)
        .then(|| format!("run with securityContext: {{ runAsUser: {uid}, runAsGroup: {gid} }}"))
}
