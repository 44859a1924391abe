//! Durations as people write them (`8h`, `7d`, `90s`), and as whole seconds in the fingerprint.
//!
//! Below one second and above ten years are typing mistakes. The grammar is humantime's; `0` alone is zero.

use serde::Serializer;
use std::time::Duration;

const LONGEST: Duration = Duration::from_secs(10 * 366 * 86_400);

/// Reads a duration; the reason says what would be right.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    if text.trim() == "0" {
        return Ok(Duration::ZERO);
    }
    let duration = humantime::parse_duration(text.trim())
        .map_err(|error| format!("{text:?} is not a duration: {error} (write 30s, 15m, 8h or 7d)"))?;
    if duration.subsec_nanos() != 0 {
        return Err(format!("{text:?} is not a whole number of seconds"));
    }
    if duration > LONGEST {
        return Err(format!("{text:?} is longer than ten years"));
    }
    Ok(duration)
}

/// For `#[serde(serialize_with)]`.
pub(crate) fn as_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(duration.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_write_units() {
        for (text, seconds) in [("8h", 28_800), ("7d", 604_800), ("1h 30m", 5_400), ("0", 0), (" 90s ", 90)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["8", "eight hours", "", "500ms", "-1h", "100y", "99999999999999999999d", "0 0 * * *"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
