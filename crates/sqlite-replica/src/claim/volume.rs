//! The claim that the start of a pod makes, before anything is restored (trap 4): recorded on the volume, inherited by the sidecar.

use crate::claim::{Claim, Claims, Ground, Settled, first, look, settle, take};
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::state::{Data, Inherited, Mark, Record, StateDir, WalPosition};
use crate::table::PageTable;
use crate::write::{Form, Plan, decide, stranger};
use clock::{Clock, IdGen};
use ltx::checksum::page_checksum;
use ltx::{Header, PageSize};
use seal::Protection;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use store::Store;

/// What the database file on the volume will be when the sidecar starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// What it is now, or what the application will make of nothing.
    Kept,
    /// The state of the claim, to be restored by the caller.
    Restored,
    /// What it is now, whatever that is: it was restored by hand, and goes on from there.
    GoneOn,
    /// Another point of the replica, restored because the description asks for it: the sidecar begins with a full image.
    Forced,
}

/// Who claims what.
pub struct Claimant<'a> {
    /// The replica.
    pub store: &'a Store,
    /// Its URL, for messages.
    pub replica: &'a str,
    /// Whose it is.
    pub identity: &'a Identity,
    /// Time.
    pub clock: &'a dyn Clock,
    /// Lineages and write ids.
    pub ids: &'a dyn IdGen,
    /// Sealed for recipients, or plain.
    pub protection: &'a Protection,
}

