//! RFC 3339 in UTC with millisecond precision, as object metadata and the command line write it.

use crate::UnixMs;
use humantime::{format_rfc3339_nanos, parse_rfc3339_weak};
use std::time::{Duration, UNIX_EPOCH};

/// `2026-11-21T05:41:45.313Z`; trailing zeros of the fraction are trimmed, as Litestream's metadata has it
/// (`ltx-format`: RFC3339Nano). Times before 1970 are shown as 1970.
pub fn format_unix_ms(ms: UnixMs) -> String {
    let time = UNIX_EPOCH + Duration::from_millis(ms.max(0) as u64);
    let text = format_rfc3339_nanos(time).to_string();
    let (seconds, fraction) = text.trim_end_matches('Z').split_once('.').unwrap_or((&text, ""));
    match fraction.trim_end_matches('0') {
        "" => format!("{seconds}Z"),
        digits => format!("{seconds}.{digits}Z"),
    }
}

/// Reads RFC 3339 in UTC (`…Z`); a missing time zone counts as UTC. `None` if it is not one.
pub fn parse_unix_ms(text: &str) -> Option<UnixMs> {
    let time = parse_rfc3339_weak(text.trim()).ok()?;
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_trimming() {
        for (ms, text) in [(1_700_000_000_123, "2023-11-14T22:13:20.123Z"), (1_700_000_000_000, "2023-11-14T22:13:20Z"), (0, "1970-01-01T00:00:00Z")] {
            assert_eq!(format_unix_ms(ms), text);
            assert_eq!(parse_unix_ms(text), Some(ms));
        }
        assert_eq!(parse_unix_ms("yesterday"), None);
    }
}
