//! What a writer may do at its start: from the marker of the volume and the newest snapshot of the replica to a decision.
//!
//! Lineage decides, never mtimes: which snapshot is this tree descended from? Without an answer nothing is uploaded (P3).

use crate::home::Marker;
use crate::layout::Seq;
use crate::{Error, Result};

/// How a writer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// Neither marker nor snapshot: the first one.
    Fresh,
    /// The tree descends from the newest snapshot.
    Continue,
    /// The replica has lost the newest snapshots; everything is uploaded anew after what is left.
    Rebuild,
    /// Told to continue a replica that this tree cannot prove to descend from.
    Adopt,
}

/// Decides. `repo` is the replica's lineage, `newest` its newest snapshot; `adopt` is the operator's word.
pub fn begin(
    marker: Option<&Marker>,
    repo: Option<&str>,
    newest: Option<Seq>,
    adopt: bool,
) -> Result<Beginning> {
    let by_word = |what: String, hint: &str| match adopt {
        true => Ok(Beginning::Adopt),
        false => Err(Error::refused(what, hint)),
    };
    match (marker, repo, newest) {
        (None, _, None) => Ok(Beginning::Fresh),
        (None, _, Some(newest)) => by_word(
            format!(
                "the replica holds snapshot {newest} and this tree has no marker (emptied, re-formatted or never restored?)"
            ),
            "restore it first; or continue the replica with what is there by --adopt",
        ),
        (Some(_), None, _) => by_word(
            "this tree belongs to a replica and there is none at this URL".into(),
            "check the URL; or begin a new replica here by --adopt",
        ),
        (Some(marker), Some(lineage), _) if marker.lineage != lineage => Err(Error::refused(
            format!("this tree belongs to replica {} and not to {lineage}", marker.lineage),
            "check the URL; to give the tree to this replica, remove .highwater/files-replica and use --adopt",
        )),
        (Some(marker), Some(_), newest) => match newest.unwrap_or(0) {
            newest if newest == marker.snapshot => Ok(Beginning::Continue),
            newest if newest < marker.snapshot => Ok(Beginning::Rebuild),
            newest => by_word(
                format!(
                    "this tree descends from snapshot {} and the replica is at {newest}",
                    marker.snapshot
                ),
                "another writer has continued it: restore it first; or put this tree on top by --adopt",
            ),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p3_the_table_of_starts() {
        let own = Marker::new("aa", 5, 1);
        use Beginning::*;
        type Row<'a> =
            (&'a str, Option<&'a Marker>, Option<&'a str>, Option<Seq>, Option<Beginning>, Option<Beginning>);
        let table: [Row<'_>; 9] = [
            ("first start", None, None, None, Some(Fresh), Some(Fresh)),
            ("claimed and never committed", None, Some("aa"), None, Some(Fresh), Some(Fresh)),
            ("emptied volume", None, Some("aa"), Some(5), None, Some(Adopt)),
            ("wrong url", Some(&own), None, None, None, Some(Adopt)),
            ("foreign replica", Some(&own), Some("bb"), Some(5), None, None),
            ("foreign empty replica", Some(&own), Some("bb"), None, None, None),
            ("continue", Some(&own), Some("aa"), Some(5), Some(Continue), Some(Continue)),
            ("volume moved back", Some(&own), Some("aa"), Some(9), None, Some(Adopt)),
            ("replica lost snapshots", Some(&own), Some("aa"), Some(3), Some(Rebuild), Some(Rebuild)),
        ];
        for (name, marker, repo, newest, plain, adopting) in table {
            assert_eq!(begin(marker, repo, newest, false).ok(), plain, "{name}");
            assert_eq!(begin(marker, repo, newest, true).ok(), adopting, "{name} with --adopt");
            if plain.is_none() {
                let error = begin(marker, repo, newest, false).unwrap_err();
                assert_eq!(error.class(), crate::Class::Refused, "{name}");
            }
        }
    }
}