impl Claimant<'_> {
    /// Claims the replica for the volume `database` lies on. Does what the start of a writer does: finishes what was under way,
    /// takes the next TXID, and records it beside the database, before and after. May be repeated after a crash: then it claims
    /// again. Refuses, as a writer's start does, where `Kept` data is not known to continue the replica.
    pub async fn claim(&self, database: &Path, basis: Basis) -> Result<Claim> {
        let mut state = StateDir::open(&StateDir::path_for(database))?;
        let form = Form::new(self.protection);
        let seen = look(self.store, Some(self.identity), Some(&form)).await?;
        let known = self.known(&state, basis)?;
        let mut record = known.clone().unwrap_or_else(|| Record::fresh(self.replica, self.identity));
        let epoch = seen.next_epoch(state.record().map_or(0, |r| r.epoch));
        let with = Claims { store: self.store, clock: self.clock, ids: self.ids, form: &form };
        record.fenced = None;
        let data = match basis {
            Basis::Kept => Data::Unknown,
            Basis::GoneOn => Data::Known,
            Basis::Restored | Basis::Forced => Data::Missing,
        };
        let image = basis == Basis::Forced;
        record.inherited = Some(Inherited { epoch, txid: 0, image, data, rolling: 0, timestamp_ms: 0 });

        let Some((newest, header)) = seen.remote.newest.zip(seen.header.as_ref()) else {
            let lineage = seen.remote.lineage;
            record.epoch = epoch;
            record.confirmed = 0;
            (record.intent, record.mark) = (None, None);
            match lineage {
                Some(lineage) => record.lineage = lineage,
                None => {
                    record.lineage = self.ids.next_u64();
                    first(with, &mut state, &record, self.identity).await?;
                }
            }
            state.save(record.clone(), true)?;
            return Ok(Claim { lineage: record.lineage, epoch, txid: 0 });
        };

        let mut table = PageTable::open(&state.table())?;
        let plan = match &known {
            // Settles what is ours, and refuses what is ahead of this volume.
            Some(known) if seen.remote.lineage == Some(known.lineage) => {
                Some(decide(Some(known), &seen.remote, false)?)
            }
            _ => None,
        };
        let mut resumes = matches!(plan, Some(Plan::Resume { .. }));
        if let Some(Plan::Resume { resend, .. }) = plan {
            resumes =
                settle(self.store, &state, &mut record, &mut table, resend, &form).await? == Settled::Yes;
        }
        let mut mark = record.mark.filter(|_| resumes);
        if plan.is_none() && matches!(basis, Basis::Kept | Basis::GoneOn) && database.exists() {
            // Nothing ties the volume to the replica but the database itself: it must be the newest state, bit for bit.
            let found = tabulate(database, &mut table, header.timestamp_ms)?;
            if seen.remote.stamp.is_some() && found.rolling == header.node_id {
                record.confirmed = newest.get();
                record.intent = None;
                mark = Some(found);
            } else if basis == Basis::Kept {
                return Err(stranger(newest));
            }
        }
        let tabulated = mark.is_some();
        let mark = match mark {
            Some(mark) => mark,
            None => {
                record.confirmed = newest.get();
                (record.intent, record.mark) = (None, None);
                table.truncate(0)?;
                mark_of(header)
            }
        };
        // Without a record of the pages the sidecar compares the whole file with the state of the claim; where that is known
        // to differ, it begins with an image.
        let image = basis == Basis::Forced
            || (basis == Basis::GoneOn && !tabulated)
            || (plan.is_some() && !resumes)
            || (seen.remote.stamp.is_none() && basis != Basis::Kept);
        if seen.remote.lineage.is_none() {
            record.lineage = self.ids.next_u64();
            record.epoch = epoch;
            first(with, &mut state, &record, self.identity).await?;
        } else {
            record.lineage = seen.remote.lineage.unwrap_or(record.lineage);
        }
        record.epoch = epoch;
        let data = if plan.is_some() || tabulated { Data::Known } else { data };
        let (rolling, timestamp_ms) = (mark.rolling, mark.timestamp_ms);
        let txid = record.confirmed + 1;
        record.inherited = Some(Inherited { epoch, txid, image, data, rolling, timestamp_ms });
        take(with, &mut state, &mut record, Ground { mark, tabulated }).await?;
        Ok(Claim { lineage: record.lineage, epoch, txid: record.confirmed })
    }

    /// To be called once the file of a claim on [`Basis::Restored`] or [`Basis::Forced`] is in place, before any application opens it: proves it by
    /// the rolling checksum of the claim, and remembers its pages, so that the sidecar finds what was committed before it came.
    /// Until then the volume counts as one whose start was interrupted. A [`Basis::Forced`] state is only taken note of.
    ///
    /// `tabulated`: the rolling checksum of the pages that a restore has just put together and noted in this volume's table. Without it, or
    /// if the table is of anything else, the file is read once more.
    pub fn restored(&self, database: &Path, tabulated: Option<u64>) -> Result<()> {
        let mut state = StateDir::open(&StateDir::path_for(database))?;
        let claimed = |i: &Inherited| i.data == Data::Missing && i.txid > 0;
        let Some((mut record, mut inherited)) =
            state.record().cloned().and_then(|r| r.inherited.filter(claimed).map(|i| (r, i)))
        else {
            return Ok(());
        };
        inherited.data = Data::Known;
        if inherited.image {
            record.inherited = Some(inherited);
            return state.save(record, true);
        }
        let mut table = PageTable::open(&state.table())?;
        let noted = match tabulated {
            Some(rolling) => noted(database, &table, rolling, inherited.timestamp_ms)?,
            None => None,
        };
        let mark = match noted {
            Some(mark) => mark,
            None => tabulate(database, &mut table, inherited.timestamp_ms)?,
        };
        // Not known where a foreign writer or a claim of a sealed replica was the newest file; the restore has proven it.
        if inherited.rolling != 0 && mark.rolling != inherited.rolling {
            return Err(Error::Integrity {
                path: database.to_owned(),
                what: "what was restored is not the state of the claim".into(),
            });
        }
        record.inherited = Some(inherited);
        record.mark = Some(mark);
        state.save(record, true)
    }

    /// What the volume remembers, as far as it is about the database that is there.
    fn known(&self, state: &StateDir, basis: Basis) -> Result<Option<Record>> {
        let Some(record) = state.record().filter(|_| basis == Basis::Kept) else { return Ok(None) };
        match record.inherited.map(|i| i.data) {
            Some(Data::Missing) => Err(Error::Refused {
                what: "the start of a pod was interrupted before it had restored this database".into(),
                hint: "restore it".into(),
            }),
            Some(Data::Unknown) => Ok(None),
            Some(Data::Known) | None => Ok(Some(record.clone())),
        }
    }
}

