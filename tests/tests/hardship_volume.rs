//! `wal-streamer` on a volume that fails under it: unreadable, read-only, full, and a state directory that somebody removes.
//!
//! Always the same is asked: nothing is called durable that is not (P1), nothing in the store is touched (P3), a metric and a line say
//! what is wrong, and when the trouble is over it goes on by itself (P6). What a machine cannot arrange is skipped with the reason.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]
#![allow(clippy::disallowed_methods, reason = "a test measures real time")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::failing::FailingDisk;
use e2e::http::get;
use e2e::{PATIENCE, Place, Streamer, Volume, fold};
use rusqlite::Connection;
use tempfile::TempDir;
use testkit::app::{self, AppArgs};
use testkit::diskfull::SmallDisk;
use testkit::procs::{Proc, wait_until};

const NONE: &[&str] = &[];

/// A streamer that serves its metrics, and where.
struct Watched {
    streamer: Streamer,
    addr: String,
}

impl Watched {
    fn start(place: &Place, db: &Path, disk: Option<&FailingDisk>) -> Watched {
        let mut command = place.command("wal-streamer");
        command.args(["--log-format", "json", "replicate", "--sync-interval", "50ms"]);
        command.args(["--listen", "127.0.0.1:0", "--fsync-probe", "1s"]).arg(db).arg(place.url("p"));
        command.env("HIGHWATER_LOG", "info,wal_streamer=debug,sqlite_replica=debug");
        if let Some(disk) = disk {
            disk.under(&mut command);
        }
        let mut streamer = Streamer { proc: Proc::start(command) };
        let addr = streamer.addr();
        Watched { streamer, addr }
    }

    /// The value of the first series of this name with this label.
    fn metric(&self, name: &str, label: &str) -> f64 {
        let metrics = get(&self.addr, "/metrics").1;
        let mut lines = metrics.lines().filter(|line| line.starts_with(name) && line.contains(label));
        lines.next().and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
    }

    /// Waits until it has failed for this reason.
    #[track_caller]
    fn fails_for(&mut self, reason: &str) {
        let label = format!("reason=\"{reason}\"");
        wait_until(PATIENCE, reason, || {
            assert!(self.streamer.proc.is_running(), "it ended: {}", self.streamer.proc.log_tail());
            self.metric("highwater_wal_sync_errors_total", &label) >= 1.0
        });
    }

    /// It goes on by itself; everything is durable in the end, and comes back.
    #[track_caller]
    fn goes_on(&mut self, place: &Place, db: &Path, durable: u64) {
        self.streamer.wait_beyond(durable);
        self.streamer.drain();
        comes_back(place, db);
    }

    fn images(&self) -> usize {
        self.streamer.events("sending a full image").len()
    }
}

#[track_caller]
fn comes_back(place: &Place, db: &Path) {
    let scratch = tempfile::tempdir().unwrap();
    let restored = scratch.path().join("restored.db");
    place.restore("p", &restored, &["--integrity", "full"]).expect(0);
    fold(db);
    let compared = app::compare_dbs(db, &restored).expect("both can be read");
    assert!(compared.same_bytes() && compared.same_rows(), "{compared}");
}

/// What is in the store: files with transactions, and how long they are.
fn stored(place: &Place) -> BTreeMap<PathBuf, usize> {
    let objects = place.objects("p").into_iter().map(|(path, bytes)| (path, bytes.len()));
    objects.filter(|(path, _)| path.extension().is_some_and(|e| e == "ltx")).collect()
}

macro_rules! or_skip {
    ($made:expr) => {
        match $made {
            Ok(made) => made,
            Err(reason) => return println!("skipped: {reason}"),
        }
    };
}

