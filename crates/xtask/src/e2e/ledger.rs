//! Scenarios of a pod with one database, whose application writes all the time and notes what SQLite acknowledged.
//!
//! Proves P1 and P2 through images, mounts, users and the kubelet's order, and P4 between two nodes.

use super::cluster::{Cluster, silent, until};
use super::kubelet::Pod;
use super::probe::metric;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::time::{Duration, Instant};
use testkit::app;

const VOLUME: &str = "ledger";
const APPLICATION: &str = "ledger";

/// See the module.
pub(super) struct Ledger(pub(super) Cluster);

impl Ledger {
    /// All scenarios, each on what the one before left; gives their number.
    pub(super) fn run(&mut self) -> Result<u32> {
        self.first_deployment()?;
        self.node_lost_while_writing()?;
        self.stopped_in_order()?;
        self.node_restarted()?;
        self.bucket_away_at_start()?;
        self.node_comes_back_as_a_zombie()?;
        Ok(6)
    }

    fn acknowledged(&self, volume: &str) -> Result<u64> {
        Ok(app::read_acks(&self.0.volume(volume)?.join("acks")).len() as u64)
    }

    /// Waits until the application has acknowledged so many more.
    fn more(&self, volume: &str, count: u64, pod: &Pod) -> Result<()> {
        let from = self.acknowledged(volume)?;
        until("transactions of the application", || Ok(self.acknowledged(volume)? >= from + count))
            .with_context(|| pod.logs())
    }

    /// The number of the last transaction in the database, each one proven; from a copy, so that no lock is touched.
    fn proven(&self, volume: &str) -> Result<u64> {
        let copy = tempfile::tempdir()?;
        let volume = self.0.volume(volume)?;
        for name in ["app.db", "app.db-wal"] {
            if volume.join(name).exists() {
                fs::copy(volume.join(name), copy.path().join(name))?;
            }
        }
        Ok(app::verify(&copy.path().join("app.db")).map_err(anyhow::Error::msg)?.last_seq)
    }

    fn first_deployment(&mut self) -> Result<()> {
        let (mut pod, start) = self.0.start(VOLUME)?;
        start.all("fresh")?;
        pod.start_application()?;
        self.more(VOLUME, 200, &pod)?;
        let before = self.acknowledged(VOLUME)?;
        pod.exec("wal-streamer", &["/wal-streamer", "sync", "--wait"]).with_context(|| pod.logs())?;
        println!("first deployment: ready after {:.1} s, {before} transactions durable", start.seconds());
        pod.kill();
        self.0.wipe(VOLUME)?;
        let (_pod, start) = self.0.start(VOLUME)?;
        start.all("restored")?;
        let back = self.proven(VOLUME)?;
        ensure!(back >= before, "{before} transactions were durable, and {back} came back");
        println!("SIGKILL, volume wiped: {back} transactions back in {:.1} s", start.seconds());
        Ok(())
    }

    /// Without asking for durability: what comes back is a state that existed, and not much older.
    fn node_lost_while_writing(&mut self) -> Result<()> {
        let (mut pod, _) = self.0.start(VOLUME)?;
        pod.start_application()?;
        self.more(VOLUME, 300, &pod)?;
        let written = self.acknowledged(VOLUME)?;
        pod.kill();
        self.0.wipe(VOLUME)?;
        let (_pod, start) = self.0.start(VOLUME)?;
        start.all("restored")?;
        let back = self.proven(VOLUME)?;
        println!(
            "node lost while writing: {back} transactions back (this application had {written} acknowledged) in {:.1} s",
            start.seconds()
        );
        Ok(())
    }

