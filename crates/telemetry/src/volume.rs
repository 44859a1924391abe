//! The data volume: how large, how full, and how long a write takes to be on it.
//!
//! The probe creates a file of 4 KiB in the state directory, times its write and fdatasync, and removes it: a new file each
//! time, because overwriting an allocated block succeeds on a full disk too. A disk that hangs holds up one thread and no
//! second probe is started.

use crate::StreamerMetrics;
use clock::Clock;
use nix::sys::statvfs::statvfs;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const PROBE: &str = "fsync-probe";
const PROBE_BYTES: usize = 4096;

/// Size of the volume that holds `dir`, and what is free for us, in bytes.
pub fn space(dir: &Path) -> io::Result<(u64, u64)> {
    let stat = statvfs(dir).map_err(io::Error::from)?;
    #[allow(clippy::useless_conversion, reason = "the width differs by platform")]
    let bytes = |blocks| u64::from(blocks) * u64::from(stat.fragment_size());
    Ok((bytes(stat.blocks()), bytes(stat.blocks_available())))
}

/// Writes 4 KiB into a new file of `dir` and syncs it; gives the time both took together.
pub fn probe(dir: &Path, clock: &dyn Clock) -> io::Result<Duration> {
    let path = dir.join(PROBE);
    let _ = fs::remove_file(&path); // of a process that was killed
    let timed = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let begun = clock.monotonic_ns();
        file.write_all(&[0x48; PROBE_BYTES])?;
        file.sync_data()?;
        Ok(Duration::from_nanos(clock.monotonic_ns().saturating_sub(begun)))
    })();
    let _ = fs::remove_file(&path);
    timed
}

/// Whether this error says that the volume is full.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Measures the volume of `dir` every `every` for ever; with `fsync` also how fast it syncs.
pub async fn watch(
    dir: PathBuf,
    metrics: Arc<StreamerMetrics>,
    clock: Arc<dyn Clock>,
    every: Duration,
    fsync: bool,
) {
    let mut told = false;
    loop {
        let (at, time) = (dir.clone(), clock.clone());
        let measured = tokio::task::spawn_blocking(move || {
            let space = space(&at);
            (space, fsync.then(|| probe(&at, &*time)))
        });
        if let Ok((space, probed)) = measured.await {
            if let Ok((size, available)) = space {
                metrics.volume(size, available);
            }
            match probed {
                Some(Ok(took)) => {
                    metrics.volume_fsync(took.as_secs_f64());
                    metrics.volume_full(false);
                    told = false;
                }
                // Not there yet is no finding: the application creates its directory.
                Some(Err(error)) if error.kind() != ErrorKind::NotFound => {
                    metrics.volume_full(is_full(&error));
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(dir = %dir.display(), %error, "the data volume cannot be written");
                    }
                }
                _ => {}
            }
        }
        tokio::time::sleep(every).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clock::ManualClock;

    #[test]
    fn a_volume_has_a_size_and_the_probe_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (size, available) = space(dir.path()).unwrap();
        assert!(size >= available && available > 0);
        probe(dir.path(), &ManualClock::at(0)).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let gone = probe(&dir.path().join("gone"), &ManualClock::at(0)).unwrap_err();
        assert!(!is_full(&gone) && gone.kind() == ErrorKind::NotFound);
    }

    #[test]
    fn only_lack_of_space_is_a_full_disk() {
        assert!(is_full(&io::Error::from_raw_os_error(nix::errno::Errno::ENOSPC as i32)));
        assert!(is_full(&io::Error::from_raw_os_error(nix::errno::Errno::EDQUOT as i32)));
        assert!(!is_full(&io::Error::from_raw_os_error(nix::errno::Errno::EROFS as i32)));
    }
}
