//! An image of the live database on a thread of its own, while level 0 goes on (trap 16).
//!
//! ```text
//! freeze -> copy exactly up to it -> stage, send, confirm (TXID n) -> encode and upload level 9 1-n -> prove
//! ```
//! The image is bound to a TXID because the last file before it ends where the frozen state does, and its rolling checksum must be the
//! one the files have led to: a database that differs from what was replicated is never stored over a good chain (P3). It is
//! uploaded only after TXID n is confirmed. While the WAL is held back it grows; beyond a bound the image is given up.

use crate::claim::new_stamp;
use crate::error::{Error, Result};
use crate::layout::Level;
use crate::state::Mark;
use crate::upkeep::{Holding, Report, Stored, store_now};
use crate::write::beside::Job;
use crate::write::engine::Writer;
use crate::write::form::{Body, Form};
use crate::write::host::{Host, offload};
use crate::write::image::{self, Pages};
use crate::write::send::{self, Parcel, send};
use crate::write::stage::Next;
use clock::Clock;
use ltx::checksum::{self, Rolling};
use ltx::{Extension, FileName, Header, PageSize, Txid};
use sqlite_tail::Frozen;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::TryRecvError;
use std::time::Duration;
use store::Store;
use tokio::sync::Semaphore;

/// First pause after an image was given up; doubled up to a day.
const PUT_OFF: Duration = Duration::from_secs(600);
/// Images at work in this process: each holds back a WAL and an upload.
static AT_WORK: Semaphore = Semaphore::const_new(2);

/// An image under way.
pub(crate) enum Shot {
    /// Its TXID is not confirmed yet.
    Waiting(Box<Waiting>),
    /// It is being read and sent.
    Running(Running),
}

/// A frozen state and the TXID it will be the state of.
pub(crate) struct Waiting {
    frozen: Frozen,
    txid: u64,
    why: &'static str,
    since_ns: u64,
    /// Bytes of the WAL when it was looked at first.
    wal_at_start: Option<u64>,
}

/// An image on its way. Dropping it gives it up.
pub(crate) struct Running {
    result: Job<Result<Stored>>,
    given_up: Arc<AtomicBool>,
    wal_at_start: u64,
    since_ns: u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.given_up.store(true, Ordering::Relaxed);
    }
}

impl Writer {
    /// Freezes the database for an image if one is wanted and nothing is in flight. May leave pages in the batch that must be sent
    /// next: true then.
    pub(crate) fn freeze(&mut self, now: u64) -> Result<bool> {
        let Some(keeping) = self.keeping.as_mut().filter(|k| k.wants_image(now)) else { return Ok(false) };
        let Some(why) = keeping.upkeep.wanted.filter(|_| self.ours.is_proven(now)) else { return Ok(false) };
        let frozen = self.tail.freeze()?;
        if self.tail.copy_up_to(&frozen, &mut self.batch)?.is_none() {
            // Another commit slipped in before anything pinned the WAL: the next pass tries again.
            return Ok(false);
        }
        let pending = !self.batch.is_empty();
        let txid = self.record.confirmed + u64::from(pending);
        keeping.shot =
            Some(Shot::Waiting(Box::new(Waiting { frozen, txid, why, since_ns: now, wal_at_start: None })));
        Ok(pending)
    }

    /// Starts, bounds and concludes an image.
    pub(crate) fn watch_shot(&mut self, now: u64, wal_bytes: u64) {
        let Some(keeping) = &mut self.keeping else { return };
        match keeping.shot.take() {
            None => {}
            Some(_) if self.following.is_draining() => {}
            Some(Shot::Waiting(waiting)) => self.expose(waiting, now, wal_bytes),
            Some(Shot::Running(running)) => self.develop(running, now, wal_bytes),
        }
    }

