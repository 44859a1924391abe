//! Durations as Go writes them: `24h`, `1h30m`, `1.5s`, `300ms`.

use std::time::Duration;

/// Reads one.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let refuse = || format!("{text:?} is not a duration (24h, 1h30m, 500ms)");
    let (mut seconds, mut rest) = (0.0_f64, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(refuse)?;
        let number: f64 = rest[..digits].parse().map_err(|_| refuse())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(refuse()),
        };
        seconds += number * unit;
        rest = &rest[letters..];
    }
    Duration::try_from_secs_f64(seconds).ok().filter(|_| !text.is_empty()).ok_or_else(refuse)
}

/// As our own parsers read it, in the largest unit that is exact.
pub(super) fn show(duration: Duration) -> String {
    let (ms, seconds) = (duration.as_millis(), duration.as_secs());
    if ms % 1000 != 0 {
        return format!("{ms}ms");
    }
    [(86_400, "d"), (3600, "h"), (60, "m")]
        .into_iter()
        .find(|(unit, _)| seconds > 0 && seconds % unit == 0)
        .map_or_else(|| format!("{seconds}s"), |(unit, name)| format!("{}{name}", seconds / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_become_ours() {
        for (theirs, ours) in [
            ("24h", "1d"),
            ("1h30m", "90m"),
            ("1.5s", "1500ms"),
            ("72h", "3d"),
            ("300ms", "300ms"),
            ("0", "0s"),
        ] {
            assert_eq!(parse(theirs).map(show).unwrap(), ours, "{theirs}");
        }
        for wrong in ["", "7d", "24", "h", "1h-5m", "one hour"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
