//! The workspace's binaries as processes of a test: started, logged, signalled, waited for, and always gone after it.
//!
//! [`bin`] finds a binary where cargo put it and builds it when it is missing or older than its sources; waiting is
//! bounded everywhere, and whatever runs out of time panics with the tail of the log.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Pause between two looks.
const STEP: Duration = Duration::from_millis(5);

/// Lines of the log that a panic shows.
const TAIL: usize = 40;

/// The path of a binary of this workspace: `$HIGHWATER_BIN_DIR/<name>`, else beside the running test, built if need be.
pub fn bin(name: &str) -> PathBuf {
    static KNOWN: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    if let Some(dir) = std::env::var_os("HIGHWATER_BIN_DIR") {
        return Path::new(&dir).join(name);
    }
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(name.to_owned()).or_insert_with(|| find(name)).clone()
}

fn find(name: &str) -> PathBuf {
    let exe = std::env::current_exe().expect("a test knows its path");
    let dir = exe.ancestors().skip(1).find(|dir| !dir.ends_with("deps") && !dir.ends_with("examples"));
    let dir = dir.expect("a test lies in a directory");
    let path = dir.join(name);
    if !is_fresh(&path) {
        let profile = match dir.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(profile) => profile,
        };
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
        // What cargo tells this test about its package would make build scripts that read it run again, and half of the
        // dependencies with them.
        for (variable, _) in std::env::vars_os() {
            let variable = variable.to_string_lossy();
            if variable.starts_with("CARGO_MANIFEST_") || variable.starts_with("CARGO_PKG_") {
                cargo.env_remove(&*variable);
            }
        }
        let status = cargo
            .args(["build", "-q", "--bin", name, "--profile", profile, "--target-dir"])
            .arg(dir.parent().expect("a profile lies in a target directory"))
            .current_dir(workspace)
            .status()
            .expect("cargo can be started");
        assert!(status.success(), "cargo build --bin {name} failed");
    }
    path
}

/// Whether a binary is there and not older than the sources that cargo noted beside it.
fn is_fresh(path: &Path) -> bool {
    let modified = |path: &Path| fs::metadata(path).and_then(|stat| stat.modified());
    let Ok(built) = modified(path) else { return false };
    let notes = fs::read_to_string(path.with_extension("d")).unwrap_or_default();
    let sources = notes.split_once(": ").map_or("", |(_, sources)| sources);
    sources.split_whitespace().all(|source| modified(Path::new(source)).is_ok_and(|changed| changed <= built))
}

/// A port nobody listens on at the moment. It lies below those that the kernel hands out, and this process gives each of
/// its own once before it begins again: nobody else takes it before it is bound.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // 100 ports per process, so that tests that run side by side do not meet.
    let block = std::process::id() % 120 * 100;
    let next = |_: u32| 20_000 + ((block + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000) as u16;
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    (0..12_000).map(next).find(is_free).expect("a free port")
}

/// Listens there. A process that another test is starting holds a socket that was closed here until it runs.
#[track_caller]
pub(crate) fn listen(port: u16) -> TcpListener {
    let mut listener = None;
    let mut bind = || {
        listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok();
        listener.is_some()
    };
    assert!(poll(Duration::from_secs(20), &mut bind), "port {port} is taken");
    listener.expect("it was waited for")
}

/// Looks every 5 ms until it is so; panics when it takes longer than `timeout`.
#[track_caller]
pub fn wait_until(timeout: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    assert!(poll(timeout, &mut is_so), "waited {timeout:?} for: {what}");
}

fn poll(timeout: Duration, is_so: &mut dyn FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if is_so() {
            return true;
        }
        if start.elapsed() >= timeout {
            return false;
        }
        thread::sleep(STEP);
    }
}

/// A running process; killed on drop.
#[derive(Debug)]
pub struct Proc {
    name: String,
    child: Child,
    status: Option<ExitStatus>,
    log: PathBuf,
    _scratch: Option<TempDir>,
}

impl Proc {
    /// Starts a command, stdout and stderr in a log of its own.
    pub fn start(command: Command) -> Proc {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let log = scratch.path().join("log");
        let mut started = Proc::start_logged(command, &log);
        started._scratch = Some(scratch);
        started
    }

    /// Starts a command whose output is appended to this file, which stays.
    pub fn start_logged(mut command: Command, log: &Path) -> Proc {
        let name = Path::new(command.get_program()).file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        let out = File::options().append(true).create(true).open(log).expect("the log can be written");
        let err = out.try_clone().expect("files can be shared");
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Proc { name, child, status: None, log: log.to_owned(), _scratch: None }
    }

    /// Starts a binary of the workspace ([`bin`]).
    pub fn bin<S: AsRef<std::ffi::OsStr>>(name: &str, args: impl IntoIterator<Item = S>) -> Proc {
        let mut command = Command::new(bin(name));
        command.args(args);
        Proc::start(command)
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it wrote so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last lines it wrote.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }

    /// Sends a signal (STOP and CONT make a pause of any length); nothing happens when it has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.is_running() {
            let id = i32::try_from(self.child.id()).expect("process ids are positive i32");
            let _ = signal::kill(Pid::from_raw(id), signal);
        }
    }

    /// SIGKILL, and gone when this returns.
    pub fn kill9(&mut self) {
        let _ = self.child.kill();
        self.status = self.status.or_else(|| self.child.wait().ok());
    }

    /// SIGTERM; see [`Self::expect_exit`] for waiting.
    pub fn terminate(&mut self) {
        self.signal(Signal::SIGTERM);
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("the child is ours");
        }
        self.status.is_none()
    }

    /// Its exit status when it ends within this time.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Option<ExitStatus> {
        poll(timeout, &mut || !self.is_running());
        self.status
    }

    /// Its exit code; panics with the log when it runs longer, -1 when a signal ended it.
    #[track_caller]
    pub fn expect_exit(&mut self, timeout: Duration) -> i32 {
        match self.wait_timeout(timeout) {
            Some(status) => status.code().unwrap_or(-1),
            None => panic!("{} did not end within {timeout:?}; log:\n{}", self.name, self.log_tail()),
        }
    }

    /// As [`wait_until`], but panics with the log, and at once when the process ends before it is so.
    #[track_caller]
    pub fn wait_until(&mut self, timeout: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
        let mut ended = false;
        let reached = poll(timeout, &mut || {
            // Asked in this order: what it did right before its end counts.
            ended = !self.is_running();
            is_so() || ended
        });
        if !reached || (ended && !is_so()) {
            let why = if ended { "ended before" } else { "timed out before" };
            panic!("{} {why}: {what}; log:\n{}", self.name, self.log_tail());
        }
    }

    /// Waits for a text in the log.
    #[track_caller]
    pub fn wait_for_log(&mut self, timeout: Duration, text: &str) {
        let log = self.log.clone();
        self.wait_until(timeout, &format!("{text:?} in the log"), || {
            fs::read(&log).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text))
        });
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        self.kill9();
        if thread::panicking() {
            eprintln!("--- log of {} ---\n{}", self.name, self.log_tail());
        }
    }
}
