//! The programs of etcd that a drill runs: found, and run with a bound.

use crate::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

const RESTORE: Duration = Duration::from_secs(600);

/// Where etcd's programs are.
#[derive(Debug, Clone)]
pub struct Tools {
    pub(crate) etcd: PathBuf,
    /// `etcdutl`, or `etcdctl` up to 3.5.
    restorer: PathBuf,
}

impl Tools {
    /// Looks in `dir`, or on the path.
    pub fn find(dir: Option<&Path>) -> Result<Self> {
        let dirs: Vec<PathBuf> = match dir {
            Some(dir) => vec![dir.to_owned()],
            None => std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect(),
        };
        let find = |name: &str| dirs.iter().map(|dir| dir.join(name)).find(|path| path.is_file());
        let missing = |name: &str| {
            Error::Usage(format!(
                "a drill needs {name}, which is not there: use the image with -drill, or say --etcd-dir"
            ))
        };
        Ok(Self {
            etcd: find("etcd").ok_or_else(|| missing("etcd"))?,
            restorer: find("etcdutl").or_else(|| find("etcdctl")).ok_or_else(|| missing("etcdutl"))?,
        })
    }

    pub(crate) fn restorer_name(&self) -> String {
        self.restorer.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    pub(crate) async fn snapshot_restore(&self, file: &Path, data: &Path) -> Result<()> {
        let (program, file, data) = (self.restorer.clone(), file.to_owned(), data.to_owned());
        let name = self.restorer_name();
        let work = tokio::task::spawn_blocking(move || {
            let mut command = std::process::Command::new(program);
            command
                .env("ETCDCTL_API", "3")
                .args(["snapshot", "restore"])
                .arg(file)
                .arg("--data-dir")
                .arg(data)
                .args(["--name", "drill", "--initial-cluster", "drill=http://127.0.0.1:1"])
                .args(["--initial-advertise-peer-urls", "http://127.0.0.1:1"])
                .stdin(Stdio::null());
            command.output()
        });
        let output = tokio::time::timeout(RESTORE, work)
            .await
            .map_err(|_| Error::Source(format!("{name} snapshot restore took longer than 10 minutes")))?
            .map_err(|error| Error::Source(format!("{name} snapshot restore ended: {error}")))?
            .map_err(Error::local(format!("start {name}")))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing").to_owned();
        Err(Error::Damaged(format!("{name} snapshot restore refuses the file: {last}")))
    }
}
