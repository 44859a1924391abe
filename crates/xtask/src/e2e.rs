//! `cargo xtask e2e`: a rendered example as running containers, which lose their volume and come back.
//!
//! The manifest is the golden file, taken as it is; only endpoint and bucket are those of the embedded S3 server. The application is a real
//! process that writes and acknowledges transactions. Needs `podman`, `runc` and root; what is missing is printed, and then nothing is claimed.
//! Proves: P1 and P2 through images, mounts, users and the kubelet's order; that every start hands over what it did.

mod kubelet;

use crate::tools::{has, install};
use anyhow::{Context, Result, ensure};
use kubelet::{Pod, podman};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use testkit::app;
use testkit::s3::S3Server;

const EXAMPLE: &str = "examples/rendered/variants-one-database.yaml";
/// Image name in the manifest and the binary in it.
const IMAGES: [(&str, &str); 3] = [
    ("registry.example/highwater/restore", "restore"),
    ("registry.example/highwater/wal-streamer", "wal-streamer"),
    ("ghcr.io/example/hw-app", "hw-app"),
];
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs all scenarios one after another.
pub(crate) fn run() -> Result<()> {
    install(&[("podman", "podman"), ("runc", "runc")]);
    let missing: Vec<&str> = ["podman", "runc"].into_iter().filter(|program| !has(program)).collect();
    if !missing.is_empty() || !nix_root() {
        println!("SKIP e2e in containers: it needs root, podman and runc (missing: {})", missing.join(", "));
        return Ok(());
    }
    let manifest = fs::read_to_string(EXAMPLE)?;
    let documents = crate::manifests::parse(&manifest)?;
    let deployment =
        documents.into_iter().find(|d| d["kind"] == "Deployment").context("no Deployment in the example")?;
    for (image, binary) in IMAGES {
        build(&deployment, image, binary)?;
    }
    Scenario::new(deployment)?.run()
}

fn nix_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout.starts_with(b"0\n"))
}

/// An image from `scratch` with a binary of this build and the libraries it is linked with (a static one has none).
fn build(deployment: &Value, image: &str, binary: &str) -> Result<()> {
    let path = testkit::procs::bin(binary);
    let scratch = tempfile::tempdir()?;
    let root = scratch.path().join("root");
    fs::create_dir(&root)?;
    // Symbols of a debug build are most of its size, and copied with every layer.
    let strip = Command::new("strip").arg("-o").arg(root.join(binary)).arg(&path).status();
    if !strip.is_ok_and(|s| s.success()) {
        fs::copy(&path, root.join(binary))?;
    }
    let linked = Command::new("ldd").arg(&path).output()?;
    for library in
        String::from_utf8_lossy(&linked.stdout).split_whitespace().filter(|word| word.starts_with('/'))
    {
        let target = root.join(library.trim_start_matches('/'));
        fs::create_dir_all(target.parent().context("a library has a folder")?)?;
        fs::copy(library, target)?;
    }
    let file = format!("FROM scratch\nCOPY root/ /\nUSER 65532:65532\nENTRYPOINT [\"/{binary}\"]\n");
    fs::write(scratch.path().join("Containerfile"), file)?;
    let used = deployment.to_string();
    let tag = used
        .split(&format!("{image}:"))
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .context("the manifest has no such image")?;
    let out = podman()
        .args(["build", "--quiet", "--isolation", "chroot", "--tag", &format!("{image}:{tag}")])
        .arg(scratch.path())
        .output()?;
    ensure!(out.status.success(), "podman build {image}: {}", String::from_utf8_lossy(&out.stderr));
    Ok(())
}

struct Scenario {
    deployment: Value,
    _scratch: tempfile::TempDir,
    volume: PathBuf,
    credentials: PathBuf,
    store: PathBuf,
    server: Option<S3Server>,
    pods: u32,
}

