//! What we ask of every rendered workload, beyond its schema.
//!
//! Each finding is one line: object, what, and what to do. The traps behind them: Kustomize turns a patch for a container that does not exist into a
//! container without an image; a patch that does not name `restore-state` moves its sidecar in front of it, and a sidecar that starts first would
//! back up an empty volume; a selector that matches nothing is silent; two volume sources under one name are only refused by the API server.

use super::pod::{Pod, quantity};
use super::yaml::{at, list, text};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const OURS: [&str; 3] = ["restore-state", "config-syncer", "wal-streamer"];
/// A registry that can never exist.
pub(super) const PLACEHOLDER: &str = "registry.example/highwater";
const SIDECARS: [&str; 2] = ["config-syncer", "wal-streamer"];

/// Lints all objects of a build.
pub(super) fn documents(objects: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    for object in objects {
        let name = format!("{} {}", text(object, "kind"), text(object, "metadata.name"));
        let mut say = |what: String| found.push(format!("{name}: {what}"));
        if text(object, "kind") == "Secret"
            && (object.get("data").is_some() || object.get("stringData").is_some())
        {
            say("holds secret material; reference a secret that something else makes".into());
        }
        if let Some(pod) = Pod::of(object) {
            containers(&pod, &mut say);
            volumes(&pod, &mut say);
            security(&pod, &mut say);
            if pod.all().any(|c| OURS.contains(&text(c, "name"))) {
                order(&pod, &mut say);
                writers(&pod, &mut say);
                users(&pod, &mut say);
                resources(&pod, &mut say);
                description(&pod, &mut say);
            } else if pod.annotations().any(|(key, _)| key.starts_with("highwater.dev/")) {
                say("declares what is protected and has none of our containers: the component's selector did not match".into());
            }
        }
    }
    found
}

fn containers(pod: &Pod<'_>, say: &mut impl FnMut(String)) {
    let mut ports = BTreeSet::new();
    let mut names = BTreeSet::new();
    for container in pod.all() {
        let name = text(container, "name");
        if !names.insert(name) {
            say(format!("two containers are named {name}"));
        }
        let image = text(container, "image");
        if image.is_empty() {
            say(format!("container {name} has no image: a patch names a container that does not exist"));
        } else if OURS.contains(&name)
            && !image.contains('@')
            && !image.rsplit('/').next().is_some_and(|i| i.contains(':'))
        {
            say(format!("image of {name} is not pinned by tag or digest"));
        }
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let Some(value) = container.get(probe) else { continue };
            if !["httpGet", "exec", "tcpSocket", "grpc"].iter().any(|handler| value.get(handler).is_some()) {
                say(format!(
                    "{probe} of {name} has no handler: use param-probe where an application has none"
                ));
            }
            let wanted = text(value, "httpGet.port");
            if !wanted.is_empty() && !list(container, "ports").iter().any(|p| text(p, "name") == wanted) {
                say(format!("{probe} of {name} asks port {wanted}, which it does not have"));
            }
        }
        for port in list(container, "ports") {
            if !ports.insert(at(port, "containerPort").as_u64()) {
                say(format!("port {} of {name} is taken by another container", at(port, "containerPort")));
            }
        }
    }
}

fn volumes(pod: &Pod<'_>, say: &mut impl FnMut(String)) {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for volume in list(pod.spec, "volumes") {
        names.insert(text(volume, "name"));
        if at(volume, "persistentVolumeClaim.readOnly") == &Value::Bool(true) {
            say(format!(
                "volume {} is claimed read-only, and neither a restore nor the application can write it",
                text(volume, "name")
            ));
        }
        let sources = volume.as_object().map_or(0, |v| v.len() - 1);
        if sources != 1 {
            let name = text(volume, "name");
            say(format!("volume {name} has {sources} sources: include exactly one credentials-* component"));
        }
    }
    names.extend(list(pod.object, "spec.volumeClaimTemplates").iter().map(|c| text(c, "metadata.name")));
    for container in pod.all() {
        for mount in list(container, "volumeMounts") {
            if !names.contains(text(mount, "name")) {
                let (name, volume) = (text(container, "name"), text(mount, "name"));
                let hint = if volume == "highwater-credentials" {
                    "include one credentials-* component"
                } else {
                    "set it with param-volume"
                };
                say(format!("{name} mounts {volume}, which the pod does not have: {hint}"));
            }
            if text(mount, "mountPath") == "/highwater/data" && at(mount, "readOnly") == &Value::Bool(true) {
                say(format!("{} mounts the data read-only", text(container, "name")));
            }
        }
    }
}

