//! What a run of `etcd-shipper ship` leaves behind where the store or the gateway of its metrics does not play along.
//!
//! The source is a small bbolt file (`--file`), so no etcd runs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use clock::{Clock, SystemClock};
use e2e::{Outcome, PATIENCE, Place, run};
use testkit::bolt::{kubernetes, snapshot};
use testkit::diskfull::SmallDisk;
use testkit::rng::Rng;

struct Job {
    place: Place,
    dir: tempfile::TempDir,
}

impl Job {
    fn new() -> Job {
        // Not in the system's temporary directory, which may be a tmpfs: a spool there is refused.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::write(dir.path().join("taken.db"), snapshot(&kubernetes())).unwrap();
        fs::create_dir(dir.path().join("spool")).unwrap();
        Job { place: Place::s3(), dir }
    }

    /// Adopts a file as if it had been taken so many minutes ago.
    fn ship(&self, file: &str, minutes: i64, more: &[&str]) -> Outcome {
        let path = |name: &str| self.dir.path().join(name);
        let mut command = self.place.command("etcd-shipper");
        command.args(["ship", "--cluster", "prod", "--unencrypted", "--to", &self.place.url("etcd")]);
        command.arg("--file").arg(path(file)).arg("--spool-dir").arg(path("spool"));
        let taken = clock::format_unix_ms(SystemClock.unix_ms() / 1_000 * 1_000 - minutes * 60_000);
        command.args(["--taken-at", &taken]).args(more);
        run(command)
    }
}

/// A Pushgateway that answers with this status and hands over what it was sent: the head, and the body.
fn gateway(status: &'static str) -> (String, Receiver<(String, String)>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sent, received) = channel();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
            let (head, length) = loop {
                let count = socket.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..count]);
                let text = String::from_utf8_lossy(&request).into_owned();
                let Some(end) = text.find("\r\n\r\n") else { continue };
                let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
                break (end + 4, length.unwrap().parse::<usize>().unwrap());
            };
            while request.len() < head + length {
                let count = socket.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..count]);
            }
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 4\r\n\r\nsaid");
            socket.write_all(answer.as_bytes()).unwrap();
            let text = String::from_utf8(request).unwrap();
            if sent.send((text[..head].to_owned(), text[head..].to_owned())).is_err() {
                return;
            }
        }
    });
    (url, received)
}

#[test]
fn a_run_pushes_its_metrics_and_a_failed_one_only_how_it_ended() {
    let job = Job::new();
    let (url, received) = gateway("200 OK");
    job.ship("taken.db", 10, &["--pushgateway", &url]).expect(0);
    let (line, body) = received.recv_timeout(PATIENCE).unwrap();
    assert!(line.starts_with("PUT /metrics/job/etcd-shipper/cluster/prod/destination@base64/"), "{line}");
    for series in [
        "highwater_etcd_snapshot_last_success_timestamp_seconds{cluster=\"prod\",destination=\"s3://",
        "highwater_etcd_snapshot_last_exit_code{cluster=\"prod\"",
        "highwater_etcd_snapshot_count{cluster=\"prod\"",
    ] {
        assert!(body.contains(series), "{series} is missing in {body}");
    }
    assert!(!body.contains("process_"), "{body}");
    // Nothing was taken: told, with the exit code, and what the bucket holds stays told.
    job.ship("missing.db", 11, &["--pushgateway", &url]).expect(1);
    let (line, body) = received.recv_timeout(PATIENCE).unwrap();
    assert!(line.starts_with("PUT ") && exit_code(&body) == "1", "{line}: {body}");
    assert!(body.contains("highwater_etcd_snapshot_last_success_timestamp_seconds"), "{body}");
    // The bucket is away: the gateway is the only one who hears of it, and keeps the rest.
    let faults = job.place.server().faults();
    faults.deny_all(true);
    let failed = job.ship("taken.db", 12, &["--pushgateway", &url]);
    faults.deny_all(false);
    assert_eq!(failed.exit, 1, "{}", failed.stderr);
    let (line, body) = received.recv_timeout(PATIENCE).unwrap();
    assert!(line.starts_with("POST ") && exit_code(&body) == "1", "{line}: {body}");
    assert!(!body.contains("last_success"), "{body}");
}

fn exit_code(body: &str) -> &str {
    let line = body.lines().find(|line| line.starts_with("highwater_etcd_snapshot_last_exit_code")).unwrap();
    line.rsplit(' ').next().unwrap()
}

#[test]
fn a_gateway_that_is_away_or_refuses_fails_nothing() {
    let job = Job::new();
    let (url, received) = gateway("400 Bad Request");
    let refused = job.ship("taken.db", 10, &["--pushgateway", &url]);
    refused.expect(0);
    received.recv_timeout(PATIENCE).unwrap();
    assert!(refused.stderr.contains("400") && refused.stderr.contains("said"), "{}", refused.stderr);
    let nobody = format!("http://127.0.0.1:{}", testkit::procs::free_port());
    let away = job.ship("taken.db", 11, &["--pushgateway", &nobody]);
    away.expect(0);
    assert!(away.stderr.contains("not pushed"), "{}", away.stderr);
    job.ship("taken.db", 12, &["--pushgateway", "ftp://push"]).expect(2);
}

