//! Alert rules and dashboard: promtool, and that every metric exists.

use super::generate::COMPONENTS;
use super::{Report, dashboard, output};
use crate::tools::{go_program_in_place, has};
use anyhow::Result;
use std::collections::BTreeSet;
use std::fs::{read_dir, read_to_string};
use std::path::Path;
use std::process::Command;

/// VictoriaMetrics' evaluator: module, version, package.
const VMALERT: (&str, &str, &str) =
    ("github.com/VictoriaMetrics/VictoriaMetrics", "v1.102.0", "./app/vmalert");

/// Checks syntax and tests of the rules, syntax of the dashboard, names of metrics, and that every alert has its runbook.
pub(super) fn judge(full: bool, report: &mut Report) -> Result<()> {
    let rules = read_to_string(format!("{COMPONENTS}/monitoring/rules.yaml"))?;
    let board = read_to_string(format!("{COMPONENTS}/monitoring/dashboard.yaml"))?;
    let expressions = dashboard::expressions(&board)?;
    if has("promtool") {
        promtool(&expressions, report)?;
    } else {
        report.skip(
            "promtool: not installed (package prometheus); neither alert rules nor their tests were run",
        );
    }
    vmalert(full, report)?;
    runbooks(&rules, report)?;

    let known = exported(Path::new("crates"))?;
    let mut missing = BTreeSet::new();
    let expression_lines =
        rules.lines().filter(|line| !line.trim_start().starts_with('#') && !line.contains("record:"));
    for text in expression_lines.map(str::to_owned).chain(expressions) {
        missing.extend(names(&text).into_iter().filter(|name| !exists(name, &known)));
    }
    if missing.is_empty() {
        report.pass("every metric of alerts and dashboard is exported by a binary");
    }
    for name in missing {
        report.fail(format!("metric {name} is used by an alert or a panel, and no binary exports it"));
    }
    Ok(())
}

fn promtool(expressions: &[String], report: &mut Report) -> Result<()> {
    let source = format!("{COMPONENTS}/monitoring/rules.yaml");
    let checked =
        output(Command::new("promtool").args(["check", "rules", &source]), "promtool check rules", report)?;
    let tests: Vec<String> = read_dir(format!("{COMPONENTS}/monitoring/tests"))?
        .filter_map(|e| Some(e.ok()?.path().to_str()?.to_owned()))
        .collect();
    let tested =
        output(Command::new("promtool").args(["test", "rules"]).args(&tests), "promtool test rules", report)?;
    // Expressions of panels as recording rules: promtool then says whether they are PromQL.
    let rows: Vec<_> =
        expressions.iter().map(|e| serde_json::json!({"record": "panel", "expr": e})).collect();
    let file = tempfile::Builder::new().suffix(".yaml").tempfile()?;
    let groups: Vec<_> = rows
        .into_iter()
        .enumerate()
        .map(|(index, rule)| serde_json::json!({"name": format!("panel-{index}"), "rules": [rule]}))
        .collect();
    std::fs::write(file.path(), serde_json::json!({ "groups": groups }).to_string())?;
    let panels = output(
        Command::new("promtool").arg("check").arg("rules").arg(file.path()),
        "promtool on the dashboard",
        report,
    )?;
    if checked.is_some() && tested.is_some() && panels.is_some() {
        report.pass(format!(
            "promtool: rules, {} test files, {} dashboard expressions",
            tests.len(),
            expressions.len()
        ));
    }
    Ok(())
}

/// The rules as the other evaluator reads them, with every template of their texts.
fn vmalert(full: bool, report: &mut Report) -> Result<()> {
    let program = if has("vmalert") {
        Some("vmalert".into())
    } else {
        full.then(|| go_program_in_place(VMALERT.0, VMALERT.1, VMALERT.2, "vmalert")).flatten()
    };
    let Some(program) = program else {
        report.skip(format!(
            "vmalert {}: the full tier builds it; the rules were not read as MetricsQL",
            VMALERT.1
        ));
        return Ok(());
    };
    let rule = format!("-rule={COMPONENTS}/monitoring/rules.yaml");
    if output(Command::new(program).args(["-dryRun", &rule]), "vmalert -dryRun", report)?.is_some() {
        report.pass("vmalert: rules read as MetricsQL");
    }
    Ok(())
}

/// Every alert links to a heading that exists.
fn runbooks(rules: &str, report: &mut Report) -> Result<()> {
    let page = read_to_string("docs/troubleshooting.md")?;
    let headings: BTreeSet<String> =
        page.lines().filter_map(|l| l.strip_prefix("### ")).map(|l| l.trim().to_lowercase()).collect();
    for line in rules.lines() {
        if let Some((_, anchor)) = line.split_once("runbook: docs/troubleshooting.md#")
            && !headings.contains(anchor.trim())
        {
            report.fail(format!("docs/troubleshooting.md has no heading for {anchor}"));
        }
    }
    Ok(())
}

/// Names of ours inside an expression.
fn names(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("highwater_") {
        let begins =
            rest[..at].chars().next_back().is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
        let end = rest[at..]
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .map_or(rest.len(), |end| at + end);
        if begins {
            found.push(rest[at..end].to_owned());
        }
        rest = &rest[end..];
    }
    found
}

fn exists(name: &str, known: &BTreeSet<String>) -> bool {
    let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
    known.contains(name) || base.is_some_and(|base| known.contains(base))
}

/// Metric names written in the sources of the binaries; a test of theirs compares that table with what is exported.
fn exported(dir: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "xtask" && name != "tests") {
                found.extend(exported(&path)?);
            }
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
            for part in read_to_string(&path)?.split("\"highwater_").skip(1) {
                let name = part.split('"').next().unwrap_or_default();
                if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                    found.insert(format!("highwater_{name}"));
                }
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_labels_are_not() {
        let text = "a(highwater_x_total{pod=\"$ns\"}[5m]) / on (db) my_highwater_y + highwater_z_bucket";
        assert_eq!(names(text), ["highwater_x_total", "highwater_z_bucket"]);
        let known = ["highwater_z".to_owned()].into();
        assert!(exists("highwater_z_bucket", &known) && !exists("highwater_x_total", &known));
    }
}