impl Scenario {
    fn new(deployment: Value) -> Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        let scratch = tempfile::tempdir()?;
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755))?;
        let [volume, credentials, store] =
            ["volume", "credentials", "store"].map(|name| scratch.path().join(name));
        for dir in [&volume, &credentials, &store] {
            fs::create_dir(dir)?;
        }
        let server = S3Server::start_in(store.clone());
        for (name, value) in server.env() {
            fs::write(credentials.join(name), value)?;
        }
        Ok(Self { deployment, _scratch: scratch, volume, credentials, store, server: Some(server), pods: 0 })
    }

    fn run(&mut self) -> Result<()> {
        self.first_deployment()?;
        self.volume_and_node_lost()?;
        self.stopped_in_order()?;
        self.node_restarted()?;
        self.bucket_away_at_start()?;
        println!("e2e: 5 passed, 0 failed");
        Ok(())
    }

    fn pod(&mut self) -> Result<Pod> {
        self.pods += 1;
        let endpoint = self.server.as_ref().map(S3Server::endpoint).unwrap_or_default();
        let annotations = [("endpoint", endpoint.as_str()), ("bucket", "bucket-hw")];
        Pod::new(
            &self.deployment,
            &annotations,
            &[("data", &self.volume), ("highwater-credentials", &self.credentials)],
            self.pods,
        )
    }

    fn acknowledged(&self) -> u64 {
        app::read_acks(&self.volume.join("acks")).len() as u64
    }

    fn wait_for(&self, count: u64, pod: &Pod) -> Result<()> {
        let begun = Instant::now();
        while self.acknowledged() < count {
            ensure!(
                begun.elapsed() < PATIENCE,
                "the application does not get to {count} transactions:\n{}",
                pod.logs()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// The number of the last transaction in the database, each one proven; from a copy, so that no lock is touched.
    fn proven(&self) -> Result<u64> {
        let copy = tempfile::tempdir()?;
        for name in ["app.db", "app.db-wal"] {
            if self.volume.join(name).exists() {
                fs::copy(self.volume.join(name), copy.path().join(name))?;
            }
        }
        Ok(app::verify(&copy.path().join("app.db")).map_err(anyhow::Error::msg)?.last_seq)
    }

    fn wipe(&self) -> Result<()> {
        for entry in fs::read_dir(&self.volume)? {
            let path = entry?.path();
            if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
        }
        Ok(())
    }

    /// Starts up to the application and says what the start did with the database.
    fn start(&mut self) -> Result<(Pod, String, Duration)> {
        let begun = Instant::now();
        let mut pod = self.pod()?;
        pod.start_inits()?;
        let outcome = pod.handover()?["databases"][0]["outcome"].as_str().unwrap_or_default().to_owned();
        Ok((pod, outcome, begun.elapsed()))
    }

    fn first_deployment(&mut self) -> Result<()> {
        let (mut pod, outcome, took) = self.start()?;
        ensure!(outcome == "fresh", "the first start says {outcome}");
        pod.start_application()?;
        self.wait_for(200, &pod)?;
        let before = self.acknowledged();
        pod.exec("wal-streamer", &["/wal-streamer", "sync", "--wait"]).context(pod.logs())?;
        println!("first deployment: ready after {:.1} s, {before} transactions durable", took.as_secs_f64());
        pod.kill();
        self.wipe()?;
        let (pod, outcome, took) = self.start()?;
        ensure!(outcome == "restored", "after the loss the start says {outcome}");
        let back = self.proven()?;
        ensure!(back >= before, "{before} transactions were durable, and {back} came back");
        drop(pod);
        println!("SIGKILL, volume wiped: {back} transactions back in {:.1} s", took.as_secs_f64());
        Ok(())
    }

    /// Without asking for durability: what comes back is a state that existed, and not much older.
    fn volume_and_node_lost(&mut self) -> Result<()> {
        let (mut pod, _, _) = self.start()?;
        pod.start_application()?;
        let from = self.acknowledged();
        self.wait_for(from + 300, &pod)?;
        let written = self.acknowledged();
        pod.kill();
        self.wipe()?;
        let (_pod, outcome, took) = self.start()?;
        ensure!(outcome == "restored", "after the loss of the node the start says {outcome}");
        let back = self.proven()?;
        println!(
            "node lost while writing: {back} transactions back (the application had {written} of this start acknowledged) in {:.1} s",
            took.as_secs_f64()
        );
        Ok(())
    }

    fn stopped_in_order(&mut self) -> Result<()> {
        let (mut pod, _, _) = self.start()?;
        pod.start_application()?;
        let from = self.acknowledged();
        self.wait_for(from + 200, &pod)?;
        let begun = Instant::now();
        let codes = pod.stop()?;
        let took = begun.elapsed();
        let order: Vec<&str> = codes.iter().map(|(name, _)| name.as_str()).collect();
        ensure!(order == ["ledger", "wal-streamer"], "stopped in the order {order:?}");
        ensure!(codes[1].1 == 0, "wal-streamer ended with {}", codes[1].1);
        let written = self.proven()?;
        self.wipe()?;
        let (_pod, outcome, _) = self.start()?;
        ensure!(outcome == "restored", "after the stop the start says {outcome}");
        let back = self.proven()?;
        ensure!(
            back == written,
            "{written} transactions were committed before the stop, and {back} came back"
        );
        println!(
            "stopped in order in {:.1} s, volume wiped: all {back} transactions back",
            took.as_secs_f64()
        );
        Ok(())
    }

    fn node_restarted(&mut self) -> Result<()> {
        let (mut pod, _, _) = self.start()?;
        pod.start_application()?;
        let from = self.acknowledged();
        self.wait_for(from + 100, &pod)?;
        pod.kill();
        let (_pod, outcome, took) = self.start()?;
        ensure!(outcome == "kept", "after a restart with its volume the start says {outcome}");
        println!("node restarted, volume kept: {outcome} in {:.1} s", took.as_secs_f64());
        Ok(())
    }

    fn bucket_away_at_start(&mut self) -> Result<()> {
        let server = self.server.take().context("the server runs")?;
        let port = server.port();
        drop(server);
        self.wipe()?;
        let store = self.store.clone();
        let later = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(4));
            S3Server::start_in_on(store, port)
        });
        self.pods += 1;
        let endpoint = format!("http://127.0.0.1:{port}");
        let annotations = [("endpoint", endpoint.as_str()), ("bucket", "bucket-hw")];
        let outside: [(&str, &Path); 2] =
            [("data", &self.volume), ("highwater-credentials", &self.credentials)];
        let mut pod = Pod::new(&self.deployment, &annotations, &outside, self.pods)?;
        let begun = Instant::now();
        let started = pod.start_inits();
        self.server = later.join().ok();
        started?;
        let outcome = pod.handover()?["databases"][0]["outcome"].clone();
        ensure!(outcome == "restored", "with the bucket away at first the start says {outcome}");
        println!(
            "bucket away at start: waited, then {} after {:.1} s; nothing was started empty",
            outcome,
            begun.elapsed().as_secs_f64()
        );
        Ok(())
    }
}
