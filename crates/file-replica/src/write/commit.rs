//! The end of a look: remember the commit, make it, move on. The same bytes again are the same commit.

use super::{Committed, Pending, Writer, changes, draft, fenced, forget_oldest};
use crate::home::Marker;
use crate::layout::commit_key;
use crate::manifest::{FORMAT, Head, Manifest};
use crate::state::State;
use crate::{Result, Seq};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{PutOptions, WRITE_ID};

impl Writer {
    pub(super) async fn commit(&mut self, drafted: draft::Drafted, write_id: String) -> Result<Committed> {
        let state = self.state.as_deref();
        let deleted = changes::deleted(&drafted.entries, state);
        let mut outcome = Committed {
            head: None,
            uploaded: drafted.uploaded,
            stored_bytes: drafted.stored_bytes,
            deleted,
            unstable: drafted.troubles.count(),
            unreadable: drafted.troubles.unreadable(),
            moved: drafted.moved,
            tracked: drafted.entries.len() as u64,
            left_out: drafted.left_out,
        };
        if let Some(old) = state
            && changes::is_same(&old.manifest, &drafted.entries, self.settings.filter.digest())
        {
            // Fingerprints are fresher now; they are written with the next commit.
            let mut state = old.clone();
            state.prints = drafted.prints;
            self.state = Some(Arc::new(state));
            return Ok(outcome);
        }
        let parent = self.marker.snapshot;
        let parent_ms = self.heads.get(&parent).map_or(0, Head::unix_ms);
        let manifest = Manifest {
            format: FORMAT,
            number: self.last_number + 1,
            lineage: self.lineage.clone(),
            epoch: self.epoch,
            write_id,
            parent,
            time: clock::format_unix_ms(self.clock.unix_ms().max(parent_ms)),
            writer: self.settings.writer.clone(),
            origin: self.settings.origin.clone().filter(|_| parent == 0),
            excludes: self.settings.filter.digest(),
            objects: drafted.objects,
            entries: drafted.entries,
        };
        let (body, head) = manifest.encode(&self.settings.protection)?;
        outcome.stored_bytes += body.len() as u64;
        let next = State {
            last_number: manifest.number,
            manifest,
            prints: drafted.prints,
            heads: self.next_heads(&head),
        };
        self.steps.at("remember the commit")?;
        next.save_next(&self.home)?;
        self.state = Some(Arc::new(next));
        self.pending = Some(Pending { body: body.into(), head: head.clone() });
        self.settle().await?;
        outcome.head = Some(head);
        Ok(outcome)
    }

    fn next_heads(&self, head: &Head) -> BTreeMap<Seq, Head> {
        let mut heads = self.heads.clone();
        heads.insert(head.number, head.clone());
        forget_oldest(&mut heads);
        heads
    }

    /// Finishes the commit under way, if there is one; the same bytes again are the same commit.
    pub(super) async fn settle(&mut self) -> Result<()> {
        let Some(pending) = &self.pending else { return Ok(()) };
        let head = pending.head.clone();
        self.steps.at("commit")?;
        let options = PutOptions::create().with_metadata(WRITE_ID, head.write_id.clone());
        match self.store.commit(&commit_key(head.number), pending.body.clone(), &options).await {
            Ok(_) => {}
            Err(store::Error::Fenced { .. }) => return Err(fenced(head.number)),
            Err(e) => return Err(e.into()),
        }
        self.steps.at("promote the state")?;
        State::promote(&self.home)?;
        self.pending = None;
        self.before = None;
        self.last_number = head.number;
        self.heads.insert(head.number, head.clone());
        forget_oldest(&mut self.heads);
        self.steps.at("move the marker")?;
        self.marker = Marker::new(&self.lineage, head.number, self.epoch);
        self.home.set_marker(&self.marker)
    }
}
