//! `wal-streamer replicate` as a process, read through its own log lines.

use std::ffi::OsString;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::Value;
use testkit::procs::Proc;

use crate::{Outcome, PATIENCE, Place, run};

/// A running streamer; killed on drop.
#[derive(Debug)]
pub struct Streamer {
    /// The process.
    pub proc: Proc,
}

impl Streamer {
    /// Follows one database, with further arguments.
    pub fn start(place: &Place, prefix: &str, db: &Path, more: &[&str]) -> Streamer {
        Streamer::of_pairs(place, &[(db, prefix)], more)
    }

    /// Follows several databases in one process.
    pub fn of_pairs(place: &Place, pairs: &[(&Path, &str)], more: &[&str]) -> Streamer {
        let mut command = place.command("wal-streamer");
        command
            .args(arguments(place, pairs, more))
            .env("HIGHWATER_LOG", "info,wal_streamer=debug,sqlite_replica=debug");
        Streamer { proc: Proc::start(command) }
    }

    /// `replicate` with these arguments and variables, and no pairs.
    pub fn with(place: &Place, arguments: &[&str], variables: &[(&str, &str)]) -> Streamer {
        let mut command = place.command("wal-streamer");
        command.args(["--log-format", "json", "replicate"]).args(arguments);
        command
            .env("HIGHWATER_LOG", "info,wal_streamer=debug,sqlite_replica=debug")
            .envs(variables.iter().copied());
        Streamer { proc: Proc::start(command) }
    }

    /// `replicate --once` to its end.
    #[track_caller]
    pub fn once(place: &Place, prefix: &str, db: &Path, more: &[&str]) -> Outcome {
        let mut command = place.command("wal-streamer");
        command.args(arguments(place, &[(db, prefix)], more)).arg("--once");
        run(command)
    }

    /// The log lines, as far as they are complete.
    pub fn lines(&self) -> Vec<Value> {
        self.proc.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The log lines with this message.
    pub fn events(&self, message: &str) -> Vec<Value> {
        self.lines().into_iter().filter(|line| line["message"] == message).collect()
    }

    /// The newest TXID it reported durable; 0 for none.
    pub fn durable(&self) -> u64 {
        self.events("durable").iter().filter_map(|line| line["txid"].as_u64()).max().unwrap_or(0)
    }

    /// Waits until it follows the database: claimed, and what was there is durable or compared.
    #[track_caller]
    pub fn following(mut self) -> Streamer {
        self.wait_for("claimed");
        self
    }

    /// Waits for a text in its log.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        self.proc.wait_for_log(PATIENCE, text);
    }

    /// Waits until it reported a later TXID durable than this one; gives the newest.
    #[track_caller]
    pub fn wait_beyond(&mut self, txid: u64) -> u64 {
        let started = std::time::Instant::now();
        loop {
            let durable = self.durable();
            if durable > txid {
                return durable;
            }
            assert!(self.proc.is_running(), "the streamer ended:\n{}", self.proc.log_tail());
            assert!(started.elapsed() < PATIENCE, "nothing after TXID {txid}:\n{}", self.proc.log_tail());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// `sync --wait` by hand: what was committed to this database before is durable when this returns.
    #[track_caller]
    pub fn sync(&mut self, place: &Place, db: &Path) {
        let socket = db.with_file_name(".highwater").join("wal-streamer.sock");
        self.proc.wait_until(PATIENCE, "the control socket", || socket.exists());
        let mut command = place.command("wal-streamer");
        command.args(["sync", "--wait", "--socket"]).arg(socket);
        run(command).expect(0);
    }

    /// SIGTERM: everything committed becomes durable, and the exit code says so.
    #[track_caller]
    pub fn drain(&mut self) {
        self.proc.terminate();
        let exit = self.proc.expect_exit(PATIENCE);
        assert_eq!(exit, 0, "the streamer ended with {exit}:\n{}", self.proc.log_tail());
    }

    /// Stops its clock: SIGSTOP.
    pub fn pause(&mut self) {
        self.proc.signal(Signal::SIGSTOP);
    }

    /// Lets it go on: SIGCONT.
    pub fn resume(&mut self) {
        self.proc.signal(Signal::SIGCONT);
    }
}

fn arguments(place: &Place, pairs: &[(&Path, &str)], more: &[&str]) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = ["--log-format", "json", "replicate"].map(OsString::from).to_vec();
    for (db, prefix) in pairs {
        arguments.push(db.into());
        arguments.push(place.url(prefix).into());
    }
    arguments.extend(more.iter().map(OsString::from));
    arguments
}
