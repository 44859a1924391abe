//! Schemas of custom resources, from the Go modules of those who define them: what a typing error in a PodMonitor or a HelmRelease would cost
//! is found by nobody else, because the API server of a test has none of these resources.
//!
//! A definition is read from a file of its module at a pinned version, or, where the module holds only Go types, generated from them by
//! `controller-gen`. What cannot be had stays counted as not validated. The validator itself is that of module `schema`.

use super::yaml::{list, text};
use super::{Report, yaml};
use crate::tools::{cache, go_module, go_program};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Module, version, and the files in it.
const FILES: [(&str, &str, &[&str]); 6] = [
    (
        "github.com/prometheus-operator/prometheus-operator",
        "v0.85.0",
        &[
            "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
            "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
        ],
    ),
    (
        "github.com/external-secrets/external-secrets",
        "v1.3.2",
        &["config/crds/bases/external-secrets.io_externalsecrets.yaml"],
    ),
    (
        "github.com/kyverno/kyverno",
        "v1.18.2",
        &["config/crds/policies.kyverno.io/policies.kyverno.io_validatingpolicies.yaml"],
    ),
    (
        "github.com/cilium/cilium",
        "v1.20.2",
        &["pkg/k8s/apis/cilium.io/client/crds/v2/ciliumclusterwidenetworkpolicies.yaml"],
    ),
    // Newer versions are in the module mirror, but not in its checksum database.
    (
        "sigs.k8s.io/secrets-store-csi-driver",
        "v1.4.8",
        &["config/crd/bases/secrets-store.csi.x-k8s.io_secretproviderclasses.yaml"],
    ),
    // What Talos itself installs, as its own test compares it.
    (
        "github.com/siderolabs/talos",
        "v1.11.5",
        &[
            "internal/app/machined/pkg/controllers/k8s/internal/k8stemplates/testdata/talos-service-account-crd.yaml",
        ],
    ),
];
/// Module with Go types only, its package, and the version: the newest that the Go toolchain of the tests compiles.
const TYPES: [(&str, &str, &str); 1] =
    [("github.com/fluxcd/helm-controller/api", "github.com/fluxcd/helm-controller/api/v2", "v1.3.0")];
const GENERATOR: (&str, &str) = ("sigs.k8s.io/controller-tools/cmd/controller-gen", "v0.20.0");

/// Schemas by `apiVersion/kind`, ready for a validator that knows nothing of Kubernetes.
pub(super) fn schemas(report: &mut Report) -> Result<BTreeMap<String, Value>> {
    let mut found = BTreeMap::new();
    for (module, version, files) in FILES {
        let Some(dir) = go_module(module, version) else {
            report.skip(format!("{module} {version} cannot be fetched: its resources are not validated"));
            continue;
        };
        for file in files {
            take(&dir.join(file), &mut found)?;
        }
    }
    for (module, package, version) in TYPES {
        let Some(dir) = generated(module, package, version) else {
            report.skip(format!(
                "{module} {version}: its definitions cannot be generated; its resources are not validated"
            ));
            continue;
        };
        for entry in fs::read_dir(dir)? {
            take(&entry?.path(), &mut found)?;
        }
    }
    Ok(found)
}

/// The folder of the definitions that a generator makes from Go types.
fn generated(module: &str, package: &str, version: &str) -> Option<PathBuf> {
    let dir = cache().join(format!("crd-{}-{version}", module.replace('/', "-")));
    let out = dir.join("out");
    if !out.is_dir() {
        let generator = go_program(GENERATOR.0, GENERATOR.1, "controller-gen")?;
        fs::create_dir_all(&dir).ok()?;
        fs::write(dir.join("go.mod"), "module definitions\n\ngo 1.24\n").ok()?;
        let import = format!("//go:build tools\n\npackage definitions\n\nimport _ \"{package}\"\n");
        fs::write(dir.join("tools.go"), import).ok()?;
        let ran = |program: &Path, args: &[&str]| {
            Command::new(program)
                .args(args)
                .current_dir(&dir)
                .env("GOFLAGS", "")
                .output()
                .is_ok_and(|o| o.status.success())
        };
        let go = Path::new("go");
        let done = ran(go, &["get", &format!("{module}@{version}")])
            && ran(go, &["mod", "tidy"])
            && ran(&generator, &["crd", &format!("paths={package}"), "output:dir=out"]);
        if !done {
            return None;
        }
    }
    Some(out)
}

fn take(path: &Path, found: &mut BTreeMap<String, Value>) -> Result<()> {
    let text_of = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    for definition in yaml::documents(&text_of)? {
        let (group, kind) = (text(&definition, "spec.group"), text(&definition, "spec.names.kind"));
        for version in list(&definition, "spec.versions") {
            let mut schema = version["schema"]["openAPIV3Schema"].clone();
            close(&mut schema, true);
            found.insert(format!("{group}/{}/{kind}", text(version, "name")), schema);
        }
    }
    Ok(())
}

/// Makes a structural schema say what the API server does beside it: fields that are not declared are refused (it would drop them), and numbers
/// may be texts where it says so.
fn close(schema: &mut Value, root: bool) {
    let Some(map) = schema.as_object_mut() else { return };
    if map.get("x-kubernetes-int-or-string").is_some_and(|v| v == true) {
        map.remove("anyOf");
        map.insert("type".into(), json!(["integer", "string"]));
    }
    if map.get("nullable").is_some_and(|v| v == true)
        && let Some(kind) = map.get("type").and_then(Value::as_str).map(str::to_owned)
    {
        map.insert("type".into(), json!([kind, "null"]));
    }
    // `format` is a hint there, and int32 or date-time are none of the validator's.
    map.remove("format");
    let open = map.get("x-kubernetes-preserve-unknown-fields").is_some_and(|v| v == true);
    if let Some(properties) = map.get_mut("properties").and_then(Value::as_object_mut) {
        for value in properties.values_mut() {
            close(value, false);
        }
        if root {
            for known in ["apiVersion", "kind", "metadata"] {
                properties.insert(known.into(), json!({}));
            }
        }
        if !open && !map.contains_key("additionalProperties") {
            map.insert("additionalProperties".into(), false.into());
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(value) = map.get_mut(key) {
            close(value, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_declared_is_refused_unless_the_definition_keeps_it() {
        let mut schema = json!({"type": "object", "properties": {
            "a": {"type": "object", "properties": {"n": {"x-kubernetes-int-or-string": true, "anyOf": [{}]}}},
            "b": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {}},
            "c": {"type": "array", "items": {"type": "object", "properties": {}}},
            "d": {"type": "string", "nullable": true, "format": "date-time"}
        }});
        close(&mut schema, true);
        let properties = &schema["properties"];
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(properties["a"]["additionalProperties"], false);
        assert_eq!(properties["a"]["properties"]["n"]["type"], json!(["integer", "string"]));
        assert!(properties["b"].get("additionalProperties").is_none());
        assert_eq!(properties["c"]["items"]["additionalProperties"], false);
        assert_eq!(properties["d"], json!({"type": ["string", "null"], "nullable": true}));
        assert_eq!(properties["metadata"], json!({}));
    }
}
