//! A directory and everything below it, copied: what a snapshot of a volume, or of a bucket's directory, is. No process is started: one that
//! is being started would hold the locks of a test for a moment.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Copies into `to`, which may exist. A socket is left out: a storage snapshot holds its name and nobody behind it. So is
/// what somebody takes away meanwhile.
pub fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        let copied = match kind.is_dir() {
            true => copy_dir(&entry.path(), &target),
            false if kind.is_socket() => Ok(()),
            false => fs::copy(entry.path(), target).map(drop),
        };
        match copied {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}
