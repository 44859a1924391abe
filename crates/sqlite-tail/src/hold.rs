//! The hold: read locks on the READ_LOCK bytes of `-shm`, taken by ourselves and not by SQLite (decision 0002).
//!
//! They are "open file description" locks: they conflict with the POSIX locks of every SQLite connection, our own
//! included, and belong to our descriptor alone, so no close of another descriptor drops them (trap 7). A shared lock
//! on a slot of READ_LOCK(1..4) is what a reader with that slot's mark has; one on a slot whose mark is "not used"
//! forbids restarting the WAL and is in nobody's way otherwise.

use crate::Error;
use crate::protocol::preference;
use crate::tail::read_exact;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use std::fs::File;
use std::io;
use std::path::Path;

/// The byte of READ_LOCK(0); those of READ_LOCK(1..4) follow.
const READ_LOCK_0: i64 = 123;
/// Where the marks of READ_LOCK(1..4) are: four native 32-bit words.
const MARKS: u64 = 104;

/// The mark of a slot that no reader has used since the WAL began.
const UNUSED: u32 = u32::MAX;

/// A locked slot, 0 to 3 for READ_LOCK(1..4), with the mark read under the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pin {
    slot: usize,
    pub(crate) mark: u32,
}

/// What is locked; every method leaves at least one lock.
#[derive(Debug)]
pub(crate) struct Hold {
    pin: Option<Pin>,
    zero: bool,
    /// The pin to be, beside what is held.
    next: Option<Pin>,
    /// A slot with an old mark, beside what is held: no part of the hold.
    brake: Option<usize>,
}

impl Hold {
    /// Takes a first pin; `None` if all slots are locked exclusively at the moment.
    pub(crate) fn begin(shm: &File, path: &Path) -> Result<Option<(Self, Pin)>, Error> {
        let pin = lock_best(shm, None).map_err(Error::io("lock shm of", path))?;
        Ok(pin.map(|pin| (Self { pin: Some(pin), zero: false, next: None, brake: None }, pin)))
    }

    /// Locks a better slot beside what is held; `None` if there is none.
    pub(crate) fn pin(&mut self, shm: &File, path: &Path) -> Result<Option<u32>, Error> {
        self.forget_next(shm);
        // One lock per byte and descriptor: a pin on the slot of the brake would go with it.
        self.unbrake(shm);
        self.next = lock_best(shm, self.pin).map_err(Error::io("lock shm of", path))?;
        Ok(self.next.map(|pin| pin.mark))
    }

    /// Gives the slot of [`Hold::pin`] back.
    pub(crate) fn forget_next(&mut self, shm: &File) {
        if let Some(pin) = self.next.take() {
            release(shm, byte_of(pin.slot));
        }
    }

    /// The slot of [`Hold::pin`] becomes the hold; what was held before is released.
    pub(crate) fn let_go(&mut self, shm: &File) {
        let Some(next) = self.next.take() else { return };
        if let Some(old) = self.pin.replace(next) {
            release(shm, byte_of(old.slot));
        }
        self.leave_zero(shm);
    }

    /// Locks READ_LOCK(0) beside the pin; `false` if a checkpointer is copying.
    pub(crate) fn lock_zero(&mut self, shm: &File, path: &Path) -> Result<bool, Error> {
        // Everything is backfilled: a brake would only keep the WAL from restarting.
        self.unbrake(shm);
        self.zero |= lock(shm, READ_LOCK_0).map_err(Error::io("lock shm of", path))?;
        Ok(self.zero)
    }

    /// READ_LOCK(0) becomes the hold.
    pub(crate) fn leave_pin(&mut self, shm: &File) {
        if self.zero
            && let Some(pin) = self.pin.take()
        {
            release(shm, byte_of(pin.slot));
        }
    }

    /// The pin stays the hold.
    pub(crate) fn leave_zero(&mut self, shm: &File) {
        if self.pin.is_some() && std::mem::take(&mut self.zero) {
            release(shm, READ_LOCK_0);
        }
    }

    /// Shares the slot with the oldest mark, so that nobody backfills beyond that; nothing as long as no slot has one.
    pub(crate) fn brake(&mut self, shm: &File, path: &Path) -> Result<(), Error> {
        let failed = || Error::io("lock shm of", path);
        if self.brake.is_some() {
            return Ok(());
        }
        let taken = |slot: usize| [self.pin, self.next].iter().flatten().any(|pin| pin.slot == slot);
        for slot in preference(marks(shm).map_err(failed())?).into_iter().rev() {
            if taken(slot) || !lock(shm, byte_of(slot)).map_err(failed())? {
                continue;
            }
            if marks(shm).map_err(failed())?[slot] != UNUSED {
                self.brake = Some(slot);
                break;
            }
            release(shm, byte_of(slot));
        }
        Ok(())
    }

    /// Lets everything be backfilled again.
    pub(crate) fn unbrake(&mut self, shm: &File) {
        if let Some(slot) = self.brake.take() {
            release(shm, byte_of(slot));
        }
    }

    pub(crate) fn is_braked(&self) -> bool {
        self.brake.is_some()
    }

    pub(crate) fn is_pinned(&self) -> bool {
        self.pin.is_some()
    }
}

fn byte_of(slot: usize) -> i64 {
    READ_LOCK_0 + 1 + slot as i64
}

fn marks(shm: &File) -> io::Result<[u32; 4]> {
    let mut bytes = [0; 16];
    if !read_exact(shm, &mut bytes, MARKS)? {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(std::array::from_fn(|at| u32::from_ne_bytes(std::array::from_fn(|byte| bytes[at * 4 + byte]))))
}

/// Locks the slot that is in nobody's way, or the one that is least. Only an exclusive holder changes a mark, so the
/// mark read under our lock stays as long as we have it.
fn lock_best(shm: &File, held: Option<Pin>) -> io::Result<Option<Pin>> {
    let before = marks(shm)?;
    for slot in preference(before) {
        let better = held.is_none_or(|pin| pin.slot != slot && pin.mark < before[slot]);
        if !better || !lock(shm, byte_of(slot))? {
            continue;
        }
        let mark = marks(shm)?[slot];
        if mark >= before[slot] {
            return Ok(Some(Pin { slot, mark }));
        }
        release(shm, byte_of(slot));
    }
    Ok(None)
}

/// `false` if somebody has the byte exclusively.
fn lock(shm: &File, byte: i64) -> io::Result<bool> {
    match fcntl(shm, FcntlArg::F_OFD_SETLK(&flock(libc::F_RDLCK, byte))) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn release(shm: &File, byte: i64) {
    // Cannot fail for a descriptor that is open; a lock that stayed would be in somebody's way, never unsafe.
    if let Err(error) = fcntl(shm, FcntlArg::F_OFD_SETLK(&flock(libc::F_UNLCK, byte))) {
        tracing::warn!(%error, byte, "a lock would not go");
    }
}

fn flock(kind: i32, byte: i64) -> libc::flock {
    libc::flock {
        l_type: kind as _,
        l_whence: libc::SEEK_SET as _,
        l_start: byte,
        l_len: 1,
        l_pid: 0, // must be 0 for these locks
    }
}
