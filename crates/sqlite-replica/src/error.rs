//! What can go wrong with a replica, and what the caller may do about it.

use protect::unwritable;
use std::io;
use std::path::{Path, PathBuf};
pub use store::RoomClass as Class;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a replica. One line: what, where, hint.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The live database could not be followed.
    #[error(transparent)]
    Tail(#[from] sqlite_tail::Error),
    /// An object is not the LTX file it should be.
    #[error("{place}: {source}")]
    Ltx {
        /// Object key or local path.
        place: String,
        /// The rule that is broken, and where.
        source: ltx::Error,
    },
    /// A local file could not be read or written.
    #[error("{}: cannot {doing}: {source}{}", path.display(), unwritable::hint(path, source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// SQLite refused the restored file.
    #[error("{}: {what}", path.display())]
    Integrity {
        /// The file.
        path: PathBuf,
        /// The first finding.
        what: String,
    },
    /// A guard said no.
    #[error("{what}; {hint}")]
    Refused {
        /// What is not as it must be.
        what: String,
        /// What the operator can do.
        hint: String,
    },
    /// There is nothing to restore.
    #[error("{what}; {hint}")]
    Nothing {
        /// What was looked for.
        what: String,
        /// What the operator can do.
        hint: String,
    },
    /// Another writer owns the replica, or another process follows the same database.
    #[error("fenced: {what}; {hint}")]
    Fenced {
        /// Who or what was found.
        what: String,
        /// What the operator can do.
        hint: String,
    },
    /// Another writer owns the replica since; this one never claims it back by itself.
    #[error("fenced: {what}; {hint}")]
    Lost {
        /// How it shows.
        what: String,
        /// What the operator can do.
        hint: String,
    },
    /// The chain of the replica has a hole or a wrong object.
    #[error("replica damaged: {what}; {hint}")]
    Damaged {
        /// What is missing or wrong.
        what: String,
        /// What is provable.
        hint: String,
    },
    /// One object of the replica is missing, cut off, altered or not the one its name says.
    #[error("replica damaged: {key}: {what}; {hint}")]
    Object {
        /// The object.
        key: String,
        /// What is wrong with it.
        what: String,
        /// What is provable without it.
        hint: String,
    },
    /// Told to stop before the start was complete.
    #[error("stopped before it was done; nothing is lost, start again")]
    Stopped,
}

impl Error {
    /// What the caller may do.
    pub fn class(&self) -> Class {
        match self {
            Error::Store(store::Error::Fenced { .. }) | Error::Fenced { .. } | Error::Lost { .. } => {
                Class::Fenced
            }
            Error::Store(e) => match e.class() {
                store::Class::Retriable | store::Class::Unknown => Class::Retriable,
                store::Class::Fatal | store::Class::Refused => Class::Usage,
            },
            Error::Tail(e) => match e.class() {
                sqlite_tail::Class::Retriable => Class::Retriable,
                // A damaged WAL may be what a crash left, which SQLite repairs at its next open; a damaged database stays one.
                sqlite_tail::Class::Fatal if matches!(e, sqlite_tail::Error::Corrupt { .. }) => {
                    Class::Retriable
                }
                sqlite_tail::Class::Fatal => Class::Refused,
                sqlite_tail::Class::Refused => Class::Refused,
            },
            Error::Io { .. } | Error::Stopped => Class::Retriable,
            // The disk under an encoder is full, or a stream broke: no object is damaged.
            Error::Ltx { source: ltx::Error::Io(_), .. } => Class::Retriable,
            Error::Ltx { .. } | Error::Damaged { .. } | Error::Object { .. } | Error::Integrity { .. } => {
                Class::Damaged
            }
            Error::Refused { .. } | Error::Nothing { .. } => Class::Refused,
        }
    }

    /// True if a running writer goes on trying: whatever the store or the disk say may pass (credentials are rotated, a bucket is
    /// created, space is freed), only a fence does not, and not a volume that fails or was made read-only: on that nothing more is
    /// built until a new start has tried it.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Error::Store(e) => !e.is_fenced(),
            Error::Io { source, .. } | Error::Ltx { source: ltx::Error::Io(source), .. } => {
                !is_broken(source)
            }
            _ => false,
        }
    }

    /// Why, in a word for a metric: the store's reason, or what the volume refused.
    pub fn reason(&self) -> &'static str {
        use nix::libc::{EDQUOT, EIO, ENOSPC, EROFS, ESTALE};
        let source = match self {
            Error::Store(e) => return e.reason(),
            Error::Tail(sqlite_tail::Error::Sqlite { source, .. }) => {
                return match source.sqlite_error_code() {
                    Some(rusqlite::ErrorCode::DiskFull) => "disk_full",
                    Some(rusqlite::ErrorCode::ReadOnly) => "read_only",
                    Some(rusqlite::ErrorCode::SystemIoFailure) => "disk_error",
                    _ => "other",
                };
            }
            Error::Tail(sqlite_tail::Error::Io { source, .. })
            | Error::Io { source, .. }
            | Error::Ltx { source: ltx::Error::Io(source), .. } => source,
            _ => return "other",
        };
        match source.raw_os_error() {
            Some(ENOSPC | EDQUOT) => "disk_full",
            Some(EROFS) => "read_only",
            Some(EIO | ESTALE) => "disk_error",
            _ => "other",
        }
    }

    /// Whether this process may not do on the volume what it has to.
    pub fn is_denied(&self) -> bool {
        matches!(self, Error::Io { source, .. } if unwritable::is_denied(source))
    }

    /// Whether it says something about the replica, not about the way to it.
    pub(crate) fn is_damage(&self) -> bool {
        self.class() == Class::Damaged || matches!(self, Error::Store(e) if e.is_not_found())
    }

    /// The damaged object, where the error is about one.
    pub fn object(&self) -> Option<&str> {
        match self {
            Error::Object { key, .. } => Some(key),
            Error::Ltx { source: ltx::Error::Io(_), .. } => None,
            Error::Ltx { place, .. } => Some(place),
            _ => None,
        }
    }

    /// An [`Error::Io`] with its path.
    pub(crate) fn io(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { path, doing, source }
    }

    /// An [`Error::Ltx`] with its place; damage inside a stream that failed to arrive stays what it is.
    pub(crate) fn ltx(place: &str) -> impl FnOnce(ltx::Error) -> Error {
        let place = place.to_owned();
        move |source| Error::Ltx { place, source }
    }
}

/// EIO, or a volume that can no longer be written.
fn is_broken(error: &io::Error) -> bool {
    use nix::libc::{EIO, EROFS, ESTALE};
    matches!(error.raw_os_error(), Some(EIO | EROFS | ESTALE))
}
