//! The audit policies, evaluated by the Kyverno CLI and by nothing else: an imitation would prove nothing.
//!
//! The fixtures are made from a rendered example, so that components and policies are tested against each other: the example as it is must
//! pass, and each change to it must fail exactly the policy it breaks.

use super::generate::COMPONENTS;
use super::pod::Pod;
use super::{Report, output, settle, yaml};
use crate::tools::{cache, go_program_in_place, has};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;

const EXAMPLE: &str = "examples/rendered/argo-kustomize.yaml";
const POLICIES: [&str; 5] = [
    "highwater-elite-resources",
    "highwater-elite-probes",
    "highwater-elite-topology",
    "highwater-unprotected-volume",
    "highwater-adguard-ha",
];

type Change = fn(&mut Value);

/// Name of the fixture, the policy that must fail (`None`: all that apply pass), and the change.
const FIXTURES: [(&str, Option<usize>, Change); 22] = [
    ("good", None, |_| ()),
    ("good-large", None, |d| app(d)["resources"] = resources("1000m", "4Gi", "2000m", "4096Mi")),
    ("good-whole-core", None, |d| {
        app(d)["resources"] =
            json!({"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"cpu": 4, "memory": "1Gi"}})
    }),
    ("bad-no-limits", Some(0), |d| app(d)["resources"] = json!({})),
    ("bad-memory", Some(0), |d| app(d)["resources"] = resources("50m", "512Mi", "500m", "1Gi")),
    ("bad-cpu", Some(0), |d| app(d)["resources"] = resources("400m", "1Gi", "500m", "1Gi")),
    ("bad-sidecar-size", Some(0), |d| {
        init(d, "wal-streamer")["resources"] = resources("10m", "128Mi", "100m", "128Mi")
    }),
    ("bad-no-probe", Some(1), |d| remove(app(d), "readinessProbe")),
    ("bad-liveness", Some(1), |d| app(d)["livenessProbe"]["failureThreshold"] = 10.into()),
    ("bad-startup", Some(1), |d| app(d)["startupProbe"]["failureThreshold"] = 30.into()),
    ("bad-order", Some(2), |d| inits(d).swap(0, 1)),
    ("bad-no-streamer", Some(2), |d| inits(d).retain(|c| c["name"] != "wal-streamer")),
    ("bad-no-restore", Some(2), |d| inits(d).retain(|c| c["name"] != "restore-state")),
    ("bad-priority", Some(2), |d| spec(d)["priorityClassName"] = "vixens-medium".into()),
    ("bad-replicas", Some(2), |d| d["spec"]["replicas"] = 2.into()),
    ("bad-rolling", Some(2), |d| d["spec"]["strategy"] = json!({"type": "RollingUpdate"})),
    ("bad-nothing-declared", Some(2), |d| {
        let annotations = &mut d["spec"]["template"]["metadata"]["annotations"];
        remove(annotations, "highwater.dev/sqlite");
        remove(annotations, "highwater.dev/files");
    }),
    ("bad-no-user", Some(2), |d| {
        remove(&mut spec(d)["securityContext"], "runAsUser");
        remove(&mut spec(d)["securityContext"], "fsGroup");
    }),
    ("bad-no-time-to-stop", Some(2), |d| remove(spec(d), "terminationGracePeriodSeconds")),
    ("bad-undecided", Some(3), |d| remove(&mut d["metadata"]["labels"], "highwater.dev/elite")),
    ("adguard-home", Some(4), |d| d["metadata"]["labels"]["highwater.dev/elite"] = "false".into()),
    ("opted-out", None, |d| d["metadata"]["labels"]["highwater.dev/elite"] = "false".into()),
];

fn resources(cpu: &str, memory: &str, cpu_limit: &str, memory_limit: &str) -> Value {
    json!({"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu_limit, "memory": memory_limit}})
}

fn spec(deployment: &mut Value) -> &mut Value {
    &mut deployment["spec"]["template"]["spec"]
}

fn app(deployment: &mut Value) -> &mut Value {
    &mut spec(deployment)["containers"][0]
}

fn inits(deployment: &mut Value) -> &mut Vec<Value> {
    spec(deployment)["initContainers"].as_array_mut().expect("the example has init containers")
}

fn init<'a>(deployment: &'a mut Value, name: &str) -> &'a mut Value {
    inits(deployment).iter_mut().find(|c| c["name"] == name).expect("the example has both sidecars")
}

fn remove(value: &mut Value, key: &str) {
    value.as_object_mut().and_then(|map| map.remove(key));
}

/// The CLI's module; the newest version that the Go toolchain of the tests compiles.
const KYVERNO: (&str, &str, &str) = ("github.com/kyverno/kyverno", "v1.18.2", "./cmd/cli/kubectl-kyverno");

/// The CLI: named by `HIGHWATER_KYVERNO`, on the path, built before, or, if asked for, built now (ten minutes).
fn cli(full: bool) -> Option<PathBuf> {
    let named = std::env::var_os("HIGHWATER_KYVERNO").map(PathBuf::from);
    let found = named.or_else(|| has("kyverno").then(|| "kyverno".into()));
    let kept = cache().join(format!("kyverno-{}", KYVERNO.1)).join("kyverno");
    found.or_else(|| {
        (full || kept.is_file()).then(|| go_program_in_place(KYVERNO.0, KYVERNO.1, KYVERNO.2, "kyverno"))?
    })
}

/// Makes the fixtures, and runs `kyverno test` where the CLI is to be had.
pub(super) fn judge(check: bool, full: bool, report: &mut Report) -> Result<()> {
    let tests = format!("{COMPONENTS}/kyverno/tests");
    fixtures(&tests, check, report)?;
    let Some(kyverno) = cli(full) else {
        report.skip("kyverno: the CLI is not here (--full builds it); the policies' good and bad fixtures were not evaluated");
        return Ok(());
    };
    if let Some(out) = output(Command::new(kyverno).args(["test", &tests]), "kyverno test", report)? {
        // An empty run ends well, too.
        match out.lines().rev().find(|l| l.contains("passed") && !l.contains(" 0 tests passed")) {
            Some(summary) => report.pass(format!("kyverno: {}", summary.trim())),
            None => report.fail("kyverno test evaluated nothing"),
        }
    }
    Ok(())
}

fn fixtures(dir: &str, check: bool, report: &mut Report) -> Result<()> {
    let example = std::fs::read_to_string(EXAMPLE)?;
    let good = yaml::documents(&example)?
        .into_iter()
        .find(|d| d["kind"] == "Deployment" && Pod::of(d).is_some())
        .context("the example has no Deployment")?;
    let mut resources = String::from("# Made by `cargo xtask manifests` from a rendered example.\n");
    let mut results = Vec::new();
    for (name, broken, change) in FIXTURES {
        let mut one = good.clone();
        one["metadata"]["name"] = name.into();
        change(&mut one);
        resources += &format!("---\n{one:#}\n");
        for (index, policy) in POLICIES.iter().enumerate() {
            let applies = match index {
                3 => name == "bad-undecided", // the finder looks only at workloads without the label
                4 => name == "adguard-home",
                _ => !["bad-undecided", "adguard-home", "opted-out"].contains(&name),
            };
            let result = match (applies, broken == Some(index)) {
                (false, _) => "skip",
                (true, true) => "fail",
                (true, false) => "pass",
            };
            results.push(json!({"policy": policy, "kind": "Deployment", "isValidatingPolicy": true, "resources": [name], "result": result}));
        }
    }
    let results: String = results.iter().map(|r| format!("  - {r}\n")).collect();
    let test = format!(
        "# Made by `cargo xtask manifests`; run it with `kyverno test`.\napiVersion: cli.kyverno.io/v1alpha1\nkind: Test\nmetadata: {{name: highwater-elite}}\n\
         policies: [../policies.yaml]\nresources: [resources.yaml]\nresults:\n{results}"
    );
    settle(&format!("{dir}/resources.yaml"), &resources, check, report)?;
    settle(&format!("{dir}/kyverno-test.yaml"), &test, check, report)
}
