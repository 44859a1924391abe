//! Going on after a downtime: from our own record, from a database that proves itself, or over a history it does not continue.

use crate::catalogue::Catalogue;
use crate::claim::{Ground, Settled, settle};
use crate::error::{Error, Result};
use crate::origin::Content;
use crate::restore::read_header;
use crate::state::{Data, Mark, Record};
use crate::write::engine::{Writer, until_drained};
use crate::write::event::Event;
use crate::write::image;
use crate::write::start::stranger;
use ltx::{Header, PageSize, Txid};
use sqlite_tail::{Position, Resume, Sink};

/// A database of fewer pages may shrink as it likes.
const SMALL_DATABASE: u32 = 64;
/// A database that shrank below this fraction while nobody watched is asked about.
const SHRUNK: u32 = 8;

impl Writer {
    /// Own history: finish what was under way, claim, continue in the WAL or compare.
    pub(crate) fn resume(&mut self, newest: Txid, resend: bool, epoch: u32) -> Result<()> {
        if self.settle(resend)? == Settled::Lost {
            let header = self.newest_header(newest)?;
            let lineage = Some(self.record.lineage);
            return self.replace(newest, &header, lineage, epoch, "the staged file is lost");
        }
        self.record.epoch = epoch;
        self.go_on(true)
    }

    /// Continues in the WAL where the record says, or compares. `claims`: under a claim of this start.
    pub(crate) fn go_on(&mut self, claims: bool) -> Result<()> {
        let mark = self.record.mark.expect("a plan to resume has a mark");
        self.check_page_size(mark.page_size)?;
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
        self.check_same_file(&mark, &resumed)?;
        if claims {
            self.enter(Ground { mark, tabulated: true })?;
        }
        match resumed {
            Resume::Proven => {
                self.tell(Event::Resumed);
                Ok(())
            }
            Resume::Unproven { reason } | Resume::RolledBack { reason } => self.compare(reason),
        }
    }

    fn settle(&mut self, resend: bool) -> Result<Settled> {
        let staged = self.record.intent.as_ref().and_then(|i| Some((i.txid, i.staged.clone()?)));
        let drain = self.drain_left();
        let Writer { store, state, record, table, host, stop, form, .. } = self;
        let settling = settle(store, state, record, table, resend, form);
        let mut settled = Err(Error::Stopped);
        let stop = stop.clone();
        host.finish(Box::pin(async { settled = until_drained(settling, stop, drain).await }));
        if let (Ok(Settled::Yes), Some((txid, staged))) = (&settled, staged.filter(|_| resend)) {
            self.keep_sent(txid, staged.size, Some(&staged), false)?;
        }
        settled
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
    pub(crate) fn prove(
        &mut self,
        newest: Txid,
        header: &Header,
        lineage: Option<u64>,
        epoch: u32,
    ) -> Result<()> {
        self.check_page_size(header.page_size.get())?;
        let lineage = lineage.expect("a plan to prove has a lineage");
        let state = (header.commit, header.node_id, header.timestamp_ms);
        match self.go_on_from(newest, state, lineage, epoch, "no record on this volume")? {
            true => Ok(()),
            false => Err(stranger(newest)),
        }
    }

    /// A database that was restored by hand (`crate::origin`): it goes on where it is, if it is the newest state still. Otherwise its
    /// application was quicker, or an older point was chosen, and it becomes a full image behind everything that is there.
    pub(crate) fn descend(
        &mut self,
        newest: Txid,
        header: &Header,
        from: &Content,
        epoch: u32,
        lineage: Option<u64>,
    ) -> Result<()> {
        self.check_page_size(header.page_size.get())?;
        let state = (from.pages, from.rolling, from.timestamp_ms);
        let known = lineage.expect("a note names a lineage");
        if from.txid == newest.get() && self.go_on_from(newest, state, known, epoch, "restored by hand")? {
            return Ok(());
        }
        self.replace(newest, header, lineage, epoch, "restored by hand")
    }

    /// Goes on under a claim behind `newest` if the database is bit for bit this state (pages, rolling checksum, time); else false,
    /// and nothing has changed.
    fn go_on_from(
        &mut self,
        newest: Txid,
        (pages, rolling, timestamp_ms): (u32, u64, i64),
        lineage: u64,
        epoch: u32,
        reason: &str,
    ) -> Result<bool> {
        let lock_page = PageSize::new(self.tail.page_size()).map_err(Error::ltx("page size"))?.lock_page();
        let mut view = self.tail.view()?;
        let (commit, position) = (view.commit(), view.position());
        if commit != pages || image::tabulate(&mut view, &mut self.table, lock_page)?.value() != rolling {
            return Ok(false);
        }
        drop(view);
        self.tail.start_at(position)?;
        let mark = self.mark_at(commit, rolling, timestamp_ms, position);
        self.record = Record {
            lineage,
            epoch,
            confirmed: newest.get(),
            intent: None,
            mark: Some(mark),
            ..self.record.clone()
        };
        if let Some(inherited) = &mut self.record.inherited {
            inherited.data = Data::Known;
        }
        self.enter(Ground { mark, tabulated: true })?;
        self.tell(Event::Compared { reason: reason.into(), pages: 0 });
        Ok(true)
    }

    /// A history that the database does not continue page by page: claim after it, then a full image (P3: nothing before it
    /// is touched).
    pub(crate) fn replace(
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
            mark: None,
            ..self.record.clone()
        };
        if fresh {
            self.create_lineage()?;
        }
        // The table must not be trusted until the image has filled it anew.
        self.table.truncate(0)?;
        self.enter(Ground { mark: before, tabulated: false })?;
        self.image(why)
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
    pub(crate) fn check_page_size(&self, of_replica: u32) -> Result<()> {
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
