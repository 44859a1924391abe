//! `config-syncer` beside an application that does what the file system allows, on a disk that fails in the middle of things: calls that fail
//! once the file is open, a queue of events that overflows, databases at full speed. Calls are made to fail by `strace`, which asks nothing
//! of the disk; where it may not trace, the test says so and is skipped.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use e2e::http::get;
use e2e::pod::{addr, stop};
use e2e::traced::{no_strace, traced};
use e2e::{Outcome, PATIENCE, Place, run};
use rusqlite::Connection;
use serde_json::Value;
use testkit::procs::{Proc, wait_until};

fn snapshot(place: &Place, tree: &Path) -> Command {
    let mut command = place.command("config-syncer");
    command.arg("snapshot").arg(tree).arg(place.url("files")).args(["-o", "json"]);
    command
}

/// What a look counted, as a script sees it.
fn counted(outcome: &Outcome, field: &str) -> u64 {
    let counts: Value = serde_json::from_str(&outcome.stdout).unwrap_or_else(|e| panic!("{e}: {outcome:?}"));
    counts[field].as_u64().unwrap_or_else(|| panic!("{field}: {outcome:?}"))
}

/// The same command in whose process calls on one path fail.
fn failing(command: &Command, path: &Path, calls: &str, when: &str) -> Command {
    let (path, trace) = (path.to_str().unwrap(), format!("trace={calls}"));
    traced(command, &["-P", path, "-e", &trace, "-e", &format!("inject={calls}:error=EIO{when}")])
}

#[test]
fn p3_eio_at_open_at_either_look_and_of_attributes_keeps_the_last_good_version() {
    if let Some(reason) = no_strace() {
        return println!("skipped: {reason}");
    }
    let (place, dir) = (Place::s3(), tempfile::tempdir().unwrap());
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let write = |version: u8| {
        fs::write(tree.join("small"), [version; 100]).unwrap();
        fs::write(tree.join("big"), vec![version; 5 << 20]).unwrap();
        fs::write(tree.join("good"), [version; 10]).unwrap();
    };
    write(0);
    let has_attributes =
        rustix::fs::setxattr(tree.join("small"), "user.note", b"kept", rustix::fs::XattrFlags::empty())
            .is_ok();
    run(snapshot(&place, &tree)).expect(0);
    let calls = [
        ("open,openat", ""),
        ("fstat", ":when=1"),
        ("fstat", ":when=2"),
        ("read", ":when=2+"), // the first one is the header's, and a database is left out
        ("llistxattr", ""),
        ("lgetxattr", ""),
    ];
    let mut version = 0;
    for (calls, when) in calls {
        for name in ["small", "big"] {
            if calls == "lgetxattr" && (name == "big" || !has_attributes) {
                continue;
            }
            version += 1;
            write(version);
            let looked = run(failing(&snapshot(&place, &tree), &tree.join(name), calls, when));
            let place_of = format!("{calls}{when} of {name}");
            looked.expect(6);
            assert_eq!(
                (counted(&looked, "unreadable"), counted(&looked, "deleted")),
                (1, 0),
                "{place_of}: {looked:?}"
            );
            assert!(looked.stderr.contains(&format!("\"path\":\"{name}\"")), "{place_of}: {looked:?}");
            let back = dir.path().join(format!("back-{version}"));
            let mut restore = place.command("restore");
            restore.args(["files", &place.url("files"), "-o"]).arg(&back);
            run(restore).expect(0);
            assert_eq!(fs::read(back.join("good")).unwrap(), [version; 10], "{place_of}");
            // Attributes that cannot be read do not hold the content back.
            let kept = if calls.contains("xattr") { version } else { version - 1 };
            assert!(fs::read(back.join(name)).unwrap().iter().all(|b| *b == kept), "{place_of}");
            if has_attributes {
                let mut value = [0; 16];
                let length = rustix::fs::getxattr(back.join("small"), "user.note", &mut value).unwrap();
                assert_eq!(&value[..length], b"kept", "{place_of}");
            }
            // The disk is well again: the next look takes what it could not have.
            let healed = run(snapshot(&place, &tree));
            healed.expect(0);
            assert_eq!(counted(&healed, "unstable"), 0, "{place_of}: {healed:?}");
        }
    }
}

