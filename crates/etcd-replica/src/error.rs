//! The one error of this crate, and what its classes mean for an exit code.
//!
//! Messages are one line, lower case: what, where, hint. They never hold keys, tokens or values of the cluster.

use std::io;
pub use store::RoomClass as Class;

/// Why something could not be shipped, proven, kept or restored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting that cannot work.
    #[error("{0}")]
    Usage(String),
    /// A guard said no, or there is nothing to work on; nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// Bytes that are not what they were or should be (P2).
    #[error("damaged: {0}")]
    Damaged(String),
    /// The source of snapshots does not serve; a retry may help.
    #[error("{0}")]
    Source(String),
    /// Another process works on the same.
    #[error("{0}")]
    Busy(String),
    /// Something local: spool, output, a program of the drill.
    #[error("{what}: {source}")]
    Local {
        /// What was done, and where.
        what: String,
        /// What the system says.
        source: io::Error,
    },
    /// The object store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Sealing or opening.
    #[error(transparent)]
    Seal(#[from] seal::Error),
}

/// Results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// What can be done about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Usage(_) => Class::Usage,
            Self::Refused(_) => Class::Refused,
            Self::Damaged(_) => Class::Damaged,
            Self::Busy(_) => Class::Fenced,
            Self::Source(_) | Self::Local { .. } => Class::Retriable,
            Self::Store(error) => match error.class() {
                store::Class::Refused => Class::Refused,
                store::Class::Retriable | store::Class::Unknown => Class::Retriable,
                store::Class::Fatal => match error {
                    store::Error::NotFound { .. } | store::Error::NoRoot { .. } => Class::Refused,
                    store::Error::Corrupt { .. } => Class::Damaged,
                    _ => Class::Retriable,
                },
            },
            Self::Seal(error) => match error.class() {
                seal::Class::Refused => Class::Refused,
                seal::Class::Retriable => Class::Retriable,
                seal::Class::Fatal => match error {
                    seal::Error::Recipient { .. } | seal::Error::Identity { .. } => Class::Usage,
                    _ => Class::Damaged,
                },
            },
        }
    }

    pub(crate) fn local(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Local { what, source }
    }

    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }
}
