//! What changed between two snapshots.

use crate::manifest::Manifest;
use crate::path::RelPath;
use serde::Serialize;

/// How an entry changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// Its content, target or kind is another.
    Changed,
    /// Only mode, owner, time or attributes are others.
    Metadata,
}

/// One changed entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Where.
    pub path: RelPath,
    /// How.
    pub what: What,
    /// Bytes of content before.
    pub before: u64,
    /// Bytes of content after.
    pub after: u64,
}

/// All changes from `a` to `b`, in the order of their paths.
pub fn diff(a: &Manifest, b: &Manifest) -> Vec<Change> {
    let mut changes = Vec::new();
    let (mut left, mut right) = (a.entries.iter().peekable(), b.entries.iter().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => return changes,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(x), Some(y)) => x.path.cmp(&y.path),
        };
        let x = order.is_le().then(|| left.next()).flatten();
        let y = order.is_ge().then(|| right.next()).flatten();
        let what = match (x, y) {
            (None, _) => What::Added,
            (_, None) => What::Removed,
            (Some(x), Some(y)) if x.is_same(y) => continue,
            (Some(x), Some(y)) => {
                let same = match (x.content(), y.content()) {
                    (Some(c), Some(d)) => c.sha256 == d.sha256,
                    (None, None) => x.kind == y.kind,
                    _ => false,
                };
                if same { What::Metadata } else { What::Changed }
            }
        };
        let Some(path) = y.or(x).map(|e| e.path.clone()) else { return changes };
        changes.push(Change {
            path,
            what,
            before: x.map_or(0, |e| e.size()),
            after: y.map_or(0, |e| e.size()),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, run};

    #[test]
    fn a_diff_names_what_changed_and_how() {
        run(async {
            let b = Bench::new();
            for name in ["gone", "kept", "mode", "text"] {
                b.put(name, name);
            }
            b.commit().await.unwrap();
            b.remove("gone");
            b.put("text", "longer text");
            b.put("new", "1");
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(b.root().join("mode"), std::fs::Permissions::from_mode(0o600)).unwrap();
            let newest = b.commit().await.unwrap().head.unwrap();
            let (_, new) = crate::read_manifest(&b.store, newest.number, None).await.unwrap();
            let (_, old) = crate::read_manifest(&b.store, newest.parent, None).await.unwrap();
            let seen: Vec<(String, What)> =
                diff(&old, &new).into_iter().map(|c| (c.path.text(), c.what)).collect();
            let want = [
                ("gone", What::Removed),
                ("mode", What::Metadata),
                ("new", What::Added),
                ("text", What::Changed),
            ];
            assert_eq!(seen, want.map(|(p, w)| (p.to_owned(), w)));
            assert!(diff(&new, &new).is_empty());
        });
    }
}
