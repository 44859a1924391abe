//! End-to-end tests over the real binaries, and what they share.
//!
//! Every test drives `wal-streamer`, `restore` and `hw-app` as processes, against a real S3 server or a directory, and
//! judges them by what an operator sees: exit code, last line, what is in the store, what comes back. Waiting is always
//! for something, and bounded. `HIGHWATER_FULL=1` runs the long versions, `HIGHWATER_SEED` repeats a random one.

#![allow(clippy::disallowed_methods, reason = "a test measures real time")]

pub mod disk;
pub mod failing;
pub mod http;
mod outcome;
mod place;
pub mod pod;
pub mod prometheus;
pub mod rclone;
pub mod servers;
mod streamer;
pub mod traced;
pub mod tree;
mod volume;

pub use outcome::{Outcome, run};
pub use place::Place;
pub use pod::Pod;
pub use streamer::Streamer;
pub use volume::{Volume, fold, kill_between_commits, snapshot};

use std::time::Duration;

/// Longer than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Whether the long versions of the tests were asked for.
pub fn full() -> bool {
    std::env::var_os("HIGHWATER_FULL").is_some_and(|value| value == "1")
}

pub mod interop;

/// Takes away every variable of ours that this process has: the binaries refuse those they do not know, and the tests have
/// some of their own.
pub fn without_our_variables(command: &mut std::process::Command) -> &mut std::process::Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HIGHWATER_") {
            command.env_remove(name);
        }
    }
    command
}
