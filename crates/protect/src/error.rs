//! The one error of this crate: one line with the place, the reason and, where there is one, the nearest valid name.

use crate::{Class, Place};
use std::path::PathBuf;

/// Why there is no description.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A source that was named, or that exists, cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A source is not in its format.
    #[error("{place}: {reason}")]
    Syntax {
        /// Where.
        place: Place,
        /// What is wrong.
        reason: String,
    },
    /// A key that does not exist.
    #[error("{place} is not a known key{}", hint(.nearest.as_deref()))]
    UnknownKey {
        /// Where; its key is the unknown one.
        place: Place,
        /// The nearest key that exists.
        nearest: Option<String>,
    },
    /// A value that cannot be used.
    #[error("{place}: {reason}")]
    Value {
        /// Where.
        place: Place,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// Two settings that exclude each other.
    #[error("{place}: {reason}")]
    Contradiction {
        /// The later of the two.
        place: Place,
        /// What they say.
        reason: String,
    },
    /// A setting without which nothing can be protected.
    #[error("{key} is missing: {reason}")]
    Missing {
        /// The key of the YAML file.
        key: &'static str,
        /// Why it is needed, and where to set it.
        reason: String,
    },
    /// The handover of `restore init` cannot be used, or cannot be written.
    #[error("{}: {reason}", path.display())]
    Handover {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What was restored was described otherwise than what this process is told to protect.
    #[error(
        "this process resolves another description ({ours}) than restore init did ({restored}); give all containers of the pod the same sources and restart the pod"
    )]
    OtherDescription {
        /// Fingerprint in the handover.
        restored: String,
        /// Fingerprint here.
        ours: String,
    },
}

impl Error {
    /// What can be done about it: all but an unreadable file stays wrong until someone edits it.
    pub fn class(&self) -> Class {
        match self {
            Self::Unreadable { source, .. } if source.kind() == std::io::ErrorKind::Interrupted => {
                Class::Retriable
            }
            _ => Class::Fatal,
        }
    }
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map(|name| format!(" (did you mean {name}?)")).unwrap_or_default()
}
