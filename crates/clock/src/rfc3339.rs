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

/// Reads RFC 3339 (`2026-11-20T14:05:00+01:00`); a missing time zone counts as UTC. `None` if it is not one.
pub fn parse_unix_ms(text: &str) -> Option<UnixMs> {
    let text = text.trim();
    let (local, offset_ms) = match zone(text) {
        Some((local, offset_ms)) => (local, offset_ms),
        None => (text, 0),
    };
    let time = parse_rfc3339_weak(local).ok()?;
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_millis() as i64 - offset_ms)
}

/// Cuts a numeric zone (`+01:00`) off a time; its value in ms.
fn zone(text: &str) -> Option<(&str, i64)> {
    let at = text.len().checked_sub(6).filter(|at| *at > 10 && text.is_char_boundary(*at))?;
    let (local, zone) = text.split_at(at);
    let sign = match zone.as_bytes()[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = zone[1..].split_once(':')?;
    let number =
        |digits: &str, below: i64| digits.parse::<i64>().ok().filter(|n| digits.len() == 2 && *n < below);
    Some((local, sign * (number(hours, 24)? * 60 + number(minutes, 60)?) * 60_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_trimming() {
        for (ms, text) in [
            (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
            (1_700_000_000_000, "2023-11-14T22:13:20Z"),
            (0, "1970-01-01T00:00:00Z"),
        ] {
            assert_eq!(format_unix_ms(ms), text);
            assert_eq!(parse_unix_ms(text), Some(ms));
        }
        assert_eq!(parse_unix_ms("2023-11-14T23:13:20.123+01:00"), Some(1_700_000_000_123));
        assert_eq!(parse_unix_ms("2023-11-14T16:43:20-05:30"), Some(1_700_000_000_000));
        assert_eq!(parse_unix_ms("2023-11-14 22:13:20"), Some(1_700_000_000_000));
        for wrong in ["yesterday", "2023-11-14T22:13:20+25:00", "2023-11-14T22:13:20+1:00", "", "+01:00"] {
            assert_eq!(parse_unix_ms(wrong), None, "{wrong}");
        }
    }
}
