//! `config-syncer` and `restore files` where the world is against them: foreign files, ACLs, a disk that cannot be read, a kernel that
//! gives no watches. Whatever cannot be arranged on a machine is skipped with the reason.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use e2e::http::{get, series};
use e2e::pod::{addr, stop};
use e2e::{Outcome, PATIENCE, Place, run};
use tempfile::TempDir;
use testkit::procs::{Proc, wait_until};

const NOBODY: u32 = 65532;

fn snapshot(place: &Place, tree: &Path) -> Command {
    let mut command = place.command("config-syncer");
    command.arg("snapshot").arg(tree).arg(place.url("files"));
    command
}

fn restore(place: &Place, target: &Path) -> Command {
    let mut command = place.command("restore");
    command.args(["files", &place.url("files"), "-o"]).arg(target);
    command
}

/// Runs a command as another uid, where the binaries can be reached by it.
fn as_nobody(mut command: Command) -> Option<Outcome> {
    let mut probe = Command::new(command.get_program());
    probe.arg("--version").uid(NOBODY).gid(NOBODY).stdout(Stdio::null());
    if let Err(error) = probe.status() {
        println!("skipped: another uid cannot run the binaries: {error}");
        return None;
    }
    command.uid(NOBODY).gid(NOBODY);
    Some(run(command))
}

/// True if the command can be run and succeeds.
fn can(program: &str, arguments: &[&str]) -> bool {
    let tried = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

/// A directory that everybody may enter.
fn open_dir() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    dir
}

