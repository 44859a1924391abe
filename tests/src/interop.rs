//! Replicas that two programs share: ours, and those that know Litestream's side of the format.
//!
//! Other programs are handed over in environment variables by `cargo xtask test` and never looked for; a test without
//! its program says what it would have proven and passes. A [`Replica`] is one replica under the names both sides have
//! for it, an [`AppDb`] one database and its application. Equality is always of whole files: what the application
//! had, folded out of its WAL in a copy, against what each program gives back.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::without_our_variables;
use rusqlite::Connection;
use tempfile::TempDir;
use testkit::app::{self, AppArgs, Report};
use testkit::procs::{self, Proc};
use testkit::s3::{BUCKET, REGION, S3Server};

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The program (or library) in this variable; prints what is not proven when there is none.
pub fn program(variable: &str, proves: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
    if path.is_none() {
        println!("SKIP {proves}: {variable} is not set");
    }
    path
}

/// One replica, as either side names it.
#[derive(Debug)]
pub struct Replica {
    /// The URL for our programs.
    pub url: String,
    /// The same for Litestream.
    pub litestream: String,
    /// Credentials.
    pub env: Vec<(String, String)>,
    /// Where the objects lie as files, if they do.
    root: PathBuf,
    server: Option<S3Server>,
    _scratch: Option<TempDir>,
}

/// An LTX file of a replica.
#[derive(Debug, PartialEq, Eq)]
pub struct Stored {
    /// 0 to 9.
    pub level: u8,
    /// `<min>-<max>.ltx`.
    pub name: String,
    /// Content.
    pub bytes: Vec<u8>,
}

/// Who wrote it, and from where in the WAL.
impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |at: usize| u64::from_be_bytes(self.bytes[at..at + 8].try_into().expect("8 bytes"));
        let (who, from, size, salts) =
            (if self.is_ours() { "ours" } else { "theirs" }, number(48), number(56), number(64));
        write!(f, "level {} {} {who}, {from} + {size} of WAL {salts:016x}", self.level, self.name)
    }
}

impl Stored {
    /// Flags of the first page: 0 for an LZ4 frame, 1 for an LZ4 block; none in a file without pages.
    pub fn page_flags(&self) -> Option<u16> {
        let word = |at: usize| u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]]);
        (self.bytes[100..104] != [0; 4]).then(|| word(104))
    }

    /// The commit it ends with, ms since 1970.
    pub fn timestamp_ms(&self) -> i64 {
        i64::from_be_bytes(self.bytes[32..40].try_into().expect("8 bytes"))
    }

    /// The last transaction in it, by its name.
    pub fn last_txid(&self) -> u64 {
        u64::from_str_radix(&self.name[17..33], 16).expect("names are made of TXIDs")
    }

    /// Whether one of our writers made it.
    pub fn is_ours(&self) -> bool {
        self.bytes[80..82] == *b"HW"
    }
}

impl Replica {
    /// A prefix of an S3 server of its own.
    pub fn s3() -> Replica {
        let server = S3Server::start();
        let replica = Replica::at(&server.endpoint(), BUCKET, "some/app", server.env());
        Replica { root: server.dir().join("some/app"), server: Some(server), ..replica }
    }

    /// A prefix of a server that somebody else runs.
    pub fn at(endpoint: &str, bucket: &str, prefix: &str, env: Vec<(String, String)>) -> Replica {
        let url =
            |style: &str| format!("s3://{bucket}/{prefix}?endpoint={endpoint}&region={REGION}&{style}=true");
        Replica {
            url: url("path-style"),
            litestream: url("forcePathStyle"),
            env,
            root: PathBuf::new(),
            server: None,
            _scratch: None,
        }
    }

    /// A directory.
    pub fn file() -> Replica {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let root = scratch.path().join("replica");
        let litestream = format!("file://{}", root.display());
        let url = format!("{litestream}?create=true");
        Replica { url, litestream, env: Vec::new(), root, server: None, _scratch: Some(scratch) }
    }

    /// One of each.
    pub fn both() -> [Replica; 2] {
        [Replica::s3(), Replica::file()]
    }

