//! Beginning to write: under a claim of this start, or under one that was inherited; and losing it (P4).

use crate::claim::{Claiming, Claims, Ground, first, take};
use crate::error::{Error, Result};
use crate::state::{Data, Inherited, Lost, Mark};
use crate::upkeep::CLAIM_SIZE;
use crate::write::engine::{Writer, until_drained};
use crate::write::event::Event;
use sqlite_tail::Position;

impl Writer {
    pub(crate) fn create_lineage(&mut self) -> Result<()> {
        let drain = self.drain_left();
        let Writer { store, clock, ids, state, record, config, host, stop, form, .. } = self;
        let with = Claims { store, clock: &**clock, ids: &**ids, form };
        let creating = first(with, state, record, &config.identity);
        let mut created = Err(Error::Stopped);
        let stop = stop.clone();
        host.finish(Box::pin(async { created = until_drained(creating, stop, drain).await }));
        if let Some(keeping) = &mut self.keeping {
            keeping.upkeep.begin_digests(self.record.lineage);
        }
        created
    }

    /// Claims, unless the claim is inherited.
    pub(crate) fn enter(&mut self, ground: Ground) -> Result<()> {
        self.batch.clear();
        let txid = match self.inherited {
            Some(inherited) => {
                self.record.mark = ground.tabulated.then_some(ground.mark);
                self.state.save(self.record.clone(), true)?;
                inherited.txid
            }
            None if self.stands => {
                self.record.mark = ground.tabulated.then_some(ground.mark);
                self.state.save(self.record.clone(), true)?;
                self.record.confirmed
            }
            None => {
                self.inherit(self.record.confirmed + 1);
                self.take(ground)?;
                self.record.confirmed
            }
        };
        self.tell(Event::Claimed { epoch: self.record.epoch, txid });
        Ok(())
    }

    /// A claim made in the place of the pod's start is inherited from then on.
    pub(crate) fn inherit(&mut self, txid: u64) {
        self.record.inherited = (self.config.claim == Claiming::Late).then_some(Inherited {
            epoch: self.record.epoch,
            txid,
            image: false,
            data: Data::Known,
            rolling: 0,
            timestamp_ms: 0,
        });
    }

    /// The next TXID with a file of zero pages.
    pub(crate) fn take(&mut self, ground: Ground) -> Result<()> {
        let drain = self.drain_left();
        let Writer { store, clock, ids, state, record, host, stop, form, .. } = self;
        let with = Claims { store, clock: &**clock, ids: &**ids, form };
        let taking = take(with, state, record, ground);
        let mut taken = Err(Error::Stopped);
        let stop = stop.clone();
        host.finish(Box::pin(async { taken = until_drained(taking, stop, drain).await }));
        taken?;
        self.inbox.claim(self.record.epoch, self.record.confirmed);
        self.keep_sent(self.record.confirmed, CLAIM_SIZE, None, false).map(drop)
    }

    /// The claim is lost: remembered, so that no restart takes it back.
    pub(crate) fn lose(&mut self, error: Error) -> Error {
        self.drop_upkeep();
        // It was lost before, and is remembered as that.
        if let Error::Lost { .. } = error {
            return error;
        }
        let lost = Lost { txid: self.record.confirmed + 1, unix_ms: self.clock.unix_ms() };
        self.record.fenced = Some(lost);
        if let Err(unsaved) = self.state.save(self.record.clone(), true) {
            tracing::warn!(error = %unsaved, "that the claim is lost could not be recorded");
        }
        let what = match error {
            Error::Store(store::Error::Fenced { key }) => format!("another writer has committed {key}"),
            Error::Fenced { what, .. } | Error::Refused { what, .. } => what,
            other => other.to_string(),
        };
        Error::Lost { what, hint: self.way_out().into() }
    }

    pub(crate) fn way_out(&self) -> &'static str {
        match self.config.claim {
            Claiming::ByHand => {
                "check that only one writer is started; restore the replica first, or start with --adopt"
            }
            Claiming::Inherited(_) | Claiming::Late => {
                "another pod owns the replica; if that is wrong delete this pod, its next start claims again"
            }
        }
    }

    pub(crate) fn mark_at(&self, commit: u32, rolling: u64, timestamp_ms: i64, position: Position) -> Mark {
        Mark { page_size: self.tail.page_size(), commit, rolling, timestamp_ms, position: position.into() }
    }
}
