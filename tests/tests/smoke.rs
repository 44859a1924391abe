//! `examples/smoke/dr-smoke.sh` over replicas of a real store: it is to be believed when it says "ok", and it is to say so when it is not.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]

use std::fs;
use std::path::Path;
use std::process::Command;

use e2e::pod::stop;
use e2e::{Outcome, PATIENCE, Place, Pod, run};
use testkit::procs::{bin, wait_until};

fn smoke(place: &Place, replicas: &[&str], limits: &[(&str, &str)]) -> Outcome {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/smoke/dr-smoke.sh");
    // Only for its environment: credentials, and nothing of the test's own.
    let like = place.command("restore");
    let mut command = Command::new("bash");
    for (name, value) in like.get_envs() {
        match value {
            Some(value) => drop(command.env(name, value)),
            None => drop(command.env_remove(name)),
        }
    }
    command.arg(script).args(replicas.iter().map(|prefix| place.url(prefix)));
    command.env("RESTORE", bin("restore")).envs(limits.iter().copied());
    run(command)
}

#[test]
fn a_replica_that_comes_back_is_ok_and_one_that_is_slow_old_damaged_or_missing_is_not() {
    if Command::new("jq").arg("--version").output().is_err() {
        println!("SKIP the smoke script: jq is not installed");
        return;
    }
    let place = Place::s3();
    let pod = Pod::new(&place, "databases: [{path: app.db}]\nfiles: [{path: .}]");
    pod.init(&[]).expect(0);
    pod.volume.write(50);
    pod.put("settings.yaml", "theme: dark\n");
    let (mut streamer, mut syncer) = (pod.streamer(), pod.syncer());
    wait_until(PATIENCE, "both replicas are there", || {
        !place.files("web/sqlite/app.db").is_empty() && pod.commits() >= 2
    });
    stop(&mut streamer);
    stop(&mut syncer);

    let both = ["web/sqlite/app.db", "web/files"];
    let passed = smoke(&place, &both, &[]);
    passed.expect(0);
    let lines: Vec<&str> = passed.stdout.lines().collect();
    assert!(lines.len() == 2 && lines.iter().all(|line| line.starts_with("ok s3://")), "{}", passed.stdout);
    let says = |what: &str, replicas: &[&str], limits: &[(&str, &str)]| {
        let said = smoke(&place, replicas, limits);
        said.expect(1);
        assert!(said.stdout.lines().any(|line| line.starts_with(what)), "{what}: {}", said.stdout);
    };
    says("SLOW ", &both, &[("MAX_SECONDS", "0")]);
    says("OLD ", &both, &[("MAX_AGE", "0.000001")]);
    says("FAILED ", &["web/sqlite/app.db", "web/sqlite/other.db"], &[]);
    smoke(&place, &[], &[]).expect(2);

    // A bit in the middle of everything that is stored of the database.
    for (path, mut bytes) in place.objects("web/sqlite/app.db") {
        if path.extension().is_some_and(|extension| extension == "ltx") && bytes.len() > 1000 {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(path, bytes).unwrap();
        }
    }
    let said = smoke(&place, &both, &[]);
    said.expect(1);
    assert!(said.stdout.contains("FAILED") && said.stdout.contains("damaged"), "{}", said.stdout);
    assert!(said.stdout.lines().any(|line| line.starts_with("ok ")), "the files are whole: {}", said.stdout);
}
