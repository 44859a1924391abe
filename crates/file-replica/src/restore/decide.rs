//! What a start does with a tree: the decision table, without I/O.
//!
//! Lineage decides: which snapshot is the local tree descended from? Never mtimes: a fresh default file is newer than the real
//! backup, and an old backup may be newer than what it would overwrite.

use crate::home::Marker;
use crate::layout::Seq;

/// What lies on the volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// There is at least one file (databases and what is excluded do not count).
    pub has_files: bool,
    /// Its marker.
    pub marker: Option<Marker>,
    /// A restore was begun and not ended.
    pub unfinished: bool,
    /// The tree is what its marker's snapshot holds; `None` if that is not known.
    pub unchanged: Option<bool>,
}

/// What to do where the table would refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// Refuse.
    #[default]
    Refuse,
    /// Keep what is there; the writer puts it on top of the replica.
    AdoptLocal,
    /// Restore over it; what is replaced is moved aside.
    RestoreOver,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing here and nothing there: the application starts with what it has.
    FirstStart,
    /// Leave the tree alone.
    Keep,
    /// Put the newest snapshot back.
    Restore,
    /// Neither; the reason is for a person.
    Refuse(String),
}

/// Decides. `lineage` is the replica's, if there is one; `newest` its newest snapshot and the claim it was written under.
pub fn decide(local: &Local, lineage: Option<&str>, newest: Option<(Seq, Seq)>, policy: Policy) -> Decision {
    let choice = |why: String| match policy {
        Policy::Refuse => Decision::Refuse(why),
        Policy::AdoptLocal => Decision::Keep,
        Policy::RestoreOver => Decision::Restore,
    };
    if let (Some(marker), Some(lineage)) = (&local.marker, lineage)
        && marker.lineage != lineage
    {
        return Decision::Refuse(format!(
            "the tree belongs to replica {} and not to {lineage}",
            marker.lineage
        ));
    }
    if local.unfinished {
        return match newest {
            Some(_) => Decision::Restore,
            None => Decision::Refuse("a restore was begun here and its replica is gone".into()),
        };
    }
    match (local.has_files, &local.marker, newest) {
        (false, _, Some(_)) => Decision::Restore,
        (false, _, None) => Decision::FirstStart,
        (true, None, None) => Decision::FirstStart,
        (true, None, Some((newest, _))) => {
            choice(format!("the tree has files and no marker, and the replica holds snapshot {newest}"))
        }
        (true, Some(_), None) => Decision::Keep,
        (true, Some(marker), Some((newest, epoch))) => {
            if newest <= marker.snapshot || epoch == marker.epoch {
                return Decision::Keep;
            }
            if local.unchanged == Some(true) {
                return Decision::Restore;
            }
            choice(format!(
                "the tree descends from snapshot {}, another writer went on to {newest}, and the tree was changed since",
                marker.snapshot
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(has_files: bool, marker: Option<(&str, Seq, Seq)>, unchanged: Option<bool>) -> Local {
        let marker = marker.map(|(lineage, snapshot, epoch)| Marker::new(lineage, snapshot, epoch));
        Local { has_files, marker, unfinished: false, unchanged }
    }

    #[test]
    fn p3_the_restore_decision_table() {
        use Decision::*;
        let refuse = || Refuse(String::new());
        let a = "aa";
        let table = [
            ("empty, nothing in the store", local(false, None, None), None, None, FirstStart),
            ("empty, claimed replica without snapshot", local(false, None, None), Some(a), None, FirstStart),
            ("empty, a snapshot is there", local(false, None, None), Some(a), Some((7, 3)), Restore),
            (
                "emptied but the marker is left",
                local(false, Some((a, 7, 3)), None),
                Some(a),
                Some((7, 3)),
                Restore,
            ),
            (
                "newest snapshot is in place (Frigate)",
                local(true, Some((a, 7, 3)), None),
                Some(a),
                Some((7, 3)),
                Keep,
            ),
            (
                "changed since the newest snapshot",
                local(true, Some((a, 7, 3)), Some(false)),
                Some(a),
                Some((7, 3)),
                Keep,
            ),
            (
                "own newer snapshot, marker not moved",
                local(true, Some((a, 6, 3)), None),
                Some(a),
                Some((7, 3)),
                Keep,
            ),
            (
                "moved back, unchanged",
                local(true, Some((a, 6, 3)), Some(true)),
                Some(a),
                Some((9, 8)),
                Restore,
            ),
            (
                "moved back, changed",
                local(true, Some((a, 6, 3)), Some(false)),
                Some(a),
                Some((9, 8)),
                refuse(),
            ),
            ("moved back, not known", local(true, Some((a, 6, 3)), None), Some(a), Some((9, 8)), refuse()),
            ("newer than the replica", local(true, Some((a, 9, 8)), None), Some(a), Some((7, 3)), Keep),
            (
                "default files of a fresh application",
                local(true, None, None),
                Some(a),
                Some((7, 3)),
                refuse(),
            ),
            ("existing data, first start", local(true, None, None), None, None, FirstStart),
            ("foreign", local(true, Some(("bb", 7, 3)), None), Some(a), Some((7, 3)), refuse()),
            ("foreign and empty", local(false, Some(("bb", 7, 3)), None), Some(a), Some((7, 3)), refuse()),
        ];
        for (name, local, lineage, newest, want) in table {
            let got = decide(&local, lineage, newest, Policy::Refuse);
            match (&got, &want) {
                (Refuse(_), Refuse(_)) => {}
                _ => assert_eq!(got, want, "{name}"),
            }
        }
    }

    #[test]
    fn p3_a_policy_decides_only_what_would_be_refused() {
        let fresh = local(true, None, None);
        assert_eq!(decide(&fresh, Some("aa"), Some((7, 3)), Policy::AdoptLocal), Decision::Keep);
        assert_eq!(decide(&fresh, Some("aa"), Some((7, 3)), Policy::RestoreOver), Decision::Restore);
        let current = local(true, Some(("aa", 7, 3)), None);
        assert_eq!(decide(&current, Some("aa"), Some((7, 3)), Policy::RestoreOver), Decision::Keep);
        let foreign = local(true, Some(("bb", 7, 3)), None);
        for policy in [Policy::AdoptLocal, Policy::RestoreOver] {
            assert!(matches!(decide(&foreign, Some("aa"), Some((7, 3)), policy), Decision::Refuse(_)));
        }
    }

    #[test]
    fn p2_a_half_restored_tree_is_never_taken_for_the_application_s() {
        let mut half = local(true, Some(("aa", 7, 3)), None);
        half.unfinished = true;
        assert_eq!(decide(&half, Some("aa"), Some((7, 3)), Policy::AdoptLocal), Decision::Restore);
        assert!(matches!(decide(&half, Some("aa"), None, Policy::AdoptLocal), Decision::Refuse(_)));
    }
}
