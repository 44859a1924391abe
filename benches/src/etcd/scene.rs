//! A real etcd with something in it, a store that counts, and what is run on them.

use super::load::Load;
use super::run::{Run, children};
use crate::bench::{Bench, server};
use crate::usage;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use testkit::etcd::{Cluster, program};
use testkit::procs;
use testkit::s3::{ACCESS_KEY, BUCKET, S3Server, SECRET_KEY};

/// Longest run of one program.
const LIMIT: Duration = Duration::from_secs(600);

/// See the module.
pub(super) struct Scene {
    cluster: Cluster,
    server: S3Server,
    pub(super) place: tempfile::TempDir,
    recipient: String,
}

impl Scene {
    /// An etcd with this in it, a store, and keys.
    pub(super) fn new(bench: &Bench, load: Load) -> Result<Scene> {
        let place = bench.place()?;
        let cluster = Cluster::start(1, false).map_err(anyhow::Error::msg)?;
        eprintln!("filling etcd with {} keys, {} MiB", load.keys, (load.keys * load.value) >> 20);
        load.fill(&cluster)?;
        let server = server(place.path(), "store")?;
        fs::create_dir(place.path().join("spool"))?;
        let key = place.path().join("key.txt");
        let made = Command::new("age-keygen").arg("-o").arg(&key).stderr(Stdio::null()).status();
        ensure!(made.is_ok_and(|status| status.success()), "age-keygen is not installed");
        let text = fs::read_to_string(&key)?;
        let recipient = text.lines().find_map(|line| line.strip_prefix("# public key: "));
        let recipient = recipient.context("age-keygen names no public key")?.to_owned();
        Ok(Scene { cluster, server, place, recipient })
    }

    /// Brings the file to rest and in the page cache, so that nobody pays for what came before; its size.
    pub(super) fn settle(&self) -> Result<u64> {
        let file = self.place.path().join("warm.db");
        self.cluster.snapshot(&file);
        let bytes = fs::metadata(&file)?.len();
        fs::remove_file(&file)?;
        nix::unistd::sync();
        Ok(bytes)
    }

    fn etcdctl(&self) -> Command {
        let mut command = Command::new(program("etcdctl").unwrap_or_else(|| PathBuf::from("etcdctl")));
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.cluster.endpoints()[0]]);
        command
    }

    pub(super) fn save(&self) -> Result<Run> {
        let file = self.place.path().join("saved.db");
        let mut command = self.etcdctl();
        command.args(["snapshot", "save"]).arg(&file);
        let run = self.measured(&mut command);
        fs::remove_file(&file)?;
        run
    }

    /// As scripts do it: a snapshot to a file, then through the pipe.
    pub(super) fn pipeline(&self) -> Result<Run> {
        let file = self.place.path().join("piped.db");
        let script = format!(
            "set -e; '{etcdctl}' --endpoints {endpoint} snapshot save {file} >/dev/null; zstd -q -c {file} | age -r {recipient} | rclone --config /dev/null rcat :s3:{BUCKET}/pipeline/snapshot.db.zst.age",
            etcdctl = program("etcdctl").unwrap_or_else(|| PathBuf::from("etcdctl")).display(),
            endpoint = self.cluster.endpoints()[0],
            file = file.display(),
            recipient = self.recipient,
        );
        let mut command = Command::new("bash");
        command.args(["-o", "pipefail", "-c", &script]).env("ETCDCTL_API", "3");
        command.env_remove("AWS_CA_BUNDLE"); // rclone cannot load one, and the server here has no TLS
        for (name, value) in [
            ("PROVIDER", "Other"),
            ("ENDPOINT", &self.server.endpoint()),
            ("ACCESS_KEY_ID", ACCESS_KEY),
            ("SECRET_ACCESS_KEY", SECRET_KEY),
            ("REGION", "us-east-1"),
            ("FORCE_PATH_STYLE", "true"),
            ("NO_CHECK_BUCKET", "true"),
        ] {
            command.env(format!("RCLONE_S3_{name}"), value);
        }
        let run = self.measured(&mut command)?;
        fs::remove_file(&file)?;
        let stored = self.server.keys("pipeline/");
        ensure!(stored.len() == 1, "rclone stored {stored:?}");
        fs::remove_file(self.server.object(&stored[0]))?; // room for what follows
        Ok(run)
    }

    pub(super) fn ship(&self) -> Result<Run> {
        let mut command = Command::new(procs::bin("etcd-shipper"));
        command.envs(self.server.env()).args(["ship", "--cluster", "bench", "--recipient", &self.recipient]);
        command.args([
            "--endpoints",
            &self.cluster.endpoints()[0],
            "--to",
            &self.server.url("etcd"),
            "-o",
            "json",
        ]);
        command.arg("--spool-dir").arg(self.place.path().join("spool"));
        let run = self.measured(&mut command)?;
        ensure!(run.stdout.contains(r#""hashkv": "equal""#), "not compared with its member: {}", run.stdout);
        Ok(Run { stream: self.manifest()?["stream_seconds"].as_f64(), ..run })
    }

    /// Removes what was shipped, for the next round.
    pub(super) fn forget(&self) -> Result<()> {
        for key in self.server.keys("etcd/") {
            fs::remove_file(self.server.object(&key))?;
        }
        Ok(())
    }

    fn manifest(&self) -> Result<Value> {
        let keys = self.server.keys("etcd/");
        let key = keys.iter().find(|key| key.ends_with(".manifest.json")).context("there is no manifest")?;
        Ok(serde_json::from_slice(&fs::read(self.server.object(key))?)?)
    }

    pub(super) fn restore(&self, verb: &[&str], more: &[&str]) -> Result<Run> {
        let mut command = Command::new(procs::bin("restore"));
        command.envs(self.server.env()).args(verb).arg(self.server.url("etcd"));
        command.arg("--identity").arg(self.place.path().join("key.txt")).args(more);
        if verb == ["verify"] {
            command.arg("--scratch").arg(self.place.path().join("spool"));
        }
        self.measured(&mut command)
    }

    /// A verb of `etcd-shipper` that opens what was shipped.
    pub(super) fn shipper(&self, verb: &[&str]) -> Result<Run> {
        let mut command = Command::new(procs::bin("etcd-shipper"));
        command.envs(self.server.env()).args(verb).arg(self.server.url("etcd"));
        command.arg("--identity").arg(self.place.path().join("key.txt"));
        let scratch = if verb[0] == "drill" { "--work-dir" } else { "--spool-dir" };
        command.arg(scratch).arg(self.place.path().join("spool"));
        self.measured(&mut command)
    }

    fn measured(&self, command: &mut Command) -> Result<Run> {
        nix::unistd::sync();
        let (before, cpu) = (self.server.counts(), children()?);
        let ran = usage::run(command, LIMIT)?;
        let after = self.server.counts().since(&before);
        Ok(Run {
            seconds: ran.seconds,
            cpu: children()? - cpu,
            usage: ran.usage,
            sent: after.bytes_in,
            requests: after.total(),
            stdout: ran.stdout,
            stream: None,
        })
    }
}
