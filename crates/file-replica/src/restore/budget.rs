//! How many bytes of objects restores of trees hold in memory at once (P7): one budget for all that run side by side.
//!
//! Together with what restores of databases take in the same process it stays within 96 MiB. A pack counts as what is stored and the
//! largest file inside; what is larger than everything there is takes everything and comes alone.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const ALL: u64 = 24 << 20;
/// Permits count this many bytes.
const UNIT: u64 = 4096;

/// Shared by clones.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Semaphore>);

impl Default for Budget {
    fn default() -> Self {
        Budget(Arc::new(Semaphore::new((ALL / UNIT) as usize)))
    }
}

impl Budget {
    /// Takes bytes out of the budget until the permit is dropped; first come, first served.
    pub(super) async fn take(&self, bytes: u64) -> OwnedSemaphorePermit {
        let units = bytes.div_ceil(UNIT).min(ALL / UNIT) as u32;
        self.0.clone().acquire_many_owned(units).await.expect("a budget is never closed")
    }
}
