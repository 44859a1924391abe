//! What a snapshot of etcd costs: `etcd-shipper` beside the usual pipeline, on a real etcd, one database, one store, one run.
//!
//! A lone etcd from `$HIGHWATER_ETCD_DIR` or the path is filled through its own API until its file has the wanted size; then `etcdctl snapshot
//! save` alone, `etcdctl` + `zstd` + `age` + `rclone rcat`, `etcd-shipper ship`, and the way back. Every program is a process, the S3 server of the
//! test bench runs in this one. What is missing is named, and its row says so.
//! The read transaction is held while the stream runs: etcd cannot reuse pages meanwhile, so these seconds are what the cluster pays.
//! Everything runs three times, in turns, because a machine has better and worse minutes; the median by seconds is shown, the peak is the highest.
//! `HIGHWATER_BIN_DIR` names other binaries than those built for the benchmark: `cargo xtask dist` builds the static ones of the images.

mod spool;

use crate::bench::{Bench, server};
use crate::machine;
use crate::sample::{mib, percent};
use crate::section::{Measured, attempt, cells, number};
use crate::table::Table;
use crate::usage::{self, Usage};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use spool::spooling;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use testkit::etcd::{Cluster, program};
use testkit::procs;
use testkit::s3::{ACCESS_KEY, BUCKET, S3Server, SECRET_KEY};

/// Longest run of one program.
const LIMIT: Duration = Duration::from_secs(600);
/// Bytes of a value, and values of a transaction: below etcd's limit of 1.5 MiB for a request.
const VALUE: usize = 16 << 10;
const VALUES: usize = 64;
const UID: &str = "0c9d51aa-5b1e-4f6e-8a57-70c2c1b2a3d4";

/// Rounds of all programs in turn.
const ROUNDS: usize = 3;

/// One program's run.
#[derive(Clone)]
struct Run {
    seconds: f64,
    /// With all children that it waited for.
    cpu: f64,
    usage: Usage,
    sent: u64,
    requests: u64,
    stdout: String,
    /// How long the stream took, where the program says so.
    stream: Option<f64>,
}

struct Scene {
    cluster: Cluster,
    server: S3Server,
    place: tempfile::TempDir,
    recipient: String,
}

/// Measures and prints.
pub(crate) fn run() -> Result<()> {
    let bench = Bench::new(false)?;
    for program in ["etcd-shipper", "restore"] {
        procs::bin(program);
    }
    let size = bench.sized(2048u64, 24) << 20;
    let machine = machine::describe(&bench, None)?;
    println!("# etcd snapshots\n\n{}\n", machine.text);
    let scene = Scene::new(&bench, size)?;
    let bytes = scene.settle()?;
    let (mut saves, mut pipelines, mut ships, mut verifies, mut restores) = Default::default();
    let mut spool = 0;
    let file = scene.place.path().join("restored.db");
    let rounds = bench.sized(ROUNDS, 1);
    for _ in 0..rounds {
        push(&mut saves, attempt(|| scene.save()));
        push(&mut pipelines, attempt(|| scene.pipeline()));
        let (ship, largest) = spooling(|| attempt(|| scene.ship()));
        spool = spool.max(largest);
        push(&mut ships, ship);
        push(&mut verifies, attempt(|| scene.restore(&["verify"], &[])));
        push(
            &mut restores,
            attempt(|| scene.restore(&["etcd"], &["-o", &file.to_string_lossy(), "--force"])),
        );
        scene.forget()?;
    }
    let [save, pipeline, ship, verify, restore] =
        [saves, pipelines, ships, verifies, restores].map(|runs: Vec<Measured<Run>>| median(runs));
    let stream = ship.as_ref().ok().and_then(|run| run.stream);

    let head = ["", "seconds", "read transaction held", "CPU", "peak RSS", "sent", "requests"];
    let mut table = Table::new(format!("A snapshot of {}", mib(bytes as f64)), &head);
    let held = |seconds: Option<f64>| seconds.map_or("–".to_owned(), |seconds| format!("{seconds:.2} s"));
    let alone = save.as_ref().ok().map(|run| run.seconds);
    for (name, run, held_for, peak) in [
        ("`etcdctl snapshot save` alone", &save, alone, true),
        ("`etcdctl` + `zstd` + `age` + `rclone rcat`", &pipeline, alone, false),
        ("`etcd-shipper ship`: proven, sealed, read back", &ship, stream, true),
        ("`restore verify --identity`", &verify, None, true),
        ("`restore etcd`", &restore, None, true),
    ] {
        let shown = cells(run, |run| {
            [
                format!("{:.2}", run.seconds),
                held(held_for),
                format!("{:.2} s", run.cpu),
                if peak { mib(run.usage.peak as f64) } else { "–".into() },
                mib(run.sent as f64),
                run.requests.to_string(),
            ]
        });
        table.row([vec![name.to_owned()], shown.to_vec()].concat());
    }
    table.note(format!("Medians of {rounds} runs in turn; peak RSS is the highest of them."));
    table.note(format!("Spool at its largest: {}, sealed, unlinked while open.", mib(spool as f64)));
    if let (Some(stream), Some(alone)) = (stream, alone) {
        table.note(format!("The stream took {} of `etcdctl`'s time alone.", percent(stream / alone)));
    }
    println!("{table}");
    let json = |run: &Measured<Run>| {
        number(
            run,
            |run| json!({ "seconds": run.seconds, "cpu": run.cpu, "peak": run.usage.peak, "sent": run.sent, "requests": run.requests }),
        )
    };
    let numbers = json!({
        "machine": machine.json, "quick": bench.quick, "bytes": bytes, "spool": spool, "stream_seconds": stream,
        "save": json(&save), "pipeline": json(&pipeline), "ship": json(&ship), "verify": json(&verify), "restore": json(&restore),
    });
    let path = bench.output.join("etcd.json");
    fs::write(&path, serde_json::to_string_pretty(&numbers)?).with_context(|| path.display().to_string())?;
    let failed = [&ship, &verify, &restore].iter().find_map(|run| run.as_ref().err());
    ensure!(failed.is_none(), "{}", failed.map_or("", String::as_str));
    Ok(())
}

