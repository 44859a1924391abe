//! Where a value was written: every error points there.

use std::fmt;
use std::sync::Arc;

/// A source, a line in it, and a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// A file's path, `environment` or `command line`.
    pub source: Arc<str>,
    /// 1-based; `None` where a source has no lines.
    pub line: Option<u64>,
    /// The key as its source spells it, e.g. `databases[0].path` or `HIGHWATER_PROFILE`.
    pub key: String,
}

impl Place {
    /// A place in a source without lines.
    pub fn new(source: &str, key: impl Into<String>) -> Self {
        Self { source: source.into(), line: None, key: key.into() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if self.key.is_empty() { Ok(()) } else { write!(f, ": {}", self.key) }
    }
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub place: Place,
}

impl<T> Located<T> {
    /// A value with its place.
    pub fn new(value: T, place: Place) -> Self {
        Self { value, place }
    }
}
