//! Keys of a snapshot and of what lies beside it.
//!
//! ```text
//! <cluster>/daily|recent/YYYY/MM/DD/etcd-<cluster>-<YYYYMMDDTHHMMSSZ>-r<revision>-<8 hex>.db.zst.age   the snapshot
//!     …same name….manifest.json   written last: without it there is no backup
//!     …same name….proof.json      what was proven later (verify, drill)
//!     …same name….token.age       the K3s server token
//!     …same name….pin             kept until a person removes it
//! <cluster>/_policy.json          the retention that the last run applied, and how many snapshots it left
//! <cluster>/_result.json          what the last run found; metrics are made from it
//! <cluster>/_prune.lease          one pruner at a time
//! <cluster>/highwater/*.json      status for the exporter, the drill's result, what is proven
//! ```
//! The first snapshot of a UTC day is *daily*, the others *recent*: so a bucket can lock them for different times. A key that does not
//! parse whole is foreign: listed, counted, never touched (K3s' own retention deletes by prefix).

use crate::{Error, Result};
use std::fmt;

/// `<cluster>/_policy.json`
pub(crate) const POLICY: &str = "_policy.json";
/// `<cluster>/_result.json`
pub(crate) const RESULT: &str = "_result.json";
/// `<cluster>/_prune.lease`
pub(crate) const LEASE: &str = "_prune.lease";

/// Which of the two windows a snapshot was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slot {
    /// The first of its UTC day.
    Daily,
    /// Any other.
    Recent,
}

/// The common name of a snapshot's objects.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// Cluster as configured.
    pub cluster: String,
    /// See [`Slot`].
    pub slot: Slot,
    /// Unix seconds at which the stream was opened.
    pub taken: i64,
    /// etcd revision.
    pub revision: i64,
    /// First 8 hex digits of the body's SHA-256.
    pub digest: String,
}

/// What an object of a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The snapshot, sealed.
    Sealed,
    /// The snapshot, plain.
    Plain,
    /// The manifest.
    Manifest,
    /// A later proof.
    Proof,
    /// The K3s token.
    Token,
    /// A pin.
    Pin,
}

impl Part {
    const ALL: [(Part, &'static str); 6] = [
        (Part::Sealed, ".db.zst.age"),
        (Part::Plain, ".db.zst"),
        (Part::Manifest, ".manifest.json"),
        (Part::Proof, ".proof.json"),
        (Part::Token, ".token.age"),
        (Part::Pin, ".pin"),
    ];

    fn suffix(self) -> &'static str {
        Self::ALL.iter().find(|(part, _)| *part == self).map_or("", |(_, suffix)| suffix)
    }
}

/// Refuses cluster names that would not be one segment of a key, or that collide with ours.
pub fn check_cluster(name: &str) -> Result<()> {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let sound = name.len() <= 63
        && name.chars().all(inside)
        && edge(name.chars().next())
        && edge(name.chars().last());
    if sound {
        Ok(())
    } else {
        Err(Error::Usage(format!(
            "cluster name {name:?} must be 1 to 63 lower-case letters, digits, '.' and '-', with a letter or digit at both ends"
        )))
    }
}

impl Name {
    /// The key of one of its objects.
    pub fn key(&self, part: Part) -> String {
        format!("{self}{}", part.suffix())
    }

    /// Takes a key apart; `None` for everything that is not exactly ours.
    pub fn parse(key: &str) -> Option<(Self, Part)> {
        let (cluster, rest) = key.split_once('/')?;
        check_cluster(cluster).ok()?;
        let (slot, rest) = rest.split_once('/')?;
        let slot = match slot {
            "daily" => Slot::Daily,
            "recent" => Slot::Recent,
            _ => return None,
        };
        let file = rest.rsplit('/').next()?;
        let (part, base) =
            Part::ALL.iter().find_map(|(part, suffix)| Some((*part, file.strip_suffix(suffix)?)))?;
        let base = base.strip_prefix("etcd-")?.strip_prefix(cluster)?.strip_prefix('-')?;
        let mut fields = base.split('-');
        let (stamp, revision, digest) = (fields.next()?, fields.next()?, fields.next()?);
        let revision = revision.strip_prefix('r').filter(|digits| digits.len() >= 12)?;
        let sound =
            fields.next().is_none() && digest.len() == 8 && digest.bytes().all(|c| c.is_ascii_hexdigit());
        let name = Self {
            cluster: cluster.to_owned(),
            slot,
            taken: parse_stamp(stamp)?,
            revision: revision.parse().ok()?,
            digest: digest.to_owned(),
        };
        // Writing it again gives the same key, or it was not ours.
        (sound && name.key(part) == key).then_some((name, part))
    }