fn watch(place: &Place, tree: &Path) -> Proc {
    let mut command = place.command("config-syncer");
    command.arg("watch").arg(tree).arg(place.url("files"));
    command.args(["--debounce", "200ms", "--max-wait", "2s", "--listen", "127.0.0.1:0"]);
    command.args(["--verify-every", "0", "--prune-every", "0"]);
    let mut syncer = Proc::start(command);
    syncer.wait_for_log(PATIENCE, "\"committed\"");
    syncer
}

/// Entries of the newest snapshot.
fn entries(place: &Place) -> u64 {
    let mut list = place.command("config-syncer");
    list.args(["list", &place.url("files"), "-o", "json"]);
    let listed = run(list);
    let rows: Value = serde_json::from_str(&listed.stdout).unwrap_or_else(|e| panic!("{e}: {listed:?}"));
    rows.as_array().unwrap().iter().filter_map(|row| row["entries"].as_u64()).next_back().unwrap_or(0)
}

/// The kernel keeps 16,384 events; what is beyond is dropped, and with it the birth of a directory.
#[test]
fn p1_twenty_thousand_files_while_nobody_reads_the_events_are_all_stored() {
    let (place, dir) = (Place::s3(), tempfile::tempdir().unwrap());
    let tree = dir.path().join("tree");
    fs::create_dir_all(tree.join("many")).unwrap();
    fs::write(tree.join("first"), "1").unwrap();
    let mut syncer = watch(&place, &tree);
    syncer.signal(nix::sys::signal::Signal::SIGSTOP);
    for i in 0..20_000 {
        fs::write(tree.join(format!("many/{i}")), "x").unwrap();
    }
    fs::create_dir(tree.join("born-in-the-gap")).unwrap();
    fs::write(tree.join("born-in-the-gap/one"), "1").unwrap();
    syncer.signal(nix::sys::signal::Signal::SIGCONT);
    syncer.wait_for_log(PATIENCE, "the kernel dropped events");
    wait_until(2 * PATIENCE, "all of them", || entries(&place) == 20_004);
    // The directory is watched now: its next change needs no timer, the shortest of which is minutes away.
    fs::write(tree.join("born-in-the-gap/two"), "2").unwrap();
    wait_until(PATIENCE, "what comes later", || entries(&place) == 20_005);
    let metrics = get(&addr(&mut syncer), "/metrics").1;
    assert!(metrics.contains("highwater_files_watch_mode{mode=\"inotify\""), "{metrics}");
    stop(&mut syncer);
}

#[test]
fn databases_at_full_speed_in_either_journal_mode_make_no_commit() {
    let (place, dir) = (Place::s3(), tempfile::tempdir().unwrap());
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("config"), "1").unwrap();
    let open = |mode: &str| {
        let db = Connection::open(tree.join(format!("{mode}.db"))).unwrap();
        db.pragma_update(None, "journal_mode", mode).unwrap();
        db.execute_batch("CREATE TABLE t (x)").unwrap();
        db
    };
    let dbs = ["wal", "delete"].map(open);
    let mut syncer = watch(&place, &tree);
    let before = place.server().counts();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for db in dbs {
            let done = &done;
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    db.execute("INSERT INTO t VALUES (randomblob(100))", []).unwrap();
                    thread::sleep(Duration::from_millis(2));
                }
            });
        }
        // Looks are taken meanwhile: what is no database is stored within two seconds, though it never goes quiet.
        for version in ["2", "3"] {
            let commits = || fs::read_dir(place.root("files/m")).map_or(0, Iterator::count);
            let now = commits();
            fs::write(tree.join("config"), version).unwrap();
            wait_until(PATIENCE, "the change beside the databases", || commits() == now + 1);
        }
        done.store(true, Ordering::Relaxed);
    });
    let asked = place.server().counts().since(&before);
    assert_eq!((asked.writes(), entries(&place)), (4, 1), "two packs and two commits, and no database");
    stop(&mut syncer);
}
