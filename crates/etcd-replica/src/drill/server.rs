//! A real etcd over a restored directory: loopback only, killed when the drill is over, whatever happens.

use super::Tools;
use crate::source::Etcd;
use crate::{Error, Result};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long etcd may take to read its data and elect itself.
const PATIENCE: Duration = Duration::from_secs(120);
const STEP: Duration = Duration::from_millis(100);
/// How often etcd is started: a port that is free is anybody's until etcd has it, up to a second later.
const STARTS: u32 = 3;

/// A running etcd; killed on drop.
pub(super) struct Server {
    child: Child,
    client: Option<Etcd>,
    log: PathBuf,
}

impl Server {
    pub(super) async fn start(tools: &Tools, data: &Path, scratch: &Path) -> Result<Self> {
        let log = scratch.join("etcd.log");
        let serving = tokio::time::timeout(PATIENCE, Self::serving(tools, data, &log)).await;
        serving.map_err(|_| Error::Source(format!("the restored etcd does not serve: {}", said(&log))))?
    }

    async fn serving(tools: &Tools, data: &Path, log: &Path) -> Result<Self> {
        let mut starts = 1;
        loop {
            let (mut server, url) = Self::spawn(tools, data, log)?;
            match server.wait(&url).await {
                Ok(()) => return Ok(server),
                Err(error) if starts == STARTS => return Err(error),
                Err(error) => tracing::warn!(%error, "etcd is started once more, on other ports"),
            }
            starts += 1;
        }
    }

    fn spawn(tools: &Tools, data: &Path, log: &Path) -> Result<(Self, String)> {
        let (client, peer) = free_ports()?;
        let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let out = std::fs::File::create(log).map_err(Error::local("create etcd's log"))?;
        let child = Command::new(&tools.etcd)
            // It serves one question on loopback; the architecture does not matter.
            .env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH.replace("aarch64", "arm64"))
            .args(["--name", "drill", "--data-dir"])
            .arg(data)
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--log-level", "warn"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(out)
            .spawn()
            .map_err(Error::local("start etcd"))?;
        Ok((Self { child, client: None, log: log.to_owned() }, client))
    }

    /// Until it serves; an error if it ends before.
    async fn wait(&mut self, url: &str) -> Result<()> {
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                // Out of memory, a port that somebody else took: it has not answered anything that could be compared.
                return Err(Error::Source(format!(
                    "etcd ended with {status} on the restored data: {}",
                    said(&self.log)
                )));
            }
            if let Ok(etcd) = Etcd::open(url, None).await
                && etcd.count(b"\0highwater").await.is_ok()
            {
                self.client = Some(etcd);
                return Ok(());
            }
            tokio::time::sleep(STEP).await;
        }
    }

    pub(super) fn client(&self) -> &Etcd {
        self.client.as_ref().expect("start waits for it")
    }

    pub(super) async fn stop(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn said(log: &Path) -> String {
    let log = std::fs::read_to_string(log).unwrap_or_default();
    log.lines().last().unwrap_or("nothing").chars().take(400).collect()
}

/// Two that are free at the moment.
fn free_ports() -> Result<(u16, u16)> {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    // Both are held until both are known: they are not the same one.
    let ports = || -> std::io::Result<(u16, u16)> {
        let (one, other) = (listen()?, listen()?);
        Ok((one.local_addr()?.port(), other.local_addr()?.port()))
    };
    ports().map_err(Error::local("find free ports on loopback"))
}
