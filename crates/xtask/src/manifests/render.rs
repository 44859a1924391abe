//! Kustomize over the examples and the folders that are used as they are, compared with what was looked at once.
//!
//! Values are compared, not text, so that another version of Kustomize may quote differently. Every component must be part of at least one example.

use super::generate::{COMPONENTS, substitute};
use super::yaml::{self, list, text};
use super::{Rendered, Report, go_tool, output, settle};
use crate::tools::has;
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::{read_dir, read_to_string, write};
use std::path::{Path, PathBuf};
use std::process::Command;

const KUSTOMIZE: (&str, &str) = ("sigs.k8s.io/kustomize/kustomize/v5", "v5.7.1");
/// The command that renders a folder; `None` if there is none.
pub(super) fn kustomize() -> Option<Vec<String>> {
    if has("kustomize") {
        return Some(vec!["kustomize".into(), "build".into()]);
    }
    if let Some(path) = go_tool("kustomize", KUSTOMIZE.0, KUSTOMIZE.1) {
        return Some(vec![path.display().to_string(), "build".into()]);
    }
    has("kubectl").then(|| vec!["kubectl".into(), "kustomize".into()])
}

/// One folder, rendered; `None` with the complaint in the report.
pub(super) fn build(kustomize: &[String], dir: &Path, report: &mut Report) -> Result<Option<String>> {
    let mut command = Command::new(&kustomize[0]);
    command.args(&kustomize[1..]).arg(dir);
    output(&mut command, &dir.display().to_string(), report)
}

/// Renders everything; what differs from the golden files is a failure when checking, and written otherwise.
pub(super) fn all(kustomize: &[String], check: bool, report: &mut Report) -> Result<Vec<Rendered>> {
    let mut rendered = Vec::new();
    let mut used = BTreeSet::new();
    let examples = folders(Path::new("examples"))?;
    for dir in &examples {
        visit(dir, &mut used)?;
        let Some(mut out) = build(kustomize, dir, report)? else { continue };
        if dir.join("chart-output.yaml").exists() {
            let release = post_render(kustomize, dir, &out, report)?;
            add(&mut rendered, &dir.display().to_string(), &release.releases)?;
            out = release.rendered;
        }
        if out.contains("CHANGE-ME") || out.contains("${") {
            report.fail(format!("{}: a value was left to be changed", dir.display()));
        }
        let name = dir.strip_prefix("examples")?.display().to_string().replace('/', "-");
        golden(&format!("examples/rendered/{name}.yaml"), &out, check, report)?;
        add(&mut rendered, &dir.display().to_string(), &out)?;
    }
    let mut whole = 0;
    for dir in folders(Path::new(COMPONENTS))? {
        let kustomization = read_to_string(dir.join("kustomization.yaml"))?;
        if kustomization.contains("kind: Component") {
            if !used.contains(&dir.canonicalize()?) {
                report.fail(format!("{} is in no example, so nothing shows that it renders", dir.display()));
            }
            images(&dir, &kustomization, report);
        } else if let Some(out) = build(kustomize, &dir, report)? {
            add(&mut rendered, &dir.display().to_string(), &out)?;
            whole += 1;
        }
    }
    report.pass(format!(
        "Kustomize: {} examples with {} components, {whole} folders",
        examples.len(),
        used.len()
    ));
    Ok(rendered)
}

/// The documents of `out`, from `origin`.
pub(super) fn add(rendered: &mut Vec<Rendered>, origin: &str, out: &str) -> Result<()> {
    let documents = yaml::documents(out).with_context(|| origin.to_owned())?;
    rendered.extend(documents.into_iter().map(|value| Rendered { origin: origin.to_owned(), value }));
    Ok(())
}

/// Compares values with the golden file.
pub(super) fn golden(path: &str, out: &str, check: bool, report: &mut Report) -> Result<()> {
    let known = read_to_string(path).unwrap_or_default();
    if sorted(&known)? == sorted(out)? && !known.is_empty() {
        return Ok(());
    }
    settle(path, out, check, report)
}

fn sorted(text: &str) -> Result<Vec<Value>> {
    let mut documents = yaml::documents(text)?;
    documents.sort_by_key(|d| (d["kind"].to_string(), d["metadata"]["name"].to_string()));
    Ok(documents)
}

/// Folders below `dir` that hold a kustomization.
fn folders(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut entries: Vec<PathBuf> =
        read_dir(dir)?.filter_map(|e| Some(e.ok()?.path())).filter(|p| p.is_dir()).collect();
    entries.sort();
    for path in entries {
        if path.join("kustomization.yaml").exists() {
            found.push(path.clone());
        }
        found.extend(folders(&path)?);
    }
    Ok(found)
}

/// Collects the components that a kustomization includes, through others too.
fn visit(dir: &Path, used: &mut BTreeSet<PathBuf>) -> Result<()> {
    let file = dir.join("kustomization.yaml");
    let text = read_to_string(&file).with_context(|| file.display().to_string())?;
    let value: Value = serde_saphyr::from_str(&text).with_context(|| file.display().to_string())?;
    for entry in list(&value, "components").iter().chain(list(&value, "resources")) {
        let path = dir.join(entry.as_str().unwrap_or_default());
        if path.join("kustomization.yaml").exists() && used.insert(path.canonicalize()?) {
            visit(&path, used)?;
        }
    }
    Ok(())
}

/// One version pins all images, so that images and components of a release fit each other.
fn images(dir: &Path, kustomization: &str, report: &mut Report) {
    let tags = kustomization
        .lines()
        .filter_map(|line| line.split_once("newTag: "))
        .map(|(_, t)| t.trim_end_matches('}'));
    for tag in tags {
        if tag.trim() != env!("CARGO_PKG_VERSION") {
            report.fail(format!(
                "{} pins images at {tag}, and this is {}",
                dir.display(),
                env!("CARGO_PKG_VERSION")
            ));
        }
    }
}

/// What comes of a HelmRelease, and the HelmReleases themselves.
pub(super) struct Released {
    pub(super) rendered: String,
    pub(super) releases: String,
}

/// What Flux and helm-controller do: substitute `variables.env`, render the chart, lay the HelmRelease's patches over its output.
pub(super) fn post_render(
    kustomize: &[String],
    dir: &Path,
    out: &str,
    report: &mut Report,
) -> Result<Released> {
    let (mut result, mut releases) = (String::new(), String::new());
    let variables = read_to_string(dir.join("variables.env"))?;
    let values: Vec<(&str, &str)> = variables.lines().filter_map(|line| line.split_once('=')).collect();
    for document in yaml::documents(&substitute(out, &values))? {
        if text(&document, "kind") != "HelmRelease" {
            result += &format!("---\n{document:#}\n");
            continue;
        }
        releases += &format!("---\n{document:#}\n");
        let scratch = tempfile::tempdir()?;
        let patches: Vec<&Value> =
            list(&document, "spec.postRenderers").iter().flat_map(|r| list(r, "kustomize.patches")).collect();
        let kustomization = serde_json::json!({"resources": ["chart-output.yaml"], "patches": patches});
        write(scratch.path().join("kustomization.yaml"), kustomization.to_string())?;
        std::fs::copy(dir.join("chart-output.yaml"), scratch.path().join("chart-output.yaml"))?;
        if let Some(rendered) = build(kustomize, scratch.path(), report)? {
            result += &format!("---\n{rendered}");
        }
    }
    Ok(Released { rendered: result, releases })
}
