//! How many bytes of objects restores hold in memory at once, and how many requests are under way (P7): one budget for all that run side
//! by side.
//!
//! Two kinds are counted apart. Objects fetched ahead of their turn wait until those before them are applied; parts of the object
//! that is being applied never wait for anything but the processor. If both drew on one pool, waiting ones could keep the parts out
//! that they wait for.

use crate::restore::buffers::{Buffer, Buffers};
use crate::restore::run::Run;
use std::sync::Arc;
use std::thread;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of each kind; what is beside them (decoders, connections, SQLite) stays below as much again.
const AHEAD: usize = 20 << 20;
const PARTS: usize = 16 << 20;
/// Bytes of what is fetched of an object long before its turn. Nobody waits for these.
const EARLY: usize = 4 << 20;
/// Requests under way. A store that takes 50 ms for each gives 104 MiB in 250 objects in four rounds of them.
const STREAMS: usize = 64;
/// Permits count this many bytes.
const UNIT: u64 = 4096;

/// Shared by clones.
#[derive(Debug, Clone)]
pub struct Budget {
    ahead: Arc<Semaphore>,
    parts: Arc<Semaphore>,
    early: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    decoders: Arc<Semaphore>,
    buffers: Buffers,
}

/// Bytes taken out of a budget until dropped.
pub(crate) type Taken = OwnedSemaphorePermit;

impl Default for Budget {
    fn default() -> Self {
        let pool = |bytes: usize| Arc::new(Semaphore::new(bytes / UNIT as usize));
        Budget {
            ahead: pool(AHEAD),
            parts: pool(PARTS),
            early: pool(EARLY),
            streams: Arc::new(Semaphore::new(STREAMS)),
            decoders: Arc::new(Semaphore::new(thread::available_parallelism().map_or(1, usize::from))),
            buffers: Buffers::default(),
        }
    }
}

impl Budget {
    /// For an object that is fetched before its turn.
    pub(crate) async fn ahead(&self, bytes: u64) -> Taken {
        take(&self.ahead, bytes, AHEAD).await
    }

    /// For an object whose turn is far off, if there is room at once: whoever got it holds it until all others are done.
    pub(crate) fn early(&self, bytes: u64) -> Option<Taken> {
        let units = bytes.div_ceil(UNIT).try_into().ok()?;
        self.early.clone().try_acquire_many_owned(units).ok()
    }

    /// For one request.
    pub(crate) async fn stream(&self) -> Taken {
        self.streams.clone().acquire_owned().await.expect("a budget is never closed")
    }

    /// For decoding one part: more of them than there are cores only keep each other waiting.
    pub(crate) async fn decoder(&self) -> Taken {
        self.decoders.clone().acquire_owned().await.expect("a budget is never closed")
    }

    /// For the pages of one decoder.
    pub(crate) fn run(&self) -> Run {
        Run::new(&self.buffers)
    }

    /// A buffer for so many bytes, which were taken out of the budget.
    pub(crate) fn buffer(&self, bytes: u64) -> Buffer {
        self.buffers.take(bytes)
    }

    /// For a part of the object whose turn it is.
    pub(crate) async fn part(&self, bytes: u64) -> Taken {
        take(&self.parts, bytes, PARTS).await
    }
}

/// First come, first served; what is larger than everything there is takes everything.
async fn take(pool: &Arc<Semaphore>, bytes: u64, all: usize) -> Taken {
    let units = bytes.div_ceil(UNIT).min(all as u64 / UNIT) as u32;
    pool.clone().acquire_many_owned(units).await.expect("a budget is never closed")
}
