//! `config-syncer` as a process, against a real S3 server: what an operator sees.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test says so at once, and measures real time"
)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::http::get;
use e2e::pod::addr;
use e2e::{PATIENCE, run};
use testkit::procs::{Proc, bin};
use testkit::s3::S3Server;

fn syncer(server: &S3Server) -> Command {
    let mut command = Command::new(bin("config-syncer"));
    command.envs(server.env());
    command
}

fn snapshot(server: &S3Server, tree: &Path, more: &[&str]) -> e2e::Outcome {
    let mut command = syncer(server);
    command.arg("snapshot").arg(tree).arg(server.url("files")).args(more);
    run(command)
}

fn watch(server: &S3Server, tree: &Path, quiet: &str) -> Proc {
    let mut command = syncer(server);
    command.arg("watch").arg(tree).arg(server.url("files")).args(["--debounce", quiet]);
    command.args(["--listen", "127.0.0.1:0"]);
    Proc::start(command)
}

fn wait_until(what: &str, mut is: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn commits(server: &S3Server) -> usize {
    server.keys("files/m/").len()
}

#[test]
fn a_watched_tree_costs_two_puts_per_change_and_nothing_while_idle() {
    let server = S3Server::start();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a"), "1").unwrap();
    let mut proc = watch(&server, dir.path(), "100ms");
    proc.wait_for_log(PATIENCE, "committed");
    assert_eq!(commits(&server), 2, "a claim and a snapshot");
    server.reset();
    std::fs::write(dir.path().join("b"), "2").unwrap();
    wait_until("a second snapshot", || commits(&server) == 3);
    wait_until("an answer", || server.counts().put == 2);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!((server.counts().put, server.counts().total()), (2, 2), "idle sends nothing");
    std::fs::write(dir.path().join("c"), "just before the end").unwrap();
    proc.terminate();
    assert_eq!(proc.expect_exit(PATIENCE), 0, "{}", proc.log_tail());
    assert_eq!(commits(&server), 4, "the stop stored it");
}

#[test]
fn an_emptied_tree_exits_with_3_and_names_its_plan() {
    let server = S3Server::start();
    let dir = tempfile::tempdir().unwrap();
    for i in 0..30 {
        std::fs::write(dir.path().join(format!("f{i}")), "x").unwrap();
    }
    assert_eq!(snapshot(&server, dir.path(), &[]).exit, 0);
    for i in 0..30 {
        std::fs::remove_file(dir.path().join(format!("f{i}"))).unwrap();
    }
    let refused = snapshot(&server, dir.path(), &[]);
    assert_eq!(refused.exit, 3, "{}", refused.stderr);
    let plan = refused.stderr.trim().rsplit(' ').next().unwrap().to_owned();
    assert_eq!(snapshot(&server, dir.path(), &["--allow", "0123456789abcdef"]).exit, 3, "another plan");
    assert_eq!(snapshot(&server, dir.path(), &["--allow", &plan]).exit, 0);
}

#[test]
fn a_second_process_on_one_tree_exits_with_5_and_another_tree_with_3() {
    let server = S3Server::start();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a"), "1").unwrap();
    let mut proc = watch(&server, dir.path(), "100ms");
    proc.wait_for_log(PATIENCE, "committed");
    let second = snapshot(&server, dir.path(), &[]);
    assert_eq!(second.exit, 5, "{}", second.stderr);
    // A copy of the volume under another name.
    let other = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").arg("-a").arg(dir.path().join(".")).arg(other.path()).status().unwrap();
    assert!(copied.success());
    assert_eq!(snapshot(&server, other.path(), &[]).exit, 3, "the name of the tree is part of the claim");
}

#[test]
fn kill_9_at_any_moment_and_the_next_start_goes_on() {
    let server = S3Server::start();
    let dir = tempfile::tempdir().unwrap();
    for round in 0..6 {
        let mut proc = watch(&server, dir.path(), "10ms");
        proc.wait_for_log(PATIENCE, "claimed");
        for i in 0..200 {
            std::fs::write(dir.path().join(format!("f{i}")), format!("{round} {i}")).unwrap();
        }
        std::thread::sleep(Duration::from_millis(40 * round));
        proc.kill9();
    }
    let last = snapshot(&server, dir.path(), &[]);
    assert_eq!(last.exit, 0, "{}", last.stderr);
    let back = tempfile::tempdir().unwrap();
    let mut export = syncer(&server);
    export.args(["export", &server.url("files"), "--to", "dir", "-o"]).arg(back.path().join("tree"));
    assert_eq!(run(export).exit, 0);
    for i in 0..200 {
        let name = format!("f{i}");
        assert_eq!(
            std::fs::read(back.path().join("tree").join(&name)).unwrap(),
            std::fs::read(dir.path().join(&name)).unwrap()
        );
    }
}

#[test]
fn status_list_check_and_metrics_say_what_is_there() {
    let server = S3Server::start();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a"), "1").unwrap();
    let mut proc = watch(&server, dir.path(), "100ms");
    proc.wait_for_log(PATIENCE, "committed");
    let (_, text) = get(&addr(&mut proc), "/metrics");
    for name in [
        "highwater_files_tracked{",
        "highwater_files_last_sync_timestamp_seconds{",
        "highwater_files_watch_mode{mode=\"inotify\"",
    ] {
        assert!(text.contains(name), "{name} is missing in {text}");
    }
    let mut list = syncer(&server);
    list.args(["list", &server.url("files"), "-o", "json"]);
    let rows: serde_json::Value = serde_json::from_str(&run(list).stdout).unwrap();
    assert_eq!(rows[0]["snapshot"], 2);
    let mut status = syncer(&server);
    status.args(["status", &server.url("files"), "-o", "json"]);
    let rows: serde_json::Value = serde_json::from_str(&run(status).stdout).unwrap();
    assert_eq!((rows[0]["newest"]["entries"].as_u64(), rows[0]["claim"].as_u64()), (Some(1), Some(1)));
    let mut nothing = syncer(&server);
    nothing.args(["list", &server.url("elsewhere")]);
    assert_eq!(run(nothing).exit, 3);
}
