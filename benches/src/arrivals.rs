//! When a file of single syncs appears in the store, and up to where in the WAL it reaches.
//!
//! The server's renames are seen through inotify, so that watching costs the measured programs nothing. Both replicators
//! write truthful WAL positions into the headers of their files.

use anyhow::{Context, Result};
use ltx::{FileName, HEADER_SIZE, Header};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

/// A place in the WAL: its generation, and the bytes up to which it is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// First salt; SQLite adds one at every restart of the WAL.
    pub(crate) salt: u32,
    pub(crate) end: u64,
}

impl Position {
    /// Whether everything up to `self` is also before `other`.
    pub(crate) fn is_within(self, other: Position) -> bool {
        let generations = other.salt.wrapping_sub(self.salt) as i32;
        generations > 0 || generations == 0 && other.end >= self.end
    }
}

/// One file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) at: SystemTime,
    pub(crate) txid: u64,
    pub(crate) to: Position,
}

/// Watches one directory of the server.
pub(crate) struct Arrivals {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    found: Receiver<Arrival>,
}

impl Arrivals {
    /// From now on; the directory is there once the first image is.
    pub(crate) fn watch(dir: &Path) -> Result<Arrivals> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        inotify.add_watch(dir, AddWatchFlags::IN_MOVED_TO).with_context(|| dir.display().to_string())?;
        let (stop, (send, found)) = (Arc::new(AtomicBool::new(false)), channel());
        let (stopped, dir) = (stop.clone(), dir.to_owned());
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                look(&inotify, &dir, &send);
            }
        });
        Ok(Arrivals { stop, thread: Some(thread), found })
    }

    /// Waits for the file that holds everything up to `position`; all files up to and including it.
    pub(crate) fn until(&self, position: Position, limit: Duration) -> Result<Vec<Arrival>> {
        let (started, mut arrived) = (Instant::now(), Vec::new());
        loop {
            let left = limit.saturating_sub(started.elapsed());
            let arrival =
                self.found.recv_timeout(left).with_context(|| format!("nothing arrived within {limit:?}"))?;
            arrived.push(arrival);
            if position.is_within(arrival.to) {
                return Ok(arrived);
            }
        }
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn look(inotify: &Inotify, dir: &Path, send: &Sender<Arrival>) {
    let mut fds = [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)];
    if poll(&mut fds, 50u8).unwrap_or(0) == 0 {
        return;
    }
    let at = SystemTime::now();
    for event in inotify.read_events().unwrap_or_default() {
        let name = event.name.and_then(|name| name.into_string().ok()).unwrap_or_default();
        if let Some(arrival) = read(&dir.join(&name), &name, at) {
            let _ = send.send(arrival);
        }
    }
}

/// `None` for other files, and for those that hold no part of a WAL (claims, images of a database without one).
fn read(path: &PathBuf, name: &str, at: SystemTime) -> Option<Arrival> {
    let txid = FileName::parse(name)?.max.get();
    let mut bytes = [0; HEADER_SIZE];
    File::open(path).ok()?.read_exact_at(&mut bytes, 0).ok()?;
    let header = Header::from_bytes(&bytes).ok()?.header;
    let to = Position { salt: header.wal_salt1, end: header.wal_offset + header.wal_size };
    (to.salt != 0).then_some(Arrival { at, txid, to })
}
