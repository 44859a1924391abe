//! `config-syncer` and `restore files` where the world is against them: foreign files, ACLs, a disk with bad sectors, a kernel that
//! gives no watches. Whatever cannot be arranged on a machine is skipped with the reason.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use e2e::disk::{LoopDisk, can};
use e2e::http::{get, series};
use e2e::pod::{addr, stop};
use e2e::{Outcome, PATIENCE, Place, run};
use serde_json::{Value, json};
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

/// A disk with bad sectors under chosen files: a file system in a file, where their blocks lie behind the point at which it is cut off.
struct BadDisk(LoopDisk);

impl BadDisk {
    /// Blocks of 1 KiB, and how many of them are there when the disk is broken.
    const BLOCKS: u64 = 32 << 10;
    const GOOD: u64 = 30 << 10;

    fn mount() -> Result<BadDisk, String> {
        // Blocks in the inode, and nothing that notices where they are.
        let features = "^has_journal,^extent,^64bit,^metadata_csum,^flex_bg";
        let disk = BadDisk(LoopDisk::new(Self::BLOCKS, &["-b", "1024", "-O", features])?);
        if !can("debugfs", &["-V"]) {
            return Err("no debugfs".into());
        }
        fs::create_dir(disk.tree()).map_err(|e| e.to_string())?;
        Ok(disk)
    }

    /// From now on the disk does not give the first block of these things in the tree.
    fn break_first_block(&mut self, of: &[&str]) {
        self.0.detach();
        let image = self.0.image();
        for (i, name) in of.iter().enumerate() {
            let request = format!("set_inode_field /tree/{name} block[0] {}", Self::BLOCKS - 1 - i as u64);
            assert!(can("debugfs", &["-w", "-R", &request, image.to_str().unwrap()]), "{request}");
        }
        assert!(self.0.attach());
        fs::OpenOptions::new().write(true).open(&image).unwrap().set_len(Self::GOOD << 10).unwrap();
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.at(name)
    }

    fn tree(&self) -> PathBuf {
        self.at("disk/tree")
    }

    /// A later time, without its content being touched.
    fn touch(&self, name: &str) {
        let file = fs::OpenOptions::new().write(true).open(self.tree().join(name)).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(1_700_000_000)).unwrap();
    }
}

fn commits(place: &Place) -> usize {
    fs::read_dir(place.root("files/m")).map_or(0, Iterator::count)
}

/// Of a look as a script sees it: the exit code, and what it counted.
fn counted(place: &Place, tree: &Path) -> (i32, Value) {
    let mut command = snapshot(place, tree);
    command.args(["-o", "json"]);
    let outcome = run(command);
    (outcome.exit, serde_json::from_str(&outcome.stdout).unwrap_or_else(|e| panic!("{e}: {outcome:?}")))
}

