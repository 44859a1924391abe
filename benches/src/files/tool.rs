//! The three that keep a tree: ours, `rclone` and `restic`, as commands with the settings a person would use.

use super::tree::{Size, plant};
use crate::bench::{Bench, server};
use crate::replicator::clean;
use crate::section::{MISSING, Measured, attempt};
use crate::usage::{self, Ran};
use anyhow::Result;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use testkit::procs;
use testkit::s3::{ACCESS_KEY, BUCKET, Counts, REGION, S3Server, SECRET_KEY};

/// Longest run.
const LIMIT: Duration = Duration::from_secs(300);

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    Ours,
    Rclone,
    Restic,
}

impl Tool {
    pub(crate) const ALL: [Tool; 3] = [Tool::Ours, Tool::Rclone, Tool::Restic];

    pub(crate) fn backup_name(self) -> &'static str {
        match self {
            Tool::Ours => "config-syncer snapshot",
            Tool::Rclone => "rclone sync",
            Tool::Restic => "restic backup",
        }
    }

    pub(crate) fn restore_name(self) -> &'static str {
        match self {
            Tool::Ours => "restore files",
            Tool::Rclone => "rclone copy",
            Tool::Restic => "restic restore",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Tool::Ours => "config-syncer",
            Tool::Rclone => "rclone",
            Tool::Restic => "restic",
        }
    }

    fn is_there(self) -> bool {
        let path = env::var_os("PATH").unwrap_or_default();
        self == Tool::Ours || env::split_paths(&path).any(|dir| dir.join(self.program()).is_file())
    }

    /// A measurement of a program that may be missing.
    pub(crate) fn if_there<T>(self, measure: impl FnOnce() -> Result<T>) -> Measured<T> {
        if self.is_there() { attempt(measure) } else { Err(MISSING.into()) }
    }
}

/// What the other two are.
pub(crate) fn beside() -> String {
    let version = |tool: Tool| {
        let asked = Command::new(tool.program()).arg("version").output().ok();
        let said = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let first = said.and_then(|said| Some(said.lines().next()?.to_owned()));
        first.unwrap_or_else(|| format!("{} is not installed, its rows are missing", tool.program()))
    };
    format!("{}; {}", version(Tool::Rclone), version(Tool::Restic))
}

/// A run, and what the server was asked meanwhile.
pub(crate) struct Asked {
    pub(crate) ran: Ran,
    pub(crate) counts: Counts,
}

/// One tool with one tree and one server.
pub(crate) struct Keeper<'a> {
    pub(crate) tool: Tool,
    pub(crate) server: &'a S3Server,
    pub(crate) tree: PathBuf,
    /// Where its own cache goes.
    pub(crate) cache: PathBuf,
}

/// A tree, a server, and one tool that keeps the one on the other: what every measurement of a tool begins with.
pub(crate) struct Kept {
    pub(crate) tool: Tool,
    pub(crate) place: TempDir,
    pub(crate) server: S3Server,
}

impl Kept {
    /// The tree is there and the tool has been prepared; nothing is stored yet.
    pub(crate) fn new(bench: &Bench, tool: Tool, size: Size) -> Result<Kept> {
        let place = bench.place()?;
        let tree = place.path().join("tree");
        plant(&tree, size)?;
        let server = server(place.path(), "store")?;
        let kept = Kept { tool, place, server };
        kept.keeper("cache")?.prepare()?;
        Ok(kept)
    }

    /// The tree.
    pub(crate) fn tree(&self) -> PathBuf {
        self.place.path().join("tree")
    }

    /// The tool with the cache of this name, which is empty if it is a new one.
    pub(crate) fn keeper(&self, cache: &str) -> Result<Keeper<'_>> {
        let cache = self.place.path().join(cache);
        fs::create_dir_all(&cache)?;
        Ok(Keeper { tool: self.tool, server: &self.server, tree: self.tree(), cache })
    }
}

impl Keeper<'_> {
    /// What has to be done once; not measured.
    pub(crate) fn prepare(&self) -> Result<()> {
        if self.tool == Tool::Restic {
            usage::run(self.command().arg("init"), LIMIT)?;
        }
        Ok(())
    }

    /// One backup of the tree as it is.
    pub(crate) fn backup(&self) -> Result<Asked> {
        let mut command = self.command();
        match self.tool {
            Tool::Ours => command.arg("snapshot").arg(&self.tree).arg(self.server.url("ours")),
            Tool::Rclone => command.arg("sync").arg(&self.tree).arg(Self::remote()),
            Tool::Restic => command.arg("backup").arg(&self.tree),
        };
        self.asked(command)
    }

    /// The newest state into an empty directory; gives where the tree is then.
    pub(crate) fn restore(&self, to: &Path) -> Result<(Asked, PathBuf)> {
        let mut command = self.command();
        let mut back = to.to_owned();
        match self.tool {
            Tool::Ours => {
                command = Command::new(procs::bin("restore"));
                clean(&mut command, self.server);
                command.arg("files").arg(self.server.url("ours")).arg("-o").arg(to);
            }
            Tool::Rclone => drop(command.arg("copy").arg(Self::remote()).arg(to)),
            Tool::Restic => {
                command.args(["restore", "latest", "--target"]).arg(to);
                // It restores below the path that the tree had.
                back = to.join(self.tree.strip_prefix("/").unwrap_or(&self.tree));
            }
        }
        Ok((self.asked(command)?, back))
    }

    fn remote() -> String {
        format!("there:{BUCKET}/rclone")
    }

    fn asked(&self, mut command: Command) -> Result<Asked> {
        nix::unistd::sync();
        let before = self.server.counts();
        let ran = usage::run(&mut command, LIMIT)?;
        Ok(Asked { ran, counts: self.server.counts().since(&before) })
    }

    fn command(&self) -> Command {
        let mut command = match self.tool {
            Tool::Ours => Command::new(procs::bin("config-syncer")),
            Tool::Rclone | Tool::Restic => Command::new(self.tool.program()),
        };
        clean(&mut command, self.server);
        match self.tool {
            Tool::Ours => {}
            Tool::Rclone => {
                command.args(["--config", "/dev/null", "--s3-no-check-bucket"]);
                for (key, value) in [
                    ("TYPE", "s3"),
                    ("PROVIDER", "Minio"),
                    ("ENDPOINT", &self.server.endpoint()),
                    ("ACCESS_KEY_ID", ACCESS_KEY),
                    ("SECRET_ACCESS_KEY", SECRET_KEY),
                    ("REGION", REGION),
                ] {
                    command.env(format!("RCLONE_CONFIG_THERE_{key}"), value);
                }
            }
            Tool::Restic => {
                let repository = format!("s3:{}/{BUCKET}/restic", self.server.endpoint());
                command.env("RESTIC_REPOSITORY", repository).env("RESTIC_PASSWORD", "bench");
                command.env("RESTIC_CACHE_DIR", &self.cache).env("HOME", &self.cache);
            }
        }
        command
    }
}
