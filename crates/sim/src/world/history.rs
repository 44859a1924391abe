//! The numbered objects as they appear: no number has two contents, no writer goes on behind a newer claim (P4).

use anyhow::{Result, ensure};
use ltx::{Decoder, Extension};
use std::collections::BTreeMap;
use store::ObjectStore;

/// What is known of the level 0 files.
#[derive(Default)]
pub(super) struct History {
    /// Entity tag, epoch, and whether it is a claim, by TXID.
    files: BTreeMap<u64, (String, u32, bool)>,
}

impl History {
    /// Looks at what is new in the bucket.
    pub(super) async fn look(&mut self, bucket: &dyn ObjectStore) -> Result<()> {
        let page = bucket.list_page("0000/", None, usize::MAX).await?;
        for object in page.objects {
            let name = object.key.trim_start_matches("0000/");
            let Ok(name) = name.parse::<ltx::FileName>() else { continue };
            let (txid, tag) = (name.min.get(), object.etag.unwrap_or_default());
            if let Some((known, ..)) = self.files.get(&txid) {
                ensure!(*known == tag, "P4: the object of TXID {txid} was overwritten");
                continue;
            }
            let bytes = bucket.get(&object.key, None).await?.bytes().await?;
            let mut decoder = Decoder::new(&bytes[..])?;
            let stamp = Extension::from_reserved(&decoder.header().reserved);
            let mut page = vec![0; decoder.header().page_size.bytes()];
            let claim = decoder.next_page(&mut page)?.is_none();
            let epoch = stamp.map_or(0, |s| s.epoch);
            self.files.insert(txid, (tag, epoch, claim));
            let before = self.files.range(..txid).map(|(_, (_, epoch, _))| *epoch).max().unwrap_or(0);
            let after = self.files.range(txid + 1..).next();
            ensure!(
                if claim { epoch > before } else { epoch >= before },
                "P4: TXID {txid} has epoch {epoch}, before it there is {before} (claim: {claim})"
            );
            ensure!(after.is_none(), "P4: TXID {txid} was created behind {after:?}");
        }
        Ok(())
    }
}
