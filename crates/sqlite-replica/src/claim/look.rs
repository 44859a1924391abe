//! What a replica shows to whoever wants to claim it: one LIST, the lineage, the newest header.

use crate::catalogue::Catalogue;
use crate::error::Result;
use crate::identity::{Identity, Lineage, other_form};
use crate::restore::read_head;
use crate::upkeep::CLAIM_SIZE;
use crate::write::{Form, Remote};
use ltx::{Extension, Header};
use store::Store;

/// The observation.
pub(crate) struct Seen {
    pub(crate) remote: Remote,
    /// Header of the newest file; of a sealed one what is clear of it.
    pub(crate) header: Option<Header>,
    /// Everything it holds.
    pub(crate) catalogue: Catalogue,
}

impl Seen {
    /// The number of the next claim.
    pub(crate) fn next_epoch(&self, of_volume: u32) -> u32 {
        of_volume.max(self.remote.stamp.map_or(0, |s| s.epoch)) + 1
    }
}

/// Looks; a replica of another identity or of another form is refused (P4), an unreachable store is an error (P6).
pub(crate) async fn look(store: &Store, identity: Option<&Identity>, form: Option<&Form>) -> Result<Seen> {
    look_at(store, Catalogue::load(store).await?, identity, form).await
}

/// The same over a listing that was made already.
pub(crate) async fn look_at(
    store: &Store,
    catalogue: Catalogue,
    identity: Option<&Identity>,
    form: Option<&Form>,
) -> Result<Seen> {
    let newest = catalogue.newest();
    let last = catalogue.entries.iter().filter(|e| Some(e.name.max) == newest).min_by_key(|e| e.level);
    // Neither answer is needed to ask for the other, and a store may be far away.
    let lineage = async { if catalogue.has_lineage { Lineage::load(store).await } else { Ok(None) } };
    let head = async {
        match last {
            Some(entry) => read_head(store, entry).await.map(|head| Some((entry, head))),
            None => Ok(None),
        }
    };
    let (lineage, head) = tokio::join!(lineage, head);
    let lineage = lineage?;
    if let (Some(lineage), Some(identity)) = (&lineage, identity) {
        lineage.check(identity)?;
    }
    if let (Some(lineage), Some(form)) = (&lineage, form) {
        lineage.check_form(form)?;
    }
    let header = match head? {
        Some((entry, head)) => {
            // A claim has no pages to seal. Anything else has the form of the replica, whatever wrote it.
            let told = entry.size != CLAIM_SIZE;
            if let Some(form) = form.filter(|form| told && form.is_sealed() != head.sealed) {
                tracing::debug!(key = entry.key, ?form, "the newest file is of another form");
                return Err(other_form(head.sealed));
            }
            Some(head.header)
        }
        None => None,
    };
    let stamp = header.as_ref().and_then(|h| Extension::from_reserved(&h.reserved));
    let lineage = lineage.as_ref().map(Lineage::id).transpose()?;
    Ok(Seen { remote: Remote { lineage, newest, stamp }, header, catalogue })
}
