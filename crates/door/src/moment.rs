//! A point in time on the command line.

use clock::{UnixMs, parse_unix_ms};

/// Reads RFC 3339, for example `2026-11-20T14:05:00Z`. For `value_parser`.
pub fn moment(text: &str) -> Result<UnixMs, String> {
    parse_unix_ms(text).ok_or_else(|| "not an RFC 3339 time, for example 2026-11-20T14:05:00Z".into())
}