    /// The UTC day, as days since 1970.
    pub fn day(&self) -> i64 {
        self.taken.div_euclid(86_400)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slot = match self.slot {
            Slot::Daily => "daily",
            Slot::Recent => "recent",
        };
        let stamp = stamp(self.taken);
        let (year, month, day) = (&stamp[..4], &stamp[4..6], &stamp[6..8]);
        let Self { cluster, revision, digest, .. } = self;
        write!(f, "{cluster}/{slot}/{year}/{month}/{day}/etcd-{cluster}-{stamp}-r{revision:012}-{digest}")
    }
}

/// `20261121T141500Z`
fn stamp(seconds: i64) -> String {
    let text = clock::format_unix_ms(seconds * 1_000);
    text.chars().filter(|c| !matches!(c, '-' | ':')).collect()
}

fn parse_stamp(stamp: &str) -> Option<i64> {
    let sound = stamp.len() == 16 && stamp.is_ascii() && stamp.as_bytes()[8] == b'T' && stamp.ends_with('Z');
    let part = |range| sound.then(|| stamp.get(range)).flatten();
    let (date, time) = (part(0..8)?, part(9..15)?);
    let text = format!(
        "{}-{}-{}T{}:{}:{}Z",
        &date[..4],
        &date[4..6],
        &date[6..8],
        &time[..2],
        &time[2..4],
        &time[4..6]
    );
    Some(clock::parse_unix_ms(&text)? / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_foreign_keys_do_not() {
        let name = Name {
            cluster: "prod-1".into(),
            slot: Slot::Daily,
            taken: 1_795_270_500,
            revision: 421_337,
            digest: "0a1b2c3d".into(),
        };
        for (part, _) in Part::ALL {
            assert_eq!(Name::parse(&name.key(part)), Some((name.clone(), part)));
        }
        let good = name.key(Part::Sealed);
        assert_eq!(
            good,
            "prod-1/daily/2026/11/21/etcd-prod-1-20261121T141500Z-r000000421337-0a1b2c3d.db.zst.age"
        );
        for foreign in [
            "etcd-snapshot-node-1716336000",
            "prod/.metadata/etcd-snapshot",
            "prod-1/_policy.json",
            "prod-1/daily/2026/11/22/etcd-prod-1-20261121T141500Z-r000000421337-0a1b2c3d.db.zst.age",
            "prod-1/daily/2026/11/21/etcd-prod-20261121T141500Z-r000000421337-0a1b2c3d.db.zst.age",
            "prod/daily/2026/11/21/etcd-prod-1-20261121T141500Z-r000000421337-0a1b2c3d.db.zst.age",
            "prod-1/daily/2026/11/21/etcd-prod-1-20261121T141500Z-r421337-0a1b2c3d.db.zst.age",
            "prod-1/daily/2026/11/21/x/etcd-prod-1-20261121T141500Z-r000000421337-0a1b2c3d.db.zst.age",
            "prod-1/daily/2026/11/21/etcd-prod-1-20261121T141500Z-r000000421337-0a1b2c3d.db.zst.age.partial",
        ] {
            assert_eq!(Name::parse(foreign), None, "{foreign}");
        }
        for bad in ["", "Prod", "-a", "a-", "a/b", "a_b", &"x".repeat(64)] {
            assert!(check_cluster(bad).is_err(), "{bad}");
        }
    }
}
