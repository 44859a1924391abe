//! When a file of single syncs appears in the store, and up to which commit it reaches.
//!
//! The server's renames are seen through inotify, so that watching costs the measured programs nothing. What a file holds
//! is read from its pages, where the writer's number follows a magic of this run, and not from its header, whose WAL
//! position need not be truthful. A file is opened when it appears and decoded only when somebody waits for it.

use anyhow::{Context, Result};
use ltx::{Decoder, FileName};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::BufReader;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

/// Bytes of the magic, and of the magic with the number after it.
const MAGIC: usize = 16;
const MARK: usize = MAGIC + size_of::<u64>();

/// The number of a commit; every commit of a run has a higher one than those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position(pub(crate) u64);

impl Position {
    /// What the commit stores so that it is found again: the magic, then the number, big-endian.
    pub(crate) fn mark(self) -> [u8; MARK] {
        let mut mark = [0; MARK];
        mark[..MAGIC].copy_from_slice(magic());
        mark[MAGIC..].copy_from_slice(&self.0.to_be_bytes());
        mark
    }

    /// The highest in a page, where those of replaced rows may be left over.
    fn in_page(page: &[u8]) -> Option<Position> {
        let marks = page.windows(MARK).filter_map(|bytes| bytes.strip_prefix(magic().as_slice()));
        marks.filter_map(|number| Some(Position(u64::from_be_bytes(number.try_into().ok()?)))).max()
    }
}

/// Of this run: no other content has these bytes.
fn magic() -> &'static [u8; MAGIC] {
    static CHOSEN: OnceLock<[u8; MAGIC]> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        let half = |n: u64| u128::from(RandomState::new().hash_one(n));
        (half(0) << 64 | half(1)).to_be_bytes()
    })
}

/// One file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) at: SystemTime,
    pub(crate) txid: u64,
    pub(crate) to: Position,
}

/// A file that appeared, not yet decoded.
struct Appeared {
    at: SystemTime,
    txid: u64,
    file: File,
}

/// Watches one directory of the server.
pub(crate) struct Arrivals {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    found: Receiver<Appeared>,
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
            let appeared =
                self.found.recv_timeout(left).with_context(|| format!("nothing arrived within {limit:?}"))?;
            let Some(arrival) = read(appeared)? else { continue };
            arrived.push(arrival);
            if arrival.to >= position {
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

fn look(inotify: &Inotify, dir: &Path, send: &Sender<Appeared>) {
    let mut fds = [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)];
    if poll(&mut fds, 50u8).unwrap_or(0) == 0 {
        return;
    }
    let at = SystemTime::now();
    for event in inotify.read_events().unwrap_or_default() {
        let name = event.name.and_then(|name| name.into_string().ok()).unwrap_or_default();
        if let (Some(parsed), Ok(file)) = (FileName::parse(&name), File::open(dir.join(&name))) {
            let _ = send.send(Appeared { at, txid: parsed.max.get(), file });
        }
    }
}

/// `None` for a file in which no commit left its number (claims).
fn read(Appeared { at, txid, file }: Appeared) -> Result<Option<Arrival>> {
    let highest = || -> ltx::Result<Option<Position>> {
        let mut decoder = Decoder::new(BufReader::new(file))?;
        let (mut page, mut highest) = (vec![0; decoder.header().page_size.bytes()], None);
        while decoder.next_page(&mut page)?.is_some() {
            highest = highest.max(Position::in_page(&page));
        }
        Ok(highest)
    };
    let to = highest().with_context(|| format!("the file of transaction {txid}"))?;
    Ok(to.map(|to| Arrival { at, txid, to }))
}
