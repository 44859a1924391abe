//! A replicator beside the application: ours or Litestream, started, asked and stopped the same way.
//!
//! Both run with their defaults: one upload per second and database. Litestream gets a configuration file that holds
//! nothing but the database and its replica.

use crate::bench::Bench;
use crate::section::MISSING;
use crate::usage::Usage;
use anyhow::{Context, Result, bail, ensure};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use testkit::procs::{self, Proc};
use testkit::s3::{BUCKET, REGION, S3Server};

/// Longest wait for anything a replicator does.
const PATIENCE: Duration = Duration::from_secs(120);

/// Who replicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    Streamer,
    Litestream,
}

impl Tool {
    pub(crate) const BOTH: [Tool; 2] = [Tool::Streamer, Tool::Litestream];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Tool::Streamer => "wal-streamer",
            Tool::Litestream => "litestream",
        }
    }
}

/// A running replicator of one database; killed on drop.
pub(crate) struct Replicator {
    tool: Tool,
    process: Proc,
    /// Where its files of single syncs appear.
    files: PathBuf,
}

impl Replicator {
    /// Starts it and waits for the first image in the store. `options` are for ours only.
    pub(crate) fn start(
        bench: &Bench,
        tool: Tool,
        db: &Path,
        server: &S3Server,
        options: &[&str],
    ) -> Result<Replicator> {
        let prefix = tool.name();
        let mut command = match tool {
            Tool::Streamer => {
                let mut command = Command::new(procs::bin("wal-streamer"));
                command.args(["--log-format", "json", "replicate"]).arg(db).arg(server.url(prefix));
                command.args(["--listen", "127.0.0.1:0"]).args(options);
                command.env("HIGHWATER_LOG", "wal_streamer=debug,info");
                command
            }
            Tool::Litestream => {
                let mut command = Command::new(bench.litestream.as_ref().context(MISSING)?);
                let config = db.with_extension("yml");
                fs::write(&config, configuration(db, server, prefix))?;
                command.args(["replicate", "-config"]).arg(config);
                command
            }
        };
        clean(&mut command, server);
        let process = Proc::start(command);
        let files = server.dir().join(prefix).join("0000");
        let mut replicator = Replicator { tool, process, files };
        replicator.wait("the first image", |r| {
            fs::read_dir(&r.files).is_ok_and(|mut entries| entries.next().is_some())
        })?;
        Ok(replicator)
    }

    pub(crate) fn files(&self) -> &Path {
        &self.files
    }

    /// Everything it logged.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    pub(crate) fn usage(&self) -> Result<Usage> {
        Usage::of(self.process.id()).context("the process is gone")
    }

    /// An error if it has ended.
    pub(crate) fn must_run(&mut self) -> Result<()> {
        if self.process.is_running() {
            return Ok(());
        }
        let log = self.process.log_tail();
        bail!("{} ended early: {}", self.tool.name(), log.lines().last().unwrap_or("no output"))
    }

    /// SIGTERM, and all it cost when it has made the rest durable and left.
    pub(crate) fn stop(mut self) -> Result<Usage> {
        self.must_run()?;
        let mut last = self.usage()?;
        self.process.terminate();
        let started = Instant::now();
        // Not reaped yet, it keeps its counters for us to read.
        while let Some(now) = Usage::of(self.process.id()) {
            let gone = now.peak == 0;
            last = Usage {
                cpu: now.cpu,
                peak: last.peak.max(now.peak),
                rss: if gone { last.rss } else { now.rss },
            };
            if gone || started.elapsed() > PATIENCE {
                break;
            }
            thread::sleep(Duration::from_millis(2));
        }
        let status = self.process.wait_timeout(Duration::from_secs(5));
        let code = status.context("it did not end")?.code();
        ensure!(code == Some(0), "{} ended with {code:?}: {}", self.tool.name(), self.process.log_tail());
        Ok(last)
    }

    /// Upper bound of the longest time it held the application's write lock, seconds; `None` if it never did. Ours only.
    pub(crate) fn longest_lock(&self) -> Result<Option<f64>> {
        let metrics = self.metrics()?;
        let name = "highwater_db_write_lock_seconds";
        let value = |line: &str| line.rsplit(' ').next().and_then(|text| text.parse::<f64>().ok());
        let lines = |part: &str| {
            let start = format!("{name}{part}");
            metrics
                .lines()
                .filter(move |line| line.starts_with(&start))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let count = lines("_count").first().and_then(|line| value(line)).unwrap_or(0.0);
        if count == 0.0 {
            return Ok(None);
        }
        let sum = lines("_sum").first().and_then(|line| value(line)).context("no sum of lock times")?;
        let bounds = lines("_bucket").into_iter().filter(|line| value(line) == Some(count));
        let bounds =
            bounds.filter_map(|line| line.split_once("le=\"")?.1.split('"').next()?.parse::<f64>().ok());
        Ok(Some(bounds.fold(sum, f64::min)))
    }

    fn metrics(&self) -> Result<String> {
        let log = self.process.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let serving = lines
            .filter(|line| line["message"] == "serving")
            .find_map(|line| Some(line["addr"].as_str()?.to_owned()));
        let mut stream = TcpStream::connect(serving.context("no address in the log")?)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }

    fn wait(&mut self, what: &str, mut is_so: impl FnMut(&Replicator) -> bool) -> Result<()> {
        let started = Instant::now();
        while !is_so(self) {
            self.must_run()?;
            ensure!(started.elapsed() < PATIENCE, "{}: waited for {what}", self.tool.name());
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

/// Credentials, and nothing of the caller's that concerns other stores or the benchmark itself: with its own client Litestream refuses a CA
/// bundle, and ours refuse settings they do not know.
pub(crate) fn clean(command: &mut Command, server: &S3Server) {
    let given: Vec<OsString> = command.get_envs().map(|(name, _)| name.to_owned()).collect();
    let ours = |name: &OsString| name.to_string_lossy().starts_with("HIGHWATER_") && !given.contains(name);
    for (name, _) in env::vars_os().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
    for name in ["AWS_CA_BUNDLE", "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"] {
        command.env_remove(name);
    }
    command.envs(server.env());
}

/// The configuration file of Litestream.
pub(crate) fn configuration(db: &Path, server: &S3Server, prefix: &str) -> String {
    format!(
        "dbs:\n  - path: {}\n    replica:\n      type: s3\n      bucket: {BUCKET}\n      path: {prefix}\n      endpoint: {}\n      \
         region: {REGION}\n      force-path-style: true\n",
        db.display(),
        server.endpoint()
    )
}
