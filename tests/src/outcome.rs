//! A command that ended: its exit code and what it said.

use std::fs::File;
use std::io::{Read, Seek};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::PATIENCE;

/// See the module.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Exit code; -1 when a signal ended it.
    pub exit: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs a command to its end; panics when that takes longer than [`PATIENCE`].
#[track_caller]
pub fn run(mut command: Command) -> Outcome {
    let capture = || tempfile::tempfile().expect("a scratch file");
    let (out, err) = (capture(), capture());
    let share = |file: &File| Stdio::from(file.try_clone().expect("files can be shared"));
    let spawned = command.stdin(Stdio::null()).stdout(share(&out)).stderr(share(&err)).spawn();
    let mut child = spawned.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let started = std::time::Instant::now();
    let status = loop {
        match child.try_wait().expect("the child is ours") {
            Some(status) => break Some(status),
            None if started.elapsed() > PATIENCE => break None,
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let (stdout, stderr) = (text(out), text(err));
    let status = status.unwrap_or_else(|| panic!("{command:?} did not end; stderr:\n{stderr}"));
    Outcome { exit: status.code().unwrap_or(-1), stdout, stderr }
}

fn text(mut file: File) -> String {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("a scratch file can be read");
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Outcome {
    /// The line an operator sees last.
    pub fn last_line(&self) -> &str {
        self.stderr.trim_end().lines().last().unwrap_or_default()
    }

    /// Panics unless it ended with this code.
    #[track_caller]
    pub fn expect(&self, exit: i32) -> &Outcome {
        assert_eq!(self.exit, exit, "exit code; stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Panics unless the last line of stderr is one readable line (not a panic, not JSON) that holds all of these.
    #[track_caller]
    pub fn says(&self, parts: &[&str]) -> &Outcome {
        let line = self.last_line();
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        assert!(
            !line.starts_with('{') && line.contains(": "),
            "not a line for people: {line:?}\n{}",
            self.stderr
        );
        for part in parts {
            assert!(line.contains(part), "{part:?} is not in the last line {line:?}");
        }
        self
    }
}
