//! The quickstart, followed literally, as somebody would who has nothing but the page and a checkout.
//!
//! In an empty directory: a block that begins with a file's name becomes that file, a block in `bash` is run as it stands, and each `rendered.yaml` that
//! comes of it is judged like an example. What Flux does with a `ks.yaml` in a cluster (add components, substitute, lay the patches of the
//! HelmRelease over what its chart renders) is done here by module `render`. What it does not do: the commands that need a cluster or a registry,
//! which are in blocks without a language.

use super::generate::COMPONENTS;
use super::render::{add, build, post_render};
use super::yaml::{self, list, text};
use super::{Rendered, Report, helm};
use anyhow::{Context, Result};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

const PAGE: &str = "docs/quickstart.md";
/// What a chart renders before Flux' post-renderers, and its HelmRelease: the page leaves both to the reader's repository.
const RELEASE: &str = "examples/flux-helmrelease";

/// Follows the page; a command that fails is a failure.
pub(super) fn judge(kustomize: &[String], report: &mut Report) -> Result<Vec<Rendered>> {
    let page = fs::read_to_string(PAGE)?;
    let place = tempfile::tempdir()?;
    let path = surroundings(place.path(), kustomize)?;
    let mut rendered = Vec::new();
    let (mut files, mut commands, mut helmless) = (0, 0, false);
    for (language, body) in blocks(&page) {
        let name = body.lines().next().and_then(|line| line.strip_prefix("# "));
        match (language, name) {
            ("yaml", Some(name)) => {
                let file = place.path().join(name);
                fs::create_dir_all(file.parent().context("below the directory")?)?;
                fs::write(&file, body)?;
                files += 1;
                if name.ends_with("/ks.yaml") {
                    rendered.extend(reconciled(place.path(), &file, kustomize, report)?);
                }
            }
            ("bash", _) if body.contains("helm ") && helm::program().is_none() => {
                report.skip(format!("{PAGE}: no helm, so its part was not followed"));
                helmless = true;
            }
            ("bash", _) => {
                commands += body.lines().count();
                let mut command = Command::new("bash");
                command.args(["-euo", "pipefail", "-c", body]).current_dir(place.path()).env("PATH", &path);
                let out = command.output()?;
                if !out.status.success() {
                    let said = [out.stdout, out.stderr].concat();
                    report.fail(format!("{PAGE}: {body}: {}", String::from_utf8_lossy(&said).trim()));
                }
                if let Ok(text) = fs::read_to_string(place.path().join("rendered.yaml")) {
                    add(&mut rendered, PAGE, &text)?;
                    fs::remove_file(place.path().join("rendered.yaml"))?;
                }
            }
            _ => {}
        }
    }
    by_tag(place.path(), kustomize, report)?;
    let protected = rendered.iter().filter(|r| r.value.to_string().contains("restore-state")).count();
    if protected < if helmless { 2 } else { 3 } {
        report.fail(format!("{PAGE}: three ways lead to a protected workload, and {protected} were found"));
    }
    report.pass(format!("{PAGE}: {files} files, {commands} commands, {protected} protected workloads"));
    Ok(rendered)
}

/// The blocks of a page: language and text.
fn blocks(page: &str) -> Vec<(&str, &str)> {
    let fences = page.split("\n```").skip(1).step_by(2);
    fences.filter_map(|fence| fence.split_once('\n')).collect()
}

/// A checkout in `highwater/`, and the search path with the programs of the page.
fn surroundings(place: &Path, kustomize: &[String]) -> Result<String> {
    let checkout = place.join("highwater");
    fs::create_dir(&checkout)?;
    // A real directory of links: `cd highwater` and `..` must lead back.
    for entry in ["kustomize-components", "helm"] {
        symlink(std::path::absolute(entry)?, checkout.join(entry))?;
    }
    let bin = place.join(".bin");
    fs::create_dir(&bin)?;
    let program = |name: &str, text: String| -> Result<()> {
        fs::write(bin.join(name), format!("#!/bin/sh\nshift\nexec {text} \"$@\"\n"))?;
        Ok(fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755))?)
    };
    program("kustomize", kustomize.join(" "))?;
    // `cargo xtask` is this program, also when it was built anew meanwhile.
    program("cargo", format!("/proc/{}/exe", std::process::id()))?;
    // On the path already, or built here.
    if let Some(helm) = helm::program().filter(|program| program.is_absolute()) {
        symlink(helm, bin.join("helm"))?;
    }
    let path = std::env::var("PATH").unwrap_or_default();
    Ok(format!("{}:{path}", bin.display()))
}

