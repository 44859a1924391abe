//! The binary against a real etcd and a real S3 protocol: one life of a cluster's backups, from the command line.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;
use testkit::etcd::{Cluster, program};
use testkit::held::Held;
use testkit::procs::{Proc, free_port};
use testkit::s3::S3Server;

const UID: &str = "0c9d51aa-5b1e-4f6e-8a57-70c2c1b2a3d4";
/// Longer than any machine that is merely busy takes.
const PATIENCE: Duration = Duration::from_secs(60);

struct Place {
    server: S3Server,
    dir: tempfile::TempDir,
    identity: PathBuf,
    recipient: String,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let key = age::x25519::Identity::generate();
        let identity = dir.path().join("key.txt");
        std::fs::write(&identity, age::secrecy::ExposeSecret::expose_secret(&key.to_string())).unwrap();
        std::fs::create_dir(dir.path().join("spool")).unwrap();
        Place { server: S3Server::start(), recipient: key.to_public().to_string(), identity, dir }
    }

    fn url(&self) -> String {
        self.server.url("etcd")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_etcd-shipper"));
        command.args(args).envs(self.server.env()).env("HIGHWATER_LOG", "warn");
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn ship(&self, endpoint: &str, more: &[&str]) -> Output {
        let (spool, url) = (self.dir.path().join("spool"), self.url());
        let spool = spool.to_str().unwrap();
        let args = ["ship", "--cluster", "prod", "--endpoints", endpoint, "--to", &url, "--spool-dir", spool];
        self.run(&[&args[..], &["--recipient", &self.recipient], more].concat())
    }
}

#[track_caller]
fn expect(output: &Output, code: i32) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "stdout: {out}\nstderr: {err}");
    (out, err)
}

fn spool_is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir.join("spool"))
        .unwrap()
        .all(|entry| entry.unwrap().file_name() == ".etcd-shipper.lock")
}

