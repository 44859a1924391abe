//! The guards: from what would be committed to a verdict, before the first byte is sent (P3).
//!
//! Nothing here looks at a disk or a store, so every rule is a line in a table of tests. A refusal names its plan: 16 hex digits that
//! depend on the parent snapshot and on exactly the paths that would go. An override allows that plan and no other, once.

use crate::entry::Digest;
use crate::layout::Seq;
use crate::path::RelPath;
use std::fmt;

/// At most this share of the entries may vanish at once, if they are more than [`FREE_ENTRIES`].
const BUDGET_PERCENT: u64 = 30;
/// So many may always vanish.
const FREE_ENTRIES: u64 = 10;
/// More than half of the bytes may not vanish, if they are more than this.
const FREE_BYTES: u64 = 64 << 10;

/// What a snapshot would take away, as numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loss {
    /// The snapshot the tree descends from.
    pub parent: Seq,
    /// Entries and bytes of content before.
    pub entries_before: u64,
    /// Bytes before.
    pub bytes_before: u64,
    /// Files before and after.
    pub files_before: u64,
    /// Files after.
    pub files_after: u64,
    /// Bytes after.
    pub bytes_after: u64,
    /// Paths that were there and are gone; what was renamed is not gone.
    pub vanished: Vec<RelPath>,
    /// Bytes of [`Loss::vanished`].
    pub vanished_bytes: u64,
    /// Paths that a change of the exclude patterns takes away.
    pub filtered: Vec<RelPath>,
    /// What is not gone but hidden: another file system was mounted over it.
    pub covered: Vec<RelPath>,
    /// Paths that must be there and are not.
    pub missing: Vec<String>,
}

/// Why a snapshot is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// No file is left.
    Emptied,
    /// Too many entries are gone.
    TooMany {
        /// How many.
        gone: u64,
        /// Of how many.
        of: u64,
    },
    /// Too many bytes are gone.
    TooMuch {
        /// Bytes before.
        before: u64,
        /// Bytes after.
        after: u64,
    },
    /// An edit of the exclude patterns takes too much away.
    Filter {
        /// How many entries.
        gone: u64,
        /// Of how many.
        of: u64,
    },
    /// Another file system hides what the last snapshot has, be it ever so little: hidden is not deleted.
    Covered {
        /// One of the files.
        path: RelPath,
        /// How many there are.
        hidden: u64,
    },
    /// A path that must exist is gone.
    Missing(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Emptied => write!(f, "no file is left in the tree"),
            Finding::TooMany { gone, of } => write!(f, "{gone} of {of} entries are gone"),
            Finding::TooMuch { before, after } => write!(f, "only {after} of {before} bytes are left"),
            Finding::Filter { gone, of } => {
                write!(f, "the edited exclude patterns take away {gone} of {of} entries")
            }
            Finding::Covered { path, hidden } => {
                write!(f, "another file system is mounted over {hidden} entries, {path} among them")
            }
            Finding::Missing(path) => write!(f, "{path} must exist and does not"),
        }
    }
}

/// The verdict on a [`Loss`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Pass,
    /// Not without an override for this plan.
    Refuse {
        /// The first rule that is broken.
        finding: Finding,
        /// Names exactly this loss.
        plan: String,
    },
}

/// Judges what would be lost.
pub fn judge(loss: &Loss) -> Verdict {
    let gone = loss.vanished.len() as u64;
    let filtered = loss.filtered.len() as u64;
    let over = |n: u64| n > FREE_ENTRIES && n * 100 > loss.entries_before * BUDGET_PERCENT;
    let finding = if let Some(path) = loss.missing.first() {
        Finding::Missing(path.clone())
    } else if loss.files_before > 0 && loss.files_after == 0 {
        Finding::Emptied
    } else if let Some(path) = loss.covered.first() {
        Finding::Covered { path: path.clone(), hidden: loss.covered.len() as u64 }
    } else if over(gone) {
        Finding::TooMany { gone, of: loss.entries_before }
    } else if over(filtered) {
        Finding::Filter { gone: filtered, of: loss.entries_before }
    } else if loss.bytes_before > FREE_BYTES + loss.bytes_after && loss.bytes_after * 2 < loss.bytes_before {
        Finding::TooMuch { before: loss.bytes_before, after: loss.bytes_after }
    } else {
        return Verdict::Pass;
    };
    let plan = plan(loss, &finding);
    Verdict::Refuse { finding, plan }
}