/// Reads a database file that nobody writes to, and fills the page table with it. What a WAL beside it holds is found later, by
/// a page diff.
fn tabulate(database: &Path, table: &mut PageTable, timestamp_ms: i64) -> Result<Mark> {
    let failed = |doing| Error::io(database, doing);
    let file = File::open(database).map_err(failed("open"))?;
    let page_size = page_size(&file, database)?;
    let bytes = page_size.get();
    let mut filling = table.fill()?;
    let (mut page, mut pgno) = (vec![0; page_size.bytes()], 0);
    let mut from = BufReader::with_capacity(256 << 10, &file);
    let len = file.metadata().map_err(failed("stat"))?.len();
    while u64::from(pgno) * u64::from(bytes) < len {
        from.read_exact(&mut page).map_err(failed("read"))?;
        pgno += 1;
        filling.push((pgno != page_size.lock_page()).then(|| page_checksum(pgno, &page)))?;
    }
    let rolling = filling.finish()?;
    Ok(Mark { page_size: bytes, commit: pgno, rolling: rolling.value(), timestamp_ms, position: NOWHERE })
}

/// The same from a table that a restore has filled with the pages of this file; `None` if it is not full of exactly them.
fn noted(database: &Path, table: &PageTable, rolling: u64, timestamp_ms: i64) -> Result<Option<Mark>> {
    let file = File::open(database).map_err(Error::io(database, "open"))?;
    let page_size = page_size(&file, database)?.get();
    let len = file.metadata().map_err(Error::io(database, "stat"))?.len();
    let commit = table.pages();
    let same = len == u64::from(commit) * u64::from(page_size) && table.rolling()?.value() == rolling;
    Ok(same.then_some(Mark { page_size, commit, rolling, timestamp_ms, position: NOWHERE }))
}

fn page_size(file: &File, database: &Path) -> Result<PageSize> {
    let mut head = [0; 100];
    file.read_exact_at(&mut head, 0).map_err(Error::io(database, "read"))?;
    PageSize::new(sqlite_tail::page_size(&head).unwrap_or(0)).map_err(Error::ltx("page size"))
}

/// The state of the replica's newest file, which is in no WAL.
fn mark_of(header: &Header) -> Mark {
    Mark {
        page_size: header.page_size.get(),
        commit: header.commit,
        rolling: header.node_id,
        timestamp_ms: header.timestamp_ms,
        position: NOWHERE,
    }
}

const NOWHERE: WalPosition = WalPosition { salt1: 0, salt2: 0, frame: 0, cksum1: 0, cksum2: 0 };

impl Record {
    /// Of a volume that remembers nothing.
    pub(crate) fn fresh(replica: &str, identity: &Identity) -> Record {
        Record {
            format: 1,
            sequence: 0,
            replica: replica.to_owned(),
            identity: identity.clone(),
            lineage: 0,
            epoch: 0,
            confirmed: 0,
            intent: None,
            mark: None,
            inherited: None,
            fenced: None,
            file: None,
        }
    }
}

/// Refuses a volume that does not carry the claim its pod was started with.
pub(crate) fn check_inherited(record: Option<&Record>, claim: &Claim) -> Result<Inherited> {
    let missing = |i: &Inherited| i.data == Data::Missing && i.txid > 0 && !i.image;
    if record.and_then(|r| r.inherited).is_some_and(|i| missing(&i)) {
        return Err(Error::Refused {
            what: "the start of this pod was interrupted before it had restored this database".into(),
            hint: "delete the pod, so that its init container restores it".into(),
        });
    }
    let found =
        record.and_then(|r| r.inherited.filter(|i| (i.epoch, r.lineage) == (claim.epoch, claim.lineage)));
    found.ok_or_else(|| Error::Refused {
        what: format!(
            "this volume does not carry the claim of epoch {} that the pod was started with",
            claim.epoch
        ),
        hint: "delete the pod, so that its init container claims again".into(),
    })
}