#[test]
fn p3_bad_sectors_keep_the_last_good_version_and_stop_nobody_else() {
    let mut disk = match BadDisk::mount() {
        Ok(disk) => disk,
        Err(reason) => return println!("skipped: {reason}"),
    };
    let (place, tree) = (Place::s3(), disk.tree());
    let far = "t".repeat(100); // too long for the inode: it has a block
    fs::write(tree.join("small"), "first").unwrap();
    fs::write(tree.join("big"), vec![7; 5 << 20]).unwrap();
    std::os::unix::fs::symlink(&far, tree.join("link")).unwrap();
    run(snapshot(&place, &tree)).expect(0);

    fs::write(tree.join("never-read"), "1").unwrap();
    // A database and what lies beside it: while nobody can tell, nobody may take them for plain files.
    fs::write(tree.join("db"), [&b"SQLite format 3\0"[..], &[0; 4080]].concat()).unwrap();
    fs::write(tree.join("db-journal"), "hot").unwrap();
    disk.break_first_block(&["small", "big", "link", "never-read", "db"]);
    assert_eq!(fs::read(tree.join("small")).unwrap_err().raw_os_error(), Some(5), "EIO");
    disk.touch("small");
    disk.touch("big");
    fs::write(tree.join("good"), "2").unwrap();
    let before = commits(&place);
    let outcome = run(snapshot(&place, &tree));
    outcome.expect(6);
    assert!(outcome.stdout.contains("6 files are not in it as they are"), "{outcome:?}");
    for path in ["small", "big", "link", "never-read", "db", "db-journal"] {
        let line = outcome.stderr.lines().find(|line| line.contains(&format!("\"path\":\"{path}\"")));
        assert!(line.is_some_and(|line| line.contains("cannot be read")), "{path}: {outcome:?}");
    }
    assert_eq!(commits(&place), before + 2, "a claim and a snapshot");

    let back = disk.at("back");
    run(restore(&place, &back)).expect(0);
    let text = |name: &str| fs::read_to_string(back.join(name));
    assert_eq!((text("small").unwrap(), text("good").unwrap()), ("first".into(), "2".into()));
    assert_eq!(fs::read(back.join("big")).unwrap(), vec![7; 5 << 20]);
    assert_eq!(fs::read_link(back.join("link")).unwrap(), Path::new(&far));
    for name in ["never-read", "db", "db-journal"] {
        assert!(!back.join(name).exists(), "{name} was never read, so it is in no snapshot");
    }

    // The next look says so again, and commits nothing.
    let (code, again) = counted(&place, &tree);
    assert_eq!(code, 6);
    assert!(again["snapshot"].is_null() && again["deleted"] == 0, "{again}");
    assert_eq!((&again["unstable"], &again["unreadable"]), (&json!(6), &json!(6)), "{again}");

    // A watcher counts them, and says it once.
    let mut command = place.command("config-syncer");
    command.arg("watch").arg(&tree).arg(place.url("files"));
    command.args(["--debounce", "100ms", "--listen", "127.0.0.1:0"]);
    let mut syncer = Proc::start(command);
    syncer.wait_for_log(PATIENCE, "\"watching\"");
    let at = addr(&mut syncer);
    let metric = |name: &str, label: &str| {
        let metrics = get(&at, "/metrics").1;
        let line =
            metrics.lines().find(|line| line.starts_with(&format!("{name}{{")) && line.contains(label));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).unwrap_or_default()
    };
    wait_until(PATIENCE, "the gauge", || metric("highwater_files_unstable", "root=\"tree\"") == 6);
    let now = commits(&place);
    fs::write(tree.join("more"), "3").unwrap();
    wait_until(PATIENCE, "what is good goes on", || commits(&place) > now);
    let counter = || metric("highwater_files_errors_total", "reason=\"unreadable\"");
    wait_until(PATIENCE, "six in each of two looks", || counter() >= 12);
    stop(&mut syncer);

    // Replaced by good ones, they are stored again.
    for name in ["small", "big", "link", "never-read", "db", "db-journal"] {
        fs::rename(tree.join(name), disk.at("disk").join(name)).unwrap();
    }
    fs::write(tree.join("small"), "second").unwrap();
    fs::write(tree.join("big"), vec![8; 5 << 20]).unwrap();
    std::os::unix::fs::symlink("near", tree.join("link")).unwrap();
    let (code, healed) = counted(&place, &tree);
    assert_eq!((code, &healed["unstable"], &healed["deleted"]), (0, &json!(0), &json!(0)), "{healed}");
    let healed = disk.at("healed");
    run(restore(&place, &healed)).expect(0);
    assert_eq!(fs::read_to_string(healed.join("small")).unwrap(), "second");
    assert_eq!(fs::read_link(healed.join("link")).unwrap(), Path::new("near"));
}

