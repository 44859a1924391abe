//! The machine: the data volume and the number of files that may be open.

use clock::Clock;
use door::Finding;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;
use telemetry::{Exit, volume};

/// What the alert HighwaterPersistenceLatency fires at.
const SLOW: Duration = Duration::from_millis(500);
/// Descriptors per attached database: database, WAL, wal-index, state, table, staged file, and a margin.
const PER_DATABASE: u64 = 8;
/// Sockets, logs, the runtime.
const BESIDE: u64 = 64;
/// Databases attached at the same time.
const ATTACHED: usize = 200;

/// Space, and how long a write takes to be on it.
pub(super) fn volume(dir: &Path, clock: &dyn Clock) -> Vec<Finding> {
    let shown = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let name = shown.display().to_string();
    let mut findings = Vec::new();
    match volume::space(shown) {
        Ok((size, free)) => findings.push(space(&name, size, free)),
        Err(error) => {
            let hint = if error.kind() == ErrorKind::NotFound {
                "mount the volume, or correct the path"
            } else {
                ""
            };
            return vec![Finding::failed("volume", Exit::Refused, name, error.to_string(), hint)];
        }
    }
    findings.push(match volume::probe(shown, clock) {
        Ok(took) if took > SLOW => Finding::warning(
            "fsync",
            name,
            format!("4 KiB took {} ms to be on the disk", took.as_millis()),
            "the application waits as long for each of its commits; look at the disk",
        ),
        Ok(took) => Finding::ok(
            "fsync",
            name,
            format!("writable, 4 KiB on the disk after {:.1} ms", took.as_secs_f64() * 1e3),
        ),
        Err(error) => {
            let hint = match error.kind() {
                ErrorKind::PermissionDenied => {
                    "run as the owner of the directory (securityContext.runAsUser)"
                }
                ErrorKind::ReadOnlyFilesystem => "mount it writable: state lies beside the database",
                _ if volume::is_full(&error) => "free some space",
                _ => "look at the disk",
            };
            Finding::failed("fsync", Exit::Refused, name, format!("cannot be written: {error}"), hint)
        }
    });
    findings
}

fn space(name: &str, size: u64, free: u64) -> Finding {
    let percent = free.saturating_mul(100) / size.max(1);
    let found = format!("{} MiB of {} MiB free ({percent} %)", free >> 20, size >> 20);
    match percent {
        0 | 1 => Finding::failed("volume", Exit::Failed, name, found, "free some space, or grow the volume"),
        2..=9 => Finding::warning("volume", name, found, "grow the volume"),
        _ => Finding::ok("volume", name, found),
    }
}

/// Whether that many databases can be attached.
pub(super) fn open_files(databases: usize) -> Finding {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    files(databases, limit(&limits))
}

fn files(databases: usize, limit: Option<u64>) -> Finding {
    let needed = databases.min(ATTACHED) as u64 * PER_DATABASE + BESIDE;
    let found = |limit| format!("{limit} may be open, {needed} are needed for {databases} databases");
    match limit {
        None => Finding::warning("open-files", "this process", "the limit cannot be read", "check ulimit -n"),
        Some(limit) if limit < needed => {
            let hint =
                "raise the limit (ulimit -n); fewer databases are attached at the same time until then";
            Finding::warning("open-files", "this process", found(limit), hint)
        }
        Some(limit) => Finding::ok("open-files", "this process", found(limit)),
    }
}

/// The soft limit in the kernel's table.
fn limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use door::Verdict;

    #[test]
    fn limits_are_read_as_the_kernel_writes_them() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \nMax open files            1024                 524288               files     \n";
        assert_eq!(limit(text), Some(1024));
        assert_eq!(limit("Max open files   unlimited unlimited files"), Some(u64::MAX));
        assert_eq!(files(1_000, Some(1024)).verdict, Verdict::Warning);
        assert_eq!(files(100, Some(1024)).verdict, Verdict::Ok);
    }

    #[test]
    fn a_volume_is_graded_by_what_is_free() {
        for (free, verdict) in [(1, Verdict::Failed), (9, Verdict::Warning), (10, Verdict::Ok)] {
            assert_eq!(space("/data", 100, free).verdict, verdict);
        }
        let gone = volume(Path::new("/nonexistent/volume"), &clock::SystemClock);
        assert_eq!((gone.len(), gone[0].verdict), (1, Verdict::Failed));
    }
}
