//! Which databases have replicas below a prefix: what a pattern or a directory of a description has to bring back.
//!
//! A volume that was lost cannot say what was on it; the store can (P3: what is there is what must be restored, not what happens to be
//! found). One listing; of a replica with more than a page of objects the rest is skipped by asking from behind it.

use crate::error::Result;
use futures::TryStreamExt;
use std::collections::BTreeSet;
use store::Store;

/// Objects of one replica that are read before the listing is begun anew behind it.
const PAGE: usize = 1_000;

/// Names of the replicas below, ascending; empty where there is none. A replica at the prefix itself has the name "".
pub async fn replicas_below(store: &Store) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let mut after: Option<String> = None;
    'again: loop {
        let mut listing = store.list("", after.as_deref());
        let mut of_this = 0;
        let mut last: Option<String> = None;
        while let Some(meta) = listing.try_next().await? {
            let Some(name) = replica_of(&meta.key) else { continue };
            of_this = if last.as_deref() == Some(name) { of_this + 1 } else { 1 };
            if of_this > PAGE && !name.is_empty() {
                // '0' is what follows '/': the first key that is not below the name.
                after = Some(format!("{name}0"));
                names.insert(name.to_owned());
                continue 'again;
            }
            if last.as_deref() != Some(name) {
                names.insert(name.to_owned());
                last = Some(name.to_owned());
            }
        }
        return Ok(names);
    }
}

/// The replica a key belongs to, by what all of them hold: levels of LTX files, or the side object of the history.
fn replica_of(key: &str) -> Option<&str> {
    let mut at = 0;
    loop {
        let rest = &key[at..];
        let mut parts = rest.split('/');
        let (first, second, third) = (parts.next()?, parts.next()?, parts.next());
        let is_level = |s: &str| s.len() == 4 && s.bytes().all(|b| b.is_ascii_hexdigit());
        let found = match third {
            None => is_level(first) && second.ends_with(".ltx") || rest == crate::layout::LINEAGE_KEY,
            Some(third) => {
                first == "ltx" && third.ends_with(".ltx") && parts.next().is_none() || first == "generations"
            }
        };
        if found {
            return Some(key[..at].trim_end_matches('/'));
        }
        at += first.len() + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p3_a_replica_is_known_by_its_objects_and_never_by_its_name() {
        for (key, replica) in [
            ("app.db/0000/0000000000000001-0000000000000001.ltx", Some("app.db")),
            ("t/0000/x.db/0009/0000000000000001-0000000000000001.ltx", Some("t/0000/x.db")),
            ("t/ltx/ltx/0/0000000000000001-0000000000000001.ltx", Some("t/ltx")),
            ("x/highwater/lineage.json", Some("x")),
            ("highwater/lineage.json", Some("")),
            ("0000/0000000000000001-0000000000000001.ltx", Some("")),
            ("old.db/generations/0123456789abcdef/snapshots/00000000.snapshot.lz4", Some("old.db")),
            ("x/highwater/owner.json", None),
            ("files/m/00000000000000000001", None),
            ("notes.txt", None),
        ] {
            assert_eq!(replica_of(key), replica, "{key}");
        }
    }

    #[test]
    fn p7_a_long_chain_does_not_hide_what_lies_behind_it() {
        let clock = std::sync::Arc::new(clock::ManualClock::at(0));
        let memory = store::MemoryStore::new(clock.clone());
        let config = store::OpenConfig::new(clock, std::sync::Arc::new(clock::SeededIds::new(1)));
        let store = Store::new(std::sync::Arc::new(memory), &config);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let names =
            runtime.block_on(async {
                let put = |key: String| {
                    let store = store.clone();
                    async move {
                        store.put(&key, bytes::Bytes::new(), &store::PutOptions::create()).await.unwrap()
                    }
                };
                for i in 1..2_500 {
                    put(format!("a/long.db/0000/{i:016x}-{i:016x}.ltx")).await;
                }
                for name in ["a/long.db-2", "a/longer.db", "b.db"] {
                    put(format!("{name}/highwater/lineage.json")).await;
                }
                replicas_below(&store).await.unwrap()
            });
        assert_eq!(
            names.into_iter().collect::<Vec<_>>(),
            ["a/long.db", "a/long.db-2", "a/longer.db", "b.db"]
        );
    }
}
