//! What a replica holds, from one LIST of its prefix.

use crate::error::Result;
use crate::layout::{self, LINEAGE_KEY, Layout, Level, PROVEN_KEY};
use futures::TryStreamExt;
use ltx::{FileName, Txid};
use std::collections::BTreeSet;
use store::Store;

/// Prefixes that Litestream makes of an empty path.
const ODD_ROOTS: [&str; 2] = ["/", "./"];

/// One LTX file in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Level it lies in.
    pub level: Level,
    /// TXIDs it covers.
    pub name: FileName,
    /// Key below the prefix.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// When the store says it was written, ms.
    pub modified_ms: i64,
}

/// All LTX files of a replica, ordered by level, then TXID.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    /// The files.
    pub entries: Vec<Entry>,
    /// Level 0 files beyond TXID 1 that hold every page.
    pub images: BTreeSet<Txid>,
    /// TXIDs up to which somebody outside of the writer has read the chain back.
    pub proofs: BTreeSet<Txid>,
    /// True if `highwater/proven.json` is there.
    pub has_proof: bool,
    /// True if `highwater/lineage.json` is there.
    pub has_lineage: bool,
    /// Where Litestream put the files of a bucket that was named without a path; see [`Catalogue::open`].
    pub odd_root: Option<&'static str>,
    /// True if Litestream 0.3 generations lie under the same prefix.
    pub has_generations: bool,
}

impl Catalogue {
    /// Lists the replica: one request per 1,000 objects. An unreachable store is an error, never an empty catalogue (P6).
    pub async fn load(store: &Store) -> Result<Catalogue> {
        let layout = Layout::of(store.kind());
        let mut catalogue = Catalogue::default();
        let mut listing = store.list("", None);
        while let Some(meta) = listing.try_next().await? {
            if let Some((level, name)) = layout.parse(&meta.key) {
                catalogue.entries.push(Entry {
                    level,
                    name,
                    key: meta.key,
                    size: meta.size,
                    modified_ms: meta.modified_ms,
                });
            } else if let Some(txid) = layout::parse_image(&meta.key) {
                catalogue.images.insert(txid);
            } else if let Some(txid) = layout::parse_proven(&meta.key) {
                catalogue.proofs.insert(txid);
            } else if meta.key == PROVEN_KEY {
                catalogue.has_proof = true;
            } else if meta.key == LINEAGE_KEY {
                catalogue.has_lineage = true;
            } else if meta.key.starts_with("generations/") {
                catalogue.has_generations = true;
            } else if let Some(root) = ODD_ROOTS
                .into_iter()
                .find(|root| meta.key.strip_prefix(root).is_some_and(|key| layout.parse(key).is_some()))
            {
                catalogue.odd_root = Some(root);
            }
        }
        catalogue.entries.sort_by_key(|e| (e.level, e.name.min, e.name.max));
        Ok(catalogue)
    }

    /// The replica at a URL, wherever Litestream put it: it takes the path of a URL as it is written, so that `s3://bucket/` became
    /// `/0000/…` and `s3://bucket` became `./0000/…`. For reading only: nobody should write there again.
    pub async fn open(store: &Store) -> Result<(Store, Catalogue)> {
        let catalogue = Catalogue::load(store).await?;
        match catalogue.odd_root {
            Some(root) if catalogue.entries.is_empty() => {
                let below = store.below_odd_root(root);
                let catalogue = Catalogue::load(&below).await?;
                Ok((below, catalogue))
            }
            _ => Ok((store.clone(), catalogue)),
        }
    }

    /// True if a chain may begin with this file: it holds every page.
    pub fn is_base(&self, entry: &Entry) -> bool {
        entry.name.min == Txid::FIRST || (entry.level == Level::SYNC && self.images.contains(&entry.name.min))
    }

    /// The same without these objects, as if they had never been written.
    pub fn without(&self, damaged: &BTreeSet<String>) -> Catalogue {
        let mut left = self.clone();
        left.entries.retain(|e| !damaged.contains(&e.key));
        left
    }

    /// The largest TXID in any level.
    pub fn newest(&self) -> Option<Txid> {
        self.entries.iter().map(|e| e.name.max).max()
    }
}
