//! What every section needs: sizes, scratch space on a real disk, the programs.
//!
//! Scratch lies in the target directory, because a temporary directory is often memory, where a sync costs nothing.

use anyhow::{Context, Result};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use testkit::procs;
use testkit::s3::S3Server;

/// See the module.
pub(crate) struct Bench {
    /// Also databases of 1 and 2.6 GiB.
    pub(crate) large: bool,
    /// Of the trees of files only the one with so many.
    pub(crate) files: Option<usize>,
    /// Times that a restore of files is measured; the median counts.
    pub(crate) runs: usize,
    /// Tiny sizes: does the program work?
    pub(crate) quick: bool,
    /// Litestream, if there is one.
    pub(crate) litestream: Option<PathBuf>,
    /// Where the results go.
    pub(crate) output: PathBuf,
    scratch: TempDir,
}

impl Bench {
    pub(crate) fn new(large: bool) -> Result<Bench> {
        for program in ["hw-app", "wal-streamer", "config-syncer", "restore"] {
            procs::bin(program); // built now, so that building is not measured
        }
        let exe = env::current_exe()?;
        let target = exe.ancestors().nth(2).context("the program lies in no target directory")?;
        let output = target.join("bench");
        fs::create_dir_all(&output).with_context(|| output.display().to_string())?;
        let scratch = tempfile::tempdir_in(&output)?;
        let quick = env::var_os("HIGHWATER_BENCH_QUICK").is_some_and(|value| value == "1");
        Ok(Bench { large, files: None, runs: 1, quick, litestream: litestream(target), output, scratch })
    }

    /// The scratch directory.
    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// An empty directory for one measurement, gone when dropped.
    pub(crate) fn place(&self) -> Result<TempDir> {
        Ok(tempfile::tempdir_in(self.scratch())?)
    }

    /// One value for a measurement, another to see whether it works.
    pub(crate) fn sized<T>(&self, real: T, quick: T) -> T {
        if self.quick { quick } else { real }
    }
}

/// An empty S3 server below this directory.
pub(crate) fn server(place: &Path, name: &str) -> Result<S3Server> {
    let dir = place.join(name);
    fs::create_dir(&dir)?;
    Ok(S3Server::start_in(dir))
}

/// `$HIGHWATER_LITESTREAM_NEW`, else what the comparison tests keep (always in the workspace's own target directory),
/// else the path.
fn litestream(target: &Path) -> Option<PathBuf> {
    let given = env::var_os("HIGHWATER_LITESTREAM_NEW").map(PathBuf::from);
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target");
    let kept =
        [target, &workspace].map(|dir| dir.join("interop").join("litestream-latest").join("litestream"));
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|dir| dir.join("litestream"));
    given.into_iter().chain(kept).chain(found).find(|path| path.is_file())
}
