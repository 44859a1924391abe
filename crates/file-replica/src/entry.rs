//! One thing in a tree: a file, directory, link or fifo with everything that a restore gives back.
//!
//! Times are text (`seconds.nanoseconds`): a JSON number is a double in `jq` and would lose the nanoseconds. An entry is read as one flat
//! record (`entry/flat.rs`), because serde reads a flattened enum by way of a map of everything, for every entry of a tree.

mod flat;

use crate::path::{RelPath, bytes_text};
use crate::text;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One thing in a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "flat::Flat")]
pub struct Entry {
    /// Where.
    pub path: RelPath,
    /// What.
    #[serde(flatten)]
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Last change of the content.
    pub mtime: Time,
    /// Extended attributes, POSIX ACLs (`system.posix_acl_*`) among them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub xattrs: Vec<Xattr>,
}

/// What an [`Entry`] is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Kind {
    /// A directory.
    Dir,
    /// A regular file.
    File(Content),
    /// A symbolic link; never followed.
    Symlink {
        /// Its target, as written.
        #[serde(serialize_with = "bytes_text::serialize")]
        target: Vec<u8>,
    },
    /// A named pipe.
    Fifo,
}

/// The bytes of a regular file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Content {
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the bytes.
    pub sha256: Digest,
    /// Index into [`crate::Manifest::objects`]; `None` for an empty file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<u32>,
    /// Its name inside the pack, where that is not its path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<RelPath>,
    /// Files with the same number are names of one inode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<u32>,
    /// It had holes; zeros are given back as holes.
    #[serde(skip_serializing_if = "is_false")]
    pub sparse: bool,
    /// It changed while it was read, or could not be read: these are the bytes of an earlier snapshot.
    #[serde(skip_serializing_if = "is_false")]
    pub unstable: bool,
}

fn is_false(value: &bool) -> bool {
    !*value
}

/// One extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Xattr {
    /// With its namespace.
    #[serde(with = "bytes_text")]
    pub name: Vec<u8>,
    /// Any bytes.
    #[serde(with = "bytes_text")]
    pub value: Vec<u8>,
}

impl Entry {
    /// The content, if it is a regular file.
    pub fn content(&self) -> Option<&Content> {
        match &self.kind {
            Kind::File(content) => Some(content),
            _ => None,
        }
    }

    /// Bytes of content.
    pub fn size(&self) -> u64 {
        self.content().map_or(0, |c| c.size)
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        matches!(self.kind, Kind::Dir)
    }

    /// The same thing as far as a restore can tell: where the bytes are stored does not count.
    pub fn is_same(&self, other: &Entry) -> bool {
        let kind = match (&self.kind, &other.kind) {
            (Kind::File(a), Kind::File(b)) => {
                (a.size, a.sha256, a.unstable, a.link.is_some())
                    == (b.size, b.sha256, b.unstable, b.link.is_some())
            }
            (a, b) => a == b,
        };
        // A directory's mtime says only that something in it was renamed; a snapshot for that alone is noise.
        let mtime = self.is_dir() || self.mtime == other.mtime;
        let who = (self.mode, self.uid, self.gid) == (other.mode, other.uid, other.gid);
        kind && mtime && who && self.path == other.path && self.xattrs == other.xattrs
    }
}

/// Seconds and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    /// Seconds; negative before 1970.
    pub sec: i64,
    /// 0 to 999,999,999, added to the seconds.
    pub nsec: u32,
}

impl Time {
    /// `seconds.nanoseconds`, as `tar` and `stat` write it.
    pub fn text(self) -> String {
        format!("{}.{:09}", self.sec, self.nsec)
    }

    /// Reads [`Time::text`]; a missing or shorter fraction counts as zeros.
    pub fn parse(text: &str) -> Option<Time> {
        let (sec, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = fraction.get(..fraction.len().min(9))?;
        let nsec = if digits.is_empty() {
            0
        } else {
            digits.parse::<u32>().ok()? * 10u32.pow(9 - u32::try_from(digits.len()).ok()?)
        };
        Some(Time { sec: sec.parse().ok()?, nsec })
    }

    /// This much earlier.
    pub(crate) fn minus_ms(self, ms: i64) -> Time {
        let total = i128::from(self.sec) * 1_000_000_000 + i128::from(self.nsec) - i128::from(ms) * 1_000_000;
        let sec = total.div_euclid(1_000_000_000);
        let nsec = total.rem_euclid(1_000_000_000);
        Time { sec: i64::try_from(sec).unwrap_or(i64::MIN), nsec: u32::try_from(nsec).unwrap_or(0) }
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.text())
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        text::read(d, |text| Time::parse(text).ok_or_else(|| format!("{text:?} is no time")))
    }
}

/// A SHA-256, 64 hex digits in JSON.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        use sha2::Digest as _;
        Digest(sha2::Sha256::digest(bytes).into())
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        text::read(d, |text| {
            let mut out = [0; 32];
            hex::decode_to_slice(text, &mut out).map(|()| Digest(out))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_their_nanoseconds() {
        for (text, sec, nsec) in
            [("1700000000.000000001", 1_700_000_000, 1), ("-1.500000000", -1, 500_000_000)]
        {
            let time = Time::parse(text).unwrap();
            assert_eq!((time.sec, time.nsec), (sec, nsec));
            assert_eq!(time.text(), text);
        }
        assert_eq!(Time::parse("5.25"), Some(Time { sec: 5, nsec: 250_000_000 }));
        assert_eq!(Time::parse("5"), Some(Time { sec: 5, nsec: 0 }));
        assert_eq!(Time::parse("5.1234567891"), Some(Time { sec: 5, nsec: 123_456_789 }));
        assert_eq!(Time::parse("x"), None);
        assert_eq!(Time { sec: 1, nsec: 5 }.minus_ms(1), Time { sec: 0, nsec: 999_000_005 });
    }
}
