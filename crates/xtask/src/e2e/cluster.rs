//! What outlives a pod: volumes, Secrets, the store; and what makes the next pod of a Deployment from it.

use super::kubelet::{Pod, own};
use super::network::Network;
use super::store::{Kind, Store};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long anything may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);

/// See the module.
pub(super) struct Cluster {
    deployment: Value,
    scratch: tempfile::TempDir,
    recipient: Option<String>,
    kind: Kind,
    port: u16,
    server: Option<Store>,
    pods: u32,
}

/// What the start of a pod did, part by part, and how long it took.
pub(super) struct Start {
    pub(super) outcomes: Vec<String>,
    pub(super) took: Duration,
}

impl Cluster {
    /// An empty cluster with a store, and this Deployment.
    pub(super) fn new(deployment: Value, kind: Kind) -> Result<Self> {
        let scratch = tempfile::tempdir()?;
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755))?;
        for name in ["store", "highwater-credentials", "highwater-identity"] {
            fs::create_dir(scratch.path().join(name))?;
        }
        let server = Store::start(&kind, &scratch.path().join("store"), None)?;
        for (name, value) in server.env() {
            fs::write(scratch.path().join("highwater-credentials").join(name), value)?;
        }
        let volumes = &deployment["spec"]["template"]["spec"]["volumes"];
        let sealed = volumes.as_array().into_iter().flatten().any(|v| v["name"] == "highwater-identity");
        let recipient =
            sealed.then(|| key(&scratch.path().join("highwater-identity/identity.txt"))).transpose()?;
        Ok(Self { deployment, scratch, recipient, kind, port: server.port(), server: Some(server), pods: 0 })
    }

    /// A volume by its name, made when it is first asked for.
    pub(super) fn volume(&self, name: &str) -> Result<PathBuf> {
        let dir = self.scratch.path().join("volumes").join(name);
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// Everything on the volume is gone, as with a new one.
    pub(super) fn wipe(&self, volume: &str) -> Result<()> {
        let dir = self.volume(volume)?;
        fs::remove_dir_all(&dir)?;
        Ok(fs::create_dir(&dir)?)
    }

    /// A file of the volume, written as the application's user would.
    pub(super) fn put(&self, volume: &str, name: &str, text: &str) -> Result<()> {
        let root = self.volume(volume)?;
        let path = root.join(name);
        fs::create_dir_all(path.parent().context("below the volume")?)?;
        fs::write(&path, text)?;
        let user = self.deployment["spec"]["template"]["spec"]["securityContext"]["runAsUser"].as_u64();
        own(&root, user.unwrap_or(65532) as u32)
    }

    /// The next pod, on this volume; nothing of it runs yet.
    pub(super) fn pod(&mut self, volume: &str) -> Result<Pod> {
        self.changed_pod(volume, |_| ())
    }

    /// As [`Self::pod`], of a manifest that somebody changed.
    pub(super) fn changed_pod(&mut self, volume: &str, change: impl FnOnce(&mut Value)) -> Result<Pod> {
        self.pods += 1;
        let network = Network::new(u8::try_from(self.pods).context("fewer than 250 pods")?, self.port)?;
        let mut deployment = self.deployment.clone();
        let annotations = &mut deployment["spec"]["template"]["metadata"]["annotations"];
        annotations["highwater.dev/bucket"] = "bucket-hw".into();
        annotations["highwater.dev/debounce"] = "1s".into();
        if let Some(recipient) = &self.recipient {
            annotations["highwater.dev/recipients"] = recipient.as_str().into();
        }
        change(&mut deployment);
        let [credentials, identity] =
            ["highwater-credentials", "highwater-identity"].map(|name| self.scratch.path().join(name));
        let volume = self.volume(volume)?;
        let outside: [(&str, &Path); 3] =
            [("data", &volume), ("highwater-credentials", &credentials), ("highwater-identity", &identity)];
        Pod::new(&deployment, &outside, self.pods, network)
    }

    /// The next pod up to its application, which waits.
    pub(super) fn start(&mut self, volume: &str) -> Result<(Pod, Start)> {
        let begun = Instant::now();
        let mut pod = self.pod(volume)?;
        pod.start_inits()?;
        let handover = pod.handover()?;
        let parts = ["databases", "files"].map(|kind| handover[kind].as_array().cloned().unwrap_or_default());
        let outcomes =
            parts.concat().iter().map(|p| p["outcome"].as_str().unwrap_or_default().to_owned()).collect();
        Ok((pod, Start { outcomes, took: begun.elapsed() }))
    }

    /// The store is down: it refuses connections.
    pub(super) fn store_down(&mut self) {
        self.server = None;
    }

    /// The last requests, for a failure's message.
    pub(super) fn requests(&self) -> Vec<String> {
        self.server.iter().flat_map(Store::requests).collect()
    }

    /// Every object in the store.
    pub(super) fn objects(&self) -> Result<Vec<PathBuf>> {
        let (mut found, mut open) = (Vec::new(), vec![self.scratch.path().join("store")]);
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(&dir)? {
                let path = entry?.path();
                if path.is_dir() { open.push(path) } else { found.push(path) }
            }
        }
        // What a server keeps for itself is no object.
        let root = self.scratch.path().join("store");
        found
            .retain(|path| path.strip_prefix(&root).is_ok_and(|key| !key.to_string_lossy().starts_with('.')));
        found.sort();
        Ok(found)
    }

    /// The store is there again, with what it held.
    pub(super) fn store_up(&mut self) -> Result<()> {
        self.server = Some(Store::start(&self.kind, &self.scratch.path().join("store"), Some(self.port))?);
        Ok(())
    }

    /// As [`Self::start`], while the store is down; after some time it comes back.
    pub(super) fn start_without_store(&mut self, volume: &str, away: Duration) -> Result<(Pod, Start)> {
        self.store_down();
        let (kind, store, port) = (self.kind.clone(), self.scratch.path().join("store"), self.port);
        let later = std::thread::spawn(move || {
            std::thread::sleep(away);
            Store::start(&kind, &store, Some(port))
        });
        let started = self.start(volume);
        self.server = Some(later.join().map_err(|_| anyhow::anyhow!("the store did not come back"))??);
        started
    }
}

