//! What `restore init` does at the start of a pod.

use crate::duration;
use crate::profile::one_of;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::str::FromStr;
use std::time::Duration;

/// Whether the start restores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RestoreMode {
    /// Where local data is missing and a replica exists.
    #[default]
    Auto,
    /// Not at all.
    Never,
    /// As `auto`, and fail when there is nothing to restore.
    Require,
}

/// How restored data is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Integrity {
    /// What fits the kind and the size of the data.
    #[default]
    Auto,
    /// Checksums of the replica only.
    None,
    /// SQLite's `quick_check`.
    Quick,
    /// SQLite's `integrity_check`.
    Full,
}

/// What `restore init` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Restore {
    /// Whether it restores.
    pub mode: RestoreMode,
    /// To which point, in milliseconds of Unix time; `None` is the newest.
    pub at_unix_ms: Option<i64>,
    /// How long it may take; zero is without end.
    #[serde(serialize_with = "duration::as_seconds")]
    pub timeout: Duration,
    /// How the result is checked.
    pub integrity: Integrity,
}

impl FromStr for RestoreMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = [("auto", Self::Auto), ("never", Self::Never), ("require", Self::Require)];
        one_of(text, names, "restore mode")
    }
}

impl FromStr for Integrity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names =
            [("auto", Self::Auto), ("none", Self::None), ("quick", Self::Quick), ("full", Self::Full)];
        one_of(text, names, "integrity check")
    }
}

/// Reads an RFC 3339 point in time.
pub(crate) fn parse_at(text: &str) -> Result<i64, String> {
    clock::parse_unix_ms(text)
        .ok_or_else(|| format!("{text:?} is not a point in time (write 2026-11-21T05:00:00Z, in UTC)"))
}
