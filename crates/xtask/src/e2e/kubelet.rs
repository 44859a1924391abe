//! One pod of a rendered manifest as containers, in the kubelet's order.
//!
//! Plain init containers run one after another to their end; native sidecars start in their place in the list, and the next entry waits for
//! their startup probe; then the application. A stop runs the preStop hooks, ends the application, then the sidecars in reverse order.
//! Each pod has a network of its own, so several can run at once. What it does not do: restart, probe for liveness, limit memory.

use super::network::Network;
use super::probe;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// `podman` with a store of its own below `target/`.
pub(super) fn podman() -> Command {
    let mut command = Command::new("podman");
    command.args(["--root", "target/e2e/store", "--storage-driver", "vfs", "--runtime", "runc"]);
    command
}

fn say(command: &mut Command) -> Result<Output> {
    let out = command.output()?;
    let error = String::from_utf8_lossy(&out.stderr);
    ensure!(
        out.status.success(),
        "{:?} ended with {}: {}",
        command.get_args().collect::<Vec<_>>(),
        out.status,
        error.trim()
    );
    Ok(out)
}

/// A pod and the folders that stand for its volumes.
pub(super) struct Pod {
    pub(super) spec: Value,
    annotations: BTreeMap<String, String>,
    /// The claim, credentials: folders by volume name. The rest is made per pod.
    outside: BTreeMap<String, PathBuf>,
    scratch: tempfile::TempDir,
    running: Vec<Value>,
    pub(super) generation: u32,
    pub(super) network: Network,
}

/// An init container that ended with an error.
pub(super) struct Failed {
    pub(super) name: String,
    pub(super) code: i32,
    pub(super) log: String,
}

impl Pod {
    /// The pod of `deployment`; `outside` names folders for volumes that outlive it.
    pub(super) fn new(
        deployment: &Value,
        outside: &[(&str, &Path)],
        generation: u32,
        network: Network,
    ) -> Result<Self> {
        let template = &deployment["spec"]["template"];
        let mut annotations: BTreeMap<String, String> =
            serde_json::from_value(template["metadata"]["annotations"].clone())?;
        annotations.insert("highwater.dev/endpoint".into(), network.endpoint());
        let pod = Self {
            spec: template["spec"].clone(),
            annotations,
            outside: outside.iter().map(|(name, path)| ((*name).to_owned(), (*path).to_owned())).collect(),
            scratch: tempfile::tempdir()?,
            running: Vec::new(),
            generation,
            network,
        };
        pod.volumes()?;
        Ok(pod)
    }

    fn volumes(&self) -> Result<()> {
        fs::set_permissions(self.scratch.path(), fs::Permissions::from_mode(0o755))?;
        for volume in self.spec["volumes"].as_array().into_iter().flatten() {
            let dir = self.folder(volume["name"].as_str().unwrap_or_default());
            fs::create_dir_all(&dir)?;
            if volume.get("downwardAPI").is_some() {
                let lines = self
                    .annotations
                    .iter()
                    .map(|(key, value)| format!("{key}={}\n", Value::from(value.as_str())));
                fs::write(dir.join("annotations"), lines.collect::<String>())?;
            }
            // Only what is new: a volume that somebody else owns stays theirs.
            if fs::metadata(&dir)?.uid() == 0 {
                own(&dir, self.user())?;
            }
        }
        Ok(())
    }

    pub(super) fn folder(&self, volume: &str) -> PathBuf {
        self.outside.get(volume).cloned().unwrap_or_else(|| self.scratch.path().join(volume))
    }

    pub(super) fn claimed_read_only(&self, volume: &Value) -> bool {
        let mut volumes = self.spec["volumes"].as_array().into_iter().flatten();
        volumes.any(|v| v["name"] == *volume && v["persistentVolumeClaim"]["readOnly"] == true)
    }

    pub(super) fn user(&self) -> u32 {
        self.spec["securityContext"]["runAsUser"].as_u64().unwrap_or(65532) as u32
    }

    /// What `restore init` handed over in this pod.
    pub(super) fn handover(&self) -> Result<Value> {
        let path = self.folder("highwater-run").join("restored.json");
        Ok(serde_json::from_str(&fs::read_to_string(&path).with_context(|| path.display().to_string())?)?)
    }

    /// Everything that comes before the application; an init container that fails ends it with its code and log.
    pub(super) fn start_inits(&mut self) -> Result<()> {
        match self.try_inits()? {
            None => Ok(()),
            Some(failed) => bail!("{} ended with {}:\n{}", failed.name, failed.code, failed.log),
        }
    }

    /// As [`Self::start_inits`], with the failure of an init container as a value.
    pub(super) fn try_inits(&mut self) -> Result<Option<Failed>> {
        for container in self.spec["initContainers"].as_array().cloned().unwrap_or_default() {
            if container["restartPolicy"] == "Always" {
                say(&mut self.command(&container, true))?;
                self.running.push(container.clone());
                self.wait_started(&container)?;
                continue;
            }
            // Attached: its log is whole when it ends.
            let out = self.command(&container, false).output()?;
            say(podman().args(["rm", "--force", &self.name(&container)]))?;
            if !out.status.success() {
                let name = container["name"].as_str().unwrap_or_default().to_owned();
                let log = [out.stdout, out.stderr].concat();
                let log = String::from_utf8_lossy(&log).into_owned();
                return Ok(Some(Failed { name, code: out.status.code().unwrap_or(-1), log }));
            }
        }
        Ok(None)
    }

    /// The application itself.
    pub(super) fn start_application(&mut self) -> Result<()> {
        for container in self.spec["containers"].as_array().cloned().unwrap_or_default() {
            say(&mut self.command(&container, true))?;
            self.running.push(container);
        }
        Ok(())
    }

