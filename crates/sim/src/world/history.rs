//! The numbered objects as they appear: no number has two contents, no writer goes on behind a newer claim (P4).

use super::content::{Content, content, must_be_sealed};
use crate::key::Key;
use anyhow::{Context, Result, ensure};
use ltx::Extension;
use std::collections::BTreeMap;
use store::ObjectStore;

/// The first image of a replica.
const FIRST: &str = "0009/0000000000000001-0000000000000001";

/// What is known of the level 0 files.
#[derive(Default)]
pub(super) struct History {
    /// Entity tag, epoch, whether it is a claim, and pages of the database, by TXID.
    files: BTreeMap<u64, (String, u32, bool, u32)>,
}

impl History {
    /// Looks at what is new in the bucket.
    pub(super) async fn look(&mut self, bucket: &dyn ObjectStore, key: &Key) -> Result<()> {
        // TXID 1 is the first image, a snapshot; all others are of level 0.
        let mut objects = bucket.list_page(FIRST, None, usize::MAX).await?.objects;
        objects.extend(bucket.list_page("0000/", None, usize::MAX).await?.objects);
        for object in objects {
            let name = object.key.rsplit('/').next().unwrap_or_default();
            let Ok(name) = name.parse::<ltx::FileName>() else { continue };
            let (txid, tag) = (name.min.get(), object.etag.unwrap_or_default());
            if let Some((known, ..)) = self.files.get(&txid) {
                ensure!(*known == tag, "P4: the object of TXID {txid} was overwritten");
                continue;
            }
            let bytes = bucket.get(&object.key, None).await?.bytes().await?;
            let Content { header, pages } = content(&bytes, key).with_context(|| object.key.clone())?;
            let stamp = Extension::from_reserved(&header.reserved);
            let commit = header.commit;
            // The file behind the first image has no pages either: it is no claim, or a claim by somebody else.
            let claim =
                txid > 2 && pages.is_empty() && commit == self.files.get(&(txid - 1)).map_or(0, |f| f.3);
            let epoch = stamp.map_or(0, |s| s.epoch);
            // Litestream stops at such a hole; ours would read zeros.
            let grown = self.files.get(&(txid - 1)).map_or(0, |f| f.3) + 1..=commit;
            if let Some(hole) = grown.into_iter().find(|pgno| !pages.contains(pgno)) {
                anyhow::bail!(
                    "P2: the database grew to {commit} pages in TXID {txid}, which lacks page {hole}"
                );
            }
            self.files.insert(txid, (tag, epoch, claim, commit));
            let before = self.files.range(..txid).map(|(_, f)| f.1).max().unwrap_or(0);
            let after = self.files.range(txid + 1..).next();
            ensure!(
                if claim { epoch > before } else { epoch >= before },
                "P4: TXID {txid} has epoch {epoch}, before it there is {before} (claim: {claim})"
            );
            ensure!(after.is_none(), "P4: TXID {txid} was created behind {after:?}");
        }
        Ok(())
    }

    /// Nothing with pages lies there in plain text if it is to be sealed, in whatever level.
    pub(super) async fn secrets(bucket: &dyn ObjectStore, key: &Key) -> Result<()> {
        let objects = bucket.list_page("", None, usize::MAX).await?.objects;
        for object in objects.iter().filter(|object| object.key.ends_with(".ltx")) {
            let bytes = bucket.get(&object.key, None).await?.bytes().await?;
            ensure!(!must_be_sealed(&bytes, key), "{} is in plain text in a sealed replica", object.key);
        }
        Ok(())
    }
}