/// Names a loss. What else the application does meanwhile does not change the name: a person who allows it needs a moment to type.
fn plan(loss: &Loss, finding: &Finding) -> String {
    let rule = match finding {
        Finding::Emptied => "emptied",
        Finding::TooMany { .. } => "entries",
        Finding::TooMuch { .. } => "bytes",
        Finding::Filter { .. } => "filter",
        Finding::Covered { .. } => "covered",
        Finding::Missing(_) => "missing",
    };
    let mut text = format!("{}\n{rule}\n{}\n", loss.parent, loss.missing.join(" "));
    for path in loss.vanished.iter().chain(&loss.filtered).chain(&loss.covered) {
        text.push_str(&path.text());
        text.push('\n');
    }
    hex::encode(&Digest::of(text.as_bytes()).0[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(n: u64) -> Vec<RelPath> {
        (0..n).map(|i| RelPath::new(format!("f{i}")).unwrap()).collect()
    }

    /// entries before, bytes before, files after, bytes after, vanished, filtered, missing → finding
    #[test]
    fn p3_the_table_of_guards() {
        type Numbers = (u64, u64, u64, u64, u64, u64, u64);
        let table: [(&str, Numbers, Option<&str>); 15] = [
            ("nothing changed", (300, 1 << 20, 300, 1 << 20, 0, 0, 0), None),
            ("first snapshot", (0, 0, 10, 99, 0, 0, 0), None),
            ("a deliberate clean-up", (300, 1 << 20, 200, 900_000, 90, 0, 0), None),
            ("thirty percent and one", (300, 1 << 20, 209, 900_000, 91, 0, 0), Some("91 of 300 entries")),
            ("emptied", (300, 1 << 20, 0, 0, 300, 0, 0), Some("no file is left")),
            ("a small tree emptied", (3, 400, 0, 0, 3, 0, 0), Some("no file is left")),
            ("ten of ten but one file new", (10, 400, 1, 10, 10, 0, 0), None),
            ("eleven of twelve", (12, 400, 1, 10, 11, 0, 0), Some("11 of 12 entries")),
            ("one big file gone", (40, 10 << 20, 39, 1 << 20, 1, 0, 0), Some("bytes are left")),
            ("one big file truncated", (40, 10 << 20, 40, 1 << 20, 0, 0, 0), Some("bytes are left")),
            ("small bytes do not count", (40, 60 << 10, 39, 1, 1, 0, 0), None),
            ("a filter edit", (300, 1 << 20, 280, 1 << 20, 0, 20, 0), None),
            ("a filter edit that takes all", (300, 1 << 20, 0, 0, 0, 300, 0), Some("no file is left")),
            (
                "a filter edit that takes half",
                (300, 1 << 20, 150, 1 << 20, 0, 150, 0),
                Some("edited exclude"),
            ),
            ("must exist", (300, 1 << 20, 299, 1 << 20, 1, 0, 1), Some("must exist")),
        ];
        for (name, (entries, bytes, files_after, bytes_after, vanished, filtered, missing), want) in table {
            let loss = Loss {
                parent: 7,
                entries_before: entries,
                bytes_before: bytes,
                files_before: entries,
                files_after,
                bytes_after,
                vanished: paths(vanished),
                vanished_bytes: 0,
                filtered: paths(filtered),
                covered: vec![],
                missing: (0..missing).map(|i| format!("m{i}")).collect(),
            };
            match (judge(&loss), want) {
                (Verdict::Pass, None) => {}
                (Verdict::Refuse { finding, plan }, Some(part)) => {
                    assert!(finding.to_string().contains(part), "{name}: {finding}");
                    assert_eq!(plan.len(), 16);
                }
                (verdict, want) => panic!("{name}: {verdict:?}, wanted {want:?}"),
            }
        }
    }

    #[test]
    fn p3_a_single_file_under_a_mount_is_hidden_and_not_deleted() {
        let loss = |covered| Loss {
            entries_before: 300,
            files_before: 300,
            files_after: 299,
            covered,
            ..Loss::default()
        };
        assert_eq!(judge(&loss(vec![])), Verdict::Pass);
        let Verdict::Refuse { finding, .. } = judge(&loss(paths(1))) else { panic!("must be refused") };
        assert_eq!(finding.to_string(), "another file system is mounted over 1 entries, f0 among them");
    }

    #[test]
    fn p3_an_override_names_exactly_one_plan() {
        let loss = |parent, n| Loss {
            parent,
            entries_before: 300,
            files_before: 300,
            files_after: 300 - n,
            vanished: paths(n),
            ..Loss::default()
        };
        let plan = |l: &Loss| match judge(l) {
            Verdict::Refuse { plan, .. } => plan,
            Verdict::Pass => panic!("must be refused"),
        };
        let base = plan(&loss(7, 200));
        assert_eq!(base, plan(&loss(7, 200)));
        assert_ne!(base, plan(&loss(8, 200)), "another parent");
        assert_ne!(base, plan(&loss(7, 201)), "one file more");
    }
}
