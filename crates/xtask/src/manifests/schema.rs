//! The Kubernetes API's own schemas, strictly, for the oldest and the newest versions we support.
//!
//! The Python package `kubernetes-validate` carries them; it goes into a virtual environment below `target/`. Custom resources are validated by
//! the definitions of module `custom`; those that have none there are counted as not validated.

use super::yaml::text;
use super::{Rendered, Report, custom};
use crate::tools;
use anyhow::Result;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const VERSIONS: [&str; 3] = ["1.29", "1.34", "1.35"];
const PACKAGE: &str = "kubernetes-validate==1.37.0";
/// Reads objects as JSON lines; prints one line per failure.
const PROGRAM: &str = r#"
import json, sys, jsonschema, kubernetes_validate as kv
for line in sys.stdin:
    item = json.loads(line)
    if "schema" in item:
        for error in jsonschema.Draft202012Validator(item["schema"]).iter_errors(item["value"]):
            path = ".".join(str(p) for p in error.absolute_path)
            print(f'{item["origin"]}: {item["value"]["kind"]} {item["value"]["metadata"]["name"]}: {path} {error.message}')
        continue
    for version in sys.argv[1:]:
        try:
            kv.validate(item["value"], version, strict=True)
        except kv.ValidationError as error:
            path = ".".join(str(p) for p in getattr(error, "path", []))
            print(f'{item["origin"]}: {item["value"]["kind"]} {item["value"]["metadata"]["name"]} in {version}: {path} {error.message}')
"#;

/// API groups that belong to Kubernetes itself.
fn is_core(api: &str) -> bool {
    !api.contains('/')
        || ["apps", "batch", "policy", "networking.k8s.io", "rbac.authorization.k8s.io"]
            .contains(&api.split('/').next().unwrap_or_default())
}

pub(super) fn judge(rendered: &[Rendered], report: &mut Report) -> Result<()> {
    let schemas = custom::schemas(report)?;
    let mut unknown: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut core, mut lines) = (0, String::new());
    for document in rendered {
        let (api, kind) = (text(&document.value, "apiVersion"), text(&document.value, "kind"));
        let mut item = serde_json::json!({"origin": document.origin, "value": document.value});
        if is_core(api) {
            core += 1;
        } else if let Some(schema) = schemas.get(&format!("{api}/{kind}")) {
            item["schema"] = schema.clone();
        } else {
            *unknown.entry(kind).or_default() += 1;
            continue;
        }
        lines += &(item.to_string() + "\n");
    }
    let kinds: Vec<String> = unknown.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    if !kinds.is_empty() {
        report.skip(format!("no schema of these is to be had from a registry: {}", kinds.join(", ")));
    }
    let Some(python) = python() else {
        report.skip(format!(
            "{PACKAGE} could not be installed: {} objects were not validated",
            lines.lines().count()
        ));
        return Ok(());
    };
    let mut child = Command::new(python)
        .args(["-c", PROGRAM])
        .args(VERSIONS)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let count = lines.lines().count();
    // Written from a thread: a full pipe on both sides would stop everybody.
    let mut input = child.stdin.take();
    let writer = std::thread::spawn(move || input.as_mut().map(|i| i.write_all(lines.as_bytes())));
    let out = child.wait_with_output()?;
    drop(writer.join());
    let findings = String::from_utf8_lossy(&out.stdout);
    for line in findings.lines() {
        report.fail(line);
    }
    if !out.status.success() {
        report.fail("the schema validator ended with an error");
    } else if findings.is_empty() {
        report.pass(format!("{core} objects valid in Kubernetes {}", VERSIONS.join(", ")));
        report.pass(format!("{} custom resources valid by their definitions", count - core));
    }
    Ok(())
}

/// A Python that has the package.
fn python() -> Option<PathBuf> {
    let dir = tools::cache().join("kubernetes-validate");
    let python = dir.join("bin/python");
    let ready = |python: &PathBuf| {
        let status =
            Command::new(python).args(["-c", "import kubernetes_validate"]).stderr(Stdio::null()).status();
        status.is_ok_and(|s| s.success())
    };
    if !ready(&python) {
        std::fs::create_dir_all(tools::cache()).ok()?;
        let made = Command::new("python3").args(["-m", "venv"]).arg(&dir).status().ok()?.success();
        let pip = dir.join("bin/pip");
        if !made
            || !Command::new(pip)
                .args(["install", "--quiet", PACKAGE])
                .stderr(Stdio::null())
                .status()
                .ok()?
                .success()
        {
            return None;
        }
    }
    ready(&python).then_some(python)
}
