//! A container of a pod as a command line of `podman`: user, environment, mounts, ports and arguments are those of the manifest.

use super::kubelet::{Pod, podman};
use serde_json::Value;
use std::process::Command;

impl Pod {
    /// Its name on this machine.
    pub(super) fn name(&self, container: &Value) -> String {
        format!("hw-e2e-{}-{}", self.generation, container["name"].as_str().unwrap_or_default())
    }

    /// Starts it; not `detached`: until it ends.
    pub(super) fn command(&self, container: &Value, detached: bool) -> Command {
        let mut command = podman();
        let user = container["securityContext"]["runAsUser"].as_u64().map_or(self.user(), |u| u as u32);
        command.args(["run", "--pull", "never", "--cap-drop", "all"]);
        if detached {
            command.arg("--detach");
        }
        command.args(["--network", &self.network.argument()]);
        command.args([
            "--security-opt",
            "no-new-privileges",
            "--ulimit",
            "nofile=1024:1024",
            "--ulimit",
            "nproc=4096:4096",
        ]);
        command.args(["--name", &self.name(container), "--user", &format!("{user}:{user}")]);
        if container["securityContext"]["readOnlyRootFilesystem"] == true {
            command.arg("--read-only");
        }
        for variable in container["env"].as_array().into_iter().flatten() {
            let field = variable["valueFrom"]["fieldRef"]["fieldPath"].as_str();
            let value = match field {
                Some("metadata.name") => format!("pod-{}", self.generation),
                Some("metadata.namespace") => "e2e".into(),
                Some("metadata.uid") => format!("00000000-0000-0000-0000-{:012}", self.generation),
                Some("spec.nodeName") => "node-1".into(),
                _ => variable["value"].as_str().unwrap_or_default().to_owned(),
            };
            command.arg("--env").arg(format!("{}={value}", variable["name"].as_str().unwrap_or_default()));
        }
        for mount in container["volumeMounts"].as_array().into_iter().flatten() {
            let folder = self.folder(mount["name"].as_str().unwrap_or_default());
            let mode =
                if mount["readOnly"] == true || self.claimed_read_only(&mount["name"]) { ":ro" } else { "" };
            command.arg("--volume").arg(format!(
                "{}:{}{mode}",
                folder.display(),
                mount["mountPath"].as_str().unwrap_or_default()
            ));
        }
        command.arg(container["image"].as_str().unwrap_or_default());
        command.args(container["args"].as_array().into_iter().flatten().filter_map(Value::as_str));
        command
    }
}