#[test]
fn p2_a_full_disk_at_the_spool_or_the_destination_keeps_nothing() {
    let job = Job::new();
    let manifests = |dir: &Path| {
        let found = Command::new("find").arg(dir).args(["-name", "*.manifest.json"]).output().unwrap();
        String::from_utf8(found.stdout).unwrap().lines().count()
    };
    // The destination is full: a NAS on which less fits than the snapshot has.
    let mut pairs = kubernetes();
    pairs.push(("/registry/noise/one".into(), Rng::new(5).bytes(1_200_000)));
    fs::write(job.dir.path().join("taken.db"), snapshot(&pairs)).unwrap();
    match SmallDisk::mount(1 << 20) {
        Err(why) => println!("SKIP a full destination: {why}"),
        Ok(nas) => {
            let to = format!("file://{}", nas.path().display());
            // The other destination gets its copy: partly done.
            job.ship("taken.db", 10, &["--to", &to]).expect(6).says(&["No space left"]);
            assert_eq!(manifests(nas.path()), 0);
            let left = fs::read_dir(job.dir.path().join("spool")).unwrap().count();
            assert_eq!(left, 1, "the lock alone");
        }
    }
    job.ship("taken.db", 9, &[]).expect(0);
    // The spool's disk is nearly full: told with both numbers before the snapshot is drained.
    let disk = match Ext4::mount(&job.dir.path().join("disk"), 12 << 20) {
        Ok(disk) => disk,
        Err(why) => return println!("SKIP a full spool: {why}"),
    };
    let before = job.place.objects("etcd").len();
    let mut command = job.place.command("etcd-shipper");
    command.args(["ship", "--cluster", "prod", "--unencrypted", "--to", &job.place.url("etcd")]);
    command.arg("--file").arg(job.dir.path().join("taken.db")).arg("--spool-dir").arg(&disk.0);
    command.args(["--taken-at", "2026-11-20T10:00:00Z"]);
    run(command).expect(1).says(&["bytes free, the snapshot needs"]);
    // How the run ended is told there; nothing else is new.
    let after = job.place.objects("etcd");
    assert_eq!(after.len(), before, "{:?}", after.keys());
}

/// A small file system on a real block device: a tmpfs would be refused as a spool before its space is looked at.
struct Ext4(PathBuf);

impl Ext4 {
    fn mount(dir: &Path, bytes: u64) -> Result<Ext4, String> {
        let image = dir.with_extension("img");
        fs::File::create(&image).and_then(|file| file.set_len(bytes)).map_err(|e| e.to_string())?;
        fs::create_dir(dir).map_err(|e| e.to_string())?;
        let can = |program: &str, args: &[&OsStr]| {
            let status =
                Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
            status.is_ok_and(|status| status.success())
        };
        let made = can("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), image.as_os_str()]);
        let mounted =
            made && can("mount", &["-o".as_ref(), "loop".as_ref(), image.as_os_str(), dir.as_os_str()]);
        if mounted {
            Ok(Ext4(dir.to_owned()))
        } else {
            Err("no mkfs.ext4, or no loop device to mount".into())
        }
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_password_goes_by_tls_or_on_loopback_and_wrong_files_are_told_first() {
    let job = Job::new();
    let (url, received) = gateway("200 OK");
    let file = |name: &str, text: &str| {
        let path = job.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (name, password) = (file("name", "me\n"), file("password", "s3cret\n"));
    let secret = ["--pushgateway-username-file", &name, "--pushgateway-password-file", &password];
    job.ship("taken.db", 10, &[&["--pushgateway", &url][..], &secret].concat()).expect(0);
    let (head, _) = received.recv_timeout(PATIENCE).unwrap();
    assert!(head.contains("authorization: Basic bWU6czNjcmV0\r\n"), "{head}");
    for (more, sign) in [
        (&["--pushgateway", "http://push:9091"][..], "in the clear"),
        (&["--pushgateway", "http://me:s3cret@push:9091"], "--pushgateway-password-file"),
        (&["--pushgateway", "https://push", "--pushgateway-ca", "/nowhere/ca.crt"], "/nowhere/ca.crt"),
    ] {
        let refused = job.ship("taken.db", 11, &[more, &secret].concat());
        refused.expect(2);
        assert!(refused.stderr.contains(sign), "{}", refused.stderr);
    }
    job.ship("taken.db", 11, &secret).expect(2);
    let keys = job.place.server().keys("etcd/");
    assert_eq!(keys.iter().filter(|key| key.ends_with("manifest.json")).count(), 1, "{keys:?}");
    assert!(received.try_recv().is_err(), "nothing was taken, and nothing told");
}

#[test]
fn p3_a_lock_on_what_is_due_fails_no_run_and_is_told() {
    let job = Job::new();
    let tight = ["--keep-all", "10m", "--keep-daily", "0"];
    let metrics = job.dir.path().join("etcd.prom");
    let told = [&tight[..], &["--textfile", metrics.to_str().unwrap()]].concat();
    // The store refuses every deletion, as one that locks objects does.
    job.place.server().faults().deny_deletes(true);
    for count in 0..12 {
        job.ship("taken.db", 50 - 3 * count, &told).expect(0);
    }
    let manifests = || {
        let keys = job.place.server().keys("etcd/prod/");
        keys.iter().filter(|key| key.ends_with(".manifest.json")).count()
    };
    assert_eq!(manifests(), 12, "nothing was lost");
    let text = fs::read_to_string(&metrics).unwrap();
    let backlog = text.lines().find(|line| line.starts_with("highwater_etcd_retention_backlog{")).unwrap();
    assert!(backlog.ends_with(" 5"), "twelve, of which seven stay whatever their age: {backlog}");
    // By hand it is no error either, and each one is named.
    let mut prune = job.place.command("etcd-shipper");
    prune.args(["prune", &job.place.url("etcd"), "--apply"]).args(tight);
    let pruned = run(prune);
    pruned.expect(0);
    assert_eq!(pruned.stdout.matches("locked").count(), 5, "{}", pruned.stdout);
    // The lock ends.
    job.place.server().faults().deny_deletes(false);
    job.ship("taken.db", 10, &tight).expect(0);
    assert_eq!(manifests(), 7);
}
