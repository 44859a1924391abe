//! Memory for bodies and for pages on their way, used again: a restore takes and leaves some thousand buffers of a hundred KiB and more,
//! on different threads, and an allocator asks the system for each of them, which clears every page of it first.
//!
//! What lies idle is bounded (P7), and comes on top of what the [`Budget`](super::Budget) lets anybody hold.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Idle bytes that are kept at most.
const IDLE: usize = 8 << 20;
/// Capacities are powers of two from here on; below, an allocator is as good.
const SMALLEST: usize = 64 << 10;
/// Larger ones are seldom, and not kept.
const LARGEST: usize = 4 << 20;

/// A pool, shared by clones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Buffers(Arc<Mutex<Idle>>);

#[derive(Debug, Default)]
struct Idle {
    bytes: usize,
    /// Last in, first out: the warmest.
    buffers: Vec<Vec<u8>>,
}

/// A buffer that goes back to its pool.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    pool: Buffers,
}

impl Buffers {
    /// An empty buffer with room for `len` bytes, or for the first of very many.
    pub(crate) fn take(&self, len: u64) -> Buffer {
        let capacity =
            usize::try_from(len).map_or(LARGEST, |len| len.min(LARGEST)).max(SMALLEST).next_power_of_two();
        let bytes = self.idle().take(capacity).unwrap_or_else(|| Vec::with_capacity(capacity));
        Buffer { bytes, pool: self.clone() }
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    fn take(&mut self, capacity: usize) -> Option<Vec<u8>> {
        let at = self.buffers.iter().rposition(|buffer| buffer.capacity() == capacity)?;
        let buffer = self.buffers.remove(at);
        self.bytes -= capacity;
        Some(buffer)
    }

    /// Keeps it if there is room; gives back what is not kept, to be freed without the lock.
    fn keep(&mut self, mut buffer: Vec<u8>) -> Option<Vec<u8>> {
        let capacity = buffer.capacity();
        let is_kept = capacity.is_power_of_two() && (SMALLEST..=LARGEST).contains(&capacity);
        if !is_kept || self.bytes + capacity > IDLE {
            return Some(buffer);
        }
        buffer.clear();
        self.bytes += capacity;
        self.buffers.push(buffer);
        None
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let surplus = self.pool.idle().keep(std::mem::take(&mut self.bytes));
        drop(surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again() {
        let pool = Buffers::default();
        let mut buffer = pool.take(100 << 10);
        buffer.extend_from_slice(&[7; 1000]);
        let place = buffer.as_ptr();
        drop(buffer);
        assert_eq!(pool.take(64 << 10).capacity(), 64 << 10, "one of another size is not it");
        let again = pool.take(128 << 10);
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
    }

    #[test]
    fn p7_what_lies_idle_is_bounded() {
        let pool = Buffers::default();
        let many: Vec<_> = (0..40).map(|_| pool.take(1 << 20)).collect();
        drop(many);
        let mut grown = pool.take(1);
        grown.reserve(LARGEST + 1);
        drop(grown);
        let idle = pool.idle();
        let kept: usize = idle.buffers.iter().map(Vec::capacity).sum();
        assert_eq!((kept, idle.bytes), (IDLE, IDLE));
    }
}
