//! What ends a wait from another thread: a write to the files, a call for attention, or the end.

use crate::Error;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shared by a tail and every [`Waker`]; its descriptor is readable while a flag waits to be seen.
#[derive(Debug)]
pub(crate) struct Signal {
    touched: AtomicBool,
    called: AtomicBool,
    stopped: AtomicBool,
    bell: EventFd,
}

impl Signal {
    pub(crate) fn new(path: &Path) -> Result<Self, Error> {
        let bell = EventFd::from_value_and_flags(0, EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)
            .map_err(|e| Error::io("create a wake-up descriptor for", path)(e.into()))?;
        Ok(Self {
            touched: AtomicBool::new(false),
            called: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            bell,
        })
    }

    fn ring(&self) {
        // Fails only if the counter is full, and then it rings already.
        let _ = self.bell.write(1);
    }

    /// Silences the bell, to be called before the flags are read.
    pub(crate) fn silence(&self) {
        // Fails only if it does not ring.
        let _ = self.bell.read();
    }

    /// A file moved; false if nobody has asked since the last time, so that this one is no news.
    pub(crate) fn touch(&self) -> bool {
        let news = !self.touched.swap(true, Ordering::SeqCst);
        if news {
            self.ring();
        }
        news
    }

    /// Whether a file moved since the last question.
    pub(crate) fn take_touch(&self) -> bool {
        self.touched.swap(false, Ordering::SeqCst)
    }

    /// Whether somebody called since the last question.
    pub(crate) fn take_call(&self) -> bool {
        self.called.swap(false, Ordering::SeqCst)
    }

    pub(crate) fn stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }
}

impl AsFd for Signal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

/// Interrupts [`Tail::wait`](crate::Tail::wait) from any thread.
#[derive(Debug, Clone)]
pub struct Waker(pub(crate) Arc<Signal>);

impl Waker {
    /// The wait in progress, or else the next one, returns [`Wake::Event`](crate::Wake::Event).
    pub fn wake(&self) {
        self.0.called.store(true, Ordering::SeqCst);
        self.0.ring();
    }

    /// This and every later wait returns [`Wake::Stopped`](crate::Wake::Stopped).
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::SeqCst);
        self.0.ring();
    }
}
