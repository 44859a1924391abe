//! The start of a writer: attach, look at the replica, carry out the plan of [`super::start`].

use crate::batch::Batch;
use crate::catalogue::Catalogue;
use crate::error::{Error, Result};
use crate::identity::{FORMAT, Lineage};
use crate::layout::{self, Layout};
use crate::restore::read_header;
use crate::state::{Intent, Mark, Record, StateDir};
use crate::table::PageTable;
use crate::write::engine::{Config, Engine, Events, until_drained};
use crate::write::event::Event;
use crate::write::image;
use crate::write::send::{self, Body, send};
use crate::write::stage;
use crate::write::start::{Plan, Remote, decide, stranger};
use bytes::Bytes;
use clock::{Clock, IdGen};
use ltx::{Extension, Header, PageSize, Txid};
use sqlite_tail::{Position, Resume, Sink, Tail};
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;
use store::{PutOptions, Store};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// Databases up to this size are staged before their first image is sent, so that a crash resends the same bytes.
const STAGED_IMAGE: u64 = 16 << 20;
/// A database of fewer pages may shrink as it likes.
const SMALL_DATABASE: u32 = 64;
/// A database that shrank below this fraction while nobody watched is asked about.
const SHRUNK: u32 = 8;
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

    /// Own history: finish what was under way, claim, continue in the WAL or compare.
    fn resume(&mut self, newest: Txid, resend: bool, epoch: u32) -> Result<()> {
        if let Some(intent) = self.record.intent.clone() {
            if let Some(staged) = &intent.staged {
                let Some(body) = stage::reread(&self.state.staged(), staged)? else {
                    let header = self.newest_header(newest)?;
                    return self.replace(
                        newest,
                        &header,
                        Some(self.record.lineage),
                        epoch,
                        "the staged file is lost",
                    );
                };
                stage::apply(&self.state.staged(), &mut self.table)?;
                if resend {
                    self.put(intent.txid, intent.write_id, body)?;
                }
            }
            self.record.confirmed = intent.txid;
            self.record.intent = None;
        }
        let mark = self.record.mark.expect("a plan to resume has a mark");
        self.check_page_size(mark.page_size)?;
        self.record.epoch = epoch;
        let resumed = self.tail.resume(mark.position())?;
        if let Resume::RolledBack { reason } = resumed
            && !self.config.adopt
        {
            // Before the claim: nothing of the replica changes.
            return Err(Error::Refused {
                what: format!(
                    "this volume lost commits that are in the replica ({reason}), as after a power loss or a rolled-back snapshot"
                ),
                hint: "restore the replica first, or start with --adopt to go on from the older state".into(),
            });
        }
        if matches!(resumed, Resume::Unproven { .. }) && !self.config.adopt {
            self.check_not_emptied(&mark)?;
        }
        self.claim(mark.position())?;
        match resumed {
            Resume::Proven => {
                self.tell(Event::Resumed);
                Ok(())
            }
            Resume::Unproven { reason } | Resume::RolledBack { reason } => self.compare(reason),
        }
    }

    /// A database that lost almost all of its pages while nobody watched was probably recreated by an application that found none:
    /// that is not to become the newest state without being asked (P3). Before the claim: nothing of the replica changes.
    fn check_not_emptied(&mut self, mark: &Mark) -> Result<()> {
        let commit = self.tail.view()?.commit();
        if mark.commit < SMALL_DATABASE || commit >= mark.commit / SHRUNK {
            return Ok(());
        }
        Err(Error::Refused {
            what: format!(
                "the database has {commit} pages and had {} when it was last replicated: it may have been emptied or recreated",
                mark.commit
            ),
            hint: "restore the replica, or start with --adopt if this is what you want to keep".into(),
        })
    }

    /// Nothing ties the volume to the replica but the database itself: it must be the newest state, bit for bit.
    fn prove(&mut self, newest: Txid, header: &Header, lineage: Option<u64>, epoch: u32) -> Result<()> {
        self.check_page_size(header.page_size.get())?;
        let lock_page = header.page_size.lock_page();
        let mut view = self.tail.view()?;
        let (commit, position) = (view.commit(), view.position());
        let same = commit == header.commit && {
            image::tabulate(&mut view, &mut self.table, lock_page)?.value() == header.node_id
        };
        if !same {
            return Err(stranger(newest));
        }
        drop(view);
        self.tail.start_at(position)?;
        self.record = Record {
            lineage: lineage.expect("a plan to prove has a lineage"),
            epoch,
            confirmed: newest.get(),
            intent: None,
            mark: Some(self.mark_at(commit, header.node_id, header.timestamp_ms, position)),
            ..self.record.clone()
        };
        self.claim(position)?;
        self.tell(Event::Compared { reason: "no record on this volume".into(), pages: 0 });
        Ok(())
    }

    /// A history that the database does not continue page by page: claim after it, then a full image (P3: nothing before it
    /// is touched).
    fn replace(
        &mut self,
        newest: Txid,
        header: &Header,
        lineage: Option<u64>,
        epoch: u32,
        why: &'static str,
    ) -> Result<()> {
        self.check_page_size(header.page_size.get())?;
        let nowhere = Position {
            salt1: 0,
            salt2: 0,
            frame: 0,
            cksum1: 0,
            cksum2: 0,
            page_size: header.page_size.get(),
            commit: header.commit,
        };
        let before = self.mark_at(header.commit, header.node_id, header.timestamp_ms, nowhere);
        let fresh = lineage.is_none();
        self.record = Record {
            lineage: lineage.unwrap_or_else(|| self.ids.next_u64()),
            epoch,
            confirmed: newest.get(),
            intent: None,
            mark: Some(before),
            ..self.record.clone()
        };
        if fresh {
            self.create_lineage()?;
        }
        // The table must not be trusted until the image has filled it anew.
        self.table.truncate(0)?;
        self.claim(nowhere)?;
        self.record.mark = None;
        self.state.save(self.record.clone(), true)?;
        self.image(why)
    }

    fn create_lineage(&mut self) -> Result<()> {
        // Remembered before it is created, so that a crash in between leaves a claim this volume can finish.
        self.state.save(self.record.clone(), true)?;
        let lineage = Lineage {
            format: FORMAT,
            lineage: format!("{:016x}", self.record.lineage),
            identity: self.config.identity.clone(),
            created: clock::format_unix_ms(self.clock.unix_ms()),
        };
        let store = self.store.clone();
        self.ask(lineage.create(&store))
    }

    /// Takes the next TXID with a file of zero pages: whoever wrote here before collides with it (P4).
    fn claim(&mut self, position: Position) -> Result<()> {
        self.batch.clear();
        let body = self.stage(position, self.clock.unix_ms())?;
        let intent = self.record.intent.clone().expect("staging records an intent");
        self.put(intent.txid, intent.write_id, body)?;
        self.record.confirmed = intent.txid;
        self.record.intent = None;
        self.state.save(self.record.clone(), true)?;
        self.tell(Event::Claimed { epoch: self.record.epoch, txid: intent.txid });
        Ok(())
    }

    fn put(&self, txid: u64, write_id: [u8; 6], body: Body) -> Result<()> {
        let key = self.layout.sync_key(Txid::new(txid).expect("intents have a TXID"));
        let timestamp = self.record.mark.map_or(0, |m| m.timestamp_ms);
        let sending =
            send(self.store.clone(), key, body, send::options(timestamp, write_id), None, self.clock.clone());
        self.ask(sending).map(drop)
    }

    /// Page diff: what differs from the page table becomes the next file.
    pub(crate) fn compare(&mut self, reason: &str) -> Result<()> {
        self.batch.clear();
        let mark = self.record.mark.expect("a comparison needs a mark");
        let lock_page = PageSize::new(mark.page_size).map_err(Error::ltx("page size"))?.lock_page();
        let mut view = self.tail.view()?;
        let (commit, position) = (view.commit(), view.position());
        let (table, batch) = (&self.table, &mut self.batch);
        view.for_each_page(|pgno: u32, page: &[u8]| {
            let known = table.get(pgno).map_err(std::io::Error::other)?;
            if pgno != lock_page && known != Some(ltx::checksum::page_checksum(pgno, page)) {
                batch.page(pgno, page)?;
            }
            Ok(())
        })?;
        drop(view);
        let pages = self.batch.pages();
        if pages > 0 || commit != mark.commit {
            Sink::commit(&mut self.batch, commit)
                .map_err(Error::io(self.state.dir(), "gather the page diff"))?;
            self.batch_since = Some((self.clock.monotonic_ns(), self.clock.unix_ms()));
        }
        self.tail.start_at(position)?;
        self.tell(Event::Compared { reason: reason.to_owned(), pages });
        Ok(())
    }

    /// A full image as the next TXID.
    fn image(&mut self, why: &'static str) -> Result<()> {
        let txid = Txid::new(self.record.confirmed + 1).expect("confirmed + 1 is not zero");
        let stamp = self.new_stamp();
        let before_ms = self.record.mark.map_or(0, |m| m.timestamp_ms);
        let wal = (self.tail.wal_file(), self.config.database.clone());
        let page_size = PageSize::new(self.tail.page_size()).map_err(Error::ltx("page size"))?;
        let mut view = self.tail.view()?;
        let (commit, position) = (view.commit(), view.position());
        (self.events)(Event::ImageStarted { pages: commit, why });
        let started = self.clock.monotonic_ns();

        let rolling = image::tabulate(&mut view, &mut self.table, page_size.lock_page())?.value();
        let timestamp_ms = self.clock.unix_ms().max(before_ms + 1);
        let next = stage::Next { txid, stamp, timestamp_ms, to: position };
        let header = next.header(page_size, commit, rolling);
        let mark =
            Mark { page_size: page_size.get(), commit, rolling, timestamp_ms, position: position.into() };
        self.record.mark = Some(mark);
        self.record.intent = Some(Intent { txid: txid.get(), write_id: stamp.write_id, staged: None });

        let key = self.layout.sync_key(txid);
        let options = send::options(timestamp_ms, stamp.write_id);
        let size = u64::from(commit) * page_size.bytes() as u64;
        let (store, clock, runtime, stop) =
            (self.store.clone(), self.clock.clone(), self.runtime.clone(), self.stop.clone());
        let drain = self.config.drain;
        let bytes = if size <= STAGED_IMAGE {
            let path = self.state.staged();
            let file = File::create(&path).map_err(Error::io(&path, "create"))?;
            let out = std::io::BufWriter::new(stage::Digesting::new(file));
            let (out, _) = image::encode(&mut view, &header, out, self.state.dir())?;
            let staged = stage::finish(out, &path)?;
            let size = staged.size;
            let body = Body::File { path, size };
            self.record.intent.as_mut().expect("set above").staged = Some(staged);
            self.state.save(self.record.clone(), true)?;
            runtime.block_on(until_drained(
                send(store, key, body, options, Some(wal), clock),
                stop,
                drain,
            ))?;
            size
        } else {
            self.state.save(self.record.clone(), true)?;
            let (factory, asked) = image::passes();
            let bound = size + size / 128 + (64 << 10) + u64::from(commit) * 40;
            let sending = runtime.spawn(async move {
                let sent =
                    async { Ok(store.commit_stream(&key, factory, Some(bound), &options).await.map(drop)?) };
                until_drained(sent, stop, drain).await
            });
            let mut encoded = Ok(0);
            // Each request is one pass; there is a next one only if the store wants the stream again.
            while let Ok(pass) = asked.recv() {
                encoded = pass.fill(&mut view, &header, self.state.dir());
            }
            let sent = runtime.block_on(sending).expect("the upload does not panic");
            // If the store is done, why the last pass ended does not matter.
            sent.and_then(|()| crate::write::send::sync_wal(&wal))?;
            encoded.unwrap_or(0)
        };
        drop(view);
        self.tail.start_at(position)?;
        if txid > Txid::FIRST {
            self.mark_image(txid)?;
        }
        self.record.confirmed = txid.get();
        self.record.intent = None;
        self.state.save(self.record.clone(), true)?;
        let took = Duration::from_nanos(self.clock.monotonic_ns() - started);
        self.tell(Event::Durable { txid: txid.get(), bytes, db_pages: commit, lag: took, put: took });
        Ok(())
    }

    /// An image that is not TXID 1 looks like any other file; this empty side object tells a restore that a chain may begin
    /// there, so that a hole before it costs nothing.
    fn mark_image(&self, txid: Txid) -> Result<()> {
        let (store, key) = (self.store.clone(), layout::image_key(txid));
        self.ask(async move { Ok(store.commit(&key, Bytes::new(), &PutOptions::create()).await.map(drop)?) })
    }

    fn mark_at(&self, commit: u32, rolling: u64, timestamp_ms: i64, position: Position) -> Mark {
        Mark { page_size: self.tail.page_size(), commit, rolling, timestamp_ms, position: position.into() }
    }

    fn newest_header(&self, newest: Txid) -> Result<Header> {
        let store = self.store.clone();
        self.ask(async move {
            let catalogue = Catalogue::load(&store).await?;
            let entry = catalogue.entries.iter().find(|e| e.name.max == newest);
            let entry = entry.ok_or_else(|| Error::Damaged {
                what: format!("the file of TXID {newest} is gone"),
                hint: "list the replica with `restore list`".into(),
            })?;
            read_header(&store, entry).await
        })
    }

    /// One chain has one page size.
    fn check_page_size(&self, of_replica: u32) -> Result<()> {
        if of_replica == self.tail.page_size() {
            return Ok(());
        }
        Err(Error::Refused {
            what: format!(
                "the database has pages of {} bytes, the replica of {of_replica}",
                self.tail.page_size()
            ),
            hint: "the page size was changed by VACUUM: replicate to a new prefix".into(),
        })
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
