//! Brings to the disk what a restore has written while more of it is fetched, so that the sync at the end has little left to do, and
//! dirty memory does not grow with the database (P7).
//!
//! The system tells each failure of a write-back to an open file once: what a sync in the middle was told is kept for the end,
//! which must not call durable what another sync has already given up (P1).

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Bytes written between two syncs.
const STEP: u64 = 32 << 20;

/// Syncs a file from a thread of its own, which starts with the first [`STEP`] bytes.
#[derive(Debug, Default)]
pub(super) struct Flusher {
    written: AtomicU64,
    thread: Mutex<Option<Thread>>,
}

#[derive(Debug)]
struct Thread {
    ask: SyncSender<()>,
    ended: JoinHandle<io::Result<()>>,
}

impl Flusher {
    /// So many more bytes were written to `file`; does not wait for the disk.
    pub(super) fn wrote(&self, file: &File, bytes: usize) -> io::Result<()> {
        let before = self.written.fetch_add(bytes as u64, Ordering::Relaxed);
        if before / STEP == (before + bytes as u64) / STEP {
            return Ok(());
        }
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let thread = match &mut *thread {
            Some(thread) => thread,
            none => none.insert(Thread::start(file.try_clone()?)?),
        };
        // Full: a sync is asked for already. Gone: a sync has failed, which `end` tells.
        let _ = thread.ask.try_send(());
        Ok(())
    }

    /// Waits for the syncs under way, and tells whether one has failed.
    pub(super) fn end(&self) -> io::Result<()> {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Thread { ask, ended }) = thread else { return Ok(()) };
        drop(ask);
        ended.join().unwrap_or_else(|_| Err(io::Error::other("the thread that syncs has panicked")))
    }
}

impl Thread {
    fn start(file: File) -> io::Result<Thread> {
        let (ask, asked) = sync_channel(1);
        let sync = move || asked.into_iter().try_for_each(|()| file.sync_data());
        let ended = thread::Builder::new().name("flush".into()).spawn(sync)?;
        Ok(Thread { ask, ended })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;

    #[test]
    fn p7_a_thread_syncs_only_what_is_large() {
        let file = tempfile::tempfile().unwrap();
        let flusher = Flusher::default();
        flusher.wrote(&file, (STEP - 1) as usize).unwrap();
        assert!(flusher.thread.lock().unwrap().is_none());
        flusher.wrote(&file, 1).unwrap();
        assert!(flusher.thread.lock().unwrap().is_some());
        flusher.end().unwrap();
        flusher.end().unwrap();
    }

    #[test]
    fn p1_a_sync_that_failed_in_the_middle_is_told_at_the_end() {
        // A pipe cannot be synced.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let pipe = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let flusher = Flusher::default();
        flusher.wrote(&pipe, STEP as usize).unwrap();
        assert!(flusher.end().is_err());
    }
}
