//! Paths inside a tree: bytes, relative, and never leading out of it.
//!
//! A [`RelPath`] cannot hold `..`, `.`, empty segments, a leading `/` or NUL, so nothing that was read from a store can name a
//! file outside of the tree it is restored into (hostile archives). Names are bytes: Linux does not promise UTF-8. In JSON a path
//! is its text; one that is not UTF-8, or that begins with `hex:`, is written as `hex:` and its bytes. Clones share the bytes: a look at a
//! tree has each path in several lists (P7).

use crate::text;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// A path below the root of a tree.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelPath(Arc<[u8]>);

/// Linux's own bound of a path.
const LONGEST: usize = 4095;
const LONGEST_NAME: usize = 255;
const HEX: &str = "hex:";

impl RelPath {
    /// The path with these bytes, or why it is none.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, String> {
        let bytes = bytes.into();
        let show = || String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        if bytes.is_empty() || bytes.len() > LONGEST {
            return Err(format!("a path of {} bytes", bytes.len()));
        }
        if bytes.contains(&0) {
            return Err(format!("path {:?} holds a NUL", show()));
        }
        if bytes
            .split(|b| *b == b'/')
            .any(|s| s.is_empty() || s == b"." || s == b".." || s.len() > LONGEST_NAME)
        {
            return Err(format!("path {:?} has an empty, '.', '..' or overlong segment", show()));
        }
        Ok(Self(bytes.into()))
    }

    /// Whether [`RelPath::new`] would take a path whose segments the file system gave out: it has bounds that some of them have not.
    pub(crate) fn is_readable(&self) -> bool {
        self.0.len() <= LONGEST && self.name().len() <= LONGEST_NAME
    }

    /// A path that the file system itself gave out, segment by segment.
    pub(crate) fn below(parent: Option<&RelPath>, name: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(parent.map_or(0, |p| p.0.len() + 1) + name.len());
        if let Some(parent) = parent {
            bytes.extend_from_slice(&parent.0);
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        Self(bytes.into())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// For the file system.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The directory it is in; `None` directly below the root.
    pub fn parent(&self) -> Option<RelPath> {
        self.parent_bytes().map(|bytes| Self(bytes.into()))
    }

    /// The bytes of [`RelPath::parent`].
    pub(crate) fn parent_bytes(&self) -> Option<&[u8]> {
        let at = self.0.iter().rposition(|b| *b == b'/')?;
        Some(&self.0[..at])
    }

    /// Its last segment.
    pub fn name(&self) -> &[u8] {
        self.0.rsplit(|b| *b == b'/').next().unwrap_or(&self.0)
    }

    /// Whether it is `other` or lies below it.
    pub fn is_within(&self, other: &RelPath) -> bool {
        self.0.strip_prefix(&*other.0).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }

    /// Its form in JSON and messages.
    pub fn text(&self) -> String {
        to_text(&self.0)
    }
}

/// Bytes as text that [`from_text`] reads back.
pub(crate) fn to_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.starts_with(HEX) => text.to_owned(),
        _ => format!("{HEX}{}", hex::encode(bytes)),
    }
}

pub(crate) fn from_text(text: &str) -> Result<Vec<u8>, String> {
    match text.strip_prefix(HEX) {
        Some(digits) => hex::decode(digits).map_err(|e| format!("{text:?}: {e}")),
        None => Ok(text.as_bytes().to_vec()),
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text(), f)
    }
}

impl Serialize for RelPath {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.text())
    }
}

impl<'de> Deserialize<'de> for RelPath {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        text::read(d, |text| from_text(text).and_then(RelPath::new))
    }
}

/// Serde for byte strings that need not be paths (link targets, attribute values).
pub(crate) mod bytes_text {
    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&super::to_text(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        crate::text::read(d, super::from_text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_paths_do_not_exist() {
        for bad in ["", "/etc/passwd", "..", "a/../b", "a//b", "./a", "a/", "a\0b", "a/./b", "../../x"] {
            assert!(RelPath::new(bad).is_err(), "{bad:?}");
        }
        assert!(RelPath::new("x".repeat(255)).is_ok());
        assert!(RelPath::new("x".repeat(256)).is_err());
    }

    #[test]
    fn names_that_are_not_utf8_survive_json() {
        for bytes in [&b"caf\xe9.ini"[..], b"hex:00", "grün".as_bytes(), b"a\nb", b"..a/b.."] {
            let path = RelPath::new(bytes).unwrap();
            let text = serde_json::to_string(&path).unwrap();
            assert_eq!(serde_json::from_str::<RelPath>(&text).unwrap(), path, "{text}");
        }
        assert!(serde_json::from_str::<RelPath>("\"hex:2e2e\"").is_err(), "'..' in hex is still '..'");
    }

    #[test]
    fn within_counts_whole_segments() {
        let path = |t: &str| RelPath::new(t).unwrap();
        assert!(path("a/b").is_within(&path("a")) && path("a").is_within(&path("a")));
        assert!(!path("ab").is_within(&path("a")));
        assert_eq!(path("a/b/c").parent(), Some(path("a/b")));
        assert_eq!(path("a").parent(), None);
        assert_eq!(path("a/b").name(), b"b");
    }
}
