//! `cargo xtask demo`: an application writes, the streamer is killed halfway, the volume is lost, the database comes back.

use anyhow::{Context, Result, bail, ensure};
use rusqlite::{Connection, OpenFlags};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use testkit::app::{self, AppArgs};
use testkit::procs::{self, Proc};
use testkit::s3::S3Server;

const TRANSACTIONS: u64 = 6_000;
const RATE: f64 = 600.0;
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs the demonstration; fails if anything came back different.
pub(crate) fn run(db: Option<PathBuf>) -> Result<()> {
    for program in ["hw-app", "wal-streamer", "restore"] {
        procs::bin(program); // built now, so that building does not count as lag
    }
    let scratch = tempfile::tempdir()?;
    let volume = scratch.path().join("volume");
    fs::create_dir(&volume)?;
    let server = S3Server::start();
    step("object store", &format!("embedded S3 server on {}", server.endpoint()));
    let demo =
        Demo { volume, restored: scratch.path().join("restored.db"), url: server.url("demo/app"), server };
    match db {
        Some(path) => demo.of_a_database(&path),
        None => demo.of_the_application(),
    }
}

struct Demo {
    volume: PathBuf,
    restored: PathBuf,
    url: String,
    server: S3Server,
}

impl Demo {
    fn of_the_application(&self) -> Result<()> {
        let db = self.volume.join("app.db");
        let acks = self.volume.join("acks");
        let mut args = AppArgs::new(&db);
        args.transactions = TRANSACTIONS;
        args.rate = RATE;
        args.writers = 4;
        args.ack_file = Some(acks.clone());
        let started = Instant::now();
        let mut application = Proc::bin("hw-app", args.to_args());
        step(
            "application",
            &format!("4 connections, {TRANSACTIONS} transactions at {RATE}/s, into {}", db.display()),
        );

        let mut streamer = self.streamer(&db);
        step("wal-streamer", "follows it from the side");
        procs::wait_until(PATIENCE, "half of the transactions", || acked(&acks) >= TRANSACTIONS / 2);
        streamer.kill9();
        step("SIGKILL", &format!("the streamer dies after {} acknowledged transactions", acked(&acks)));
        let first_half = streamer.log();
        procs::wait_until(PATIENCE, "more transactions while nobody watches", || {
            acked(&acks) >= TRANSACTIONS * 6 / 10
        });
        let mut streamer = self.streamer(&db);
        streamer.wait_for_log(PATIENCE, "claimed");
        step(
            "wal-streamer",
            &format!("starts again at {} transactions and claims the replica anew", acked(&acks)),
        );

        ensure!(
            application.expect_exit(PATIENCE) == 0,
            "the application failed:\n{}",
            application.log_tail()
        );
        step("application", &format!("done after {:.1} s", started.elapsed().as_secs_f64()));
        self.stop(&mut streamer)?;
        let log = first_half + &streamer.log();
        report_lag(&log);
        self.lose_and_restore(&db)?;
        let report = app::verify(&self.restored).map_err(anyhow::Error::msg)?;
        ensure!(
            report.last_seq == TRANSACTIONS,
            "{} of {TRANSACTIONS} transactions came back",
            report.last_seq
        );
        step(
            "replayed",
            &format!("all {TRANSACTIONS} transactions are there: every row and byte is what their plan says"),
        );
        Ok(())
    }

    fn of_a_database(&self, path: &Path) -> Result<()> {
        let db = self.volume.join("copy.db");
        let source = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
            .with_context(|| format!("cannot read {}", path.display()))?;
        source.execute("VACUUM INTO ?1", [db.to_str().context("the path is not UTF-8")?])?;
        drop(source);
        step(
            "copy",
            &format!(
                "{} ({} bytes) is only read; the copy is {} bytes",
                path.display(),
                size(path),
                size(&db)
            ),
        );
        let writer = Connection::open(&db)?;
        writer.pragma_update(None, "journal_mode", "wal")?;
        let mut streamer = self.streamer(&db);
        streamer.wait_for_log(PATIENCE, "claimed");
        writer.execute_batch("CREATE TABLE highwater_demo(x); INSERT INTO highwater_demo VALUES(randomblob(100000)); DROP TABLE highwater_demo;")?;
        drop(writer);
        self.stop(&mut streamer)?;
        report_lag(&streamer.log());
        self.lose_and_restore(&db)
    }

