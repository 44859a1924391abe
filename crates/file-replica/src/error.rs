//! What can go wrong with a replica of a tree, and what the caller may do about it.

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
    /// An object could not be sealed or opened.
    #[error("{place}: {source}")]
    Seal {
        /// Object key.
        place: String,
        /// Why.
        source: seal::Error,
    },
    /// A local file or directory could not be read or written.
    #[error("{}: cannot {doing}: {source}{}", path.display(), unwritable::hint(path, source))]
    Io {
        /// Which.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A setting that cannot be meant.
    #[error("{0}")]
    Usage(String),
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
    /// Another writer owns the replica, or another process works on the same tree.
    #[error("fenced: {what}; {hint}")]
    Fenced {
        /// Who or what was found.
        what: String,
        /// What the operator can do.
        hint: String,
    },
    /// An object is not what its manifest says.
    #[error("replica damaged: {what}; {hint}")]
    Damaged {
        /// What is missing or wrong.
        what: String,
        /// What is provable.
        hint: String,
    },
    /// The executor was told to stop at this step (tests of crashes), or by a signal.
    #[error("stopped before {0}; nothing is lost, start again")]
    Stopped(&'static str),
}

impl Error {
    /// What the caller may do.
    pub fn class(&self) -> Class {
        match self {
            Error::Store(store::Error::Fenced { .. }) | Error::Fenced { .. } => Class::Fenced,
            Error::Store(store::Error::Corrupt { .. }) => Class::Damaged,
            Error::Store(e) => match e.class() {
                store::Class::Retriable | store::Class::Unknown => Class::Retriable,
                store::Class::Fatal | store::Class::Refused => Class::Usage,
            },
            Error::Seal { source, .. } => match source.class() {
                seal::Class::Retriable => Class::Retriable,
                seal::Class::Refused => Class::Refused,
                seal::Class::Fatal => Class::Damaged,
            },
            Error::Io { .. } | Error::Stopped(_) => Class::Retriable,
            Error::Usage(_) => Class::Usage,
            Error::Damaged { .. } => Class::Damaged,
            Error::Refused { .. } | Error::Nothing { .. } => Class::Refused,
        }
    }

    /// The label for `highwater_files_errors_total`; a small fixed set.
    pub fn reason(&self) -> &'static str {
        match self {
            Error::Store(e) => e.reason(),
            Error::Io { .. } => "io",
            Error::Refused { .. } | Error::Nothing { .. } => "refused",
            Error::Fenced { .. } => "fenced",
            Error::Damaged { .. } => "damaged",
            Error::Seal { .. } => "seal",
            Error::Usage(_) | Error::Stopped(_) => "other",
        }
    }

    /// Whether this process may not do on the volume what it has to.
    pub fn is_denied(&self) -> bool {
        matches!(self, Error::Io { source, .. } if unwritable::is_denied(source))
    }

    /// True if another writer owns the replica; nothing but a new start may change that (P4).
    pub fn is_fenced(&self) -> bool {
        self.class() == Class::Fenced
    }

    pub(crate) fn io(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { path, doing, source }
    }

    /// For the calls of `rustix`.
    pub(crate) fn sys(path: &Path, doing: &'static str) -> impl FnOnce(rustix::io::Errno) -> Error {
        let path = path.to_owned();
        move |errno| Error::Io { path, doing, source: errno.into() }
    }

    pub(crate) fn seal(place: &str) -> impl FnOnce(seal::Error) -> Error {
        let place = place.to_owned();
        move |source| Error::Seal { place, source }
    }

    pub(crate) fn damaged(what: impl Into<String>) -> Error {
        Error::Damaged { what: what.into(), hint: "older snapshots may be whole: see restore list".into() }
    }

    pub(crate) fn refused(what: impl Into<String>, hint: impl Into<String>) -> Error {
        Error::Refused { what: what.into(), hint: hint.into() }
    }
}
