//! One file from the batch to the store: stage, record the intent, send, confirm.

use crate::claim::new_stamp;
use crate::error::{Error, Result};
use crate::state::{Intent, Mark};
use crate::write::engine::Writer;
use crate::write::event::{Event, Taken};
use crate::write::form::Body;
use crate::write::send::{self, Parcel, Suspicion, send};
use crate::write::stage::{self, Next};
use ltx::Txid;
use sqlite_tail::Position;
use std::fs::File;
use std::sync::mpsc::Receiver;
use std::time::Duration;

/// Staged files up to this size stay until the next one replaces them.
const KEEP_STAGED: u64 = 16 << 20;

/// An object on its way.
pub(crate) struct Flight {
    pub(crate) result: Receiver<Result<Duration>>,
    pub(crate) txid: u64,
    pub(crate) bytes: u64,
    pub(crate) since_ns: u64,
    pub(crate) taken: Taken,
    pub(crate) attempts: u32,
}

impl Writer {
    /// Batch -> staged file -> intent -> PUT. The page table follows while the PUT is under way.
    pub(crate) fn stage_and_send(&mut self) -> Result<Flight> {
        let (since_ns, seen_ms) =
            self.batch_since.unwrap_or_else(|| (self.clock.monotonic_ns(), self.clock.unix_ms()));
        let to = self.tail.position().expect("a started tail has a position");
        let body = self.stage(to, seen_ms)?;
        // Open before anything is on its way: an object that may arrive is waited for, whoever removes its file meanwhile (P4).
        let path = self.state.staged();
        let staged = File::open(&path).map_err(Error::io(&path, "open"))?;
        let taken = self.taken();
        self.batch.clear();
        self.batch_since = None;
        let result = self.launch(body)?;
        stage::carry(staged, &path, &mut self.table)?;
        let intent = self.record.intent.as_ref().expect("staging records an intent");
        let size = intent.staged.as_ref().map_or(0, |s| s.size);
        Ok(Flight { result, txid: intent.txid, bytes: size, since_ns, taken, attempts: 0 })
    }

    /// Stages the batch (which may be empty: a claim) as the next TXID and records the intent durably.
    pub(crate) fn stage(&mut self, to: Position, seen_ms: i64) -> Result<Body> {
        let before = self.record.mark.expect("a mark stands before anything is staged");
        let txid = Txid::new(self.record.confirmed + 1).expect("confirmed + 1 is not zero");
        let next = Next {
            txid,
            stamp: new_stamp(&self.record, &*self.ids),
            timestamp_ms: seen_ms.max(before.timestamp_ms + 1),
            to,
        };
        let path = self.state.staged();
        let tail = &self.tail;
        let (plain, mark) = stage::stage(&path, &self.batch, &self.table, &before, &next, |pgno, page| {
            Ok(tail.read_file_page(pgno, page)?)
        })?;
        let staged = self.form.staged(&plain, &self.state.object())?;
        self.record.intent =
            Some(Intent { txid: txid.get(), write_id: next.stamp.write_id, staged: Some(staged.clone()) });
        self.record.mark = Some(mark);
        self.state.save(self.record.clone(), true)?;
        let path = self.state.sent(&staged);
        self.form.reread(&path, &staged)?.ok_or_else(|| Error::Io {
            path,
            doing: "read back the staged file",
            source: std::io::Error::other("it is not what was written"),
        })
    }

    /// Starts the PUT of the staged file.
    fn launch(&self, body: Body) -> Result<Receiver<Result<Duration>>> {
        let intent = self.record.intent.as_ref().expect("launched after staging");
        let mark: &Mark = self.record.mark.as_ref().expect("staged files have a mark");
        let txid = Txid::new(intent.txid).expect("intents have a TXID");
        let sending = send(
            self.store.clone(),
            Parcel {
                key: self.layout.sync_key(txid),
                body,
                options: send::options(mark.timestamp_ms, intent.write_id),
            },
            Some((self.tail.wal_file(), self.config.database.clone())),
            self.clock.clone(),
            self.host.clone(),
            self.suspicion(),
        );
        Ok(self.beside(async { sending.await.map(|sent| sent.took) }))
    }

    fn suspicion(&self) -> Option<Suspicion> {
        let limit_ms = self.config.l0_retention.as_millis() as i64 / 2;
        self.server_ms.map(|since_ms| Suspicion { since_ms, limit_ms })
    }

    /// Takes note of the store's clock: what it says now was said by a store that had no other writer.
    pub(crate) fn heard(&mut self) {
        self.server_ms = self.store.server_date().map(|date| date.server_ms);
    }

    pub(crate) fn resend(&self) -> Result<Receiver<Result<Duration>>> {
        let staged = self
            .record
            .intent
            .as_ref()
            .and_then(|i| i.staged.as_ref())
            .expect("only staged files are in flight");
        let path = self.state.sent(staged);
        match self.form.reread(&path, staged)? {
            Some(bytes) => self.launch(bytes),
            // The next start finds it lost, and sends an image.
            None if !path.exists() => {
                Err(Error::io(&path, "send again")(std::io::ErrorKind::NotFound.into()))
            }
            None => Err(Error::Refused {
                what: format!("{} was changed while it was being sent", path.display()),
                hint: "nothing but this program may write there; start again".into(),
            }),
        }
    }

    pub(crate) fn confirm(&mut self, flight: &Flight, put: Duration) -> Result<()> {
        self.record.confirmed = flight.txid;
        let staged = self.record.intent.take().and_then(|intent| intent.staged);
        self.heard();
        self.ours.proven(self.clock.monotonic_ns());
        // Not synced: losing this write only means that the next start finds its own object in the store. A large staged file that
        // is not kept for that is deleted, so there the write is synced.
        let kept = self.keep_sent(flight.txid, flight.bytes, staged.as_ref(), false)?;
        let large = !kept && flight.bytes > KEEP_STAGED;
        self.state.save(self.record.clone(), large)?;
        if large {
            let path = self.state.staged();
            std::fs::remove_file(&path).map_err(Error::io(&path, "remove"))?;
            self.drop_object()?;
        }
        self.tell(Event::Durable {
            txid: flight.txid,
            bytes: flight.bytes,
            taken: flight.taken,
            db_pages: self.record.mark.as_ref().map_or(0, |m| m.commit),
            lag: Duration::from_nanos(self.clock.monotonic_ns() - flight.since_ns),
            put,
        });
        Ok(())
    }

    /// What was sent and is confirmed; a small one stays until the next replaces it.
    fn drop_object(&self) -> Result<()> {
        let path = self.state.object();
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(&path, "remove")(e)),
            _ => Ok(()),
        }
    }
}
