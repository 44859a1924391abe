//! `cargo xtask manifests`: everything below `kustomize-components/`, `helm/` and `examples/` is rendered and judged.
//!
//! Without `--check` it writes what is generated (CronJob variants of the patches, the Flux component, wrapped alert rules, the dashboard) and
//! what is compared (rendered examples). With it nothing is written, and a difference is a failure.
//!
//! Judges: our own lints (restore first, no phantom container, mounts have volumes, Pod Security), the parser of the annotations, the Kubernetes
//! schemas, promtool, Helm, the Kyverno CLI, and the binaries' own `--help`. What cannot be had on this machine is named as SKIP with
//! what it would have proven; a skipped judge never counts as passed. What it does not do: talk to a cluster.

mod custom;
mod dashboard;
mod generate;
mod helm;
mod lint;
mod monitoring;
mod phantom;
mod pod;
mod policies;
mod quickstart;
mod render;
mod schema;
mod secrets;
mod yaml;

use crate::tools;
use anyhow::{Result, bail};
use std::path::PathBuf;

/// What the judges said.
#[derive(Default)]
pub(crate) struct Report {
    failures: Vec<String>,
    skips: Vec<String>,
    passed: Vec<String>,
}

impl Report {
    fn fail(&mut self, what: impl Into<String>) {
        self.failures.push(what.into());
    }

    fn skip(&mut self, what: impl Into<String>) {
        self.skips.push(what.into());
    }

    fn pass(&mut self, what: impl Into<String>) {
        self.passed.push(what.into());
    }
}

/// The documents of a rendered file.
pub(crate) fn parse(text: &str) -> Result<Vec<serde_json::Value>> {
    yaml::documents(text)
}

/// Lints rendered manifests of somebody else's repository.
pub(crate) fn lint_files(files: &[PathBuf]) -> Result<()> {
    let mut found = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file)?;
        let mut lines = lint::documents(&yaml::documents(&text)?);
        // In this repository the name stands on purpose, for nobody's registry; in somebody's manifests it was forgotten.
        if text.contains(lint::PLACEHOLDER) {
            lines.push(format!("images of {}: say where they are in a copy of the component `registry` (Flux: HIGHWATER_REGISTRY, Helm: durability.image.registry)", lint::PLACEHOLDER));
        }
        found.extend(lines.into_iter().map(|l| format!("{}: {l}", file.display())));
    }
    for line in &found {
        println!("{line}");
    }
    if found.is_empty() { Ok(()) } else { bail!("{} findings", found.len()) }
}

/// Generates, renders, and judges; see the module. `full` builds judges that take minutes to build.
pub(crate) fn run(check: bool, full: bool) -> Result<()> {
    let mut report = Report::default();
    generate::all(check, &mut report)?;
    monitoring::judge(full, &mut report)?;
    let mut rendered = match render::kustomize() {
        Some(kustomize) => {
            let mut rendered = render::all(&kustomize, check, &mut report)?;
            rendered.extend(quickstart::judge(&kustomize, &mut report)?);
            rendered
        }
        None => {
            report.skip("Kustomize: neither kustomize nor kubectl is here and it could not be built; no component was rendered");
            Vec::new()
        }
    };
    rendered.extend(helm::judge(check, &mut report)?);
    for document in &rendered {
        for finding in lint::documents(std::slice::from_ref(&document.value)) {
            report.fail(format!("{}: {finding}", document.origin));
        }
    }
    report.pass(format!("{} rendered documents linted", rendered.len()));
    schema::judge(&rendered, &mut report)?;
    policies::judge(check, full, &mut report)?;
    phantom::judge(&rendered, &mut report)?;
    secrets::judge(full, &mut report)?;

    for line in &report.passed {
        println!("ok    {line}");
    }
    for line in &report.skips {
        println!("SKIP  {line}");
    }
    for line in &report.failures {
        println!("FAIL  {line}");
    }
    if report.failures.is_empty() { Ok(()) } else { bail!("manifests: {} failures", report.failures.len()) }
}

/// One rendered object and where it came from.
pub(crate) struct Rendered {
    origin: String,
    value: serde_json::Value,
}

/// Writes `text` to `path`, or compares when checking.
fn settle(path: &str, text: &str, check: bool, report: &mut Report) -> Result<()> {
    let current = std::fs::read_to_string(path).unwrap_or_default();
    if current == text {
        return Ok(());
    }
    if check {
        report.fail(format!("{path} is out of date: run `cargo xtask manifests` and look at the difference"));
        return Ok(());
    }
    if let Some(dir) = std::path::Path::new(path).parent() {
        std::fs::create_dir_all(dir)?;
    }
    std::fs::write(path, text)?;
    println!("wrote {path}");
    Ok(())
}

/// A program's output, or `None` with its complaint in the report.
fn output(command: &mut std::process::Command, what: &str, report: &mut Report) -> Result<Option<String>> {
    let out = command.output()?;
    if !out.status.success() {
        let text = String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout);
        report.fail(format!("{what}: {}", text.trim()));
        return Ok(None);
    }
    Ok(Some(String::from_utf8(out.stdout)?))
}

/// A Go program: on the path, else built once into the cache.
fn go_tool(name: &str, module: &str, version: &str) -> Option<PathBuf> {
    if tools::has(name) {
        return Some(name.into());
    }
    tools::go_program(module, version, name)
}
