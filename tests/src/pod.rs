//! A pod: its volume, what its containers share, its description, and its containers as processes.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use testkit::procs::Proc;

use crate::{Outcome, PATIENCE, Place, Volume, run};

/// See the module.
#[derive(Debug)]
pub struct Pod<'a> {
    /// Where its replicas are.
    pub place: &'a Place,
    /// Its volume.
    pub volume: Volume,
    scratch: TempDir,
    prefix: String,
    protects: String,
}

impl<'a> Pod<'a> {
    /// A pod with an empty volume; `protects` is what its description says beside names and places.
    pub fn new(place: &'a Place, protects: &str) -> Pod<'a> {
        Pod::at(place, "web", protects)
    }

    /// The same with its replicas under another prefix than `web`.
    pub fn at(place: &'a Place, prefix: &str, protects: &str) -> Pod<'a> {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let (prefix, protects) = (prefix.to_owned(), protects.to_owned());
        let pod = Pod { place, volume: Volume::new(), scratch, prefix, protects };
        fs::write(pod.annotations(), "highwater.dev/debounce=\"1s\"\n").expect("the scratch can be written");
        pod.describe("");
        pod
    }

    /// Says more in the description from now on.
    pub fn describe(&self, more: &str) {
        let text = format!(
            "app: web\ncluster: home\nreplica: '{}'\nroot: {}\n{}\n{more}\n",
            self.place.url(&self.prefix),
            self.volume.path().display(),
            self.protects
        );
        fs::write(self.scratch.path().join("protect.yaml"), text).expect("the scratch can be written");
    }

    fn annotations(&self) -> PathBuf {
        self.scratch.path().join("annotations")
    }

    /// The directory its containers share.
    pub fn run_dir(&self) -> PathBuf {
        self.scratch.path().join("run")
    }

    fn container(&self, program: &str, verb: &str) -> Command {
        let mut command = self.place.command(program);
        command.arg(verb).arg("--config").arg(self.scratch.path().join("protect.yaml"));
        command.arg("--annotations").arg(self.annotations()).arg("--run-dir").arg(self.run_dir());
        command
    }

    /// The init container, as a command.
    pub fn init_command(&self, more: &[&str]) -> Command {
        let mut command = self.container("restore", "init");
        command.args(["--patience", "1s"]).args(more);
        command
    }

    /// Runs the init container to its end.
    #[track_caller]
    pub fn init(&self, more: &[&str]) -> Outcome {
        run(self.init_command(more))
    }

    /// `restored.json`.
    pub fn handover(&self) -> Option<Value> {
        let text = fs::read_to_string(self.run_dir().join("restored.json")).ok()?;
        Some(serde_json::from_str(&text).expect("it appears whole or not at all"))
    }

    /// Its line about a tree.
    #[track_caller]
    pub fn tree(&self) -> Value {
        self.handover().expect("it was restored")["files"][0].clone()
    }

    /// Its line about the first database.
    #[track_caller]
    pub fn database(&self) -> Value {
        self.handover().expect("it was restored")["databases"][0].clone()
    }

    /// The sidecar for files.
    pub fn syncer(&self) -> Proc {
        let mut command = self.container("config-syncer", "watch");
        command.args(["--listen", "127.0.0.1:0", "--debounce", "100ms"]);
        Proc::start(command)
    }

    /// The sidecar for databases.
    pub fn streamer(&self) -> Proc {
        self.streamer_with(&[])
    }

    /// The same with further arguments.
    pub fn streamer_with(&self, more: &[&str]) -> Proc {
        let mut command = self.container("wal-streamer", "replicate");
        command.args(["--listen", "127.0.0.1:0", "--start-jitter", "0s"]).args(more);
        Proc::start(command)
    }

    /// Writes a file of the application.
    pub fn put(&self, name: &str, text: &str) {
        let path = self.volume.file(name);
        fs::create_dir_all(path.parent().expect("below the volume")).expect("the volume can be written");
        fs::write(path, text).expect("the volume can be written");
    }

    /// Reads a file of the application.
    pub fn get(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.volume.file(name)).ok()
    }

    /// The volume is empty, as a new one.
    pub fn lose_volume(&self) {
        self.remove(|_| true);
    }

    /// Everything of the application is gone; what we keep beside it is left.
    pub fn empty_tree(&self) {
        self.remove(|name| name != ".highwater");
    }

    fn remove(&self, which: impl Fn(&str) -> bool) {
        for entry in fs::read_dir(self.volume.path()).expect("the volume can be read").flatten() {
            let path = entry.path();
            if !which(&entry.file_name().to_string_lossy()) {
                continue;
            }
            let gone = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            gone.expect("the volume can be emptied");
        }
    }

    /// Commits of the tree of the root, claims among them.
    pub fn commits(&self) -> usize {
        fs::read_dir(self.place.root(&format!("{}/files/m", self.prefix))).map_or(0, Iterator::count)
    }
}

/// Where a sidecar serves, from its log.
#[track_caller]
pub fn addr(proc: &mut Proc) -> String {
    proc.wait_for_log(PATIENCE, "serving");
    let log = proc.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut lines = lines.filter(|line| line["message"] == "serving");
    let line = lines.next_back().expect("it was waited for");
    line["addr"].as_str().expect("an address is text").to_owned()
}

/// SIGTERM, and a clean end.
#[track_caller]
pub fn stop(proc: &mut Proc) {
    proc.terminate();
    let exit = proc.expect_exit(PATIENCE);
    assert_eq!(exit, 0, "{}", proc.log_tail());
}
