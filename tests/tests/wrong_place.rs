//! Containers that were given a wrong user, a volume they cannot write or must not follow a WAL on, or a bucket that is not there: one line with place, cause and hint, the
//! same exit code whoever finds it, and nothing changed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use e2e::failing::FailingDisk;
use e2e::{Place, Pod, Volume, run, snapshot};
use nix::unistd::Uid;
use testkit::s3::BUCKET;

const NONE: &[&str] = &[];
/// A uid that owns nothing.
const NOBODY: u32 = 65534;

fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn mount(arguments: &[&str]) -> bool {
    let status = Command::new("mount").args(arguments).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn restore_says_which_user_and_which_mount_are_wrong() {
    if !Uid::effective().is_root() {
        return println!("skipped: only root can become another uid and mount");
    }
    for protects in ["databases: [{path: app.db}]", "databases: [{path: data}]", "files: [{path: .}]"] {
        let place = Place::s3();
        let pod = Pod::new(&place, protects);
        open_to_all(pod.volume.path());
        open_to_all(pod.run_dir().parent().unwrap());
        fs::create_dir(pod.run_dir()).unwrap();
        chown(pod.run_dir(), Some(NOBODY), Some(NOBODY)).unwrap();

        let mut command = pod.init_command(NONE);
        let mut probe = Command::new(command.get_program());
        if let Err(error) = probe.arg("--version").uid(NOBODY).stdout(Stdio::null()).status() {
            return println!("skipped: another uid cannot run the binaries: {error}");
        }
        command.uid(NOBODY).gid(NOBODY);
        let init = run(command);
        println!("{}", init.last_line());
        let owner = format!("{} belongs to uid 0 (mode 0755)", pod.volume.path().display());
        init.expect(3).says(&["Permission denied", "runs as uid 65534", &owner, "runAsUser"]);
        assert!(snapshot(pod.volume.path()).is_empty(), "{protects}");

        if !mount(&["-t", "tmpfs", "-o", "ro", "highwater-test", pod.volume.path().to_str().unwrap()]) {
            println!("skipped: nothing can be mounted here");
            continue;
        }
        let unmount = Unmount(pod.volume.path());
        let init = pod.init(NONE);
        println!("{}", init.last_line());
        let volume = pod.volume.path().display().to_string();
        init.expect(1).says(&[&volume, "Read-only file system", "mounted read-only", "readOnly"]);
        assert!(place.objects("web").is_empty(), "nothing is claimed");
        drop(unmount);
    }
}

#[test]
fn a_bucket_that_does_not_exist_is_a_wrong_configuration_everywhere() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(5);
    let url = place.url("p").replacen(BUCKET, "bucket-that-is-not", 1);
    let (db, out) = (volume.db().display().to_string(), volume.file("out").display().to_string());
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("a.conf"), "a").unwrap();
    let tree = tree.path().display().to_string();
    for (program, arguments) in [
        ("restore", ["sqlite", url.as_str(), "-o", &out]),
        ("restore", ["files", &url, "-o", &out]),
        ("restore", ["list", &url, "-o", "json"]),
        ("restore", ["verify", &url, "-o", "json"]),
        ("wal-streamer", ["replicate", "--once", &db, &url]),
        ("config-syncer", ["snapshot", &tree, &url, "--log-format=json"]),
    ] {
        let mut command = place.command(program);
        command.args(arguments);
        let ended = run(command);
        println!("{program} {}: {} {}", arguments[0], ended.exit, ended.last_line());
        ended.expect(2).says(&["bucket-that-is-not", "does not exist"]);
    }
    for protects in ["databases: [{path: app.db}]", "databases: [{path: '*.db'}]", "files: [{path: .}]"] {
        let pod = Pod::new(&place, protects);
        let description = pod.run_dir().with_file_name("protect.yaml");
        let text = fs::read_to_string(&description).unwrap().replacen(BUCKET, "bucket-that-is-not", 1);
        fs::write(&description, text).unwrap();
        let init = pod.init(NONE);
        println!("restore init, {protects}: {} {}", init.exit, init.last_line());
        init.expect(2).says(&["bucket-that-is-not", "does not exist"]);
    }
}

/// A kernel without these file systems: what it would say of them is answered by a preloaded library, and everything else is real.
#[test]
fn a_wal_on_a_network_file_system_is_refused() {
    let disk = match FailingDisk::new() {
        Ok(disk) => disk,
        Err(reason) => return println!("skipped: {reason}"),
    };
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(20);
    let run_once = || {
        let mut command = place.command("wal-streamer");
        command.args(["replicate", "--once"]).arg(volume.db()).arg(place.url("p"));
        disk.under(&mut command);
        run(command)
    };
    let before = snapshot(volume.path());
    for (magic, name) in [(0x6969, "nfs"), (0xff53_4d42, "cifs"), (0xfe53_4d42, "smb2")] {
        disk.lies_on(magic, "app.db");
        run_once().expect(3).says(&["app.db", &format!("lies on {name}"), "use a local or block volume"]);
    }
    assert_eq!(snapshot(volume.path()), before, "a refusal leaves nothing");
    assert_eq!(place.server().counts().total(), 0, "and asks nobody");
    disk.heal();
    run_once().expect(0);
}
