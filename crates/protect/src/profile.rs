//! How much a database matters: a name for an interval and a retention.
//!
//! The interval means *a proven restore point this often*; commits are shipped continuously in every profile but
//! `ephemeral`, which is listed and not backed up.

use crate::Keep;
use crate::nearest::nearest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

/// A named pair of snapshot interval and retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// A restore point every hour, kept 14 days.
    Critical,
    /// A restore point every 6 hours, kept 7 days.
    #[default]
    Standard,
    /// A restore point every 24 hours, kept 3 days.
    Relaxed,
    /// Not backed up, and listed as such.
    Ephemeral,
}

impl Profile {
    /// All profiles, most careful first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::Standard, Self::Relaxed, Self::Ephemeral];

    /// Its name in every source.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Standard => "standard",
            Self::Relaxed => "relaxed",
            Self::Ephemeral => "ephemeral",
        }
    }

    /// Whether anything is shipped.
    pub const fn is_backed_up(self) -> bool {
        !matches!(self, Self::Ephemeral)
    }

    /// How often a proven restore point is due; zero for `ephemeral`.
    pub const fn snapshot(self) -> Duration {
        Duration::from_secs(match self {
            Self::Critical => HOUR,
            Self::Standard => 6 * HOUR,
            Self::Relaxed => DAY,
            Self::Ephemeral => 0,
        })
    }

    /// What retention keeps.
    pub const fn keep(self) -> Keep {
        Keep::all_for(Duration::from_secs(match self {
            Self::Critical => 14 * DAY,
            Self::Standard => 7 * DAY,
            Self::Relaxed => 3 * DAY,
            Self::Ephemeral => 0,
        }))
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        one_of(text, Self::ALL.map(|profile| (profile.name(), profile)), "profile")
    }
}

/// The value of that name, or an error with all names and the nearest.
pub(crate) fn one_of<T: Copy, const N: usize>(
    text: &str,
    names: [(&'static str, T); N],
    what: &str,
) -> Result<T, String> {
    if let Some((_, value)) = names.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    let all = names.map(|(name, _)| name);
    let hint = nearest(text, all).map(|name| format!(", did you mean {name}?")).unwrap_or_default();
    Err(format!("{text:?} is not a {what} (one of {}{hint})", all.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_an_interface() {
        for profile in Profile::ALL {
            assert_eq!(profile.name().parse(), Ok(profile));
            assert_eq!(serde_json::to_value(profile).unwrap(), profile.name());
        }
        assert!("critcal".parse::<Profile>().unwrap_err().contains("did you mean critical?"));
    }

    #[test]
    fn every_profile_keeps_more_than_one_interval() {
        for profile in Profile::ALL.into_iter().filter(|profile| profile.is_backed_up()) {
            assert!(profile.keep().all > profile.snapshot(), "{profile}");
        }
    }
}
