//! Scenarios of a pod with databases and files: restore init, config-syncer and wal-streamer around a real application, everything sealed.
//!
//! What comes back is compared bit for bit with what was on the volume. Proves P1, P2 and P4 for both kinds at once, and that the second of two
//! pods on one volume (a rolling update) waits instead of writing beside the first one.

use super::cluster::{Cluster, silent, until};
use super::content::Content;
use super::kubelet::Pod;
use super::notes::Notes;
use super::probe::metric;
use anyhow::{Context, Result, ensure};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const VOLUME: &str = "notes";
const ELSEWHERE: &str = "notes-elsewhere";

/// See the module.
pub(super) struct WholePod(pub(super) Cluster);

impl WholePod {
    /// All scenarios, each on what the one before left; gives their number.
    pub(super) fn run(&mut self, budgets: bool) -> Result<u32> {
        self.first_deployment_and_loss(budgets)?;
        self.bucket_away_at_start()?;
        self.rolling_update_on_one_volume()?;
        self.rolling_update_between_nodes()?;
        self.node_comes_back_as_a_zombie()?;
        Ok(5)
    }

    /// Until everything that was written before is in the bucket, of both kinds.
    fn durable(pod: &Pod) -> Result<()> {
        pod.exec("wal-streamer", &["/wal-streamer", "sync", "--wait"]).with_context(|| pod.logs())?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        until("the syncer has looked after the last change", || {
            let (_, metrics) = pod.ask("config-syncer", "/metrics")?;
            Ok(metric(&metrics, "highwater_files_last_sync_timestamp_seconds", "").is_some_and(|at| at > now))
        })
        .with_context(|| pod.logs())
    }

    fn compare(&self, volume: &str, before: &Content) -> Result<String> {
        let back = Content::of(&self.0.volume(volume)?)?;
        let differences = before.differences(&back);
        ensure!(differences.is_empty(), "not bit for bit what was there:\n{}", differences.join("\n"));
        let (databases, pages, files, bytes) = back.sizes();
        ensure!(
            databases >= 2 && files >= 20,
            "{databases} databases and {files} files are too few to say anything"
        );
        Ok(format!("{databases} databases ({} KiB) and {files} files ({} KiB)", pages >> 10, bytes >> 10))
    }

    /// A change of a configuration file, as an operator or the application makes it.
    fn configure(&self, volume: &str, text: &str) -> Result<()> {
        self.0.put(volume, "config/settings.yaml", text)?;
        self.0.put(volume, &format!("config/sites/{}.conf", text.len()), text)
    }

    fn first_deployment_and_loss(&mut self, budgets: bool) -> Result<()> {
        let (mut pod, start) = self.0.start(VOLUME)?;
        start.all("fresh")?;
        pod.start_application()?;
        let notes = Notes::open(&pod, true)?;
        notes.write(0, 60)?;
        self.configure(VOLUME, "theme: dark\n")?;
        Self::durable(&pod)?;
        if budgets {
            for sidecar in ["wal-streamer", "config-syncer"] {
                let (peak, limit) = pod.memory(sidecar)?;
                ensure!(peak < limit, "{sidecar} used {peak} bytes at its peak, and its limit is {limit}");
                println!(
                    "{sidecar}: {:.1} MiB at its peak, limit {} MiB",
                    peak as f64 / f64::from(1 << 20),
                    limit >> 20
                );
            }
        }
        pod.kill();
        let before = Content::of(&self.0.volume(VOLUME)?)?;
        self.0.wipe(VOLUME)?;
        let (mut pod, start) = self.0.start(VOLUME)?;
        start.all("restored")?;
        let what = self.compare(VOLUME, &before)?;
        pod.start_application()?;
        let back = Notes::open(&pod, false)?.read()?;
        ensure!(back == 60, "60 notes were answered for, and the application shows {back}");
        println!(
            "SIGKILL, volume wiped: {what} bit for bit the same in {:.1} s; 60 notes shown",
            start.seconds()
        );
        pod.kill();
        Ok(())
    }