fn push(runs: &mut Vec<Measured<Run>>, run: Measured<Run>) {
    if let Err(why) = &run {
        eprintln!("{why}");
    }
    runs.push(run);
}

/// The run in the middle, by seconds, with the highest peak of all and the stream in the middle; what failed is told, not averaged.
fn median(runs: Vec<Measured<Run>>) -> Measured<Run> {
    let mut runs = runs.into_iter().collect::<Result<Vec<Run>, _>>()?;
    let peak = runs.iter().map(|run| run.usage.peak).max().unwrap_or(0);
    let mut streams: Vec<f64> = runs.iter().filter_map(|run| run.stream).collect();
    streams.sort_by(f64::total_cmp);
    runs.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let middle = runs.swap_remove(runs.len() / 2);
    let usage = Usage { peak, ..middle.usage };
    Ok(Run { usage, stream: streams.get(streams.len() / 2).copied(), ..middle })
}

impl Scene {
    fn new(bench: &Bench, size: u64) -> Result<Scene> {
        let place = bench.place()?;
        let cluster = Cluster::start(1, false).map_err(anyhow::Error::msg)?;
        eprintln!("filling etcd with {} MiB", size >> 20);
        cluster.fill(UID, 100);
        let mut rng = 0x9e37_79b9_7f4a_7c15_u64;
        for index in 0..size / (VALUE * VALUES) as u64 {
            let lines: String = (0..VALUES)
                .map(|item| {
                    format!("put /registry/secrets/bench/s{index:06}-{item:02} {}\n", value(&mut rng))
                })
                .collect();
            cluster.ctl(&["txn"], &format!("\n{lines}\n\n"));
        }
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
    fn settle(&self) -> Result<u64> {
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

    fn save(&self) -> Result<Run> {
        let file = self.place.path().join("saved.db");
        let mut command = self.etcdctl();
        command.args(["snapshot", "save"]).arg(&file);
        let run = self.measured(&mut command);
        fs::remove_file(&file)?;
        run
    }

    /// As scripts do it: a snapshot to a file, then through the pipe.
    fn pipeline(&self) -> Result<Run> {
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

    fn ship(&self) -> Result<Run> {
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
    fn forget(&self) -> Result<()> {
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

    fn restore(&self, verb: &[&str], more: &[&str]) -> Result<Run> {
        let mut command = Command::new(procs::bin("restore"));
        command.envs(self.server.env()).args(verb).arg(self.server.url("etcd"));
        command.arg("--identity").arg(self.place.path().join("key.txt")).args(more);
        if verb == ["verify"] {
            command.arg("--scratch").arg(self.place.path().join("spool"));
        }
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

/// Half as random as it is long, as base64 and hex in manifests are.
fn value(rng: &mut u64) -> String {
    let mut text = String::with_capacity(VALUE);
    while text.len() < VALUE {
        *rng ^= *rng << 13;
        *rng ^= *rng >> 7;
        *rng ^= *rng << 17;
        text.push_str(&format!("{rng:016x}"));
    }
    text
}

/// Processor seconds of all children that were waited for, and of theirs.
fn children() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let ticks = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<f64>().ok());
    let (user, system) = (ticks(16).context("no cutime")?, ticks(17).context("no cstime")?);
    Ok((user + system) / 100.0)
}