#[test]
fn one_life_of_backups_from_the_command_line() {
    let cluster = match Cluster::start(1, false) {
        Ok(cluster) => cluster,
        Err(why) => return println!("SKIP: {why}"),
    };
    cluster.fill(UID, 200);
    let (place, endpoint) = (Place::new(), cluster.endpoints().remove(0));
    let (url, identity) = (place.url(), place.identity.to_str().unwrap().to_owned());

    let spool = place.dir.path().join("spool");
    let doctor = [
        "doctor",
        "--cluster",
        "prod",
        "--endpoints",
        &endpoint,
        "--to",
        &url,
        "--spool-dir",
        spool.to_str().unwrap(),
    ];
    let (found, _) = expect(&place.run(&doctor), 0);
    assert!(found.contains("answers as leader") && found.contains("0 snapshots of prod"), "{found}");
    let (found, _) = expect(&place.run(&["doctor", "--cluster", "prod", "--endpoints", "127.0.0.1:1"]), 1);
    assert!(found.contains("nothing listens there"), "{found}");

    let metrics = place.dir.path().join("etcd.prom");
    let (out, _) =
        expect(&place.ship(&endpoint, &["-o", "json", "--textfile", metrics.to_str().unwrap()]), 0);
    assert!(out.contains(r#""hashkv": "equal""#), "{out}");
    let text = std::fs::read_to_string(&metrics).unwrap();
    assert!(
        text.contains("highwater_etcd_hashkv_match{cluster=\"prod\"") && !text.contains("process_"),
        "{text}"
    );
    cluster.fill(UID, 20);
    expect(&place.ship(&endpoint, &[]), 0);
    assert!(spool_is_empty(place.dir.path()));

    let (listed, _) = expect(&place.run(&["list", &url]), 0);
    assert_eq!(listed.matches("proven").count(), 2, "{listed}");
    let (plan, _) = expect(&place.run(&["prune", &url, "--cluster", "prod"]), 0);
    assert!(plan.contains("all") && plan.contains("0 to delete"), "{plan}");
    let (verified, _) = expect(&place.run(&["verify", &url, "--all", "--identity", &identity]), 0);
    assert_eq!(verified.matches("proven").count(), 2, "{verified}");
    expect(&place.run(&["list", &url, "--cluster", "other"]), 3);

    let etcd_dir = program("etcd").unwrap().parent().unwrap().to_owned();
    let work = place.dir.path().join("work");
    std::fs::create_dir(&work).unwrap();
    let drill = [
        "drill",
        &url,
        "--identity",
        &identity,
        "--etcd-dir",
        etcd_dir.to_str().unwrap(),
        "--work-dir",
        work.to_str().unwrap(),
    ];
    let (drilled, _) = expect(&place.run(&drill), 0);
    assert_eq!(drilled.matches("HashKV").count(), 2, "{drilled}");
    assert_eq!(std::fs::read_dir(&work).unwrap().count(), 0, "a drill leaves nothing behind");

    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let mut serve = Proc::start(place.command(&["serve", &url, "--listen", &listen]));
    let scrape = || {
        let mut stream = std::net::TcpStream::connect(&listen).ok()?;
        std::io::Write::write_all(&mut stream, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").ok()?;
        let mut text = String::new();
        std::io::Read::read_to_string(&mut stream, &mut text).ok()?;
        Some(text)
    };
    let mut seen = String::new();
    serve.wait_until(PATIENCE, "the drill's result is exported", || {
        seen = scrape().unwrap_or_default();
        seen.contains("highwater_drill_last_result")
    });
    for line in [
        "highwater_etcd_snapshot_count{cluster=\"prod\"",
        "highwater_drill_last_result{app=\"prod\",kind=\"etcd\",name=\"prod\"} 1",
        "highwater_drill_interval_seconds{app=\"prod\",kind=\"etcd\",name=\"prod\"} 604800",
        "highwater_backup_last_object_timestamp_seconds{app=\"prod\",kind=\"etcd\",name=\"prod\"}",
    ] {
        assert!(seen.contains(line), "{line} is missing in {seen}");
    }
    serve.terminate();
    assert_eq!(serve.expect_exit(PATIENCE), 0);

    // By hand, without any of our tools: the promise of the format.
    let object = place.server.keys("etcd/prod/").into_iter().find(|key| key.ends_with(".age")).unwrap();
    let raw = place.dir.path().join("by-hand.db");
    if program_on_path("age") && program_on_path("zstd") {
        let script = format!(
            "age -d -i {identity} {} | zstd -d > {}",
            place.server.object(&object).display(),
            raw.display()
        );
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
        let printed = Cluster::snapshot_status(&raw);
        assert!(printed.contains("revision"), "{printed}");
    } else {
        println!("SKIP by hand: age and zstd are not installed");
    }

    // A store that cannot be reached, no recipient, a destination too few.
    place.server.faults().deny_writes(true);
    let (_, err) = expect(&place.ship(&endpoint, &[]), 1);
    assert!(err.contains("denied"), "{err}");
    place.server.faults().deny_writes(false);
    let spool = place.dir.path().join("spool");
    let none = [
        "ship",
        "--cluster",
        "prod",
        "--endpoints",
        &endpoint,
        "--to",
        &url,
        "--spool-dir",
        spool.to_str().unwrap(),
    ];
    let (_, err) = expect(&place.run(&none), 2);
    assert!(err.contains("no recipient"), "{err}");
    let nas = place.dir.path().join("nas");
    std::fs::create_dir(&nas).unwrap();
    let good = format!("file://{}?keep-all=2d&keep-daily=0", nas.display());
    let (_, err) = expect(&place.ship(&endpoint, &["--to", &good, "--to", "file:///does/not/exist"]), 6);
    assert!(err.contains("/does/not/exist"), "{err}");
    let (listed, _) = expect(&place.run(&["list", &format!("file://{}", nas.display())]), 0);
    assert!(listed.contains("proven"), "{listed}");
    assert!(place.server.unfinished_uploads() == 0 && spool_is_empty(place.dir.path()));
}

/// Bytes of the spool that a process holds open; it has no name.
fn spooled(pid: u32) -> u64 {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    open.filter(|fd| {
        std::fs::read_link(fd.path()).is_ok_and(|to| to.to_string_lossy().ends_with("(deleted)"))
    })
    .filter_map(|fd| Some(std::fs::metadata(fd.path()).ok()?.len()))
    .max()
    .unwrap_or(0)
}

#[test]
fn p2_a_server_that_dies_in_mid_stream_leaves_no_backup_and_the_next_run_makes_one() {
    let mut cluster = match Cluster::start(1, false) {
        Ok(cluster) => cluster,
        Err(why) => return println!("SKIP: {why}"),
    };
    let filler: Vec<(String, String)> =
        (0..6_000).map(|index| (format!("/registry/filler/f{index:05}"), "x".repeat(10_000))).collect();
    cluster.put(&filler);
    let (place, endpoint) = (Place::new(), cluster.endpoints().remove(0));
    let (url, spool) = (place.url(), place.dir.path().join("spool"));
    let line = Held::to(endpoint.trim_start_matches("http://"), 4 << 20);
    let held = format!("http://{}", line.addr);
    let args = ["ship", "--cluster", "prod", "--endpoints", &held, "--to", &url, "--spool-dir"];
    let mut command = place.command(&args);
    command.arg(&spool).args(["--recipient", &place.recipient]);
    let mut shipping = Proc::start(command);
    let pid = shipping.id();
    shipping.wait_until(PATIENCE, "the stream runs", || spooled(pid) > 1 << 20);
    cluster.stop(0);
    drop(line);
    assert_eq!(shipping.expect_exit(PATIENCE), 1, "{}", shipping.log_tail());
    let said = shipping.log();
    assert!(said.contains("broke off after") && said.contains("nothing was kept"), "{said}");
    assert!(spool_is_empty(place.dir.path()));
    let keys = place.server.keys("etcd/");
    assert!(keys.iter().all(|key| key.ends_with("_result.json")), "only how the run ended: {keys:?}");
    cluster.resume(0);
    cluster.settle();
    expect(&place.ship(&endpoint, &[]), 0);
}

fn program_on_path(name: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|dir| dir.join(name).is_file())
}

#[test]
fn a_kill_in_the_middle_leaves_no_backup_and_no_spool() {
    let cluster = match Cluster::start(1, false) {
        Ok(cluster) => cluster,
        Err(why) => return println!("SKIP: {why}"),
    };
    cluster.fill(UID, 200);
    let (place, endpoint) = (Place::new(), cluster.endpoints().remove(0));
    let (url, spool) = (place.url(), place.dir.path().join("spool"));
    let args = [
        "ship",
        "--cluster",
        "prod",
        "--endpoints",
        &endpoint,
        "--to",
        &url,
        "--spool-dir",
        spool.to_str().unwrap(),
        "--recipient",
        &place.recipient,
    ];
    for kill in [true, false] {
        place.server.faults().hang_next(1_000);
        let mut shipping = Proc::start(place.command(&args));
        shipping.wait_until(PATIENCE, "a request hangs", || place.server.counts().total() > 0);
        if kill {
            shipping.kill9()
        } else {
            shipping.terminate()
        }
        shipping.expect_exit(PATIENCE);
        place.server.faults().clear();
        assert!(spool_is_empty(place.dir.path()));
        assert!(!place.server.keys("etcd/").iter().any(|key| key.ends_with("manifest.json")));
        place.server.reset();
    }
    expect(&place.ship(&endpoint, &[]), 0);
}
