//! A length of time on the command line.

use std::time::Duration;

/// Reads `500ms`, `30s`, `1h 30m` (the grammar of humantime); `0` alone is no time at all. For `value_parser`.
pub fn duration(text: &str) -> Result<Duration, String> {
    if text.trim() == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text.trim()).map_err(|e| format!("{e} (for example 500ms, 30s, 5m, 24h, 7d)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_written() {
        let ms = Duration::from_millis;
        for (text, expected) in [("0", 0), ("250ms", 250), ("90s", 90_000), (" 1h 30m ", 5_400_000)] {
            assert_eq!(duration(text), Ok(ms(expected)), "{text}");
        }
        for wrong in ["", "s", "5", "-1s", "99999999999999999999h"] {
            let why = duration(wrong).expect_err(wrong);
            assert!(why.contains("for example 500ms"), "{wrong}: {why}");
        }
    }
}
