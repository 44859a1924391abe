//! Whether what lies on the volume is what a manifest says: by content, never by time alone.

use super::plan::RestorePlan;
use crate::entry::{Entry, Kind};
use crate::filter::Filter;
use crate::manifest::Manifest;
use crate::read;
use crate::scan::{Look, Scanner};
use crate::write::blocking;
use crate::{Error, Result};
use rustix::fs::FileType;
use std::io::ErrorKind;
use std::path::Path;

/// Whether a restored tree is what its plan says.
pub(crate) async fn is_exactly(plan: &RestorePlan, root: &Path, filter: &Filter) -> Result<bool> {
    let (manifest, root, filter) = (plan.manifest.clone(), root.to_owned(), filter.clone());
    blocking(move || matches(&manifest, &root, &filter)).await
}

/// Whether an entry is in place exactly as it must be.
pub(super) fn is_in_place(entry: &Entry, look: &Look, target: &Path) -> Result<bool> {
    Ok(match &entry.kind {
        Kind::Dir => look.kind == FileType::Directory,
        Kind::Symlink { target: to } => {
            look.kind == FileType::Symlink
                && rustix::fs::readlink(target.join(entry.path.as_path()), Vec::new())
                    .is_ok_and(|t| t.as_bytes() == to)
        }
        Kind::Fifo => look.kind == FileType::Fifo,
        Kind::File(content) => {
            let alike = look.kind == FileType::RegularFile
                && look.size == content.size
                && (look.mtime, look.mode, look.uid, look.gid)
                    == (entry.mtime, entry.mode, entry.uid, entry.gid)
                && content.link.is_none();
            // One that the disk does not give is not in place: it is moved aside, and a good one takes its name.
            alike
                && matches!(read::digest(target, &entry.path, None)?, read::Reading::Stable(_, d) if d == content.sha256)
        }
    })
}

/// Whether a tree is what a manifest says, by content.
pub(super) fn matches(manifest: &Manifest, root: &Path, filter: &Filter) -> Result<bool> {
    let scan = Scanner::new(root).scan(filter, crate::Time::default(), &mut |_| {})?;
    if scan.found.len() != manifest.entries.len() {
        return Ok(false);
    }
    for (found, entry) in scan.found.iter().zip(&manifest.entries) {
        let content_ok = match &entry.kind {
            Kind::File(content) => {
                found.look.kind == FileType::RegularFile
                    && found.look.size == content.size
                    && match read::digest(root, &found.path, None)? {
                        read::Reading::Stable(_, digest) => digest == content.sha256,
                        // A disk that does not answer makes the tree neither the same nor another (P6).
                        read::Reading::Unreadable(error) if error.kind() != ErrorKind::PermissionDenied => {
                            return Err(Error::io(&root.join(found.path.as_path()), "read")(error));
                        }
                        _ => false,
                    }
            }
            _ => is_in_place(entry, &found.look, root)?,
        };
        if found.path != entry.path || !content_ok {
            return Ok(false);
        }
    }
    Ok(true)
}