#[test]
fn p1_p6_a_wal_that_cannot_be_read_is_waited_for() {
    let disk = or_skip!(FailingDisk::new());
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(30);
    let mut watched = Watched::start(&place, &volume.db(), Some(&disk));
    let durable = watched.streamer.wait_beyond(0);
    let before = stored(&place);
    disk.fail("read", 0, "app.db-wal");
    volume.write(20);
    watched.fails_for("disk_error");
    watched.streamer.wait_for("it will be started again");
    wait_until(PATIENCE, "lag", || watched.metric("highwater_wal_lag_seconds", "") > 0.0);
    assert_eq!(watched.streamer.durable(), durable);
    // The second start and those behind it: one claim, however often they fail.
    wait_until(PATIENCE, "more attempts", || {
        watched.streamer.events("failed, it will be started again").len() >= 3
    });
    let after = stored(&place);
    assert!(before.keys().all(|file| after.contains_key(file)), "nothing goes");
    let more: Vec<_> = after.iter().filter(|(file, _)| !before.contains_key(*file)).collect();
    assert!(more.len() <= 1 && more.iter().all(|(_, size)| **size == 131), "nothing but a claim: {more:?}");
    disk.heal();
    watched.goes_on(&place, &volume.db(), durable);
    assert_eq!(watched.images(), 1, "only the first one");
}

/// At a first start and at a later one: an image or a comparison that ends in the middle of the file leaves nothing behind.
#[test]
fn p3_p6_a_database_that_cannot_be_read_to_its_end_is_waited_for() {
    let disk = or_skip!(FailingDisk::new());
    let (place, volume) = (Place::s3(), Volume::new());
    app::run(&AppArgs { blob: 20_000, ..volume.args(150) }).unwrap();
    fold(&volume.db());
    disk.fail("read", 1 << 20, "/app.db");
    let mut watched = Watched::start(&place, &volume.db(), Some(&disk));
    watched.fails_for("disk_error");
    assert!(stored(&place).is_empty(), "{:?}", stored(&place));
    assert_eq!(watched.streamer.durable(), 0);
    disk.heal();
    watched.goes_on(&place, &volume.db(), 0);

    // The WAL begins anew while nobody watches, so the pages have to be compared.
    let before = stored(&place);
    app::run(&AppArgs { blob: 20_000, ..volume.args(20) }).unwrap();
    fold(&volume.db());
    volume.write(1);
    disk.fail("read", 1 << 20, "/app.db");
    let mut watched = Watched::start(&place, &volume.db(), Some(&disk));
    watched.fails_for("disk_error");
    assert_eq!(watched.streamer.durable(), 0, "nothing is called durable");
    assert_eq!(stored(&place), before, "nothing is written and nothing goes");
    disk.heal();
    watched.goes_on(&place, &volume.db(), 0);
    assert_eq!(watched.images(), 0, "the difference was sent");
}

#[test]
fn p1_p6_state_that_cannot_be_written_or_read_is_waited_for() {
    let disk = or_skip!(FailingDisk::new());
    for (doing, file) in [
        ("write", "state"),
        ("write", "staged.ltx"),
        ("write", "pages"),
        ("read", "pages"),
        ("read", "state"),
    ] {
        let (place, volume) = (Place::s3(), Volume::new());
        volume.write(20);
        let mut watched = Watched::start(&place, &volume.db(), Some(&disk));
        let durable = watched.streamer.wait_beyond(0);
        disk.fail(doing, 0, &format!(".highwater/app.db/{file}"));
        volume.write(5);
        if (doing, file) == ("read", "state") {
            // Read at a start only.
            watched.goes_on(&place, &volume.db(), durable);
            watched = Watched::start(&place, &volume.db(), Some(&disk));
        }
        watched.fails_for("disk_error");
        let told = watched.streamer.durable();
        // Whatever was told before the failure can be restored; nothing is told while it lasts.
        let scratch = tempfile::tempdir().unwrap();
        if told > 0 {
            let txid = format!("{told:016x}");
            place.restore("p", &scratch.path().join("told.db"), &["--txid", &txid]).expect(0);
        }
        disk.heal();
        volume.write(5);
        watched.goes_on(&place, &volume.db(), told);
    }
}

/// A disk with a file system that the kernel makes read-only, as it does when it finds it damaged.
struct Distrusted {
    dir: TempDir,
    mounted: bool,
}

impl Distrusted {
    fn new() -> Result<Distrusted, String> {
        let disk = Distrusted { dir: tempfile::tempdir().map_err(|e| e.to_string())?, mounted: false };
        fs::create_dir(disk.path()).map_err(|e| e.to_string())?;
        let image = fs::File::create(disk.image(0)).and_then(|file| file.set_len(64 << 20));
        image.map_err(|e| e.to_string())?;
        if !can("mkfs.ext4", &["-q", "-F", "-O", "^has_journal", &text(&disk.image(0))]) {
            return Err("no mkfs.ext4".into());
        }
        let mut disk = disk;
        disk.attach(0)?;
        if !disk.trigger()?.exists() {
            return Err("this kernel cannot be made to distrust a file system".into());
        }
        Ok(disk)
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("volume")
    }

