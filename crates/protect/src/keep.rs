//! What retention keeps: everything for a while, then one restore point per hour, day, week, month.

use crate::duration;
use crate::nearest::nearest;
use serde::Serialize;
use std::time::Duration;

/// Retention of one replica. Ages are relative to the newest restore point, so that a stopped pod loses nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Keep {
    /// Keep every restore point this young.
    #[serde(serialize_with = "duration::as_seconds")]
    pub all: Duration,
    /// Then one per hour, this many.
    pub hourly: u32,
    /// Then one per day, this many.
    pub daily: u32,
    /// Then one per week, this many.
    pub weekly: u32,
    /// Then one per month, this many.
    pub monthly: u32,
}

/// The keys in the order of the struct.
pub(crate) const KEYS: [&str; 5] = ["all", "hourly", "daily", "weekly", "monthly"];
const MOST: u32 = 10_000;

impl Keep {
    /// Keeps everything this long and nothing older.
    pub const fn all_for(all: Duration) -> Self {
        Self { all, hourly: 0, daily: 0, weekly: 0, monthly: 0 }
    }

    /// Reads `all=7d,hourly=24,daily=7`, as annotations and flags write it; what is not named is 0.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut keep = Self::all_for(Duration::ZERO);
        let mut seen: Vec<&str> = Vec::new();
        for part in text.split(',') {
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| format!("{part:?} is not key=value (write all=7d,daily=7)"))?;
            let (key, value) = (key.trim(), value.trim());
            if seen.contains(&key) {
                return Err(format!("{key} is given twice"));
            }
            seen.push(key);
            let slot = match key {
                "all" => {
                    keep.all = duration::parse(value)?;
                    continue;
                }
                "hourly" => &mut keep.hourly,
                "daily" => &mut keep.daily,
                "weekly" => &mut keep.weekly,
                "monthly" => &mut keep.monthly,
                other => {
                    let hint =
                        nearest(other, KEYS).map(|key| format!(" (did you mean {key}?)")).unwrap_or_default();
                    return Err(format!("{other:?} is none of {}{hint}", KEYS.join(", ")));
                }
            };
            *slot = value.parse().map_err(|_| format!("{key}={value:?} is not a count"))?;
        }
        keep.checked()
    }

    /// Refuses what keeps nothing and counts that cannot be meant.
    pub(crate) fn checked(self) -> Result<Self, String> {
        let counts = [self.hourly, self.daily, self.weekly, self.monthly];
        if self.all.is_zero() && counts.iter().all(|count| *count == 0) {
            return Err("keeps nothing; use profile ephemeral for what needs no backup".into());
        }
        match counts.iter().find(|count| **count > MOST) {
            Some(count) => Err(format!("{count} is more than {MOST}")),
            None => Ok(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_flat_form() {
        let keep = Keep::parse("all=7d, hourly=24,daily=7").unwrap();
        assert_eq!((keep.all.as_secs(), keep.hourly, keep.daily, keep.weekly), (604_800, 24, 7, 0));
    }

    #[test]
    fn refuses_what_cannot_be_meant() {
        for (text, part) in [
            ("all=7d,all=8d", "twice"),
            ("dayly=7", "did you mean daily?"),
            ("daily=many", "not a count"),
            ("7d", "key=value"),
            ("all=0", "keeps nothing"),
            ("daily=10001", "more than"),
        ] {
            let reason = Keep::parse(text).unwrap_err();
            assert!(reason.contains(part), "{text}: {reason}");
        }
    }
}
