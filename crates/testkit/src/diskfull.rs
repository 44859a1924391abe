//! A disk that is really full: a small tmpfs, where the test may mount one.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;

/// A mounted tmpfs; unmounted on drop.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
    _scratch: Option<TempDir>,
}

impl SmallDisk {
    /// Mounts one of this many bytes, or says why it cannot (a reason to skip the test, and to print it).
    pub fn mount(bytes: u64) -> Result<SmallDisk, String> {
        let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut disk = Self::mount_over(scratch.path(), bytes)?;
        disk._scratch = Some(scratch);
        Ok(disk)
    }

    /// Hides what is in this directory.
    pub fn mount_over(path: &Path, bytes: u64) -> Result<SmallDisk, String> {
        let options = format!("size={bytes},mode=0777");
        mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
            .map_err(|error| format!("cannot mount a tmpfs: {error}"))?;
        Ok(SmallDisk { path: path.to_owned(), _scratch: None })
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn ballast(&self) -> PathBuf {
        self.path().join(".ballast")
    }

    /// Takes all space but about `leave` bytes (whole pages).
    pub fn fill(&self, leave: u64) {
        self.release();
        let mut file = File::create(self.ballast()).expect("an empty file takes no space");
        let mut size = 0;
        while let Ok(n) = file.write(&[0; 4096]) {
            size += n as u64;
        }
        file.set_len(size.saturating_sub(leave)).expect("files can shrink on a full disk");
    }

    /// Gives the space back.
    pub fn release(&self) {
        let _ = fs::remove_file(self.ballast());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is being killed may still have files open.
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
    }
}

#[cfg(test)]
mod tests {
    use super::SmallDisk;

    #[test]
    fn a_full_disk_refuses_writes_until_it_is_released() {
        let disk = match SmallDisk::mount(1 << 20) {
            Ok(disk) => disk,
            Err(reason) => return println!("skipped: {reason}"),
        };
        disk.fill(8192);
        let file = disk.path().join("f");
        std::fs::write(&file, [1; 4096]).unwrap();
        let error = std::fs::write(&file, [1; 40_000]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        disk.release();
        std::fs::write(&file, [1; 40_000]).unwrap();
        let path = disk.path().to_owned();
        drop(disk);
        assert!(!path.exists());
    }
}
