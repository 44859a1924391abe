//! What a snapshot of etcd costs: `etcd-shipper` beside the usual pipeline, on a real etcd, one database, one store, one run.
//!
//! A lone etcd from `$HIGHWATER_ETCD_DIR` or the path is filled through its own API until its file has the wanted size; then `etcdctl snapshot
//! save` alone, `etcdctl` + `zstd` + `age` + `rclone rcat`, `etcd-shipper ship`, and the way back. Every program is a process, the S3 server of the
//! test bench runs in this one. What is missing is named, and its row says so.
//! The read transaction is held while the stream runs: etcd cannot reuse pages meanwhile, so these seconds are what the cluster pays.

use crate::bench::{Bench, server};
use crate::machine;
use crate::sample::{mib, percent};
use crate::section::{Measured, attempt, cells, number};
use crate::table::Table;
use crate::usage::{self, Usage};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;
use testkit::etcd::{Cluster, program};
use testkit::procs;
use testkit::s3::{ACCESS_KEY, BUCKET, S3Server, SECRET_KEY};

/// Longest run of one program.
const LIMIT: Duration = Duration::from_secs(600);
/// Bytes of a value, and values of a transaction: below etcd's limit of 1.5 MiB for a request.
const VALUE: usize = 16 << 10;
const VALUES: usize = 64;
/// Between two looks at the spool.
const STEP: Duration = Duration::from_millis(20);
const UID: &str = "0c9d51aa-5b1e-4f6e-8a57-70c2c1b2a3d4";

/// One program's run.
struct Run {
    seconds: f64,
    /// With all children that it waited for.
    cpu: f64,
    usage: Usage,
    sent: u64,
    requests: u64,
    stdout: String,
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
    let save = attempt(|| scene.save());
    let pipeline = attempt(|| scene.pipeline());
    let (ship, spool) = spooling(|| attempt(|| scene.ship()));
    let stream =
        ship.as_ref().ok().and_then(|_| scene.manifest().ok()).and_then(|m| m["stream_seconds"].as_f64());
    let verify = attempt(|| scene.restore(&["verify"], &[]));
    let file = scene.place.path().join("restored.db");
    let restore = attempt(|| scene.restore(&["etcd"], &["-o", &file.to_string_lossy()]));

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
        Ok(run)
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

/// Runs something and looks for the largest unlinked file that any of our children holds open meanwhile: the spool has no name.
fn spooling<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let (stop, largest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (stopped, found) = (stop.clone(), largest.clone());
    let looking = thread::spawn(move || {
        while !stopped.load(Ordering::SeqCst) {
            found.fetch_max(unlinked().unwrap_or(0), Ordering::SeqCst);
            thread::sleep(STEP);
        }
    });
    let done = work();
    stop.store(true, Ordering::SeqCst);
    let _ = looking.join();
    (done, largest.load(Ordering::SeqCst))
}

fn unlinked() -> Option<u64> {
    let me = std::process::id();
    let is_child = |pid: &Path| {
        let stat = fs::read_to_string(pid.join("stat")).unwrap_or_default();
        stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok()) == Some(me)
    };
    let processes = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path());
    let children = processes.filter(|path| path.join("stat").is_file() && is_child(path));
    let open = children.filter_map(|pid| fs::read_dir(pid.join("fd")).ok()).flatten().flatten();
    open.filter(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.to_string_lossy().ends_with("(deleted)")))
        .filter_map(|fd| Some(fs::metadata(fd.path()).ok()?.len()))
        .max()
}