    /// A frozen state whose TXID is confirmed goes to the store.
    fn expose(&mut self, mut waiting: Box<Waiting>, now: u64, wal_bytes: u64) {
        let keeping = self.keeping.as_mut().expect("the caller has looked");
        if self.record.confirmed < waiting.txid {
            // The WAL grows as long as the state is held: not while the store does not take files (P7).
            let grown = wal_bytes.saturating_sub(*waiting.wal_at_start.get_or_insert(wal_bytes));
            if !self.following.is_failing() && grown <= keeping.wal_growth {
                keeping.shot = Some(Shot::Waiting(waiting));
            }
            return;
        }
        // Nothing is staged between freezing and here but the file of this TXID; otherwise freeze again.
        let ours = self.record.confirmed == waiting.txid && self.record.intent.is_none();
        let Some(mark) = self.record.mark.filter(|m| ours && m.position() == waiting.frozen.position())
        else {
            return;
        };
        let Waiting { frozen, txid, why, since_ns, .. } = *waiting;
        keeping.image_from = now + PUT_OFF.as_nanos() as u64;
        let in_file = keeping.upkeep.policy.spool_bytes;
        let given_up = Arc::new(AtomicBool::new(false));
        let stamp = new_stamp(&self.record, &*self.ids);
        let work = Exposure {
            txid: Txid::new(txid).expect("a confirmed TXID"),
            mark,
            stamp,
            store: self.store.clone(),
            host: self.host.clone(),
            clock: self.clock.clone(),
            dir: self.state.dir().to_owned(),
            form: self.form.clone(),
            given_up: given_up.clone(),
            in_file,
        };
        (self.events)(Report::ImageStarted { txid, why }.into());
        // Its thread ends by `given_up`.
        let result = self.in_turn(&AT_WORK, |_| work.run(frozen));
        if let Some(keeping) = &mut self.keeping {
            let running = Running { result, given_up, wal_at_start: wal_bytes, since_ns };
            keeping.shot = Some(Shot::Running(running));
        }
    }

    fn develop(&mut self, running: Running, now: u64, wal_bytes: u64) {
        let keeping = self.keeping.as_mut().expect("the caller has looked");
        let result = match running.result.try_recv() {
            Ok(result) => result,
            Err(TryRecvError::Disconnected) => Err(Error::Stopped),
            Err(TryRecvError::Empty) => {
                if wal_bytes.saturating_sub(running.wal_at_start) > keeping.wal_growth {
                    running.given_up.store(true, Ordering::Relaxed);
                }
                keeping.shot = Some(Shot::Running(running));
                return;
            }
        };
        match result {
            Ok(image) => {
                keeping.put_off = 0;
                let took = Duration::from_nanos(now.saturating_sub(running.since_ns));
                let Holding { name, size, .. } = image.file;
                let report = Report::ImageStored { txid: name.max.get(), bytes: size, took };
                keeping.upkeep.image_stored(image);
                (self.events)(report.into());
            }
            Err(error) => {
                let retry_in = (PUT_OFF * (1 << keeping.put_off.min(8))).min(Duration::from_secs(86_400));
                keeping.put_off += 1;
                keeping.image_from = now + retry_in.as_nanos() as u64;
                let why = match running.given_up.load(Ordering::Relaxed) {
                    true => "the wal grew beyond its bound meanwhile".into(),
                    false => error.to_string(),
                };
                (self.events)(Report::ImagePutOff { why, retry_in }.into());
            }
        }
    }
}

/// Everything an image needs away from the writer.
struct Exposure {
    txid: Txid,
    mark: Mark,
    stamp: Extension,
    store: Store,
    host: Arc<dyn Host>,
    clock: Arc<dyn Clock>,
    dir: PathBuf,
    form: Form,
    given_up: Arc<AtomicBool>,
    /// Images of databases up to this size go through a file on the volume, so that the WAL is held back only while they are read.
    in_file: u64,
}