    fn stopped_in_order(&mut self) -> Result<()> {
        let (mut pod, _) = self.0.start(VOLUME)?;
        pod.start_application()?;
        self.more(VOLUME, 200, &pod)?;
        let begun = Instant::now();
        let codes = pod.stop()?;
        let took = begun.elapsed().as_secs_f64();
        let order: Vec<&str> = codes.iter().map(|(name, _)| name.as_str()).collect();
        ensure!(order == [APPLICATION, "wal-streamer"], "stopped in the order {order:?}");
        ensure!(codes[1].1 == 0, "wal-streamer ended with {}", codes[1].1);
        let written = self.proven(VOLUME)?;
        self.0.wipe(VOLUME)?;
        let (_pod, start) = self.0.start(VOLUME)?;
        start.all("restored")?;
        let back = self.proven(VOLUME)?;
        ensure!(
            back == written,
            "{written} transactions were committed before the stop, and {back} came back"
        );
        println!("stopped in order in {took:.1} s, volume wiped: all {back} transactions back");
        Ok(())
    }

    fn node_restarted(&mut self) -> Result<()> {
        let (mut pod, _) = self.0.start(VOLUME)?;
        pod.start_application()?;
        self.more(VOLUME, 100, &pod)?;
        pod.kill();
        let (_pod, start) = self.0.start(VOLUME)?;
        start.all("kept")?;
        println!("node restarted, volume kept: kept in {:.1} s", start.seconds());
        Ok(())
    }

    fn bucket_away_at_start(&mut self) -> Result<()> {
        self.0.wipe(VOLUME)?;
        let (_pod, start) = self.0.start_without_store(VOLUME, Duration::from_secs(4))?;
        start.all("restored")?;
        println!(
            "bucket away at start: waited, then restored after {:.1} s; nothing was started empty",
            start.seconds()
        );
        Ok(())
    }

    /// A node that nobody hears from goes on writing; its pod is started elsewhere with an empty volume; then the node comes back.
    fn node_comes_back_as_a_zombie(&mut self) -> Result<()> {
        let (mut old, _) = self.0.start(VOLUME)?;
        old.start_application()?;
        self.more(VOLUME, 100, &old)?;
        let durable = self.proven(VOLUME)?;
        old.exec("wal-streamer", &["/wal-streamer", "sync", "--wait"])?;
        old.network().cut();
        self.more(VOLUME, 50, &old)?;

        let (mut new, start) = self.0.start("ledger-elsewhere")?;
        start.all("restored")?;
        let back = self.proven("ledger-elsewhere")?;
        ensure!(back >= durable, "{durable} transactions were durable, and {back} came back elsewhere");
        new.start_application()?;
        self.more("ledger-elsewhere", 100, &new)?;

        old.network().mend();
        until("the zombie says that it is fenced", || {
            let (_, metrics) = old.ask("wal-streamer", "/metrics")?;
            Ok(metric(&metrics, "highwater_writer_fenced", "db=\"app.db\"") == Some(1.0))
        })
        .with_context(|| old.logs())?;
        silent(&old, &self.0, || {
            self.more(VOLUME, 50, &old)?;
            let code =
                old.exit_of("wal-streamer", &["/wal-streamer", "sync", "--wait", "--timeout", "5s"])?;
            ensure!(code == 5, "asked for durability, the zombie answers {code}");
            Ok(())
        })?;
        ensure!(old.ask("wal-streamer", "/readyz")?.0 == 503, "the zombie is ready");
        ensure!(
            old.ask("wal-streamer", "/livez")?.0 == 200,
            "the zombie would be restarted, which cures nothing"
        );

        new.exec("wal-streamer", &["/wal-streamer", "sync", "--wait"]).with_context(|| new.logs())?;
        let (_, metrics) = new.ask("wal-streamer", "/metrics")?;
        let fenced = metric(&metrics, "highwater_writer_fenced", "db=\"app.db\"");
        ensure!(fenced == Some(0.0), "the one that goes on says fenced {fenced:?}");
        new.kill();
        let written = self.proven("ledger-elsewhere")?;
        old.kill();
        self.0.wipe(VOLUME)?;
        let (_pod, start) = self.0.start(VOLUME)?;
        start.all("restored")?;
        let back = self.proven(VOLUME)?;
        ensure!(
            back > durable && back <= written,
            "{back} transactions came back, of {durable} to {written}"
        );
        println!("node comes back as a zombie: fenced and silent; {back} transactions of the other pod back",);
        Ok(())
    }
}
