//! The start of a writer: attach, look at the replica, carry out the plan of [`super::start`].

use crate::batch::Batch;
use crate::claim::{Claiming, check_inherited, look};
use crate::error::{Class, Error, Result};
use crate::layout::Layout;
use crate::origin::Origin;
use crate::state::{Record, StateDir};
use crate::table::PageTable;
use crate::write::engine::{Config, Surroundings, Writer};
use crate::write::event::Event;
use crate::write::follow::Following;
use crate::write::form::Form;
use crate::write::ours::Ours;
use crate::write::probe;
use crate::write::start::{Plan, Remote, decide};
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
        let Surroundings { store, clock, ids, host, events, stop, tail: _, inbox } = around;
        let mut writer = Writer {
            form: Form::new(&config.protection),
            record: record.clone().unwrap_or_else(|| Record::fresh(&config.replica, &config.identity)),
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
            inherited: None,
            stands: false,
            server_ms: None,
            keeping: None,
            ours: Ours::default(),
        };
        writer.tell(Event::Attached { page_size: writer.tail.page_size() });
        match writer.begin(record) {
            Ok(()) => {
                // The record says it all from here on.
                Origin::forget(writer.state.dir());
                writer.inbox.attend(writer.tail.waker());
                Ok(writer)
            }
            Err(error) if error.class() == Class::Fenced => Err(writer.lose(error)),
            Err(error) => Err(error),
        }
    }

    fn begin(&mut self, record: Option<Record>) -> Result<()> {
        self.inherited = match self.config.claim {
            Claiming::ByHand => None,
            Claiming::Inherited(claim) => Some(check_inherited(record.as_ref(), &claim)?),
            Claiming::Late => self.record.inherited,
        };
        let origin = self.origin();
        if origin.is_none() {
            self.check_not_lost()?;
            if self.again(record.as_ref())? {
                return Ok(());
            }
        }
        probe::probe(self.state.dir())?;
        let damage = self.tail.examine()?;
        let store = self.store.clone();
        if !self.ask(async { Ok(store.capabilities().await?) })?.create_only {
            self.tell(Event::WeakStore);
        }
        let identity = self.config.identity.clone();
        let seen = {
            let form = self.form.clone();
            self.ask(look(&store, Some(&identity), Some(&form)))?
        };
        self.heard();
        let origin = origin.filter(|origin| self.believes(origin.check_replica(&seen.remote)));
        let plan = match (&origin, seen.remote.newest) {
            (Some(_), Some(newest)) => Plan::Descend { newest },
            _ => {
                self.check_not_lost()?;
                self.plan(record.as_ref(), &seen.remote)?
            }
        };
        self.check_whole(damage, &seen.remote)?;
        tracing::debug!(?plan, remote = ?seen.remote, inherited = ?self.inherited, "start");
        self.begin_upkeep(&seen.catalogue, seen.remote.lineage)?;
        self.record.fenced = None;
        self.stands = self.is_claimed(&seen.remote);
        let epoch = match self.inherited {
            Some(inherited) => inherited.epoch,
            None if self.stands => self.record.epoch,
            None => {
                self.record.inherited = None;
                seen.next_epoch(self.record.epoch)
            }
        };
        let lineage = seen.remote.lineage;
        if !matches!(plan, Plan::Resume { .. }) {
            self.record.file = Some(self.file_mark()?);
        }
        match (plan, seen.header) {
            (Plan::NewLineage, _) => {
                self.record = Record {
                    lineage: self.ids.next_u64(),
                    epoch: 1,
                    confirmed: 0,
                    intent: None,
                    mark: None,
                    ..self.record.clone()
                };
                self.inherit(0);
                self.create_lineage()?;
                self.tell(Event::Claimed { epoch: 1, txid: 0 });
                self.image("the replica is empty")
            }
            (Plan::FirstImage, _) => {
                let lineage = lineage.unwrap_or(self.record.lineage);
                self.record =
                    Record { lineage, epoch, confirmed: 0, intent: None, mark: None, ..self.record.clone() };
                if self.inherited.is_none() {
                    self.inherit(0);
                }
                self.tell(Event::Claimed { epoch, txid: 0 });
                self.image("the first image was not finished")
            }
            (Plan::Resume { newest, resend }, Some(_)) => self.resume(newest, resend, epoch),
            (Plan::FullImage { newest, why }, Some(header)) => {
                self.replace(newest, &header, lineage, epoch, why)
            }
            (Plan::Prove { newest }, Some(header)) => self.prove(newest, &header, lineage, epoch),
            (Plan::Descend { newest }, Some(header)) => {
                let origin = origin.expect("the plan was made of it");
                self.descend(newest, &header, &origin.content, epoch, lineage)
            }
            (_, None) => Err(Error::Damaged {
                what: "the newest file has no header".into(),
                hint: "list the replica with `restore list`".into(),
            }),
        }
    }

    /// The note of a restore by hand, as far as the volume can tell. In a pod the start of the pod decides.
    fn origin(&mut self) -> Option<Origin> {
        if self.config.claim != Claiming::ByHand || self.config.adopt {
            return None;
        }
        let origin = Origin::load(self.state.dir())?;
        let read = |pgno, into: &mut [u8]| Ok(self.tail.read_file_page(pgno, into)?);
        let checked = match self.tail.identity() {
            Ok(now) => origin.check_file(now, self.tail.page_size(), read),
            Err(_) => Err("the file cannot be looked at"),
        };
        self.believes(checked).then_some(origin)
    }

    fn believes(&self, checked: Result<(), &'static str>) -> bool {
        if let Err(why) = checked {
            let db = self.config.database.display();
            tracing::warn!(%db, why, "the note of the last restore by hand is not believed");
        }
        checked.is_ok()
    }

    /// A damaged database does not become the newest state of a good chain without being asked (P3); where there is none, a damaged
    /// copy is better than no copy.
    fn check_whole(&self, damage: Option<String>, remote: &Remote) -> Result<()> {
        let Some(what) = damage else { return Ok(()) };
        self.tell(Event::Damaged { what: what.clone() });
        if remote.newest.is_none() || self.config.adopt {
            return Ok(());
        }
        Err(Error::Refused {
            what: format!("the database is damaged ({what}), and the replica is not"),
            hint: "restore the replica, or start with --adopt to continue it with this database".into(),
        })
    }

    /// A writer of this process has claimed, ended with an error before it stored anything, and nobody has come since: its claim fences as
    /// well as another one would, and a volume that fails for a day does not leave one for every attempt (P7).
    fn is_claimed(&self, remote: &Remote) -> bool {
        let Record { epoch, confirmed, intent, .. } = &self.record;
        let last = remote.newest.map(|newest| (*epoch, newest.get()));
        intent.is_none() && self.inbox.claimed() == Some((*epoch, *confirmed)) && last == self.inbox.claimed()
    }

    /// A lost claim stays lost (P4): no request is sent.
    fn check_not_lost(&self) -> Result<()> {
        let Some(lost) = self.record.fenced.filter(|_| !self.config.adopt) else { return Ok(()) };
        let when = clock::format_unix_ms(lost.unix_ms);
        let what =
            format!("this volume lost the replica to another writer at {when} (TXID {:016x})", lost.txid);
        let hint = self.way_out().into();
        Err(match self.config.claim {
            Claiming::ByHand => Error::Refused { what, hint },
            Claiming::Inherited(_) | Claiming::Late => Error::Lost { what, hint },
        })
    }

    fn plan(&mut self, record: Option<&Record>, remote: &Remote) -> Result<Plan> {
        let ahead = remote.newest.is_some_and(|n| n.get() > self.record.confirmed);
        let plan = match decide(record, remote, self.config.adopt) {
            // In a pod nobody is asked: it is lost, and stays so.
            Err(error @ Error::Refused { .. }) if self.inherited.is_some() && ahead => {
                return Err(self.lose(error));
            }
            decided => decided?,
        };
        let Some(inherited) = self.inherited else { return Ok(plan) };
        match plan {
            Plan::NewLineage => Err(Error::Refused {
                what: "the replica that this pod claimed is gone".into(),
                hint: "delete the pod, so that its init container looks at what is there".into(),
            }),
            // Restored by the start of the pod: no page is tabulated yet.
            Plan::FullImage { newest, .. }
                if !inherited.image && self.record.mark.is_none() && self.record.intent.is_none() =>
            {
                Ok(Plan::Prove { newest })
            }
            plan => Ok(plan),
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