/// The components by tag out of a git repository are those that were vendored: nothing of them points outside of its folder.
fn by_tag(place: &Path, kustomize: &[String], report: &mut Report) -> Result<()> {
    let git = |arguments: &[&str]| -> Result<()> {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=xtask", "-c", "user.email=xtask@localhost"]).args(arguments);
        let out = command.current_dir(place.join("tagged")).output().context("git")?;
        let error = String::from_utf8_lossy(&out.stderr);
        anyhow::ensure!(out.status.success(), "git {}: {}", arguments.join(" "), error.trim());
        Ok(())
    };
    let copied = Command::new("cp").arg("-r").arg(COMPONENTS).arg(place.join("tagged")).status()?;
    anyhow::ensure!(copied.success(), "cannot copy {COMPONENTS}");
    git(&["init", "--quiet"])?;
    git(&["add", "."])?;
    git(&["commit", "--quiet", "--message", "release"])?;
    git(&["tag", "v0.1.0"])?;
    let file = place.join("apps/vaultwarden/kustomization.yaml");
    let text = fs::read_to_string(&file)?;
    let dir = file.parent().context("it lies in a folder")?;
    let Some(vendored) = build(kustomize, dir, report)? else { return Ok(()) };
    let url = format!("file://{}//", place.join("tagged").display());
    // The registry is everybody's own copy.
    let lines = text.lines().map(|line| match line.split_once("../_shared/") {
        Some((dash, rest)) if !rest.starts_with("registry") => {
            format!("{dash}{url}{}?ref=v0.1.0\n", rest.split_whitespace().next().unwrap_or_default())
        }
        _ => format!("{line}\n"),
    });
    fs::write(&file, lines.collect::<String>())?;
    let Some(tagged) = build(kustomize, dir, report)? else { return Ok(()) };
    if yaml::documents(&tagged)? != yaml::documents(&vendored)? {
        report.fail(format!("{PAGE}: components by tag render something else than vendored ones"));
    }
    Ok(())
}

/// What Flux makes of a `ks.yaml`.
fn reconciled(place: &Path, file: &Path, kustomize: &[String], report: &mut Report) -> Result<Vec<Rendered>> {
    let ks: Value = serde_saphyr::from_str(&fs::read_to_string(file)?)?;
    let dir: PathBuf = place.join(text(&ks, "spec.path"));
    fs::create_dir_all(&dir)?;
    for name in ["helmrelease.yaml", "chart-output.yaml"] {
        fs::copy(Path::new(RELEASE).join(name), dir.join(name))?;
    }
    let components = list(&ks, "spec.components");
    let kustomization = serde_json::json!({"resources": ["helmrelease.yaml"], "components": components});
    fs::write(dir.join("kustomization.yaml"), kustomization.to_string())?;
    let vars: Value =
        serde_saphyr::from_str(&fs::read_to_string(place.join("kubernetes/flux/cluster-vars.yaml"))?)?;
    // What stands in the file itself counts before what stands in a ConfigMap.
    let mut values = vars["data"].as_object().cloned().unwrap_or_default();
    values.extend(ks["spec"]["postBuild"]["substitute"].as_object().cloned().unwrap_or_default());
    let lines = values.iter().map(|(name, value)| format!("{name}={}\n", value.as_str().unwrap_or_default()));
    fs::write(dir.join("variables.env"), lines.collect::<String>())?;
    let Some(out) = build(kustomize, &dir, report)? else { return Ok(Vec::new()) };
    let release = post_render(kustomize, &dir, &out, report)?;
    let mut rendered = Vec::new();
    add(&mut rendered, PAGE, &release.releases)?;
    add(&mut rendered, PAGE, &release.rendered)?;
    rendered.push(Rendered { origin: PAGE.into(), value: vars });
    for document in &rendered {
        let text = document.value.to_string();
        if text.contains("${") || text.contains(super::lint::PLACEHOLDER) {
            report.fail(format!(
                "{PAGE}: a value of {} was left to be changed",
                yaml::text(&document.value, "kind")
            ));
        }
    }
    Ok(rendered)
}

#[cfg(test)]
mod tests {
    #[test]
    fn blocks_are_found_with_their_language() {
        let page = "a\n\n```yaml\n# f.yaml\nx: 1\n```\nb\n```\nkubectl\n```\n\n```bash\ntrue\n```\n";
        assert_eq!(super::blocks(page), [("yaml", "# f.yaml\nx: 1"), ("", "kubectl"), ("bash", "true")]);
    }
}