    /// `s3` or `file`.
    pub fn kind(&self) -> &str {
        self.url.split(':').next().unwrap_or_default()
    }

    /// The embedded server.
    pub fn server(&self) -> &S3Server {
        self.server.as_ref().expect("a replica on the embedded server")
    }

    /// All LTX files by level and name, read from where they lie.
    pub fn files(&self) -> Vec<Stored> {
        let mut files = Vec::new();
        for level in 0..=9u8 {
            let dir = match self.kind() {
                "s3" => self.root.join(format!("{level:04x}")),
                _ => self.root.join("ltx").join(level.to_string()),
            };
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                // Retention of a running Litestream may be faster than we are.
                let Ok(bytes) = fs::read(entry.path()) else { continue };
                if name.ends_with(".ltx") && bytes.len() > 106 {
                    files.push(Stored { level, name, bytes });
                }
            }
        }
        files.sort_by(|a, b| (a.level, &a.name).cmp(&(b.level, &b.name)));
        files
    }

    /// The newest TXID of level 0; 0 where there is none.
    pub fn newest(&self) -> u64 {
        self.newest_of(true).max(self.newest_of(false))
    }

    /// As [`Self::newest`], of the files that we made, or those that others did.
    pub fn newest_of(&self, ours: bool) -> u64 {
        let files = self.files().into_iter().filter(|file| file.level == 0 && file.is_ours() == ours);
        files.map(|file| file.last_txid()).max().unwrap_or(0)
    }

    /// How many files each level holds.
    pub fn levels(&self) -> [usize; 10] {
        let mut counts = [0; 10];
        self.files().iter().for_each(|file| counts[usize::from(file.level)] += 1);
        counts
    }

    /// A command of ours with the credentials of this replica.
    pub fn ours(&self, name: &str) -> Command {
        let mut command = Command::new(procs::bin(name));
        without_our_variables(&mut command)
            .envs(self.env.clone())
            .env("HIGHWATER_LOG", "info,wal_streamer=debug")
            .env_remove("AWS_CA_BUNDLE");
        command
    }

    /// `wal-streamer replicate`, syncing often, from when it has claimed the replica and sent an image where one is due.
    #[track_caller]
    pub fn stream(&self, data: &AppDb, options: &[&str]) -> Proc {
        let mut streamer = self.start_stream(data, options);
        streamer.wait_for_log(PATIENCE, "\"claimed\"");
        const UNDER_WAY: [&str; 3] = ["\"durable\"", "\"continuing where", "\"compared the database"];
        procs::wait_until(PATIENCE, "a streamer that follows", || {
            let log = streamer.log();
            UNDER_WAY.iter().any(|text| log.contains(text)) || !streamer.is_running()
        });
        streamer
    }

    /// As [`Self::stream`], waiting for nothing.
    pub fn start_stream(&self, data: &AppDb, options: &[&str]) -> Proc {
        let mut command = self.ours("wal-streamer");
        command.args(["replicate", "--sync-interval", "50ms"]).args(options).arg(&data.path).arg(&self.url);
        Proc::start(command)
    }

    /// `wal-streamer replicate --once`: its exit code and log.
    pub fn stream_once(&self, data: &AppDb, options: &[&str]) -> (i32, String) {
        let mut streamer = self.start_stream(data, &[&["--once"], options].concat());
        (streamer.expect_exit(PATIENCE), streamer.log())
    }

    /// `restore sqlite` without a look into the database; what it said when it failed.
    pub fn try_restore(&self, to: &Path, options: &[&str]) -> Result<(), String> {
        let mut command = self.ours("restore");
        command.arg("sqlite").arg(&self.url).arg("-o").arg(to).args(["--force", "--integrity", "none"]);
        let output = command.args(options).stdin(Stdio::null()).output().expect("restore starts");
        output
            .status
            .success()
            .then_some(())
            .ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// `restore sqlite`; what it printed.
    #[track_caller]
    pub fn restore(&self, to: &Path, options: &[&str]) -> String {
        let mut command = self.ours("restore");
        output(
            command
                .arg("sqlite")
                .arg(&self.url)
                .arg("-o")
                .arg(to)
                .args(["--integrity", "full"])
                .args(options),
        )
    }

    /// The TXIDs of `restore list`.
    #[track_caller]
    pub fn points(&self) -> Vec<String> {
        let listed = output(self.ours("restore").args(["list", "-o", "json"]).arg(&self.url));
        let rows: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
        let rows = rows.as_array().expect("a list").iter();
        rows.map(|row| row["txid"].as_str().expect("a TXID").to_owned()).collect()
    }
}

