//! Values of the command line.

use clap::ValueEnum;
use ltx::Txid;
use sqlite_replica::Integrity;

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

pub(crate) fn txid(text: &str) -> Result<Txid, String> {
    text.parse().map_err(|_| "a TXID is 16 hex digits, as `restore list` shows it".into())
}

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
    fn sizes() {
        assert_eq!(
            (bytes(999), bytes(1536), bytes(5 << 30)),
            ("999 B".into(), "1.5 KiB".into(), "5.0 GiB".into())
        );
    }
}
