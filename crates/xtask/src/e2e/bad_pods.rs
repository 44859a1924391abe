//! Pods that somebody described wrongly: each is caught by its first container, with an exit code and a line that say what to do, and nothing in
//! the bucket or on the volume changes.
//!
//! What is caught earlier, at render and at admission, is in `manifests/lint/tests.rs` and in the fixtures of the policies; the table of all is in
//! docs/testing.md.

use super::cluster::Cluster;
use super::content::Content;
use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The volume that the scenarios before left, with a database of uid 1000.
const VOLUME: &str = "ledger";
const EMPTY: &str = "ledger-empty";

/// What is wrong, on which volume, how the manifest is changed, how `restore-state` ends, and the words its log must have.
type Row = (&'static str, &'static str, fn(&mut Value), i32, &'static [&'static str]);

const ROWS: [Row; 7] = [
    ("nothing is declared", VOLUME, |d| unset(d, "sqlite"), 2, &["nothing is protected"]),
    (
        "a misspelled annotation",
        VOLUME,
        |d| annotations(d)["highwater.dev/profil"] = "critical".into(),
        2,
        &["highwater.dev/profil", "did you mean"],
    ),
    ("no bucket", VOLUME, |d| unset(d, "bucket"), 2, &["bucket"]),
    (
        "a bucket that does not exist",
        EMPTY,
        |d| annotations(d)["highwater.dev/bucket"] = "bucket-other".into(),
        2,
        &["bucket-other"],
    ),
    ("a secret without its keys", EMPTY, no_credentials, 2, &["credentials"]),
    ("a volume that is claimed read-only", EMPTY, read_only, 1, &["mounted read-only", "readOnly"]),
    (
        "another user than the data's",
        VOLUME,
        |d| pod(d)["securityContext"]["runAsUser"] = 2000.into(),
        3,
        &["runs as uid 2000", "belongs to uid 1000", "runAsUser"],
    ),
];

fn pod(deployment: &mut Value) -> &mut Value {
    &mut deployment["spec"]["template"]["spec"]
}

fn annotations(deployment: &mut Value) -> &mut Value {
    &mut deployment["spec"]["template"]["metadata"]["annotations"]
}

fn unset(deployment: &mut Value, name: &str) {
    annotations(deployment).as_object_mut().and_then(|map| map.remove(&format!("highwater.dev/{name}")));
}

fn read_only(deployment: &mut Value) {
    let volumes = pod(deployment)["volumes"].as_array_mut().into_iter().flatten();
    for volume in volumes.filter(|v| v["name"] == "data") {
        volume["persistentVolumeClaim"]["readOnly"] = true.into();
    }
}

/// The volume of the Secret is there, and nothing is in it.
fn no_credentials(deployment: &mut Value) {
    let text =
        pod(deployment).to_string().replace("\"name\":\"highwater-credentials\"", "\"name\":\"nothing\"");
    *pod(deployment) = serde_json::from_str(&text).expect("a renamed volume is still JSON");
}

/// All rows; gives their number.
pub(super) fn run(cluster: &mut Cluster) -> Result<u32> {
    let objects = cluster.objects()?;
    let before = Content::of(&cluster.volume(VOLUME)?)?;
    let mut wrong = Vec::new();
    for (what, volume, change, code, words) in ROWS {
        let mut pod = cluster.changed_pod(volume, change)?;
        let failed = pod.try_inits()?.with_context(|| format!("{what}: the pod starts"))?;
        let said = words.iter().all(|word| failed.log.contains(word));
        if failed.name != "restore-state" || failed.code != code || !said {
            wrong.push(format!(
                "{what}: exit {code} and {words:?} were expected; {} ended with {}:\n{}",
                failed.name, failed.code, failed.log
            ));
        }
        let line = failed.log.lines().rev().find(|l| l.starts_with("restore")).unwrap_or_default();
        println!("{what}: exit {}: {line}", failed.code);
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(cluster.objects()? == objects, "a pod that did not start has changed the bucket");
    let differences = before.differences(&Content::of(&cluster.volume(VOLUME)?)?);
    ensure!(differences.is_empty(), "a pod that did not start has changed the volume: {differences:?}");
    Ok(ROWS.len() as u32)
}