    fn bucket_away_at_start(&mut self) -> Result<()> {
        let before = Content::of(&self.0.volume(VOLUME)?)?;
        self.0.store_down();
        // With its volume the pod starts at once, and writes; without it, it waits.
        let (mut pod, start) = self.0.start(VOLUME)?;
        start.all("kept")?;
        pod.start_application()?;
        let notes = Notes::open(&pod, false)?;
        notes.write(60, 10)?;
        let kept = start.seconds();
        std::thread::sleep(Duration::from_secs(1));
        self.0.store_up()?;
        self.configure(VOLUME, "theme: light\n")?;
        Self::durable(&pod)?;
        pod.kill();
        ensure!(
            !before.differences(&Content::of(&self.0.volume(VOLUME)?)?).is_empty(),
            "nothing was written"
        );

        let before = Content::of(&self.0.volume(VOLUME)?)?;
        self.0.wipe(VOLUME)?;
        let (_pod, start) = self.0.start_without_store(VOLUME, Duration::from_secs(4))?;
        start.all("restored")?;
        let what = self.compare(VOLUME, &before)?;
        println!(
            "bucket away at start: with its volume kept in {kept:.1} s; without it waited, then {what} bit for bit the same after {:.1} s",
            start.seconds()
        );
        Ok(())
    }

    /// Two pods of one Deployment on one volume of one node: the second one does not start while the first one lives.
    fn rolling_update_on_one_volume(&mut self) -> Result<()> {
        let (mut old, _) = self.0.start(VOLUME)?;
        old.start_application()?;
        let notes = Notes::open(&old, false)?;
        notes.write(70, 10)?;
        let mut new = self.0.pod(VOLUME)?;
        let failed = new.try_inits()?.context("the second pod started beside the first one")?;
        ensure!(
            failed.name == "restore-state" && failed.code == 5,
            "{} ended with {}",
            failed.name,
            failed.code
        );
        notes.write(80, 10)?;
        Self::durable(&old).context("the first pod goes on")?;
        for sidecar in ["wal-streamer", "config-syncer"] {
            ensure!(
                old.ask(sidecar, "/readyz")?.0 == 200,
                "{sidecar} of the first pod is not ready any more"
            );
        }
        let codes = old.stop()?;
        ensure!(
            codes.iter().all(|(name, code)| name == "pocketbase" || *code == 0),
            "stopped with {codes:?}"
        );
        let before = Content::of(&self.0.volume(VOLUME)?)?;
        new.start_inits().context("the second pod, asked again")?;
        let what = self.compare(VOLUME, &before)?;
        new.start_application()?;
        let shown = Notes::open(&new, false)?.read()?;
        ensure!(shown == 90, "90 notes were answered for, and the application shows {shown}");
        println!(
            "rolling update on one volume: the second pod waited for the first (exit 5), then {what} kept, 90 notes"
        );
        Ok(())
    }

    /// Two pods with volumes of their own: the second one fences the first one, which writes nothing more and says so.
    fn rolling_update_between_nodes(&mut self) -> Result<()> {
        let (mut old, _) = self.0.start(VOLUME)?;
        old.start_application()?;
        let notes = Notes::open(&old, false)?;
        notes.write(90, 10)?;
        Self::durable(&old)?;
        self.0.wipe(ELSEWHERE)?;
        let (mut new, start) = self.0.start(ELSEWHERE)?;
        start.all("restored")?;
        new.start_application()?;
        let elsewhere = Notes::open(&new, false)?;
        let shown = elsewhere.read()?;
        ensure!(shown == 100, "100 notes were durable, and the second pod shows {shown}");
        notes.write(1000, 5)?;
        self.configure(VOLUME, "theme: of the first pod\n")?;
        self.fenced(&old, &notes)?;
        elsewhere.write(100, 10)?;
        self.configure(ELSEWHERE, "theme: of the second pod\n")?;
        Self::durable(&new)?;
        self.goes_on(&new)?;
        old.kill();
        new.kill();
        let what = self.after_both_are_gone(110)?;
        println!(
            "rolling update between nodes: the first pod fenced and silent; {what} of the second one bit for bit the same"
        );
        Ok(())
    }