/// Ends a streamer as Kubernetes does; everything committed is durable afterwards.
#[track_caller]
pub fn stop(mut streamer: Proc) -> String {
    streamer.terminate();
    let exit = streamer.expect_exit(PATIENCE);
    assert_eq!(exit, 0, "the end of a streamer:\n{}", streamer.log_tail());
    streamer.log()
}

/// Ends a `litestream replicate`, which sends the rest before it goes.
#[track_caller]
pub fn end(mut daemon: Proc) {
    daemon.terminate();
    let exit = daemon.expect_exit(PATIENCE);
    assert_eq!(exit, 0, "the end of litestream:\n{}", daemon.log_tail());
}

/// Runs a command that must succeed; its standard output.
#[track_caller]
pub fn output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out
}

/// A database on a volume of its own, with room beside it.
#[derive(Debug)]
pub struct AppDb {
    dir: TempDir,
    /// The application's database.
    pub path: PathBuf,
    page_size: u32,
}

impl AppDb {
    /// An application that has made its tables and its first transaction.
    #[track_caller]
    pub fn new(page_size: u32) -> AppDb {
        let dir = tempfile::tempdir().expect("a scratch directory");
        fs::create_dir(dir.path().join("data")).expect("a directory");
        let path = dir.path().join("data/app.db");
        let data = AppDb { dir, path, page_size };
        data.write(1);
        data
    }

    /// A path outside the volume.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The application's options.
    pub fn args(&self, transactions: u64) -> AppArgs {
        AppArgs { page_size: self.page_size, transactions, documents: 200, ..AppArgs::new(&self.path) }
    }

    /// So many transactions more.
    #[track_caller]
    pub fn write(&self, transactions: u64) {
        app::run(&self.args(transactions)).expect("the application runs");
    }

    /// The application as a process that writes for a while, with its connections open throughout.
    pub fn writing(&self, transactions: u64, rate: f64) -> Proc {
        Proc::bin("hw-app", AppArgs { rate, writers: 2, ..self.args(transactions) }.to_args())
    }

    /// Statements of the test's own, on a connection that is closed afterwards.
    #[track_caller]
    pub fn sql(&self, statements: &str) {
        let db = Connection::open(&self.path).expect("the database opens");
        db.busy_timeout(PATIENCE).expect("a timeout");
        db.execute_batch(statements).unwrap_or_else(|error| panic!("{statements}: {error}"));
    }

    /// Size in pages.
    #[track_caller]
    pub fn pages(&self) -> u64 {
        let db = Connection::open(&self.path).expect("the database opens");
        db.query_row("PRAGMA page_count", (), |row| row.get::<_, i64>(0)).expect("a number").unsigned_abs()
    }

    /// A table of 100 rows beside the application's.
    #[track_caller]
    pub fn fill(&self, row: &str) {
        let count = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)";
        self.sql(&format!("CREATE TABLE filler(x); {count} INSERT INTO filler SELECT {row} FROM n;"));
    }

    /// Back to where it was, with fewer pages.
    #[track_caller]
    pub fn shrink(&self) {
        self.sql("DROP TABLE filler; VACUUM;");
    }

    /// What the application has now, as one file: copied with its WAL, which is folded in there. Nobody may be writing.
    #[track_caller]
    pub fn kept(&self) -> PathBuf {
        let kept = self.scratch("kept.db");
        let wal = |db: &Path| db.with_file_name(format!("{}-wal", name_of(db)));
        let _ = fs::remove_file(wal(&kept));
        fs::copy(&self.path, &kept).expect("the database can be copied");
        if wal(&self.path).exists() {
            fs::copy(wal(&self.path), wal(&kept)).expect("the WAL can be copied");
        }
        let db = Connection::open(&kept).expect("the copy opens");
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get::<_, i64>(0))
            .expect("a checkpoint");
        kept
    }
}

