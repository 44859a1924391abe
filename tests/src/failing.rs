//! A disk whose reads or writes fail with EIO for one process, from one moment to another, or that looks like another file system: a small
//! library is preloaded into it.
//!
//! It needs a C compiler (as building the workspace does) and a loader that knows `LD_PRELOAD`; where one is missing the test says why
//! it is skipped. The kernel's page cache makes real bad sectors come back at times of its own; this does not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const SOURCE: &str = include_str!("failing_disk.c");
const EIO: i32 = 5;

/// See the module.
#[derive(Debug)]
pub struct FailingDisk {
    scratch: TempDir,
}

impl FailingDisk {
    /// A disk that works so far, or why there can be none.
    pub fn new() -> Result<FailingDisk, String> {
        let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
        let disk = FailingDisk { scratch };
        let source = disk.scratch.path().join("failing_disk.c");
        fs::write(&source, SOURCE).map_err(|error| error.to_string())?;
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(disk.library()).arg(&source);
        let made = cc.output().map_err(|error| format!("no C compiler: {error}"))?;
        if !made.status.success() {
            return Err(format!("the C compiler says: {}", String::from_utf8_lossy(&made.stderr)));
        }
        disk.heal();
        disk.probe()?;
        Ok(disk)
    }

    /// The library does its work here: `cat` cannot read what it may not.
    fn probe(&self) -> Result<(), String> {
        let file = self.scratch.path().join("probed");
        fs::write(&file, "1").map_err(|error| error.to_string())?;
        self.fail("read", 0, "probed");
        let mut cat = Command::new("cat");
        self.under(cat.arg(&file));
        let read = cat.output().map_err(|error| error.to_string())?;
        self.heal();
        match read.status.success() {
            true => Err("the preloaded library is not heeded".into()),
            false => Ok(()),
        }
    }

    fn library(&self) -> PathBuf {
        self.scratch.path().join("failing_disk.so")
    }

    fn rules(&self) -> PathBuf {
        self.scratch.path().join("rules")
    }

    /// Has a process stand on this disk.
    pub fn under<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("LD_PRELOAD", self.library()).env("FAILING_DISK_RULES", self.rules())
    }

    /// From now on these calls (`read` or `write`) fail from this byte on, in files whose path ends so.
    pub fn fail(&self, doing: &str, from: u64, suffix: &str) {
        self.replace(&format!("{doing} {EIO} {from} {suffix}\n"));
    }

    /// From now on files whose path ends so lie on a file system of this kind (`statfs(2)` lists them).
    pub fn lies_on(&self, magic: u32, suffix: &str) {
        self.replace(&format!("statfs {} 0 {suffix}\n", magic.cast_signed()));
    }

    /// Everything works again.
    pub fn heal(&self) {
        self.replace("");
    }

    /// By rename, so that no process sees half of it.
    fn replace(&self, rules: &str) {
        let new: &Path = &self.scratch.path().join("rules.new");
        fs::write(new, rules)
            .and_then(|()| fs::rename(new, self.rules()))
            .expect("the scratch can be written");
    }
}
