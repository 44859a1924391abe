//! Objects of a plan, newest first, fetched ahead of their turn.
//!
//! What is fetched ahead is bounded in number and in bytes (P7). Bytes are taken out of the [`Budget`](super::Budget) in the order of the
//! plan: an object that was quicker than the one before it would hold what that one waits for, and both would wait for ever.
//! Fetching begins before anybody asks for the first one, and ends with whoever holds this. The oldest object, which has most of the pages
//! and whose turn is last, tells where they are at once: then they need not wait for that.

use crate::catalogue::Entry;
use crate::error::Result;
use crate::restore::object::{Fetch, Opened};
use crate::restore::plan::RestorePlan;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Objects that are handed out at a time.
const TOGETHER: usize = 16;

/// The queue.
#[derive(Debug)]
pub(crate) struct Ahead {
    fetch: Fetch,
    /// Its turn came while others were handed out.
    next: Option<Aborting<Result<Opened>>>,
    under_way: mpsc::Receiver<Aborting<Result<Opened>>>,
    _feeding: Aborting<()>,
}

impl Ahead {
    /// Begins with the newest object.
    pub(crate) fn begin(fetch: &Fetch, plan: &RestorePlan) -> Ahead {
        let (send, under_way) = mpsc::channel(fetch.parallelism.max(1));
        let files: Vec<_> = plan.files.iter().rev().cloned().collect();
        let with = fetch.clone();
        let mut early =
            files.last().filter(|_| files.len() > 1).and_then(|oldest| begin_early(fetch, oldest));
        let feeding = async move {
            let last = files.len() - 1;
            for (at, entry) in files.into_iter().enumerate() {
                // A place in the queue first: bytes are not held for what may not begin.
                let Ok(place) = send.reserve().await else { return };
                if let Some(early) = early.take_if(|_| at == last) {
                    place.send(early);
                    return;
                }
                let taken = with.room_for(&entry).await;
                let fetch = with.clone();
                place.send(Aborting(tokio::spawn(async move { fetch.open_in(entry, taken).await })));
            }
        };
        Ahead { fetch: fetch.clone(), next: None, under_way, _feeding: Aborting(tokio::spawn(feeding)) }
    }

    /// What fetches.
    pub(crate) fn fetch(&self) -> &Fetch {
        &self.fetch
    }

    /// The next objects in their order, as soon as the first is there, with those behind it that are there, too; none after the last.
    pub(crate) async fn next(&mut self) -> Result<Vec<Opened>> {
        let first = match self.next.take() {
            Some(task) => Some(task),
            None => self.under_way.recv().await,
        };
        let mut there = Vec::new();
        if let Some(task) = first {
            there.push(task.joined().await?);
        }
        while !there.is_empty() && there.len() < TOGETHER {
            match self.under_way.try_recv() {
                Ok(task) if task.0.is_finished() => there.push(task.joined().await?),
                Ok(task) => {
                    self.next = Some(task);
                    break;
                }
                Err(_) => break,
            }
        }
        Ok(there)
    }
}

/// Begins with an object whose turn is far off, if it is large and memory is left that nobody waits for.
fn begin_early(fetch: &Fetch, oldest: &Entry) -> Option<Aborting<Result<Opened>>> {
    let taken = fetch.early_room_for(oldest)?;
    let (fetch, oldest) = (fetch.clone(), oldest.clone());
    Some(Aborting(tokio::spawn(async move { fetch.open_in(oldest, taken).await })))
}

/// A task that ends with whoever waits for it.
#[derive(Debug)]
struct Aborting<T>(JoinHandle<T>);

impl<T> Aborting<T> {
    async fn joined(mut self) -> T {
        (&mut self.0).await.expect("fetching does not panic, and is aborted only when dropped")
    }
}

impl<T> Drop for Aborting<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Level;
    use crate::restore::execute::RestoreOptions;
    use clock::{ManualClock, SeededIds};
    use ltx::{FileName, Txid};
    use std::sync::Arc;
    use std::time::Duration;
    use store::{MemoryStore, OpenConfig, PutOptions, Store};

    const MIB: usize = 1 << 20;

    /// A store with objects of these sizes, oldest first, and how they are fetched.
    async fn stored(sizes: &[usize]) -> (Fetch, RestorePlan) {
        let clock = Arc::new(ManualClock::at(0));
        let config = OpenConfig::new(clock.clone(), Arc::new(SeededIds::new(1)));
        let store = Store::new(Arc::new(MemoryStore::new(clock)), &config);
        let mut files = Vec::new();
        for (n, &size) in (1..).zip(sizes) {
            let txid = Txid::new(n).unwrap();
            let name = FileName { min: txid, max: txid };
            let key = n.to_string();
            store.put(&key, vec![0; size].into(), &PutOptions::create()).await.unwrap();
            files.push(Entry { level: Level::SYNC, name, key, size: size as u64, modified_ms: 0 });
        }
        (RestoreOptions::default().fetch(&store, Arc::default()), RestorePlan { files })
    }

    /// Forty objects of three MiB, and memory for six of them.
    #[tokio::test]
    async fn p7_more_than_memory_holds_is_fetched_in_order_and_nobody_waits_for_ever() {
        let (fetch, plan) = stored(&[3 * MIB; 40]).await;
        let mut ahead = Ahead::begin(&fetch, &plan);
        let all = async {
            let mut keys = Vec::new();
            loop {
                let objects = ahead.next().await.unwrap();
                if objects.is_empty() {
                    return keys;
                }
                // Those behind it have had time to take everything there is.
                tokio::time::sleep(Duration::from_millis(5)).await;
                let held = fetch.progress.fetched() - 3 * (keys.len() * MIB) as u64;
                assert!(held <= 21 * MIB as u64, "{held} bytes are held");
                keys.extend(objects.iter().map(|object| object.key().to_owned()));
            }
        };
        let keys = tokio::time::timeout(Duration::from_secs(60), all).await.unwrap();
        assert_eq!(keys, (1..=40).rev().map(|n| n.to_string()).collect::<Vec<_>>());
    }

    /// Thirty objects of one MiB behind a large one: memory is full before its turn comes, and its two ends are there.
    #[tokio::test]
    async fn the_oldest_object_tells_at_once_where_its_pages_are() {
        let mut sizes = [MIB; 30];
        sizes[0] = 6 * MIB;
        let (fetch, plan) = stored(&sizes).await;
        let ahead = Ahead::begin(&fetch, &plan);
        let wanted = (20 * MIB + ltx::HEADER_SIZE + (64 << 10)) as u64;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        while fetch.progress.fetched() != wanted {
            let there = fetch.progress.fetched();
            assert!(tokio::time::Instant::now() < deadline, "{there} bytes are there");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(ahead);
    }
}
