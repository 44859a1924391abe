//! Processes: found, logged, killed; and the application survives a kill with every acknowledged transaction.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::panic::catch_unwind;
use std::process::Command;
use std::time::Duration;

use testkit::app::{AppArgs, read_acks, verify};
use testkit::procs::{Proc, free_port, wait_until};

const SOON: Duration = Duration::from_secs(20);

fn shell(script: &str) -> Proc {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    Proc::start(command)
}

#[test]
fn a_killed_application_keeps_what_it_acknowledged() {
    let scratch = tempfile::tempdir().unwrap();
    let (db, acks) = (scratch.path().join("app.db"), scratch.path().join("acks"));
    let args = AppArgs { transactions: 0, writers: 2, ack_file: Some(acks.clone()), ..AppArgs::new(&db) };
    let mut last = 0;
    for _ in 0..3 {
        let mut app = Proc::bin("hw-app", args.to_args());
        app.wait_until(SOON, "50 more transactions", || read_acks(&acks).len() > last as usize + 50);
        app.kill9();
        let acked = read_acks(&acks).last().unwrap().seq;
        let found = verify(&db).unwrap().last_seq;
        assert!(found >= acked && acked > last, "{found} {acked} {last}");
        last = found;
    }
    let mut verifier = Proc::bin("hw-app", ["verify".as_ref(), db.as_os_str()]);
    assert_eq!(verifier.expect_exit(SOON), 0);
    assert!(verifier.log().starts_with(&format!("last_seq={last} ")), "{}", verifier.log());
    assert_eq!(Proc::bin("hw-app", ["--db"]).expect_exit(SOON), 1);
}

#[test]
fn signals_exits_and_logs() {
    let mut sleeper = shell("trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.01; done");
    sleeper.wait_for_log(SOON, "up");
    assert!(sleeper.is_running());
    assert_eq!(sleeper.wait_timeout(Duration::from_millis(20)), None);
    sleeper.terminate();
    assert_eq!(sleeper.expect_exit(SOON), 3);
    assert_eq!(sleeper.log(), "up\nbye\n");
    sleeper.terminate();
    sleeper.kill9();
    let mut killed = shell("sleep 100");
    killed.kill9();
    assert_eq!(killed.expect_exit(SOON), -1);
}

#[test]
fn nothing_survives_its_test() {
    let sleeper = shell("exec sleep 100");
    let proc = format!("/proc/{}", sleeper.id());
    assert!(std::path::Path::new(&proc).exists());
    drop(sleeper);
    assert!(!std::path::Path::new(&proc).exists());
}

#[test]
fn waiting_is_bounded_and_shows_the_log() {
    let short = Duration::from_millis(50);
    let failure = catch_unwind(|| wait_until(short, "the impossible", || false)).unwrap_err();
    assert!(failure.downcast_ref::<String>().unwrap().contains("the impossible"));
    let failure = catch_unwind(|| shell("echo why; exit 1").wait_until(SOON, "more", || false)).unwrap_err();
    let text = failure.downcast_ref::<String>().unwrap();
    assert!(text.contains("ended before: more") && text.contains("why"), "{text}");
    let failure = catch_unwind(|| shell("echo slow; sleep 9").expect_exit(short)).unwrap_err();
    assert!(failure.downcast_ref::<String>().unwrap().contains("did not end"));
}

#[test]
fn ports_are_given_once_and_never_by_the_kernel() {
    let ports: BTreeSet<u16> = (0..90).map(|_| free_port()).collect();
    assert_eq!(ports.len(), 90);
    assert!(ports.iter().all(|port| (20_000..32_000).contains(port)), "{ports:?}");
    let next = free_port() + 1;
    // Ours or somebody else's: it is not free.
    let _taken = TcpListener::bind(("127.0.0.1", next));
    assert_ne!(free_port(), next);
}