/// Transactions of [`AppDb::new`] and [`history`] together.
pub const HISTORY: u64 = 121;

/// A history with everything in it: full image, many small files, a claim in their middle, a shrink and a growth.
#[track_caller]
pub fn history(data: &AppDb, replica: &Replica) {
    // Each step in a file of its own.
    let step = |change: &dyn Fn()| {
        let before = replica.newest();
        change();
        procs::wait_until(PATIENCE, "the next file", || replica.newest() > before);
    };
    let streamer = replica.stream(data, &[]);
    for _ in 0..3 {
        step(&|| data.write(20));
    }
    stop(streamer);
    let streamer = replica.stream(data, &[]);
    step(&|| data.fill("randomblob(3000)"));
    let full = data.pages();
    step(&|| data.write(20));
    step(&|| data.shrink());
    let shrunk = data.pages();
    step(&|| data.write(20));
    stop(streamer);
    let streamer = replica.stream(data, &[]);
    step(&|| data.fill("zeroblob(9000)"));
    data.write(20);
    stop(streamer);
    assert!(shrunk < full && shrunk < data.pages(), "shrunk and grown again");
    let files = replica.files();
    let claims = files.iter().filter(|file| file.page_flags().is_none()).count();
    assert!(claims >= 2 && files.len() >= 11, "{} files, {claims} of them claims", files.len());
    assert!(files.iter().all(|file| matches!(file.level, 0 | 9) && file.page_flags().unwrap_or(0) == 0));
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Both files hold the same bytes.
#[track_caller]
pub fn assert_same(what: &str, expected: &Path, got: &Path) {
    let read = |path: &Path| fs::read(path).unwrap_or_else(|e| panic!("{what}: {}: {e}", path.display()));
    if read(expected) != read(got) {
        let compared = app::compare_dbs(expected, got);
        panic!("{what}: {} and {} differ: {compared:?}", expected.display(), got.display());
    }
}

/// The database is exactly a prefix of what its application did (P2).
#[track_caller]
pub fn verified(path: &Path) -> Report {
    app::verify(path).unwrap_or_else(|why| panic!("not a prefix of the committed transactions: {why}"))
}

/// The `litestream` command of one version.
#[derive(Debug)]
pub struct Litestream {
    program: PathBuf,
    /// What it says of itself, or where it was found.
    pub version: String,
}

/// Short intervals: all levels and several snapshots happen within seconds. Level 0 is emptied quickly, so that
/// restores must go through the other levels.
const CONFIG: &str = "\
levels:
  - interval: 1s
  - interval: 2s
snapshot:
  interval: 3s
  retention: 1h
l0-retention: 2s
l0-retention-check-interval: 1s
dbs:
  - path: DATABASE
    monitor-interval: 100ms
    min-checkpoint-page-count: 200
    replica:
      url: URL
      sync-interval: 200ms
";

impl Litestream {
    /// The command in this variable.
    pub fn from_env(variable: &str, proves: &str) -> Option<Litestream> {
        let program = program(variable, proves)?;
        let version = output(Command::new(&program).arg("version")).trim().to_owned();
        println!("{variable}: {} ({version})", program.display());
        Some(Litestream { program, version })
    }

    fn command(&self, replica: &Replica) -> Command {
        let mut command = Command::new(&self.program);
        // Set, it ends 0.5.17 at its start.
        command.envs(replica.env.clone()).env_remove("AWS_CA_BUNDLE");
        command
    }

    /// `litestream replicate` with short intervals.
    pub fn replicate(&self, data: &AppDb, replica: &Replica) -> Proc {
        let config = data.scratch("litestream.yml");
        let text =
            CONFIG.replace("DATABASE", &data.path.display().to_string()).replace("URL", &replica.litestream);
        fs::write(&config, text).expect("the configuration can be written");
        let mut command = self.command(replica);
        command.args(["replicate", "-config"]).arg(config);
        Proc::start(command)
    }

    /// `litestream restore` from a URL.
    pub fn try_restore(&self, replica: &Replica, to: &Path, options: &[&str]) -> Result<(), String> {
        let mut command = self.command(replica);
        let _ = fs::remove_file(to);
        command.arg("restore").args(options).arg("-o").arg(to).arg(&replica.litestream).stdin(Stdio::null());
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()),
        }
    }

    /// As [`Self::try_restore`], and it must succeed.
    #[track_caller]
    pub fn restore(&self, replica: &Replica, to: &Path, options: &[&str]) {
        let done = self.try_restore(replica, to, options);
        assert!(done.is_ok(), "litestream {} restore {options:?}: {done:?}", self.version);
    }
}

