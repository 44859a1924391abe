//! The library chart and its example consumer: lint, render, compare, and refuse what must be refused.

use super::{Rendered, Report, go_tool, output, render, yaml};
use anyhow::Result;
use std::fs::read_dir;
use std::path::{Path, PathBuf};
use std::process::Command;

const HELM: (&str, &str) = ("helm.sh/helm/v3/cmd/helm", "v3.19.5");

/// Helm, if it is to be had; absolute where it was built here.
pub(super) fn program() -> Option<PathBuf> {
    go_tool("helm", HELM.0, HELM.1)
}

/// Renders `helm/app` with its configuration; every file below `helm/bad` must be refused with the words in its first line.
pub(super) fn judge(check: bool, report: &mut Report) -> Result<Vec<Rendered>> {
    let Some(helm) = program() else {
        report.skip("helm: not installed and could not be built; the charts were not rendered");
        return Ok(Vec::new());
    };
    let scratch = tempfile::tempdir()?;
    let copy = Command::new("cp").args(["-r", "helm/."]).arg(scratch.path()).status()?;
    anyhow::ensure!(copy.success(), "cannot copy helm/");
    let chart = scratch.path().join("app");
    let run = |args: &[&str]| {
        let mut command = Command::new(&helm);
        command.args(args).env("HELM_CACHE_HOME", scratch.path().join("cache")).current_dir(scratch.path());
        command
    };
    if output(&mut run(&["dependency", "build", "app"]), "helm dependency build", report)?.is_none() {
        return Ok(Vec::new());
    }
    let values = "app/config/app-config.yaml";
    output(&mut run(&["lint", "--strict", "app", "--values", values]), "helm lint", report)?;
    let mut rendered = Vec::new();
    if let Some(out) =
        output(&mut run(&["template", "web", "app", "--values", values]), "helm template", report)?
    {
        render::golden("examples/rendered/helm-app-config.yaml", &out, check, report)?;
        let documents = yaml::documents(&out)?;
        rendered.extend(documents.into_iter().map(|value| Rendered { origin: "helm/app".into(), value }));
    }
    let refused = refusals(&chart, &run, report)?;
    report.pass(format!("helm: lint, {} objects, {refused} bad configurations refused", rendered.len()));
    Ok(rendered)
}

fn refusals(chart: &Path, run: &dyn Fn(&[&str]) -> Command, report: &mut Report) -> Result<usize> {
    let mut count = 0;
    for entry in read_dir(chart.join("bad"))? {
        let path = entry?.path();
        let text = std::fs::read_to_string(&path)?;
        let words = text.lines().next().unwrap_or_default().trim_start_matches("# refused: ");
        let file = path.display().to_string();
        let out =
            run(&["template", "web", "app", "--values", "app/config/app-config.yaml", "--values", &file])
                .output()?;
        let said = String::from_utf8_lossy(&out.stderr);
        let name = path.file_name().unwrap_or_default().display().to_string();
        if out.status.success() {
            report.fail(format!("helm: {name} must be refused and is rendered"));
        } else if !said.contains(words) {
            report.fail(format!("helm: {name} is refused without saying {words:?}: {}", said.trim()));
        }
        count += 1;
    }
    Ok(count)
}