    fn streamer(&self, db: &Path) -> Proc {
        let mut command = Command::new(procs::bin("wal-streamer"));
        command.args(["--log-format", "json", "replicate"]).arg(db).arg(&self.url);
        command.envs(self.server.env()).env("HIGHWATER_LOG", "debug");
        Proc::start(command)
    }

    /// SIGTERM: the rest becomes durable, and the exit code says so.
    fn stop(&self, streamer: &mut Proc) -> Result<()> {
        let started = Instant::now();
        streamer.terminate();
        let exit = streamer.expect_exit(PATIENCE);
        ensure!(exit == 0, "the streamer ended with {exit}:\n{}", streamer.log_tail());
        step(
            "SIGTERM",
            &format!("the streamer made the rest durable and left in {} ms", started.elapsed().as_millis()),
        );
        Ok(())
    }

    fn lose_and_restore(&self, db: &Path) -> Result<()> {
        // What the application had, for the comparison: the WAL folded into the file.
        Connection::open(db)?.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        let kept = self.restored.with_file_name("what-the-application-had.db");
        fs::copy(db, &kept)?;
        fs::remove_dir_all(&self.volume)?;
        let objects = self.server.keys("demo/app/");
        step("disaster", &format!("the volume is gone; the bucket holds {} objects", objects.len()));

        let started = Instant::now();
        let mut command = Command::new(procs::bin("restore"));
        command.arg("sqlite").arg(&self.url).arg("-o").arg(&self.restored).envs(self.server.env());
        let output = command.output()?;
        ensure!(output.status.success(), "restore failed: {}", String::from_utf8_lossy(&output.stderr));
        step(
            "restore",
            &format!(
                "{} in {} ms",
                String::from_utf8_lossy(&output.stdout).trim(),
                started.elapsed().as_millis()
            ),
        );

        let compared = app::compare_dbs(&kept, &self.restored).map_err(anyhow::Error::msg)?;
        if !compared.same_bytes() || !compared.same_rows() {
            bail!("the restored database differs: {compared:?}");
        }
        let rows: u64 = compared.tables.iter().map(|t| t.rows.0).sum();
        step(
            "compared",
            &format!(
                "{} pages and {rows} rows in {} tables: identical",
                compared.pages.0,
                compared.tables.len()
            ),
        );
        Ok(())
    }
}

fn acked(acks: &Path) -> u64 {
    app::read_acks(acks).len() as u64
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |m| m.len())
}

/// Lag from the streamer's own log lines: from seeing the first commit of a file to that file being durable.
fn report_lag(log: &str) {
    let field = |line: &serde_json::Value, name: &str| line[name].as_u64();
    let lines = log.lines().filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
    let durable: Vec<_> = lines.filter(|l| l["message"] == "durable").collect();
    let mut lags: Vec<u64> = durable.iter().filter_map(|l| field(l, "lag_ms")).collect();
    let bytes: u64 = durable.iter().filter_map(|l| field(l, "bytes")).sum();
    lags.sort_unstable();
    if let (Some(median), Some(worst)) = (lags.get(lags.len() / 2), lags.last()) {
        step(
            "lag",
            &format!(
                "{} files, {bytes} bytes; commit seen to durable: median {median} ms, worst {worst} ms",
                lags.len()
            ),
        );
    }
}

fn step(what: &str, text: &str) {
    println!("{what:>14}  {text}");
}
