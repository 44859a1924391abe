//! The way of `docs/migrate-from-litestream.md`, as it stands there, with the `litestream` command itself: its configuration is
//! translated, its replica is taken over, and handed back.
//!
//! Part of `cargo xtask test --full`, like everything that needs that program.

use std::fs;
use std::path::Path;
use std::process::Command;

use e2e::interop::{AppDb, Litestream, PATIENCE, Replica, assert_same, end, verified};
use testkit::procs::{self, Proc};

fn versions() -> Vec<Litestream> {
    let proves = "migration from and to litestream";
    ["HIGHWATER_LITESTREAM_OLD", "HIGHWATER_LITESTREAM_NEW"]
        .iter()
        .filter_map(|variable| Litestream::from_env(variable, proves))
        .collect()
}

/// Runs to its end and gives its exit code, what it printed and what it said.
fn run(mut command: Command) -> (i32, String, String) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[track_caller]
fn both_restore(litestream: &Litestream, data: &AppDb, replica: &Replica) {
    let (kept, ours, theirs) = (data.kept(), data.scratch("ours.db"), data.scratch("theirs.db"));
    replica.restore(&ours, &["--force"]);
    assert_same("restored by us", &kept, &ours);
    litestream.restore(replica, &theirs, &[]);
    assert_same("restored by litestream", &kept, &theirs);
    verified(&ours);
}

fn there_and_back(litestream: &Litestream, replica: Replica) {
    let data = AppDb::new(4096);
    let mut daemon = litestream.replicate(&data, &replica);
    data.write(100);
    daemon.wait_until(PATIENCE, "a compaction", || replica.levels()[1] > 0);
    end(daemon);
    both_restore(litestream, &data, &replica);
    let theirs = replica.newest();

    // 1. Translate the very file that litestream ran with.
    let mut import = replica.ours("wal-streamer");
    import.arg("import-config").arg(data.scratch("litestream.yml")).args(["--app", "vault"]);
    let (exit, yaml, said) = run(import);
    assert_eq!(exit, 0, "{said}\n{yaml}");
    let ours = data.scratch("protect.yaml");
    fs::write(&ours, &yaml).expect("the description can be written");

    // 2. Check it.
    let mut check = replica.ours("wal-streamer");
    check.arg("check").arg("--config").arg(&ours);
    let (exit, found, said) = run(check);
    assert_eq!(exit, 0, "{found}{said}");

    // 3. Take over, once and on purpose: unasked it is refused.
    let replicate = |more: &[&str]| {
        let mut command = replica.ours("wal-streamer");
        command.args(["replicate", "--config"]).arg(&ours).args(more);
        command
    };
    let (exit, _, said) = run(replicate(&["--once"]));
    assert!(exit == 3 && said.contains("--adopt"), "{exit}: {said}");
    let (exit, _, said) = run(replicate(&["--once", "--adopt"]));
    assert_eq!(exit, 0, "{said}");

    // 4. Stream.
    let mut streamer = Proc::start(replicate(&["--sync-interval", "50ms"]));
    streamer.wait_for_log(PATIENCE, "claimed");
    data.write(100);
    let socket = data.path.parent().expect("a directory").join(".highwater/wal-streamer.sock");
    procs::wait_until(PATIENCE, "the control socket", || socket.exists());
    let mut sync = replica.ours("wal-streamer");
    sync.args(["sync", "--wait", "--socket"]).arg(&socket);
    let (exit, _, said) = run(sync);
    assert_eq!(exit, 0, "{said}\n{}", streamer.log_tail());
    streamer.terminate();
    assert_eq!(streamer.expect_exit(PATIENCE), 0, "{}", streamer.log_tail());
    assert!(replica.newest_of(true) > theirs);
    both_restore(litestream, &data, &replica);

    // 5. Hand back.
    let before = replica.newest();
    let mut daemon = litestream.replicate(&data, &replica);
    data.write(100);
    daemon.wait_until(PATIENCE, "files of its own", || replica.newest_of(false) > before);
    end(daemon);
    both_restore(litestream, &data, &replica);
    assert!(Path::new(&data.path).exists());
}

#[test]
fn a_live_replica_on_s3_is_taken_over_and_handed_back() {
    versions().iter().for_each(|litestream| there_and_back(litestream, Replica::s3()));
}

#[test]
fn a_live_replica_in_a_directory_is_taken_over_and_handed_back() {
    versions().iter().for_each(|litestream| there_and_back(litestream, Replica::file()));
}
