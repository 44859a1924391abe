//! The programs of etcd that a drill runs: found, and run with a bound.

use crate::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const RESTORE: Duration = Duration::from_secs(600);
const STEP: Duration = Duration::from_millis(20);

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

    /// Restores a snapshot into an empty directory; what the tool says meanwhile goes into `log`.
    pub(crate) async fn snapshot_restore(&self, file: &Path, data: &Path, log: &Path) -> Result<()> {
        let name = self.restorer_name();
        let out = std::fs::File::create(log).map_err(Error::local(format!("create {}", log.display())))?;
        let child = Command::new(&self.restorer)
            .env("ETCDCTL_API", "3")
            .args(["snapshot", "restore"])
            .arg(file)
            .arg("--data-dir")
            .arg(data)
            .args(["--name", "drill", "--initial-cluster", "drill=http://127.0.0.1:1"])
            .args(["--initial-advertise-peer-urls", "http://127.0.0.1:1"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(out)
            .spawn()
            .map_err(Error::local(format!("start {name}")))?;
        let mut child = Ended(child);
        let ended = tokio::time::timeout(RESTORE, async {
            loop {
                match child.0.try_wait().map_err(Error::local(format!("wait for {name}")))? {
                    Some(status) => return Ok::<_, Error>(status),
                    None => tokio::time::sleep(STEP).await,
                }
            }
        });
        let status = ended
            .await
            .map_err(|_| Error::Source(format!("{name} snapshot restore took longer than 10 minutes")))??;
        if status.success() {
            return Ok(());
        }
        let said = std::fs::read_to_string(log).unwrap_or_default();
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing").to_owned();
        // No verdict on the snapshot: the only thing in it that the tool checks is the SHA-256 behind the body, and our own proof of the
        // very same file has just passed. What is left is this machine: no room, no memory, another version.
        Err(Error::Source(format!("{name} snapshot restore ended with {status}: {last}")))
    }
}

/// A child that is gone when nobody waits for it any more: a drill that is ended by a signal leaves nothing that writes.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
