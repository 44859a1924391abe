//! Carries out a task of upkeep. Owns everything it needs, so that the writer goes on; a task that is dropped half-way is done
//! again (decision 0004).

use crate::error::Result;
use crate::layout::Layout;
use crate::local::{local_header, write_id};
use crate::proven::{By, How, Proven};
use crate::upkeep::{
    Done, Holding, Merging, Stored, Task, compare, marks, prove, prune, store_now, stored_size,
};
use crate::write::beside::Leash;
use crate::write::form::Form;
use crate::write::host::Host;
use crate::write::ours::nothing_behind;
use crate::write::send::{self, Parcel, send};
use crate::{Catalogue, write::stage};
use clock::Clock;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::Store;

/// What tasks need.
pub(crate) struct Errand {
    pub(crate) store: Store,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) clock: Arc<dyn Clock>,
    /// A file on the volume for what is made on the way.
    pub(crate) scratch: PathBuf,
    pub(crate) form: Form,
    /// Ends what is done on threads when the writer has ended.
    pub(crate) leash: Leash,
}

impl Errand {
    pub(crate) async fn run(self, task: Task) -> Result<Done> {
        match task {
            Task::Look { behind, .. } => {
                nothing_behind(&self.store, &Layout::of(self.store.kind()).sync_key(behind)).await?;
                Ok(Done::Ours)
            }
            Task::List { scheduled } => {
                Ok(Done::Listed { catalogue: Catalogue::load(&self.store).await?, scheduled })
            }
            Task::Sample(files) => {
                prove(&self.store, &self.host, &files, &self.leash).await.map(Done::Sampled)
            }
            Task::Compare(files) => compare(&self.store, files, &self.leash).await.map(Done::Sampled),
            Task::Resend(file, path) => self.resend(file, &path).await.map(Done::Resent),
            Task::Merge(plan, local) => {
                let Errand { store, host, clock, scratch, form, leash } = self;
                let merging = Merging { store, host, clock, plan: plan.clone(), local, scratch, form, leash };
                Ok(Done::Merged(merging.run().await?, plan))
            }
            Task::Prove { files, through, point } => {
                let read = prove(&self.store, &self.host, &files, &self.leash).await?;
                if point {
                    let now = self.clock.unix_ms();
                    Proven::new(through, now, By::Sidecar, How::Bytes).save(&self.store).await?;
                }
                Ok(Done::Proven { files, through, point, read })
            }
            Task::Prune(plan) => {
                // What a drill has just read back, and wrote down as proven, is not to go now (P3).
                let marks = marks(&self.store).await?;
                if !marks.is_subset(&plan.marked) {
                    return Ok(Done::Marked(marks));
                }
                Ok(Done::Pruned(prune(&self.store, &plan).await))
            }
        }
    }

    /// Sends a kept file again, as it was sent the first time; a sealed one with another key, and so of another size.
    async fn resend(&self, file: Holding, path: &Path) -> Result<Stored> {
        let Errand { store, host, clock, scratch, form, .. } = self;
        let header = local_header(path)?;
        // Damage on the volume is not to be spread.
        stage::prove(path)?;
        let key = file.key(Layout::of(store.kind()));
        let options = send::options(header.timestamp_ms, write_id(&header));
        let body = if file.is_claim() { form.claim_body(&header) } else { form.body(path, scratch) }?;
        let (mut size, mut sha256) = (body.size(), body.sha256());
        let parcel = Parcel { key: key.clone(), body, options };
        let sent = send(store.clone(), parcel, None, clock.clone(), host.clone(), None).await;
        if form.is_sealed() {
            let _ = std::fs::remove_file(scratch);
        }
        if !sent?.anew && form.is_sealed() {
            (size, sha256) = (stored_size(store, &key).await?, None);
        }
        Ok(Stored { file: Holding { size, time_ms: store_now(store, &**clock), ..file }, sha256 })
    }
}
