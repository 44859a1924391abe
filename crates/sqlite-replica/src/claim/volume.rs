//! The claim that the start of a pod makes, before anything is restored (trap 4): recorded on the volume, inherited by the sidecar.

use crate::claim::{Claim, Claims, Settled, first, look, settle, take};
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::state::{Inherited, Mark, Record, StateDir, WalPosition};
use crate::table::PageTable;
use crate::write::{Plan, decide};
use clock::{Clock, IdGen};
use ltx::checksum::{Rolling, page_checksum};
use ltx::{Header, PageSize};
use sqlite_tail::Position;
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
}

impl Claimant<'_> {
    /// Claims the replica for the volume `database` lies on. Does what the start of a writer does: finishes what was under way,
    /// takes the next TXID, and records it beside the database, before and after. May be repeated after a crash: then it claims
    /// again. Refuses like a writer's start does where `Kept` data is not known to continue the replica, except that a database
    /// without a record is left to the sidecar, which compares it.
    pub async fn claim(&self, database: &Path, basis: Basis) -> Result<Claim> {
        let mut state = StateDir::open(&StateDir::path_for(database))?;
        let seen = look(self.store, Some(self.identity)).await?;
        let known = state.record().cloned().filter(|_| basis == Basis::Kept);
        let mut record = known.clone().unwrap_or_else(|| Record::fresh(self.replica, self.identity));
        let epoch = seen.next_epoch(state.record().map_or(0, |r| r.epoch));
        let with = Claims { store: self.store, clock: self.clock, ids: self.ids };
        record.fenced = None;
        record.inherited =
            Some(Inherited { epoch, txid: 0, image: basis == Basis::Forced, rolling: 0, timestamp_ms: 0 });

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
            resumes = settle(self.store, &state, &mut record, &mut table, resend).await? == Settled::Yes;
        }
        let position = match record.mark.filter(|_| resumes) {
            Some(mark) => mark.position(),
            None => {
                record.confirmed = newest.get();
                self.begin_anew(&mut record, &mut table, header)?
            }
        };
        // Without a record of the pages the sidecar compares the whole file with the state of the claim; where that is known
        // to differ, it begins with an image.
        let image = basis == Basis::Forced
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
        let mut inherited =
            Inherited { epoch, txid: record.confirmed + 1, image, rolling: 0, timestamp_ms: 0 };
        record.inherited = Some(inherited);
        take(with, &mut state, &mut record, position).await?;
        if !resumes && let Some(mark) = record.mark.take() {
            (inherited.rolling, inherited.timestamp_ms) = (mark.rolling, mark.timestamp_ms);
            record.inherited = Some(inherited);
            state.save(record.clone(), true)?;
        }
        Ok(Claim { lineage: record.lineage, epoch, txid: record.confirmed })
    }

    /// To be called once the file of a [`Basis::Restored`] claim is in place, before any application opens it: reads it once, proves
    /// it by its rolling checksum, and remembers its pages, so that the sidecar finds what was committed before it came. Without
    /// this call the sidecar takes the database only if nothing was committed yet.
    pub fn restored(&self, database: &Path) -> Result<()> {
        let mut state = StateDir::open(&StateDir::path_for(database))?;
        let Some(mut record) = state.record().cloned().filter(|r| {
            r.mark.is_none() && r.intent.is_none() && r.inherited.is_some_and(|i| i.txid > 0 && !i.image)
        }) else {
            return Ok(());
        };
        let file = File::open(database).map_err(Error::io(database, "open"))?;
        let mut head = [0; 100];
        file.read_exact_at(&mut head, 0).map_err(Error::io(database, "read"))?;
        let bytes = match u16::from_be_bytes([head[16], head[17]]) {
            1 => 65_536,
            bytes => u32::from(bytes),
        };
        let page_size = PageSize::new(bytes).map_err(Error::ltx("page size"))?;
        let mut table = PageTable::open(&state.table())?;
        table.truncate(0)?;
        let (mut rolling, mut page, mut pgno) = (Rolling::empty(), vec![0; page_size.bytes()], 0);
        let mut from = BufReader::with_capacity(256 << 10, &file);
        let len = file.metadata().map_err(Error::io(database, "stat"))?.len();
        while u64::from(pgno) * u64::from(bytes) < len {
            from.read_exact(&mut page).map_err(Error::io(database, "read"))?;
            pgno += 1;
            let known = pgno != page_size.lock_page();
            let sum = if known { page_checksum(pgno, &page) } else { 0 };
            rolling.replace(None, Some(sum).filter(|_| known));
            table.set(pgno, sum)?;
        }
        table.sync()?;
        let inherited = record.inherited.filter(|i| i.rolling == rolling.value());
        let Some(Inherited { timestamp_ms, .. }) = inherited else {
            return Err(Error::Integrity {
                path: database.to_owned(),
                what: "what was restored is not the state of the claim".into(),
            });
        };
        record.mark = Some(Mark {
            page_size: bytes,
            commit: pgno,
            rolling: rolling.value(),
            timestamp_ms,
            position: WalPosition { salt1: 0, salt2: 0, frame: 0, cksum1: 0, cksum2: 0 },
        });
        state.save(record, true)
    }

    /// Nothing on the volume says what its pages are.
    fn begin_anew(&self, record: &mut Record, table: &mut PageTable, header: &Header) -> Result<Position> {
        table.truncate(0)?;
        record.intent = None;
        let position = nowhere(header);
        record.mark = Some(Mark {
            page_size: header.page_size.get(),
            commit: header.commit,
            rolling: header.node_id,
            timestamp_ms: header.timestamp_ms,
            position: position.into(),
        });
        Ok(position)
    }
}

/// A position in no WAL.
fn nowhere(header: &Header) -> Position {
    Position {
        salt1: 0,
        salt2: 0,
        frame: 0,
        cksum1: 0,
        cksum2: 0,
        page_size: header.page_size.get(),
        commit: header.commit,
    }
}

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
        }
    }
}

/// Refuses a volume that does not carry the claim its pod was started with.
pub(crate) fn check_inherited(record: Option<&Record>, claim: &Claim) -> Result<Inherited> {
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
