use super::*;
use crate::layout::Level;
use crate::restore::execute::RestoreOptions;
use crate::restore::large::PART;
use clock::{ManualClock, SeededIds};
use futures::StreamExt;
use ltx::{FileName, Txid};
use std::time::Duration;
use store::fault::{FaultStore, When, lost};
use store::{MemoryStore, OpenConfig, Operation, PutOptions};

/// Whoever needs parts in their order holds all that come before, and must not wait for memory behind them.
#[tokio::test]
async fn p7_parts_get_memory_in_their_order_whatever_is_answered_first() {
    const PARTS: u64 = 20;
    let clock = Arc::new(ManualClock::at(0));
    let (backend, faults) = FaultStore::new(Arc::new(MemoryStore::new(clock.clone())));
    let store = Store::new(Arc::new(backend), &OpenConfig::new(clock, Arc::new(SeededIds::new(1))));
    let body = vec![7; (PARTS * PART) as usize];
    store.put("object", body.into(), &PutOptions::create()).await.unwrap();
    let name = FileName { min: Txid::FIRST, max: Txid::FIRST };
    let (key, size) = ("object".to_owned(), PARTS * PART);
    let entry = Entry { level: Level::SYNC, name, key, size, modified_ms: 0 };
    let progress = Arc::new(Progress::default());
    let fetch = RestoreOptions::default().fetch(&store, progress.clone());

    // The answer to the first request is lost; it is asked for again while all others are answered.
    faults.latency(Duration::from_millis(20));
    faults.fail_next(Some(Operation::Get), 1, When::After, lost());
    let ranges = (0..PARTS).map(|n| n * PART..(n + 1) * PART);
    let mut parts = futures::stream::iter(ranges).map(|range| fetch.part(&entry, range)).buffered(64);
    let in_order = async {
        let mut bytes = 0;
        while let Some(part) = parts.next().await {
            let (part, _taken) = part.unwrap();
            bytes += part.len() as u64;
            assert!(progress.fetched() - bytes <= 16 << 20, "{} bytes are held", progress.fetched() - bytes);
        }
        bytes
    };
    let bytes = tokio::time::timeout(Duration::from_secs(60), in_order).await.expect("nobody waits for ever");
    assert_eq!(bytes, size);
}
