//! The one error of this crate. No variant ever holds a key or data.

use crate::Class;
use crate::source::SourceFailed;
use std::io;

/// Why something cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Text that is not a recipient.
    #[error("{place}: {reason}")]
    Recipient {
        /// Name of the source and line.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// Text that is not an identity that can be used unattended.
    #[error("{place}: {reason}")]
    Identity {
        /// Name of the source and line.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// Sealed for somebody else.
    #[error("none of the {identities} identities opens it (sealed for other recipients)")]
    NotForUs {
        /// How many were tried.
        identities: usize,
    },
    /// Not an age file, or one for a passphrase.
    #[error("not a sealed object: {0}")]
    NotSealed(String),
    /// Truncated, altered, or not in the format.
    #[error("damaged: {0}")]
    Damaged(String),
    /// More than the format's bounds allow.
    #[error("beyond the bounds of the format: {0}")]
    Bounds(String),
    /// The reader or writer below failed.
    #[error("{0}")]
    Io(#[source] io::Error),
    /// Used again after an error; start over from the beginning.
    #[error("used after an earlier error")]
    AfterError,
}

impl Error {
    /// What can be done about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Io(_) | Self::AfterError => Class::Retriable,
            Self::NotForUs { .. } => Class::Refused,
            _ => Class::Fatal,
        }
    }

    /// An error while reading: the source's own failure, or the decryption's verdict on what it delivered.
    pub(crate) fn reading(error: io::Error) -> Self {
        match error.get_ref().map(|inner| inner.is::<SourceFailed>()) {
            Some(true) => Self::Io(error),
            _ => Self::Damaged(error.to_string()),
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Io(error) => error.kind(),
            Error::Damaged(_) | Error::NotSealed(_) => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
