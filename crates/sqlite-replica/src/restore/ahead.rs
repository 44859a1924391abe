//! Objects of a plan, newest first, fetched ahead of their turn.
//!
//! What is fetched ahead is bounded in number and in bytes (P7). Bytes are taken out of the [`Budget`](super::Budget) in the order of the
//! plan: an object that was quicker than the one before it would hold what that one waits for, and both would wait for ever.
//! Fetching begins before anybody asks for the first one, and ends with whoever holds this.

use crate::error::Result;
use crate::restore::object::{Fetch, Opened};
use crate::restore::plan::RestorePlan;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// The queue.
#[derive(Debug)]
pub(crate) struct Ahead {
    fetch: Fetch,
    under_way: mpsc::Receiver<Aborting<Result<Opened>>>,
    _feeding: Aborting<()>,
}

impl Ahead {
    /// Begins with the newest object.
    pub(crate) fn begin(fetch: &Fetch, plan: &RestorePlan) -> Ahead {
        let (send, under_way) = mpsc::channel(fetch.parallelism.max(1));
        let files: Vec<_> = plan.files.iter().rev().cloned().collect();
        let with = fetch.clone();
        let feeding = async move {
            for entry in files {
                // A place in the queue first: bytes are not held for what may not begin.
                let Ok(place) = send.reserve().await else { return };
                let taken = with.room_for(&entry).await;
                let fetch = with.clone();
                place.send(Aborting(tokio::spawn(async move { fetch.open_in(entry, taken).await })));
            }
        };
        Ahead { fetch: fetch.clone(), under_way, _feeding: Aborting(tokio::spawn(feeding)) }
    }

    /// What fetches.
    pub(crate) fn fetch(&self) -> &Fetch {
        &self.fetch
    }

    /// The next object, as soon as it is there.
    pub(crate) async fn next(&mut self) -> Result<Option<Opened>> {
        match self.under_way.recv().await {
            Some(task) => task.joined().await.map(Some),
            None => Ok(None),
        }
    }
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
    use crate::catalogue::Entry;
    use crate::layout::Level;
    use crate::restore::execute::RestoreOptions;
    use clock::{ManualClock, SeededIds};
    use ltx::{FileName, Txid};
    use std::sync::Arc;
    use std::time::Duration;
    use store::{MemoryStore, OpenConfig, Progress, PutOptions, Store};

    const MIB: usize = 1 << 20;

    /// Forty objects of three MiB, and memory for six of them.
    #[tokio::test]
    async fn p7_more_than_memory_holds_is_fetched_in_order_and_nobody_waits_for_ever() {
        let clock = Arc::new(ManualClock::at(0));
        let config = OpenConfig::new(clock.clone(), Arc::new(SeededIds::new(1)));
        let store = Store::new(Arc::new(MemoryStore::new(clock)), &config);
        let mut files = Vec::new();
        for n in 1..=40 {
            let txid = Txid::new(n).unwrap();
            let name = FileName { min: txid, max: txid };
            let (key, size) = (format!("{n}"), 3 * MIB as u64);
            store.put(&key, vec![0; 3 * MIB].into(), &PutOptions::create()).await.unwrap();
            files.push(Entry { level: Level::SYNC, name, key, size, modified_ms: 0 });
        }
        let progress = Arc::new(Progress::default());
        let fetch = RestoreOptions::default().fetch(&store, progress.clone());
        let mut ahead = Ahead::begin(&fetch, &RestorePlan { files });
        let all = async {
            let mut keys = Vec::new();
            while let Some(object) = ahead.next().await.unwrap() {
                // Those behind it have had time to take everything there is.
                tokio::time::sleep(Duration::from_millis(5)).await;
                let held = progress.fetched() - 3 * (keys.len() * MIB) as u64;
                assert!(held <= 21 * MIB as u64, "{held} bytes are held");
                keys.push(object.key().to_owned());
            }
            keys
        };
        let keys = tokio::time::timeout(Duration::from_secs(60), all).await.unwrap();
        assert_eq!(keys, (1..=40).rev().map(|n| n.to_string()).collect::<Vec<_>>());
    }
}