/// Pod Security `restricted`, with one documented exception: the etcd jobs that need the node's keys.
fn security(pod: &Pod<'_>, say: &mut impl FnMut(String)) {
    let ours = |c: &&Value| text(c, "image").contains("/highwater/") || OURS.contains(&text(c, "name"));
    let host_keys = list(pod.spec, "volumes").iter().any(|v| v.get("hostPath").is_some());
    for container in pod.all().filter(ours) {
        let name = text(container, "name");
        let own = |key: &str| at(container, &format!("securityContext.{key}"));
        if own("allowPrivilegeEscalation") != &Value::Bool(false) {
            say(format!("{name} may escalate privileges"));
        }
        if own("readOnlyRootFilesystem") != &Value::Bool(true) {
            say(format!("{name} has a writable root file system"));
        }
        if !list(container, "securityContext.capabilities.drop").iter().any(|c| c == "ALL") {
            say(format!("{name} does not drop all capabilities"));
        }
        let pods = |key: &str| at(pod.spec, &format!("securityContext.{key}"));
        let non_root =
            own("runAsNonRoot") == &Value::Bool(true) || pods("runAsNonRoot") == &Value::Bool(true);
        if !non_root && !host_keys {
            say(format!("{name} may run as root"));
        }
        let seccomp = [
            text(container, "securityContext.seccompProfile.type"),
            text(pod.spec, "securityContext.seccompProfile.type"),
        ];
        if !seccomp.contains(&"RuntimeDefault") {
            say(format!("{name} has no seccomp profile"));
        }
        for mount in list(container, "volumeMounts") {
            let host = list(pod.spec, "volumes")
                .iter()
                .any(|v| v.get("hostPath").is_some() && v["name"] == mount["name"]);
            if host && at(mount, "readOnly") != &Value::Bool(true) {
                say(format!("{name} mounts a folder of the node writable"));
            }
        }
    }
    if pod.all().any(|c| ours(&c))
        && ["hostNetwork", "hostPID", "hostIPC"].iter().any(|k| pod.spec[*k] == true)
    {
        say("uses a namespace of the node".into());
    }
}

/// Restore first, then config-syncer, wal-streamer, then the application's own.
fn order(pod: &Pod<'_>, say: &mut impl FnMut(String)) {
    let inits: Vec<&str> = pod.inits().iter().map(|c| text(c, "name")).collect();
    if !inits.contains(&"restore-state") {
        say("has a sidecar and no restore-state".into());
        return;
    }
    let ours: Vec<&str> = inits.iter().copied().filter(|name| OURS.contains(name)).collect();
    let wanted: Vec<&str> = OURS.into_iter().filter(|name| inits.contains(name)).collect();
    if ours != wanted {
        say(format!(
            "starts {}, and must start {}: begin a patch's list with restore-state, and include elite-wal before elite-syncer",
            ours.join(", "),
            wanted.join(", ")
        ));
    } else if inits[..ours.len()] != ours[..] {
        say(format!("starts its own init containers before the restore: {}", inits.join(", ")));
    }
    for sidecar in pod.inits().iter().filter(|c| SIDECARS.contains(&text(c, "name"))) {
        let name = text(sidecar, "name");
        if text(sidecar, "restartPolicy") != "Always" {
            say(format!("{name} is an init container that is not a sidecar (restartPolicy: Always)"));
        }
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            if sidecar.get(probe).is_none() {
                say(format!("{name} has no {probe}"));
            }
        }
    }
    if text(pod.object, "kind") != "CronJob" {
        let grace = at(pod.spec, "terminationGracePeriodSeconds").as_u64().unwrap_or(30);
        if grace < 60 {
            say(format!("has {grace} s to stop; the final flush needs 60 s or more (elite-standard)"));
        }
    }
}

/// One writer per replica (P4).
fn writers(pod: &Pod<'_>, say: &mut impl FnMut(String)) {
    let kind = text(pod.object, "kind");
    let replicas = at(pod.object, "spec.replicas").as_u64().unwrap_or(1);
    let own_prefix = pod.annotation("prefix").is_some_and(|p| p.contains("$(POD_NAME)"));
    if replicas > 1 && !(kind == "StatefulSet" && own_prefix) {
        say(format!(
            "{replicas} replicas would write to one replica: use one, or a StatefulSet whose prefix holds $(POD_NAME)"
        ));
    }
    if kind == "Deployment" {
        if text(pod.object, "spec.strategy.type") != "Recreate" {
            say("rolls over with two pods at a time; set strategy Recreate (elite-standard)".into());
        } else if !at(pod.object, "spec.strategy.rollingUpdate").is_null() {
            say("has rollingUpdate beside Recreate; the API server refuses that".into());
        }
    }
    if kind == "CronJob" && text(pod.object, "spec.concurrencyPolicy") != "Forbid" {
        say("may run twice at once; set concurrencyPolicy Forbid (elite-standard)".into());
    }
}