    /// A command inside a running container.
    pub(super) fn exec(&self, container: &str, command: &[&str]) -> Result<String> {
        let name = format!("hw-e2e-{}-{container}", self.generation);
        Ok(String::from_utf8(say(podman().args(["exec", &name]).args(command))?.stdout)?)
    }

    /// The exit code of a command inside a running container.
    pub(super) fn exit_of(&self, container: &str, command: &[&str]) -> Result<i32> {
        let name = format!("hw-e2e-{}-{container}", self.generation);
        let out = podman().args(["exec", &name]).args(command).output()?;
        out.status.code().context("podman was killed")
    }

    /// Its network.
    pub(super) fn network(&self) -> &Network {
        &self.network
    }

    /// An endpoint of a sidecar: status and body.
    pub(super) fn ask(&self, container: &str, path: &str) -> Result<(u16, String)> {
        let found = self.running.iter().find(|c| c["name"] == container);
        let found = found.with_context(|| format!("{container} does not run"))?;
        let port = found["ports"][0]["containerPort"].as_u64().context("it has no port")? as u16;
        probe::get(self.network.pod(), port, path)
    }

    /// Peak of the memory of a running container and its limit in the manifest, in bytes.
    pub(super) fn memory(&self, container: &str) -> Result<(u64, u64)> {
        let name = format!("hw-e2e-{}-{container}", self.generation);
        let pid =
            String::from_utf8(say(podman().args(["inspect", "--format", "{{.State.Pid}}", &name]))?.stdout)?;
        let status = fs::read_to_string(format!("/proc/{}/status", pid.trim()))?;
        let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).context("no VmHWM")?;
        let peak: u64 = peak.trim().trim_end_matches(" kB").parse()?;
        let found = self.running.iter().find(|c| c["name"] == container).context("it runs")?;
        let limit = found["resources"]["limits"]["memory"].as_str().unwrap_or_default();
        let limit: u64 = limit.trim_end_matches("Mi").parse().with_context(|| format!("limit {limit:?}"))?;
        Ok((peak << 10, limit << 20))
    }

    /// preStop, the application, the sidecars in reverse; gives the exit codes in that order.
    pub(super) fn stop(&mut self) -> Result<Vec<(String, i32)>> {
        for container in &self.running {
            let hook = container["lifecycle"]["preStop"]["exec"]["command"].as_array().into_iter().flatten();
            let hook: Vec<&str> = hook.filter_map(Value::as_str).collect();
            if !hook.is_empty() {
                self.exec(container["name"].as_str().unwrap_or_default(), &hook)?;
            }
        }
        let grace = self.spec["terminationGracePeriodSeconds"].as_u64().unwrap_or(30).to_string();
        let mut codes = Vec::new();
        while let Some(container) = self.running.pop() {
            let name = self.name(&container);
            // The test application does not listen to SIGTERM; its full grace period would only be waited out.
            let patience = if container["restartPolicy"] == "Always" { grace.as_str() } else { "2" };
            say(podman().args(["stop", "--time", patience, &name]))?;
            let format = "{{.State.ExitCode}}";
            let code = String::from_utf8(say(podman().args(["inspect", "--format", format, &name]))?.stdout)?;
            codes.push((container["name"].as_str().unwrap_or_default().to_owned(), code.trim().parse()?));
            say(podman().args(["rm", "--force", &name]))?;
        }
        Ok(codes)
    }

    /// SIGKILL to all at once, as a node that loses power.
    pub(super) fn kill(&mut self) {
        for container in std::mem::take(&mut self.running) {
            // Gone already is as good as killed.
            let _ = podman().args(["rm", "--force", "--time", "0", &self.name(&container)]).output();
        }
    }

    /// The logs of what still runs, for a failure's message.
    pub(super) fn logs(&self) -> String {
        self.running.iter().map(|c| format!("--- {}\n{}", c["name"], log(&self.name(c)))).collect()
    }

    /// Polls the startup probe as often as it says.
    fn wait_started(&self, container: &Value) -> Result<()> {
        let probe = &container["startupProbe"];
        let port = port(container, &probe["httpGet"]["port"]).context("the startup probe has no port")?;
        let path = probe["httpGet"]["path"].as_str().unwrap_or("/");
        let budget =
            probe["periodSeconds"].as_u64().unwrap_or(10) * probe["failureThreshold"].as_u64().unwrap_or(3);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(budget) {
            if probe::get(self.network.pod(), port, path).is_ok_and(|(status, _)| status == 200) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        bail!("{} did not start within {budget} s:\n{}", container["name"], log(&self.name(container)))
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port by its name or number.
fn port(container: &Value, wanted: &Value) -> Option<u16> {
    let mut ports = container["ports"].as_array().into_iter().flatten();
    let named = ports.find(|p| p["name"] == *wanted).and_then(|p| p["containerPort"].as_u64());
    u16::try_from(named.or_else(|| wanted.as_u64())?).ok()
}

fn log(name: &str) -> String {
    let out = podman().args(["logs", "--tail", "40", name]).output();
    out.map(|o| String::from_utf8_lossy(&o.stdout).into_owned() + &String::from_utf8_lossy(&o.stderr))
        .unwrap_or_default()
}

/// Gives a folder and what is in it to the pod's user, as fsGroup does.
pub(super) fn own(dir: &Path, user: u32) -> Result<()> {
    chown(dir, Some(user), Some(user))?;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() { own(&path, user)? } else { chown(&path, Some(user), Some(user))? }
    }
    Ok(())
}