#[test]
fn p6_a_directory_the_disk_does_not_list_ends_the_look_and_is_never_empty() {
    let mut disk = match BadDisk::mount() {
        Ok(disk) => disk,
        Err(reason) => return println!("skipped: {reason}"),
    };
    let (place, tree) = (Place::s3(), disk.tree());
    fs::create_dir(tree.join("dir")).unwrap();
    fs::write(tree.join("dir/inside"), "1").unwrap();
    fs::write(tree.join("good"), "1").unwrap();
    run(snapshot(&place, &tree)).expect(0);
    disk.break_first_block(&["dir"]);
    fs::write(tree.join("good"), "2").unwrap();
    let before = commits(&place);
    run(snapshot(&place, &tree)).expect(1).says(&["dir", "os error 5"]);
    assert!(commits(&place) <= before + 1, "a claim at most, and no snapshot");
    let back = disk.at("back");
    run(restore(&place, &back)).expect(0);
    assert_eq!(fs::read_to_string(back.join("dir/inside")).unwrap(), "1");
}

#[test]
fn p6_a_tree_of_which_not_one_file_can_be_read_is_no_empty_tree() {
    let mut disk = match BadDisk::mount() {
        Ok(disk) => disk,
        Err(reason) => return println!("skipped: {reason}"),
    };
    let (place, tree) = (Place::s3(), disk.tree());
    fs::create_dir(tree.join("dir")).unwrap();
    fs::write(tree.join("dir/only"), "1").unwrap();
    disk.break_first_block(&["dir/only"]);
    run(snapshot(&place, &tree)).expect(3).says(&["not one of 1 files can be read"]);
    assert!(commits(&place) <= 1, "a claim at most, and no snapshot");
}

#[test]
fn p3_a_sealed_tree_that_lost_its_state_drops_no_file_that_it_cannot_read() {
    let mut disk = match BadDisk::mount() {
        Ok(disk) => disk,
        Err(reason) => return println!("skipped: {reason}"),
    };
    let (place, tree, key) = (Place::s3(), disk.tree(), disk.at("key"));
    // A key pair that everybody knows.
    fs::write(&key, "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX").unwrap();
    let recipient = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";
    let sealed = |more: &[&str]| {
        let mut command = snapshot(&place, &tree);
        command.args(["--recipient", recipient]).args(more);
        run(command)
    };
    fs::write(tree.join("bad"), "first").unwrap();
    fs::write(tree.join("good"), "1").unwrap();
    sealed(&[]).expect(0);
    disk.break_first_block(&["bad"]);
    fs::remove_file(tree.join(".highwater/files-replica/state")).unwrap();
    sealed(&[]).expect(3).says(&["1 files cannot be read", "--identity"]);
    sealed(&["--identity", key.to_str().unwrap()]).expect(6);
    let back = disk.at("back");
    let mut command = restore(&place, &back);
    command.arg("--identity").arg(&key);
    run(command).expect(0);
    assert_eq!(fs::read_to_string(back.join("bad")).unwrap(), "first");
}

/// As many watches as a crowded node leaves, or not one instance: the tree is looked at by the clock instead, and a metric says so.
#[test]
fn a_kernel_without_watches_is_polled_and_told() {
    for (limit, left, sign) in
        [("max_inotify_watches", 6, "limit of watches"), ("max_inotify_instances", 0, "no inotify instance")]
    {
        if let Err(reason) = polled(&format!("echo {left} > /proc/sys/user/{limit}"), sign) {
            return println!("skipped: {reason}");
        }
    }
}

fn polled(limit: &str, sign: &str) -> Result<(), String> {
    if !can("unshare", &["-U", "-r", "sh", "-c", limit]) {
        return Err("no user namespaces here".into());
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
    syncer.wait_for_log(PATIENCE, sign);
    syncer.wait_for_log(PATIENCE, "\"committed\"");
    let metrics = get(&addr(&mut syncer), "/metrics").1;
    let name = "highwater_files_watch_mode{mode=\"poll\"";
    let polling = metrics.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{metrics}"));
    assert!(polling.ends_with(" 1"), "{polling}");
    assert!(series(&metrics, "nothing").is_none());
    let before = commits(&place);
    fs::write(tree.join("d19/late"), "1").unwrap();
    wait_until(PATIENCE, "the change is found without an event", || commits(&place) > before);
    stop(&mut syncer);
    Ok(())
}
