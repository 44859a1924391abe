//! The start of a writer: attach, look at the replica, carry out the plan of [`super::start`].

use crate::batch::Batch;
use crate::catalogue::Catalogue;
use crate::error::{Error, Result};
use crate::identity::Lineage;
use crate::layout::Layout;
use crate::restore::read_header;
use crate::state::{Record, StateDir};
use crate::table::PageTable;
use crate::write::engine::{Config, Engine, Events};
use crate::write::event::Event;
use crate::write::start::{Plan, Remote, decide};
use clock::{Clock, IdGen};
use ltx::Extension;
use sqlite_tail::Tail;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// How often a missing database is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

impl Engine {
    /// Does everything up to the point where following begins.
    pub(crate) fn start(
        config: Config,
        store: Store,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdGen>,
        events: Events,
        stop: watch::Receiver<bool>,
        runtime: Handle,
    ) -> Result<Engine> {
        let tail = attach(&config, &clock, &events, &stop)?;
        let dir = StateDir::path_for(&config.database);
        let state = StateDir::open(&dir)?;
        let table = PageTable::open(&state.table())?;
        let batch = Batch::new(&dir, tail.page_size());
        let record = state.record().cloned();
        let layout = Layout::of(store.kind());
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
        let mut engine = Engine {
            record: record.clone().unwrap_or(fresh),
            config,
            store,
            clock,
            ids,
            events,
            stop,
            runtime,
            layout,
            tail,
            state,
            table,
            batch,
            batch_since: None,
        };
        engine.tell(Event::Attached { page_size: engine.tail.page_size() });
        engine.begin(record)?;
        Ok(engine)
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
fn attach(
    config: &Config,
    clock: &Arc<dyn Clock>,
    events: &Events,
    stop: &watch::Receiver<bool>,
) -> Result<Tail> {
    let mut told = false;
    loop {
        match Tail::attach(&config.database, Engine::tail_options(config), clock.clone()) {
            Err(sqlite_tail::Error::NotFound { .. }) if !config.once => {
                if !std::mem::replace(&mut told, true) {
                    events(Event::Waiting);
                }
                if *stop.borrow() {
                    return Err(Error::Stopped);
                }
                std::thread::sleep(LOOK_AGAIN);
            }
            other => return Ok(other?),
        }
    }
}
