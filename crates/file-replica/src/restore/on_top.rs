//! An older tree put back on top of its replica: the same tree under a new number.
//!
//! Everything it refers to is stored already, so it is one PUT. Without it the newest snapshot would go on being the state that somebody
//! wanted to leave, and the guards would call everything it had in addition a loss.

use crate::claim::{Claim, new_id};
use crate::layout::commit_key;
use crate::manifest::{Head, Manifest};
use crate::{Error, Result};
use clock::{Clock, IdGen};
use seal::Protection;
use store::{PutOptions, Store, WRITE_ID};

/// Commits `tree` as the snapshot after the claim.
pub(super) async fn put_on_top(
    store: &Store,
    tree: &Manifest,
    claim: &Claim,
    protection: &Protection,
    writer: &str,
    clock: &dyn Clock,
    ids: &dyn IdGen,
) -> Result<(Head, Manifest)> {
    let parent_ms = claim.snapshot.as_ref().map_or(0, Head::unix_ms);
    let manifest = Manifest {
        number: claim.number + 1,
        lineage: claim.lineage.clone(),
        epoch: claim.number,
        write_id: new_id(ids),
        parent: claim.snapshot.as_ref().map_or(0, |head| head.number),
        time: clock::format_unix_ms(clock.unix_ms().max(parent_ms)),
        writer: writer.to_owned(),
        origin: Some(format!("snapshot {} of {}", tree.number, tree.time)),
        ..tree.clone()
    };
    let (body, head) = manifest.encode(protection)?;
    let options = PutOptions::create().with_metadata(WRITE_ID, head.write_id.clone());
    match store.commit(&commit_key(head.number), body.into(), &options).await {
        Ok(_) => Ok((head, manifest)),
        Err(store::Error::Fenced { .. }) => Err(Error::Fenced {
            what: format!("another writer has taken number {} of this replica", head.number),
            hint: "check that only one pod writes to it".into(),
        }),
        Err(e) => Err(e.into()),
    }
}