/// As which user a container runs, as far as the manifest says it.
fn user(pod: &Pod<'_>, container: &Value) -> Option<u64> {
    let own = at(container, "securityContext.runAsUser").as_u64();
    own.or_else(|| at(pod.spec, "securityContext.runAsUser").as_u64())
}

/// A database's `-wal` and `-shm` of another owner would lock its application out, and a restored file of another one, too.
fn users(pod: &Pod<'_>, say: &mut impl FnMut(String)) {
    const IMAGE: u64 = 65532;
    let mounted = |c: &Value| -> Vec<String> {
        list(c, "volumeMounts").iter().map(|m| text(m, "name").to_owned()).collect()
    };
    for ours in pod.all().filter(|c| OURS.contains(&text(c, "name"))) {
        let volumes: Vec<String> = list(ours, "volumeMounts")
            .iter()
            .filter(|m| text(m, "mountPath").starts_with("/highwater/data"))
            .map(|m| text(m, "name").to_owned())
            .collect();
        let runs = user(pod, ours).unwrap_or(IMAGE);
        for app in pod.containers().iter().filter(|c| mounted(c).iter().any(|m| volumes.contains(m))) {
            if let Some(theirs) = user(pod, app).filter(|uid| *uid != runs) {
                say(format!(
                    "{} runs as uid {runs}, and {} keeps its data as uid {theirs}: set runAsUser on the pod, or param-uid",
                    text(ours, "name"),
                    text(app, "name")
                ));
            }
        }
    }
}

/// The budget users were promised: 20m and 128Mi for both sidecars, memory requested as limited.
fn resources(pod: &Pod<'_>, say: &mut impl FnMut(String)) {
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    for container in pod.all().filter(|c| OURS.contains(&text(c, "name"))) {
        let name = text(container, "name");
        let of = |path: &str| quantity(at(container, &format!("resources.{path}")));
        match (of("requests.memory"), of("limits.memory"), of("requests.cpu"), of("limits.cpu")) {
            (Some(memory), Some(limit), Some(cpu), Some(_)) => {
                if (memory - limit).abs() > 0.5 {
                    say(format!("memory request and limit of {name} differ"));
                }
                if SIDECARS.contains(&name) {
                    *sums.entry("memory").or_default() += limit;
                    *sums.entry("cpu").or_default() += cpu;
                }
            }
            _ => say(format!("{name} has no requests and limits for CPU and memory")),
        }
    }
    if sums.get("memory").is_some_and(|sum| *sum > 134_217_728.5)
        || sums.get("cpu").is_some_and(|sum| *sum > 0.0201)
    {
        say("the sidecars together exceed 20m CPU and 128Mi".into());
    }
}

/// The annotations, read as the binaries will read them.
fn description(pod: &Pod<'_>, say: &mut impl FnMut(String)) {
    let from_file =
        pod.all().any(|c| list(c, "volumeMounts").iter().any(|m| text(m, "mountPath") == "/etc/highwater"));
    if from_file {
        return;
    }
    let lines: String =
        pod.annotations().map(|(key, value)| format!("{key}={}\n", Value::from(value))).collect();
    if lines.contains("${") {
        return; // Flux substitutes later; the example with values is judged
    }
    let resolved = (|| {
        let file = tempfile::NamedTempFile::new().map_err(|e| e.to_string())?;
        std::fs::write(file.path(), &lines).map_err(|e| e.to_string())?;
        let environment =
            [("POD_NAME", "pod-0"), ("POD_NAMESPACE", "default")].map(|(k, v)| (k.into(), v.into())).into();
        let sources =
            protect::Sources { annotations: Some(file.path().to_owned()), environment, ..Default::default() };
        let path = file.path().display().to_string();
        sources.resolve().map_err(|e| e.to_string().replace(&path, "annotations"))
    })();
    match resolved {
        Err(error) => say(error),
        Ok(description) => {
            let has = |name: &str| pod.all().any(|c| text(c, "name") == name);
            if !description.databases.is_empty() && !has("wal-streamer") {
                say("declares databases and has no wal-streamer".into());
            }
            if !description.files.is_empty() && !has("config-syncer") {
                say("declares files and has no config-syncer".into());
            }
            let insecure = pod.annotation("endpoint").is_some_and(|e| e.starts_with("http://"));
            if insecure && pod.annotation("allow-http") != Some("true") {
                say("has an http endpoint; say allow-http: \"true\" if that is meant".into());
            }
        }
    }
}

#[cfg(test)]
mod tests;
