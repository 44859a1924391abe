//! The start of a writer: attach, look at the replica, carry out the plan of [`super::start`].

use crate::batch::Batch;
use crate::catalogue::Catalogue;
use crate::error::{Error, Result};
use crate::identity::Lineage;
use crate::layout::Layout;
use crate::restore::read_header;
use crate::state::{Record, StateDir};
use crate::table::PageTable;
use crate::write::engine::{Config, Surroundings, Writer};
use crate::write::event::Event;
use crate::write::follow::Following;
use crate::write::start::{Plan, Remote, decide};
use ltx::Extension;
use sqlite_tail::Tail;
use std::time::Duration;

/// How often a missing database is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

impl Writer {
    /// Does everything up to the point where following begins.
    pub fn start(config: Config, around: Surroundings) -> Result<Writer> {
        let tail = attach(&config, &around)?;
        let dir = StateDir::path_for(&config.database);
        let state = StateDir::open(&dir)?;
        let table = PageTable::open(&state.table())?;
        let batch = Batch::new(&dir, tail.page_size());
        let record = state.record().cloned();
        let layout = Layout::of(around.store.kind());
        let fresh = Record {
            format: 1,
            sequence: 0,
            replica: config.replica.clone(),
            identity: config.identity.clone(),
            lineage: 0,
            epoch: 0,
            confirmed: 0,
            intent: None,
            mark: None,
        };
        let Surroundings { store, clock, ids, host, events, stop, tail: _, inbox } = around;
        let mut writer = Writer {
            record: record.clone().unwrap_or(fresh),
            config,
            store,
            clock,
            ids,
            events,
            stop,
            host,
            layout,
            tail,
            state,
            table,
            batch,
            batch_since: None,
            following: Following::default(),
            inbox,
        };
        writer.tell(Event::Attached { page_size: writer.tail.page_size() });
        writer.begin(record)?;
        writer.inbox.attend(writer.tail.waker());
        Ok(writer)
    }

    fn begin(&mut self, record: Option<Record>) -> Result<()> {
        let store = self.store.clone();
        if !self.ask(async { Ok(store.capabilities().await?) })?.create_only {
            self.tell(Event::WeakStore);
        }
        let catalogue = self.ask(Catalogue::load(&store))?;
        let lineage = if catalogue.has_lineage { self.ask(Lineage::load(&store))? } else { None };
        if let Some(lineage) = &lineage {
            lineage.check(&self.config.identity)?;
        }
        let newest = catalogue.newest();
        let last = catalogue.entries.iter().filter(|e| Some(e.name.max) == newest).min_by_key(|e| e.level);
        let header = last.map(|entry| self.ask(read_header(&store, entry))).transpose()?;
        let stamp = header.as_ref().and_then(|h| Extension::from_reserved(&h.reserved));
        let remote = Remote { lineage: lineage.as_ref().map(Lineage::id).transpose()?, newest, stamp };

        let plan = decide(record.as_ref(), &remote, self.config.adopt)?;
        tracing::debug!(?plan, ?remote, "start");
        let epoch = self.record.epoch.max(stamp.map_or(0, |s| s.epoch)) + 1;
        match (plan, header) {
            (Plan::NewLineage, _) => {
                self.record = Record {
                    lineage: self.ids.next_u64(),
                    epoch: 1,
                    confirmed: 0,
                    intent: None,
                    mark: None,
                    ..self.record.clone()
                };
                self.create_lineage()?;
                self.tell(Event::Claimed { epoch: 1, txid: 0 });
                self.image("the replica is empty")
            }
            (Plan::FirstImage, _) => {
                let lineage = remote.lineage.unwrap_or(self.record.lineage);
                self.record =
                    Record { lineage, epoch, confirmed: 0, intent: None, mark: None, ..self.record.clone() };
                self.tell(Event::Claimed { epoch, txid: 0 });
                self.image("the first image was not finished")
            }
            (Plan::Resume { newest, resend }, Some(_)) => self.resume(newest, resend, epoch),
            (Plan::FullImage { newest, why }, Some(header)) => {
                self.replace(newest, &header, remote.lineage, epoch, why)
            }
            (Plan::Prove { newest }, Some(header)) => self.prove(newest, &header, remote.lineage, epoch),
            (_, None) => Err(Error::Damaged {
                what: "the newest file has no header".into(),
                hint: "list the replica with `restore list`".into(),
            }),
        }
    }
}

/// Attaches; a database that does not exist yet is waited for, since a sidecar starts before its application.
fn attach(config: &Config, around: &Surroundings) -> Result<Tail> {
    let mut told = false;
    loop {
        match Tail::attach(&config.database, around.tail.clone(), around.clock.clone()) {
            Err(sqlite_tail::Error::NotFound { .. }) if !config.once => {
                if !std::mem::replace(&mut told, true) {
                    (around.events)(Event::Waiting);
                }
                if *around.stop.borrow() {
                    return Err(Error::Stopped);
                }
                std::thread::sleep(LOOK_AGAIN);
            }
            other => return Ok(other?),
        }
    }
}