    fn image(&self, n: u32) -> PathBuf {
        self.dir.path().join(format!("image{n}"))
    }

    fn attach(&mut self, n: u32) -> Result<(), String> {
        let options = ["-o", "loop,errors=remount-ro", &text(&self.image(n)), &text(&self.path())];
        self.mounted = can("mount", &options);
        if self.mounted { Ok(()) } else { Err("no loop device to mount".into()) }
    }

    fn trigger(&self) -> Result<PathBuf, String> {
        let found = Command::new("findmnt").args(["-no", "SOURCE"]).arg(self.path()).output();
        let source = String::from_utf8(found.map_err(|e| e.to_string())?.stdout).unwrap_or_default();
        let device = Path::new(source.trim()).file_name().ok_or("no device")?.to_owned();
        Ok(Path::new("/sys/fs/ext4").join(device).join("trigger_fs_error"))
    }

    /// The kernel finds an error.
    fn fail(&self) {
        fs::write(self.trigger().unwrap(), "1").unwrap();
        assert!(fs::write(self.path().join("probe"), "1").is_err(), "it is read-only now");
    }

    /// Somebody detaches the disk, has it checked, and mounts it in the same place.
    fn repair(&mut self) {
        can("umount", &["-l", &text(&self.path())]);
        // What was not written back is lost with the old mount; a copy, because that one may be held for a while.
        fs::copy(self.image(0), self.image(1)).unwrap();
        can("e2fsck", &["-fy", &text(&self.image(1))]);
        self.attach(1).unwrap();
    }
}

impl Drop for Distrusted {
    fn drop(&mut self) {
        if self.mounted {
            can("umount", &["-l", &text(&self.path())]);
        }
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap_or_default().to_owned()
}

/// True if the command can be run and succeeds.
fn can(program: &str, arguments: &[&str]) -> bool {
    let tried = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

#[test]
fn p1_p6_a_volume_that_becomes_read_only_is_waited_for() {
    let mut disk = or_skip!(Distrusted::new());
    let (place, db) = (Place::s3(), disk.path().join("app.db"));
    app::run(&AppArgs { transactions: 30, ..AppArgs::new(&db) }).unwrap();
    let mut watched = Watched::start(&place, &db, None);
    let durable = watched.streamer.wait_beyond(0);
    // Something is under way when it happens: its answer can be recorded nowhere.
    place.server().faults().unavailable(true);
    app::run(&AppArgs { transactions: 10, ..AppArgs::new(&db) }).unwrap();
    watched.streamer.wait_for("upload failed, it will be repeated");
    can("sync", &["-f", &text(&db)]);
    disk.fail();
    let before = stored(&place);
    place.server().faults().unavailable(false);
    watched.fails_for("read_only");
    watched.streamer.wait_for("Read-only file system");
    assert_eq!(watched.streamer.durable(), durable, "nothing is called durable that is recorded nowhere");
    assert!(before.keys().all(|file| stored(&place).contains_key(file)), "nothing goes");
    disk.repair();
    app::run(&AppArgs { transactions: 5, ..AppArgs::new(&db) }).unwrap();
    watched.goes_on(&place, &db, durable);
    assert_eq!(watched.images(), 1, "only the first one");
    assert_eq!(app::verify(&db).unwrap().last_seq, 45);
}

#[test]
fn p6_a_volume_that_is_mounted_read_only_at_first_is_waited_for() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(20);
    let mount = tempfile::tempdir().unwrap();
    let at = text(mount.path());
    if !can("mount", &["--bind", &text(volume.path()), &at]) {
        return println!("skipped: nothing can be mounted here");
    }
    let unmount = Unmount(mount.path());
    assert!(can("mount", &["-o", "remount,ro,bind", &at]));
    let mut watched = Watched::start(&place, &mount.path().join("app.db"), None);
    watched.fails_for("read_only");
    watched.streamer.wait_for("Read-only file system");
    assert!(place.objects("p").is_empty(), "nothing is claimed and nothing is written");
    assert!(can("mount", &["-o", "remount,rw,bind", &at]));
    watched.goes_on(&place, &volume.db(), 0);
    drop(unmount);
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        can("umount", &["-l", &text(self.0)]);
    }
}