impl Start {
    /// All parts did this.
    pub(super) fn all(&self, outcome: &str) -> Result<()> {
        ensure!(
            !self.outcomes.is_empty() && self.outcomes.iter().all(|o| o == outcome),
            "{outcome} was expected, and the start says {:?}",
            self.outcomes
        );
        Ok(())
    }

    /// In seconds.
    pub(super) fn seconds(&self) -> f64 {
        self.took.as_secs_f64()
    }
}

/// Asks until it is so.
pub(super) fn until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !is_so()? {
        ensure!(begun.elapsed() < PATIENCE, "waited {} s for: {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// What a fenced pod is made to do sends nothing to the store. A merge that was under way when it lost may still end: its object is of the history
/// that both pods share, it is said here, and after it the pod must be silent.
pub(super) fn silent(pod: &Pod, cluster: &Cluster, mut act: impl FnMut() -> Result<()>) -> Result<()> {
    for _ in 0..3 {
        let (sent, asked, held) = (pod.network().sent(), cluster.requests().len(), cluster.objects()?);
        act()?;
        let more = pod.network().sent() - sent;
        if more == 0 {
            return Ok(());
        }
        let requests = cluster.requests().split_off(asked);
        // A server that tells nothing is judged by what it holds.
        let merges = if requests.is_empty() {
            cluster.objects()?.iter().any(|o| !held.contains(o) && !o.to_string_lossy().contains("/0000/"))
        } else {
            requests.iter().any(|r| r.contains("operation: Put") && !r.contains("/0000/"))
        };
        ensure!(merges, "the fenced pod sent {more} bytes more:\n{}\n{}", requests.join("\n"), pod.logs());
        println!("NOTE: {more} bytes sent after the fence, for a merge that was under way");
    }
    anyhow::bail!("the fenced pod does not become silent:\n{}", pod.logs())
}

/// A new age identity in this file; gives the recipient.
fn key(path: &Path) -> Result<String> {
    let out = Command::new("age-keygen").arg("-o").arg(path).output().context("age-keygen (package age)")?;
    ensure!(out.status.success(), "age-keygen: {}", String::from_utf8_lossy(&out.stderr));
    let text = fs::read_to_string(path)?;
    let recipient = text.lines().find_map(|line| line.strip_prefix("# public key: "));
    Ok(recipient.context("age-keygen names the public key")?.to_owned())
}
