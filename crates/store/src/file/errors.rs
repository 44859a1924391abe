//! Errors of the file system in the words of a store.

use crate::{DeniedReason, Error, Trouble};
use std::io::{self, ErrorKind};

/// A failed system call. Full disks, stale handles and I/O errors may pass; missing rights do not by themselves.
pub(super) fn failed(what: &str, key: &str, error: io::Error) -> Error {
    let what = format!("{what} {key}");
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            Error::denied(what, DeniedReason::Access, error)
        }
        ErrorKind::TimedOut => Error::unavailable(what, Trouble::Timeout, error),
        ErrorKind::NotADirectory | ErrorKind::IsADirectory => {
            Error::Refused(format!("{what}: a file and a directory would need the same name"))
        }
        ErrorKind::InvalidFilename => Error::Refused(format!("{what}: {error}")),
        _ => Error::unavailable(what, Trouble::Server, error),
    }
}
