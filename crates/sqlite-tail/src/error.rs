//! What can go wrong beside a live database, each with a class that tells the caller what to do.

use std::io;
use std::path::{Path, PathBuf};

/// An error of this crate: one line, lower case, what, where, hint.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No database is there yet: the file is missing or still empty.
    #[error("no database at {}: {hint}", path.display())]
    NotFound {
        /// The path that was looked at.
        path: PathBuf,
        /// What to do.
        hint: &'static str,
    },
    /// Something is there, and it is not an SQLite database.
    #[error("{} is not an sqlite database: {hint}", path.display())]
    NotADatabase {
        /// The path that was looked at.
        path: PathBuf,
        /// What it seems to be.
        hint: &'static str,
    },
    /// A gate before attaching is shut; nothing was touched.
    #[error("refused {}: {what}; {hint}", path.display())]
    Refused {
        /// The database.
        path: PathBuf,
        /// What was found.
        what: String,
        /// What to change.
        hint: String,
    },
    /// It is no WAL database; nothing was touched.
    #[error("refused {}: it uses a rollback journal; run 'PRAGMA journal_mode=WAL' in the application, or start with --convert-to-wal", path.display())]
    RollbackJournal {
        /// The database.
        path: PathBuf,
    },
    /// A frame below `mxFrame` cannot be what SQLite wrote; nothing of its transaction may be shipped (P2).
    #[error("corrupt wal {}: frame {frame}: {what}", path.display())]
    Corrupt {
        /// The WAL.
        path: PathBuf,
        /// The first bad frame, counted from 1; 0 is the WAL header.
        frame: u32,
        /// What does not fit.
        what: &'static str,
    },
    /// Frames were overwritten before they were copied: only a page diff against a view can continue.
    #[error("gap in the wal of {}: {what}; compare pages with a view", path.display())]
    Gap {
        /// The database.
        path: PathBuf,
        /// How it was noticed.
        what: &'static str,
    },
    /// The path no longer leads to the file that was attached.
    #[error("{} was replaced or deleted while attached; attach again", path.display())]
    Replaced {
        /// The database or its WAL.
        path: PathBuf,
    },
    /// A lock was not granted in time, or somebody is at the file who may be gone in a moment.
    #[error("database {} is busy: {what}", path.display())]
    Busy {
        /// The database.
        path: PathBuf,
        /// What was waited for.
        what: &'static str,
    },
    /// The file system failed, or the caller's sink did.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// SQLite failed.
    #[error("{what} on {}: {source}", path.display())]
    Sqlite {
        /// What was tried.
        what: &'static str,
        /// On which database.
        path: PathBuf,
        /// The cause.
        source: rusqlite::Error,
    },
}

/// What the caller can do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Try again later, after attaching again or taking a view if the variant says so.
    Retriable,
    /// A human has to look; trying again will not help.
    Fatal,
    /// We decline to touch this file until its surroundings change.
    Refused,
}

impl Error {
    /// The class of this error.
    pub fn class(&self) -> Class {
        match self {
            Error::NotADatabase { .. } | Error::Refused { .. } | Error::RollbackJournal { .. } => {
                Class::Refused
            }
            Error::Corrupt { .. } => Class::Fatal,
            Error::Sqlite { source, .. } => match source.sqlite_error_code() {
                Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                    Class::Fatal
                }
                _ => Class::Retriable,
            },
            Error::NotFound { .. }
            | Error::Gap { .. }
            | Error::Replaced { .. }
            | Error::Busy { .. }
            | Error::Io { .. } => Class::Retriable,
        }
    }

    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { what, path, source }
    }

    pub(crate) fn refused(path: &Path, what: impl Into<String>, hint: impl Into<String>) -> Error {
        Error::Refused { path: path.to_owned(), what: what.into(), hint: hint.into() }
    }

    /// SQLite's "not now" answers become [`Error::Busy`].
    pub(crate) fn sqlite(what: &'static str, path: &Path) -> impl FnOnce(rusqlite::Error) -> Error {
        let path = path.to_owned();
        move |source| match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
                Error::Busy { path, what }
            }
            _ => Error::Sqlite { what, path, source },
        }
    }
}