#[test]
fn a_pod_that_is_not_root_keeps_and_restores_its_own_files_and_counts_the_others() {
    let (place, dir) = (Place::s3(), open_dir());
    let tree = dir.path().join("tree");
    fs::create_dir_all(tree.join("locked")).unwrap();
    for (name, mode) in [("plain", 0o644), ("secret", 0o600), ("run.sh", 0o755), ("locked/inside", 0o444)] {
        fs::write(tree.join(name), name).unwrap();
        fs::set_permissions(tree.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(tree.join("locked"), fs::Permissions::from_mode(0o555)).unwrap();
    for path in ["", "plain", "secret", "run.sh", "locked", "locked/inside"] {
        chown(tree.join(path), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let Some(first) = as_nobody(snapshot(&place, &tree)) else { return };
    first.expect(0);
    // Somebody else's file that may not be read: the rest is kept, and the exit code says that one is missing.
    fs::write(tree.join("of-root"), "x").unwrap();
    fs::set_permissions(tree.join("of-root"), fs::Permissions::from_mode(0o600)).unwrap();
    let second = as_nobody(snapshot(&place, &tree)).unwrap();
    second.expect(6);
    assert!(second.stdout.contains("1 files are not in it as they are"), "{}", second.stdout);

    let back = dir.path().join("back");
    as_nobody(restore(&place, &back)).unwrap().expect(0);
    for name in ["plain", "secret", "run.sh", "locked", "locked/inside"] {
        let (was, is) = (fs::metadata(tree.join(name)).unwrap(), fs::metadata(back.join(name)).unwrap());
        assert_eq!(
            (was.mode(), was.uid(), was.mtime_nsec()),
            (is.mode(), is.uid(), is.mtime_nsec()),
            "{name}"
        );
    }
    // A tree of root's files, restored by somebody else: the content comes, the owner cannot, and that is said.
    let place = Place::s3();
    let roots = dir.path().join("roots");
    fs::create_dir(&roots).unwrap();
    fs::write(roots.join("a"), "1").unwrap();
    fs::set_permissions(roots.join("a"), fs::Permissions::from_mode(0o4755)).unwrap();
    run(snapshot(&place, &roots)).expect(0);
    let other = dir.path().join("other");
    let said = as_nobody(restore(&place, &other)).unwrap();
    said.expect(0);
    assert!(said.stdout.contains("owners could not be set"), "{}", said.stdout);
    let mode = fs::metadata(other.join("a")).unwrap().mode() & 0o7777;
    assert_eq!(mode, 0o755, "a right to act as root is never lent to another owner");
}

#[test]
fn acls_come_back_as_they_were() {
    let (place, dir) = (Place::s3(), tempfile::tempdir().unwrap());
    let tree = dir.path().join("tree");
    fs::create_dir_all(tree.join("shared")).unwrap();
    fs::write(tree.join("file"), "1").unwrap();
    let (file, shared) = (tree.join("file"), tree.join("shared"));
    let set = can("setfacl", &["-m", "u:1234:rw,g:4321:r,m::rw", file.to_str().unwrap()])
        && can("setfacl", &["-m", "d:u:1234:rwx,d:o::-", shared.to_str().unwrap()]);
    if !set {
        return println!("skipped: setfacl is not there, or the file system keeps no ACLs");
    }
    let acls = |root: &Path| {
        let shown = Command::new("getfacl").args(["-pnR", "."]).current_dir(root).output().unwrap();
        let text = String::from_utf8(shown.stdout).unwrap();
        // Everything but our own directory.
        let of_files = text.split("\n\n").filter(|part| !part.contains(".highwater")).collect::<Vec<_>>();
        of_files.join("\n\n")
    };
    assert!(acls(&tree).contains("user:1234:rw-") && acls(&tree).contains("default:user:1234:rwx"));
    run(snapshot(&place, &tree)).expect(0);
    let back = dir.path().join("back");
    run(restore(&place, &back)).expect(0);
    assert_eq!(acls(&back), acls(&tree));
}

/// A disk with a file that cannot be read: a file system in a file whose end is cut off, under one that can be written.
struct BadDisk {
    dir: TempDir,
    mounted: Vec<PathBuf>,
}

impl BadDisk {
    fn mount() -> Result<BadDisk, String> {
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let at = |name: &str| dir.path().join(name);
        let (image, lower, upper, tree) = (at("image"), at("lower"), at("upper"), at("tree"));
        for place in [&lower, &upper, &tree] {
            fs::create_dir(place).map_err(|e| e.to_string())?;
        }
        let file = fs::File::create(&image).and_then(|file| file.set_len(16 << 20));
        file.map_err(|e| e.to_string())?;
        let text = |path: &Path| path.to_str().unwrap_or_default().to_owned();
        let mut disk = BadDisk { dir, mounted: Vec::new() };
        let made = can("mkfs.ext4", &["-q", "-F", "-b", "1024", "-O", "^has_journal", &text(&image)]);
        if !made || !disk.attach(&["-o", "loop", &text(&image)], &lower) {
            return Err("no loop device, or no mkfs.ext4".into());
        }
        fs::write(lower.join("broken"), vec![7; 6 << 20]).map_err(|e| e.to_string())?;
        disk.detach();
        let options = format!("lowerdir={},upperdir={1}/u,workdir={1}/w", text(&lower), text(&upper));
        let ready = disk.attach(&["-o", "loop,ro", &text(&image)], &lower)
            && disk.attach(&["-t", "tmpfs", "none"], &upper)
            && fs::create_dir(upper.join("u")).and_then(|()| fs::create_dir(upper.join("w"))).is_ok()
            && disk.attach(&["-t", "overlay", "overlay", "-o", &options], &tree);
        if !ready {
            return Err("no overlay of file systems".into());
        }
        // Everything behind the first mebibyte is gone: reading it is an error of the device.
        let cut = fs::OpenOptions::new().write(true).open(&image).and_then(|file| file.set_len(2 << 20));
        cut.map_err(|e| e.to_string())?;
        match fs::read(tree.join("broken")) {
            Err(error) if error.raw_os_error() == Some(5) => Ok(disk),
            other => Err(format!("the disk is not broken enough: {:?}", other.map(|bytes| bytes.len()))),
        }
    }

    fn attach(&mut self, arguments: &[&str], at: &Path) -> bool {
        let mounted = can("mount", &[arguments, &[at.to_str().unwrap_or_default()]].concat());
        if mounted {
            self.mounted.push(at.to_owned());
        }
        mounted
    }

    fn detach(&mut self) {
        if let Some(at) = self.mounted.pop() {
            can("umount", &[at.to_str().unwrap_or_default()]);
        }
    }

    fn tree(&self) -> PathBuf {
        self.dir.path().join("tree")
    }
}

impl Drop for BadDisk {
    fn drop(&mut self) {
        while !self.mounted.is_empty() {
            self.detach();
        }
    }
}

#[test]
fn p3_a_file_the_disk_cannot_read_ends_the_look_and_is_never_a_deletion() {
    let disk = match BadDisk::mount() {
        Ok(disk) => disk,
        Err(reason) => return println!("skipped: {reason}"),
    };
    let place = Place::s3();
    fs::write(disk.tree().join("good"), "1").unwrap();
    run(snapshot(&place, &disk.tree())).expect(1).says(&["broken", "Input/output error"]);
    let commits = || fs::read_dir(place.root("files/m")).unwrap().count();
    assert_eq!(commits(), 1, "a claim and no snapshot");
    // Replaced by a good one, it goes on.
    fs::remove_file(disk.tree().join("broken")).unwrap();
    run(snapshot(&place, &disk.tree())).expect(0);
    assert_eq!(commits(), 3);
}

/// As many watches as a crowded node leaves: the tree is looked at by the clock instead, and a metric says so.
#[test]
fn a_kernel_without_watches_is_polled_and_told() {
    let limit = "echo 6 > /proc/sys/user/max_inotify_watches";
    if !can("unshare", &["-U", "-r", "sh", "-c", limit]) {
        return println!("skipped: no user namespaces here");
    }
    let (place, dir) = (Place::s3(), tempfile::tempdir().unwrap());
    let tree = dir.path().join("tree");
    for i in 0..20 {
        fs::create_dir_all(tree.join(format!("d{i}"))).unwrap();
        fs::write(tree.join(format!("d{i}/f")), "1").unwrap();
    }
    let syncer = place.command("config-syncer");
    let mut command = Command::new("unshare");
    command.args(["-U", "-r", "sh", "-c", &format!("{limit}; exec \"$0\" \"$@\"")]).arg(syncer.get_program());
    command.arg("watch").arg(&tree).arg(place.url("files"));
    command.args(["--debounce", "100ms", "--listen", "127.0.0.1:0"]);
    for (name, value) in syncer.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let mut syncer = Proc::start(command);
    syncer.wait_for_log(PATIENCE, "limit of watches");
    syncer.wait_for_log(PATIENCE, "\"committed\"");
    let metrics = get(&addr(&mut syncer), "/metrics").1;
    let name = "highwater_files_watch_mode{mode=\"poll\"";
    let polling = metrics.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{metrics}"));
    assert!(polling.ends_with(" 1"), "{polling}");
    assert!(series(&metrics, "nothing").is_none());
    let commits = || fs::read_dir(place.root("files/m")).unwrap().count();
    let before = commits();
    fs::write(tree.join("d19/late"), "1").unwrap();
    wait_until(PATIENCE, "the change is found without an event", || commits() > before);
    stop(&mut syncer);
}
