//! The promises of the tail, tested with real SQLite and real processes: POSIX locks only mean something between
//! processes, so applications are children (this very binary, run again, see [`app`]).

#![allow(clippy::unwrap_used)] // helpers of tests are tests; clippy only knows functions marked as such

mod app;
mod attach;
mod checkpoints;
mod crash;
mod image;
mod measure;
mod pin;
mod resume;
mod trap_locks;
mod trap_publication;
mod trap_saturation;
mod views;
mod watching;
mod workload;

use clock::{Clock, SystemClock};
use sqlite_tail::{Options, Tail};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A scratch directory with a database path in it.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }
    pub(crate) fn db(&self) -> PathBuf {
        self.dir.path().join("app.db")
    }
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

pub(crate) fn attach(path: &Path) -> Tail {
    Tail::attach(path, Options::default(), clock()).unwrap()
}

/// Polls until `done`; a bound that is never reached unless something hangs.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..20_000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("never happened: {what}");
}

/// Whether this is the full suite; says why a test is skipped if not.
pub(crate) fn full(what: &str) -> bool {
    let full = std::env::var_os("HIGHWATER_FULL").is_some_and(|value| value == "1");
    if !full {
        println!("skipped: {what}; set HIGHWATER_FULL=1");
    }
    full
}

/// The entry of the children; does nothing in an ordinary run.
#[test]
fn child() {
    app::run_if_child();
}
