//! Why a place on a pod's volume cannot be written, for the person who has to mend it.
//!
//! "Permission denied" names neither of the two users that differ, and "read-only file system" not where to look. Both are what a container
//! meets first when its `securityContext` or its mount is wrong, and both are mended in the manifest.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What follows the text of an error: `; …`, or nothing where it says all there is to say.
pub fn hint(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            "; the volume is mounted read-only: see `readOnly` of the mount and of the claim, else the node's log".to_owned()
        }
        io::ErrorKind::PermissionDenied => whose(path).unwrap_or_default(),
        _ => String::new(),
    }
}

/// Whether somebody has to give us the right first.
pub fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// The two users: ours, and that of the nearest directory that can be looked at.
fn whose(path: &Path) -> Option<String> {
    let (at, meta) = path.ancestors().find_map(|at| Some((at, fs::metadata(at).ok()?)))?;
    let (ours, owner, mode) = (nix::unistd::geteuid().as_raw(), meta.uid(), meta.mode() & 0o7777);
    let at = at.display();
    Some(match ours == owner {
        true => format!("; this process runs as uid {ours}, which owns {at}, but its mode is {mode:04o}"),
        false => format!(
            "; this process runs as uid {ours}, and {at} belongs to uid {owner} (mode {mode:04o}): set securityContext.runAsUser to the \
             owner of the data, or fsGroup"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_users_the_place_and_what_to_do_are_named() {
        let scratch = tempfile::tempdir().unwrap();
        let owner = fs::metadata(scratch.path()).unwrap().uid();
        let said = hint(&scratch.path().join("a/b/c"), &io::ErrorKind::PermissionDenied.into());
        assert!(
            said.contains(&format!("uid {owner}")) && said.contains(scratch.path().to_str().unwrap()),
            "{said}"
        );
        let said = hint(Path::new("/proc/1/x"), &io::ErrorKind::ReadOnlyFilesystem.into());
        assert!(said.contains("readOnly"), "{said}");
        assert_eq!(hint(Path::new("/x"), &io::ErrorKind::StorageFull.into()), "");
    }
}