/// No room for what is to be sent, while the application still finds some in its WAL.
#[test]
fn p1_p6_a_volume_without_room_is_waited_for() {
    let disk = or_skip!(SmallDisk::mount(8 << 20));
    let (place, path) = (Place::s3(), disk.path().join("app.db"));
    let db = Connection::open(&path).unwrap();
    db.busy_timeout(Duration::from_secs(20)).unwrap();
    db.pragma_update(None, "journal_mode", "WAL").unwrap();
    db.execute_batch("CREATE TABLE cells(id INTEGER PRIMARY KEY, x BLOB)").unwrap();
    let mut watched = Watched::start(&place, &path, None);
    let mut durable = watched.streamer.wait_beyond(0);
    // A WAL of some length, that begins again at the next commit.
    for _ in 0..2 {
        db.execute_batch("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) INSERT OR REPLACE INTO cells SELECT i, randomblob(3000) FROM n").unwrap();
        durable = watched.streamer.wait_beyond(durable);
    }
    let salts = || fs::read(path.with_extension("db-wal")).map(|bytes| bytes[16..24].to_vec()).unwrap();
    let before = salts();
    wait_until(PATIENCE, "the WAL to begin again", || {
        db.execute("UPDATE cells SET x = randomblob(2000) WHERE id = 1", []).unwrap();
        salts() != before
    });
    wait_until(PATIENCE, "nothing to be on its way", || {
        watched.metric("highwater_wal_lag_transactions", "") == 0.0
    });
    let before = stored(&place);
    disk.fill(0);
    let mut committed = 0;
    for id in 1..=20 {
        committed += db.execute("UPDATE cells SET x = randomblob(2000) WHERE id = ?1", [id]).unwrap_or(0);
    }
    assert!(committed > 0, "the application still finds room");
    watched.fails_for("disk_full");
    assert_eq!(watched.metric("highwater_disk_full", ""), 1.0);
    // What it had room for is stored; nothing more is told.
    let told = watched.streamer.durable();
    assert!(place.txids("p").contains(&format!("{told:016x}")), "{told} can be restored");
    assert!(before.keys().all(|file| stored(&place).contains_key(file)), "nothing goes");
    disk.release();
    watched.streamer.wait_beyond(told);
    wait_until(PATIENCE, "the metric to fall", || watched.metric("highwater_disk_full", "") == 0.0);
    drop(db);
    watched.streamer.drain();
    comes_back(&place, &path);
    assert_eq!(watched.images(), 1, "only the first one");
}

/// Something may be made in it at the same moment.
fn remove(dir: &Path) {
    wait_until(PATIENCE, "the directory to be gone", || fs::remove_dir_all(dir).is_ok() || !dir.exists());
}

#[test]
fn p1_p6_a_state_directory_that_is_removed_is_built_anew() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(20);
    let mut watched = Watched::start(&place, &volume.db(), None);
    let mut durable = watched.streamer.wait_beyond(0);
    for _ in 0..2 {
        remove(&volume.file(".highwater"));
        // One commit is one file: none is being staged when the directory goes the next time.
        volume.write(1);
        durable = watched.streamer.wait_beyond(durable);
    }
    watched.streamer.wait_for("the state directory was removed");
    assert_eq!(watched.images(), 1, "nothing has to be sent anew");
    // Whoever asks finds it again: the control socket lay in there as well.
    let mut sync = Command::new(testkit::procs::bin("wal-streamer"));
    sync.args(["sync", "--wait", "--socket"]).arg(volume.file(".highwater/wal-streamer.sock"));
    wait_until(PATIENCE, "the control socket to be made anew", || sync.output().unwrap().status.success());

    // With a file on its way, which nobody can build again: an image takes its place.
    place.server().faults().unavailable(true);
    volume.write(10);
    watched.streamer.wait_for("upload failed, it will be repeated");
    remove(&volume.file(".highwater"));
    place.server().faults().unavailable(false);
    volume.write(10);
    watched.goes_on(&place, &volume.db(), durable);
    assert_eq!(app::verify(&volume.db()).unwrap().last_seq, 42);
    // What it left proves the next start.
    volume.write(5);
    Streamer::once(&place, "p", &volume.db(), NONE).expect(0);
    comes_back(&place, &volume.db());
}
