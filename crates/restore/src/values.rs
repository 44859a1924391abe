//! Values of the command line.

use clap::ValueEnum;
use ltx::Txid;
use sqlite_replica::Integrity;
use std::time::Duration;
use store::StoreUrl;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Depth {
    /// Checksums of the replica only
    None,
    /// SQLite's quick_check
    Quick,
    /// SQLite's integrity_check
    Full,
}

impl From<Depth> for Integrity {
    fn from(depth: Depth) -> Integrity {
        match depth {
            Depth::None => Integrity::None,
            Depth::Quick => Integrity::Quick,
            Depth::Full => Integrity::Full,
        }
    }
}

pub(crate) fn url(text: &str) -> Result<StoreUrl, String> {
    StoreUrl::parse(text).map_err(|e| e.to_string())
}

pub(crate) fn moment(text: &str) -> Result<clock::UnixMs, String> {
    clock::parse_unix_ms(text).ok_or_else(|| "not an RFC 3339 time, for example 2026-11-20T14:05:00Z".into())
}

pub(crate) fn txid(text: &str) -> Result<Txid, String> {
    text.parse().map_err(|_| "a TXID is 16 hex digits, as `restore list` shows it".into())
}

/// `500ms`, `30s`, `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = digits.parse().map_err(|_| SAY_A_DURATION.to_owned())?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(SAY_A_DURATION.into()),
    };
    number.checked_mul(ms).map(Duration::from_millis).ok_or_else(|| SAY_A_DURATION.into())
}

const SAY_A_DURATION: &str = "not a duration (for example 500ms, 30s, 5m, 1h)";

/// Bytes as people read them.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (n as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "s", "5", "5 s", "-1s", "99999999999999999999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            (bytes(999), bytes(1536), bytes(5 << 30)),
            ("999 B".into(), "1.5 KiB".into(), "5.0 GiB".into())
        );
    }
}