/// The released shared object of Litestream, driven by the `sqlite3` shell.
#[derive(Debug)]
pub struct Vfs(PathBuf);

impl Vfs {
    /// The library in this variable, if there is a shell to load it.
    pub fn from_env(variable: &str, proves: &str) -> Option<Vfs> {
        let library = program(variable, proves)?;
        let shell = Command::new("sqlite3").arg("--version").stdout(Stdio::null()).status();
        if !shell.is_ok_and(|status| status.success()) {
            println!("SKIP {proves}: there is no sqlite3 shell");
            return None;
        }
        Some(Vfs(library))
    }

    /// Lets its own restore code write the database to `to`.
    ///
    /// Its progress is that of reading; a shell that ends before the last page is written takes the file with it, and is asked
    /// once more, more patiently.
    #[track_caller]
    pub fn hydrate(&self, replica: &Replica, to: &Path) {
        let settings = [
            ("LITESTREAM_HYDRATION_ENABLED", "true".as_ref()),
            ("LITESTREAM_HYDRATION_PATH", to.as_os_str()),
        ];
        for patience in [0, 200, 1000, 5000].map(Duration::from_millis) {
            let mut shell = Shell::open(self, replica, &settings);
            procs::wait_until(PATIENCE, "hydration", || {
                shell.ask("PRAGMA litestream_hydration_progress;") == "100.0"
            });
            std::thread::sleep(patience);
            shell.close();
            if to.exists() {
                return;
            }
        }
        panic!("{} was read to its end four times and never written", replica.litestream);
    }

    /// One transaction written through the VFS; returns once it is in the store.
    #[track_caller]
    pub fn write(&self, replica: &Replica, statements: &str) {
        let before = replica.files().len();
        let settings = [("LITESTREAM_WRITE_ENABLED", "true"), ("LITESTREAM_SYNC_INTERVAL", "100ms")];
        let mut shell = Shell::open(self, replica, &settings.map(|(name, value)| (name, value.as_ref())));
        assert_eq!(shell.ask(&format!("BEGIN; {statements} COMMIT; SELECT 'done';")), "done");
        procs::wait_until(PATIENCE, "the transaction in the store", || replica.files().len() > before);
        shell.close();
    }
}

/// A `sqlite3` shell with the VFS open. Ended from outside if it hangs.
struct Shell {
    child: std::process::Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Shell {
    fn open(vfs: &Vfs, replica: &Replica, settings: &[(&str, &OsStr)]) -> Shell {
        let mut command = Command::new("timeout");
        command
            .args(["60", "sqlite3", "-batch", "-bail"])
            .envs(replica.env.clone())
            .env_remove("AWS_CA_BUNDLE");
        command.env("LITESTREAM_REPLICA_URL", &replica.litestream).env("LITESTREAM_LOG_LEVEL", "ERROR");
        command.envs(settings.iter().copied());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sqlite3 starts");
        let answers = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut shell = Shell { child, answers };
        shell.tell(&format!(".load {} sqlite3_litestreamvfs_init", vfs.0.display()));
        shell.tell(".open file:shared.db?vfs=litestream");
        shell
    }

    fn tell(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("a pipe");
        writeln!(stdin, "{line}").expect("the shell listens");
    }

    /// One line for one line; lines of the library's own log are passed over.
    fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        loop {
            let mut answer = String::new();
            let n = self.answers.read_line(&mut answer).expect("the shell answers");
            assert!(n > 0, "the shell ended after: {line}");
            if !answer.starts_with("time=") {
                return answer.trim().to_owned();
            }
        }
    }

    fn close(mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
