//! The replica that is restored, and one restore of it.

use super::{LIMIT, Run, Way};
use crate::arrivals::Arrivals;
use crate::bench::{Bench, server};
use crate::replicator::{Replicator, Tool, clean, configuration};
use crate::usage::{self, Usage};
use crate::writer::Writer;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use testkit::app::compare_dbs;
use testkit::dirs::copy_dir;
use testkit::procs;
use testkit::s3::S3Server;

const INCREMENTS: u32 = 249;
/// Whose replica it is.
const APP: &str = "bench";
/// Where a pod of its own looks for the same objects.
const POD: &str = "pod";

/// A replica on a server, and the database it is of. Dropped in this order.
pub(super) struct Replica {
    server: S3Server,
    /// The image, then everything of level 0 in its order.
    files: Vec<PathBuf>,
    source: PathBuf,
    pub(super) objects: usize,
    pub(super) object_bytes: u64,
    pub(super) bytes: u64,
    place: TempDir,
}

impl Replica {
    pub(super) fn build(bench: &Bench, bytes: u64) -> Result<Replica> {
        let place = bench.place()?;
        let source = place.path().join("source.db");
        let mut writer = Writer::open(&source, bytes)?;
        let server = server(place.path(), "store")?;
        // Every commit becomes a file of its own.
        let replicator = Replicator::start(
            bench,
            Tool::Streamer,
            &source,
            &server,
            &["--sync-interval", "1ms", "--app", APP],
        )?;
        let arrivals = Arrivals::watch(replicator.files())?;
        for _ in 0..bench.sized(INCREMENTS, 20) {
            let commit = writer.commit(10)?;
            arrivals.until(commit.to, Duration::from_secs(30))?;
        }
        let level0 = replicator.files().to_owned();
        replicator.stop()?;
        drop(writer); // the last to leave folds the WAL into the file
        let mut files = listed(&level0.with_file_name("0009"))?;
        ensure!(files.len() == 1, "{} images", files.len());
        files.extend(listed(&level0)?);
        let sizes: Vec<u64> =
            files.iter().map(|file| Ok(fs::metadata(file)?.len())).collect::<Result<_>>()?;
        let bytes = fs::metadata(&source)?.len();
        Ok(Replica {
            server,
            files,
            source,
            objects: sizes.len(),
            object_bytes: sizes.iter().sum(),
            bytes,
            place,
        })
    }

    /// Restores once while each request takes `latency` longer. `compare`: with the database, afterwards.
    pub(super) fn restore(&self, bench: &Bench, way: Way, latency: Duration, compare: bool) -> Result<Run> {
        let volume = self.place.path().join("volume");
        let output = volume.join("source.db");
        if volume.exists() {
            fs::remove_dir_all(&volume)?; // what a failed run left
        }
        fs::create_dir(&volume)?;
        let mut command = self.command(bench, way, &output)?;
        clean(&mut command, &self.server);
        nix::unistd::sync();
        let before = self.server.counts();
        self.server.faults().latency(latency);
        let ran = match way {
            Way::Limit => crate::limit::assemble(&self.files, &output).map(|s| (s, Usage::default())),
            _ => usage::run(&mut command, LIMIT).map(|ran| (ran.seconds, ran.usage)),
        };
        self.server.faults().latency(Duration::ZERO);
        let (seconds, usage) = ran?;
        let requests = self.server.counts().since(&before).total();
        let compared = if compare { same(&self.source, &output) } else { Ok(()) };
        fs::remove_dir_all(&volume)?;
        compared?;
        Ok(Run { seconds, usage, requests })
    }

    fn command(&self, bench: &Bench, way: Way, output: &Path) -> Result<Command> {
        let mut command = match way {
            Way::Limit => Command::new("true"),
            Way::Litestream => Command::new(bench.litestream.as_ref().context("missing")?),
            Way::Ours | Way::OursChecked | Way::Pod => Command::new(procs::bin("restore")),
        };
        match way {
            Way::Limit => {}
            Way::Litestream => {
                let config = self.source.with_extension("yml");
                fs::write(&config, configuration(&self.source, &self.server, Tool::Streamer.name()))?;
                command.args(["restore", "-config"]).arg(config).arg("-o").arg(output).arg(&self.source);
            }
            Way::Ours | Way::OursChecked => {
                command.arg("sqlite").arg(self.server.url(Tool::Streamer.name())).arg("-o").arg(output);
                command.args(["--integrity", if way == Way::Ours { "none" } else { "quick" }]);
            }
            Way::Pod => {
                let config = self.place.path().join("protect.yaml");
                let volume = output.parent().context("a file in a directory")?.display();
                let replica = self.pod()?;
                fs::write(
                    &config,
                    format!(
                        "app: {APP}\nreplica: '{replica}'\nroot: {volume}\ndatabases: [{{path: source.db}}]\n"
                    ),
                )?;
                command
                    .arg("init")
                    .arg("--config")
                    .arg(config)
                    .arg("--run-dir")
                    .arg(self.place.path().join("run"));
            }
        }
        Ok(command)
    }

    /// The same objects at a place of their own, made anew: a pod claims what it restores.
    fn pod(&self) -> Result<String> {
        let root = self.server.dir().join(POD);
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        copy_dir(&self.server.dir().join(Tool::Streamer.name()), &root.join("sqlite").join("source.db"))?;
        // Listed once: the server reads what it did not write itself for the ETags, which no other store would do.
        let listed =
            self.server.client().send("GET", "", &format!("list-type=2&prefix={POD}%2F"), &[], b"")?;
        ensure!(listed.status == 200, "a listing is answered with {}", listed.status);
        Ok(self.server.url(POD))
    }
}

fn listed(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.sort();
    Ok(files)
}

/// Bit for bit.
fn same(source: &Path, restored: &Path) -> Result<()> {
    let (a, b) = (fs::read(source)?, fs::read(restored)?);
    if a == b {
        return Ok(());
    }
    drop((a, b));
    let compared = compare_dbs(source, restored).map_err(anyhow::Error::msg)?;
    ensure!(compared.same_bytes(), "the restored database differs: {compared}");
    Ok(())
}