impl Exposure {
    async fn run(self, frozen: Frozen) -> Result<Stored> {
        let name = FileName { min: Txid::FIRST, max: self.txid };
        let page_size = PageSize::new(self.mark.page_size).map_err(Error::ltx("page size"))?;
        let next = Next {
            txid: self.txid,
            stamp: self.stamp,
            timestamp_ms: self.mark.timestamp_ms,
            to: self.mark.position(),
        };
        let header =
            Header { min_txid: Txid::FIRST, ..next.header(page_size, self.mark.commit, self.mark.rolling) };
        let layout = crate::Layout::of(self.store.kind());
        let key = layout.key(Level::SNAPSHOT, name);
        let options = send::options(self.mark.timestamp_ms, self.stamp.write_id);
        let bytes = u64::from(self.mark.commit) * u64::from(self.mark.page_size);
        let checked = Checked { frozen, expected: self.mark.rolling, given_up: self.given_up.clone() };
        let (host, dir) = (self.host.clone(), self.dir.clone());
        let (size, sha256) = if bytes <= self.in_file {
            // Not needed again: a repetition makes a newer one.
            let scrap = Scrap(dir.join("image.ltx"));
            let file = scrap.0.clone();
            let body = offload(&*host, move || to_file(checked, &header, &file, &dir, &self.form)).await?;
            let (size, sha256) = (body.size(), body.sha256());
            send(self.store.clone(), Parcel { key, body, options }, None, self.clock.clone(), host, None)
                .await?;
            (size, sha256)
        } else {
            let (factory, asked) = image::passes();
            let bound = bytes + bytes / 128 + (64 << 10) + u64::from(self.mark.commit) * 40;
            let (done, encoded) = tokio::sync::oneshot::channel();
            host.offload(Box::new(move || {
                let mut checked = checked;
                let mut encoded = Err(Error::Stopped);
                // Each request is one pass; there is a next one only if the store wants the stream again.
                while let Ok(feed) = asked.recv() {
                    encoded = image::fill(feed, &mut checked, &header, &dir, &self.form);
                }
                let _ = done.send(encoded);
            }));
            // The factory goes with the upload: the encoder ends when no further pass can be asked for.
            let sent = self.store.commit_stream(&key, factory, Some(bound), &options).await;
            let encoded = encoded.await.unwrap_or(Err(Error::Stopped));
            // Why the encoder ended says more than that the stream broke.
            match (sent, encoded) {
                // Which of several passes it was nobody knows.
                (Ok(_), encoded) => (encoded?, None),
                (Err(_), Err(e)) => return Err(e),
                (Err(e), Ok(_)) => return Err(e.into()),
            }
        };
        let time_ms = store_now(&self.store, &*self.clock);
        Ok(Stored { file: Holding { level: Level::SNAPSHOT, name, size, time_ms }, sha256 })
    }
}

/// A file that goes with the work that made it.
struct Scrap(PathBuf);

impl Drop for Scrap {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn to_file(mut checked: Checked, header: &Header, path: &Path, dir: &Path, form: &Form) -> Result<Body> {
    form.object(path, header, dir, |writer| image::hand_over(&mut checked, header, writer))
}

/// A frozen database whose pages must add up to the rolling checksum of its TXID.
struct Checked {
    frozen: Frozen,
    /// 0 = not known, as after a foreign history.
    expected: u64,
    given_up: Arc<AtomicBool>,
}

impl Pages for Checked {
    fn for_each_page(&mut self, visit: &mut dyn FnMut(u32, &[u8]) -> io::Result<()>) -> Result<()> {
        let (expected, given_up) = (self.expected, &self.given_up);
        let lock_page =
            PageSize::new(self.frozen.position().page_size).map_err(Error::ltx("page size"))?.lock_page();
        let mut rolling = Rolling::empty();
        self.frozen.for_each_page(|pgno, page| {
            if given_up.load(Ordering::Relaxed) {
                return Err(io::Error::other("it was given up"));
            }
            if pgno != lock_page {
                rolling.replace(None, Some(checksum::page_checksum(pgno, page)));
            }
            visit(pgno, page)
        })?;
        if expected != 0 && rolling.value() != expected {
            return Err(Error::Damaged {
                what: format!(
                    "the local database has rolling checksum {:016x}, what was replicated of it {expected:016x}",
                    rolling.value()
                ),
                hint: "no image was stored; check the database and its volume, the replica stays as it is"
                    .into(),
            });
        }
        Ok(())
    }
}