    /// The node and its volume are given up; the pod starts elsewhere; then the node comes back, with a pod that knows nothing of it.
    fn node_comes_back_as_a_zombie(&mut self) -> Result<()> {
        let (mut old, _) = self.0.start(VOLUME)?;
        old.start_application()?;
        let notes = Notes::open(&old, false)?;
        let shown = notes.read()?;
        Self::durable(&old)?;
        old.network().cut();
        notes.write(2000, 10)?;
        self.configure(VOLUME, "theme: of the lost node\n")?;
        self.0.wipe(ELSEWHERE)?;
        let (mut new, start) = self.0.start(ELSEWHERE)?;
        start.all("restored")?;
        new.start_application()?;
        let elsewhere = Notes::open(&new, false)?;
        let back = elsewhere.read()?;
        ensure!(back == shown, "{shown} notes were durable, and {back} are back");
        elsewhere.write(110, 10)?;
        self.configure(ELSEWHERE, "theme: of the pod that goes on\n")?;
        Self::durable(&new)?;
        old.network().mend();
        self.fenced(&old, &notes)?;
        self.goes_on(&new)?;
        old.kill();
        new.kill();
        let what = self.after_both_are_gone(120)?;
        println!(
            "node comes back as a zombie: fenced and silent; {what} of the pod that went on bit for bit the same"
        );
        Ok(())
    }

    /// Both sidecars of a pod say that they are fenced, send nothing more whatever happens, are not ready, and need no restart.
    fn fenced(&self, pod: &Pod, notes: &Notes<'_>) -> Result<()> {
        let says = |sidecar: &str, label: &str| {
            until(&format!("{sidecar} says that it is fenced {label}"), || {
                let (_, metrics) = pod.ask(sidecar, "/metrics")?;
                Ok(metric(&metrics, "highwater_writer_fenced", label) == Some(1.0))
            })
            .with_context(|| pod.logs())
        };
        let sync = ["/wal-streamer", "sync", "--wait", "--timeout", "5s"];
        says("config-syncer", "")?;
        says("wal-streamer", "db=\"data.db\"")?;
        // The other database has no commits of its own until its application logs requests there, and its writer finds out at the next one:
        // a question whether all is durable is answered by the one that is fenced already.
        notes.keep_requests(1)?;
        let mut more = 2500;
        until("wal-streamer says that it is fenced db=\"auxiliary.db\"", || {
            notes.write(more, 1)?;
            more += 1;
            let code = pod.exit_of("wal-streamer", &sync)?;
            ensure!(code == 5, "asked for durability, the fenced pod answers {code}");
            let (_, metrics) = pod.ask("wal-streamer", "/metrics")?;
            Ok(metric(&metrics, "highwater_writer_fenced", "db=\"auxiliary.db\"") == Some(1.0))
        })
        .with_context(|| pod.logs())?;
        silent(pod, &self.0, || {
            notes.write(3000, 20)?;
            self.configure(VOLUME, "theme: of nobody\n")?;
            let code = pod.exit_of("wal-streamer", &sync)?;
            ensure!(code == 5, "asked for durability, the fenced pod answers {code}");
            Ok(())
        })?;
        for sidecar in ["wal-streamer", "config-syncer"] {
            ensure!(pod.ask(sidecar, "/readyz")?.0 == 503, "{sidecar} is fenced and ready");
            ensure!(pod.ask(sidecar, "/livez")?.0 == 200, "{sidecar} is fenced and would be restarted");
        }
        Ok(())
    }

    fn goes_on(&self, pod: &Pod) -> Result<()> {
        for (sidecar, label) in [("wal-streamer", "db=\"data.db\""), ("config-syncer", "")] {
            let (_, metrics) = pod.ask(sidecar, "/metrics")?;
            let fenced = metric(&metrics, "highwater_writer_fenced", label);
            ensure!(fenced == Some(0.0), "{sidecar} of the pod that goes on says fenced {fenced:?}");
            ensure!(pod.ask(sidecar, "/readyz")?.0 == 200, "{sidecar} of the pod that goes on is not ready");
        }
        Ok(())
    }

    /// What the bucket holds is what the second pod wrote: a third pod on the first one's volume, emptied, has it.
    fn after_both_are_gone(&mut self, notes: u64) -> Result<String> {
        let before = Content::of(&self.0.volume(ELSEWHERE)?)?;
        self.0.wipe(VOLUME)?;
        let (mut pod, start) = self.0.start(VOLUME)?;
        start.all("restored")?;
        let what = self.compare(VOLUME, &before)?;
        pod.start_application()?;
        let shown = Notes::open(&pod, false)?.read()?;
        ensure!(shown == notes, "{notes} notes were answered for, and {shown} are shown");
        pod.kill();
        Ok(what)
    }
}
