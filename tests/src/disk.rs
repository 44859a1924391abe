//! A file system in a file, mounted through a loop device: a disk of which a test can see what has reached it.
//!
//! The file holds what the kernel has handed to the disk and nothing of what it still keeps in memory, so a copy of it is the disk after the
//! power failed: mounted, the journal is replayed and what was never written is missing. Needs root, loop devices and `mkfs.ext4`; where they
//! are missing the test says so and is skipped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use testkit::procs::wait_until;

use crate::PATIENCE;

/// See the module; unmounted when dropped.
#[derive(Debug)]
pub struct LoopDisk {
    dir: TempDir,
    is_mounted: bool,
}

/// True if the command can be run and succeeds.
pub fn can(program: &str, arguments: &[&str]) -> bool {
    let tried = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

impl LoopDisk {
    /// An empty disk of so many KiB, formatted with these options; or why there can be none.
    pub fn new(kib: u64, format: &[&str]) -> Result<LoopDisk, String> {
        let mut disk = LoopDisk::bare()?;
        fs::File::create(disk.image()).and_then(|file| file.set_len(kib << 10)).map_err(|e| e.to_string())?;
        let image = disk.image();
        let options = [&["-q", "-F"], format, &[image.to_str().unwrap_or_default()]].concat();
        match can("mkfs.ext4", &options) && disk.attach() {
            true => Ok(disk),
            false => Err("no loop device, or no mkfs.ext4".into()),
        }
    }

    fn bare() -> Result<LoopDisk, String> {
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        fs::create_dir(dir.path().join("disk")).map_err(|e| e.to_string())?;
        Ok(LoopDisk { dir, is_mounted: false })
    }

    /// The disk as it would be found if the power failed now. Everything that this one has in memory stays there.
    #[track_caller]
    pub fn after_power_loss(&self) -> LoopDisk {
        let mut other = LoopDisk::bare().expect("a scratch directory");
        fs::copy(self.image(), other.image()).expect("the image can be copied");
        assert!(other.attach(), "the journal is replayed and the disk mounted");
        other
    }

    /// Has the file system write down what it did to names, without the contents of other files: any sync of any file does that.
    #[track_caller]
    pub fn commit_names(&self) {
        let bystander = self.path().join("bystander");
        let file = fs::File::create(bystander).expect("the disk can be written");
        file.sync_all().expect("the disk can be synced");
    }

    /// Mounts it; false if that fails.
    pub fn attach(&mut self) -> bool {
        let (image, disk) = (self.image(), self.path());
        let [image, disk] = [&image, &disk].map(|path| path.to_str().unwrap_or_default());
        self.is_mounted = can("mount", &["-o", "loop", image, disk]);
        self.is_mounted
    }

    /// Unmounts it, everything written. A process that another test is starting may have a file of it open for a moment.
    #[track_caller]
    pub fn detach(&mut self) {
        wait_until(PATIENCE, "nobody to use the disk", || !self.is_mounted || self.unmount(&[]));
        self.is_mounted = false;
    }

    fn unmount(&self, how: &[&str]) -> bool {
        can("umount", &[how, &[self.path().to_str().unwrap_or_default()]].concat())
    }

    /// The file that is the disk.
    pub fn image(&self) -> PathBuf {
        self.at("image")
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.at("disk")
    }

    /// A place beside the disk, or on it below `disk/`.
    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(Path::new(name))
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        if self.is_mounted && !self.unmount(&[]) {
            self.unmount(&["-l"]);
        }
    }
}
