//! A bucket with snapshots that were shipped into it, and who has which key.

use std::fs;
use std::path::PathBuf;

use age::secrecy::ExposeSecret;
use e2e::{Outcome, Place, run};
use serde_json::Value;
use testkit::bolt::{kubernetes, snapshot};

/// A bucket, the keys of whoever restores, and what was shipped.
pub(crate) struct Scene {
    pub(crate) place: Place,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) recipient: String,
    /// The files that were shipped, oldest first.
    pub(crate) files: Vec<Vec<u8>>,
}

impl Scene {
    pub(crate) fn new() -> Scene {
        // Not in the system's temporary directory, which may be a tmpfs: a spool there is refused.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (ours, other) = (age::x25519::Identity::generate(), age::x25519::Identity::generate());
        fs::write(dir.path().join("key.txt"), ours.to_string().expose_secret()).unwrap();
        fs::write(dir.path().join("stranger.txt"), other.to_string().expose_secret()).unwrap();
        fs::create_dir(dir.path().join("spool")).unwrap();
        Scene { place: Place::s3(), dir, recipient: ours.to_public().to_string(), files: Vec::new() }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// Adopts a snapshot with so many keys more than the last, taken at this hour.
    pub(crate) fn ship(&mut self, cluster: &str, hour: u32, more: &[&str]) -> Outcome {
        let mut pairs = kubernetes();
        for index in 0..=self.files.len() {
            pairs.push((format!("/registry/configmaps/default/c{index}"), vec![b'c'; 40]));
        }
        let bytes = snapshot(&pairs);
        let file = self.path("taken.db");
        fs::write(&file, &bytes).unwrap();
        self.files.push(bytes);
        let taken = format!("2026-11-20T{hour:02}:00:00Z");
        let mut command = self.place.command("etcd-shipper");
        command.args(["ship", "--cluster", cluster, "--file", &file, "--taken-at", &taken]);
        command.args(["--to", &self.place.url("etcd"), "--spool-dir", &self.path("spool")]).args(more);
        run(command)
    }

    /// Three sealed snapshots of `prod`, at 10, 11 and 12 o'clock.
    pub(crate) fn three(mut self) -> Scene {
        for hour in [10, 11, 12] {
            let recipient = self.recipient.clone();
            self.ship("prod", hour, &["--recipient", &recipient]).expect(0);
        }
        self
    }

    pub(crate) fn restore(&self, verb: &str, more: &[&str]) -> Outcome {
        self.restore_at("etcd", verb, more)
    }

    pub(crate) fn restore_at(&self, prefix: &str, verb: &str, more: &[&str]) -> Outcome {
        let mut command = self.place.command("restore");
        command.args([verb, &self.place.url(prefix)]).args(more);
        run(command)
    }

    pub(crate) fn json(&self, verb: &str, more: &[&str]) -> Value {
        let said = self.restore(verb, &[more, &["-o", "json"]].concat());
        serde_json::from_str(&said.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", said.stdout, said.stderr))
    }

    /// The stored object of a kind, taken at this hour.
    pub(crate) fn object(&self, hour: u32, suffix: &str) -> PathBuf {
        let keys = self.place.server().keys("etcd/prod/");
        let stamp = format!("-20261120T{hour:02}0000Z-");
        let key = keys.into_iter().find(|key| key.contains(&stamp) && key.ends_with(suffix)).unwrap();
        self.place.server().object(&key)
    }
}
