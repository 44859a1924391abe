//! A full image as the next TXID: the first object of a replica, or the new beginning after a history that cannot be continued.

use crate::claim::{Ground, new_stamp};
use crate::error::{Error, Result};
use crate::layout::{self, Level};
use crate::owner::Owner;
use crate::state::{Data, Intent, Mark};
use crate::upkeep::{Holding, Stored, store_now};
use crate::write::digesting;
use crate::write::engine::{Writer, until_drained};
use crate::write::event::Event;
use crate::write::image;
use crate::write::send::{self, Parcel, send};
use crate::write::stage;
use bytes::Bytes;
use ltx::{FileName, PageSize, Txid};
use std::time::Duration;
use store::PutOptions;

/// Databases up to this size are staged before their image is sent, so that a crash resends the same bytes.
const STAGED_IMAGE: u64 = 16 << 20;

impl Writer {
    /// A full image as the next TXID.
    pub(crate) fn image(&mut self, why: &'static str) -> Result<()> {
        let txid = Txid::new(self.record.confirmed + 1).expect("confirmed + 1 is not zero");
        let stamp = new_stamp(&self.record, &*self.ids);
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

        // The first image is a snapshot from the beginning, so that no level ever rewrites it.
        let first = txid == Txid::FIRST;
        let name = FileName { min: txid, max: txid };
        let key = self.layout.key(if first { Level::SNAPSHOT } else { Level::SYNC }, name);
        let options = send::options(timestamp_ms, stamp.write_id);
        let size = u64::from(commit) * page_size.bytes() as u64;
        let (store, clock, host, stop) =
            (self.store.clone(), self.clock.clone(), self.host.clone(), self.stop.clone());
        let drain = self.inbox.drain_left(self.clock.monotonic_ns(), self.config.drain);
        let mut digested = None;
        let bytes = if size <= STAGED_IMAGE {
            let path = self.state.staged();
            let out = image::encode_plain(&mut view, &header, digesting::create(&path)?, self.state.dir())?;
            let staged = self.form.staged(&digesting::finish(out, &path)?, &self.state.object())?;
            let size = staged.size;
            let path = self.state.sent(&staged);
            self.record.intent.as_mut().expect("set above").staged = Some(staged.clone());
            self.state.save(self.record.clone(), true)?;
            let body = self.form.reread(&path, &staged)?.ok_or_else(|| Error::Io {
                path,
                doing: "read back the staged image",
                source: std::io::Error::other("it is not what was written"),
            })?;
            digested = Some(staged);
            let mut sent = Err(Error::Stopped);
            let sending = send(store, Parcel { key, body, options }, Some(wal), clock, host.clone(), None);
            host.finish(Box::pin(async { sent = until_drained(sending, stop, drain).await }));
            sent?;
            size
        } else {
            self.state.save(self.record.clone(), true)?;
            let (factory, asked) = image::passes();
            let bound = size + size / 128 + (64 << 10) + u64::from(commit) * 40;
            let (done, ended) = std::sync::mpsc::channel();
            host.spawn(Box::pin(async move {
                let sent =
                    async { Ok(store.commit_stream(&key, factory, Some(bound), &options).await.map(drop)?) };
                let _ = done.send(until_drained(sent, stop, drain).await);
            }));
            let mut encoded = Ok(0);
            // Each request is one pass; there is a next one only if the store wants the stream again.
            while let Ok(feed) = asked.recv() {
                encoded = image::fill(feed, &mut view, &header, self.state.dir(), &self.form);
            }
            let sent = ended.recv().unwrap_or(Err(Error::Stopped));
            // If the store is done, why the last pass ended does not matter.
            sent.and_then(|()| crate::write::send::sync_wal(&wal))?;
            encoded.unwrap_or(0)
        };
        drop(view);
        self.tail.start_at(position)?;
        if !first {
            self.mark_image(txid)?;
            self.keep_sent(txid.get(), bytes, digested.as_ref(), true)?;
        } else if let Some(keeping) = &mut self.keeping {
            let time_ms = store_now(&self.store, &*self.clock);
            let file = Holding { level: Level::SNAPSHOT, name, size: bytes, time_ms };
            let sha256 = digested.filter(|staged| staged.apart).map(|staged| staged.sha256);
            keeping.upkeep.first_image_stored(Stored { file, sha256 });
        }
        self.record.confirmed = txid.get();
        self.record.intent = None;
        if let Some(inherited) = &mut self.record.inherited {
            (inherited.image, inherited.data) = (false, Data::Known);
        }
        self.heard();
        self.state.save(self.record.clone(), true)?;
        self.note_owner();
        let took = Duration::from_nanos(self.clock.monotonic_ns() - started);
        let taken = self.taken();
        if first {
            // Level 0 must not be empty: Litestream takes the position of a replica from it, and would begin anew at TXID 1.
            self.take(Ground { mark, tabulated: true })?;
        }
        let txid = self.record.confirmed;
        self.tell(Event::Durable { txid, bytes, taken, db_pages: commit, lag: took, put: took });
        Ok(())
    }

    /// Owner and mode of the file, which no LTX file carries (trap 2). A note: without it a restored file belongs to whoever restored
    /// it, so a store that does not take it stops nothing.
    fn note_owner(&self) {
        let store = self.store.clone();
        let noted = Owner::of(&self.config.database)
            .and_then(|owner| self.ask(async move { owner.save(&store).await }));
        if let Err(error) = noted {
            tracing::warn!(database = %self.config.database.display(), %error, "owner and mode could not be noted");
        }
    }

    /// An image that is not TXID 1 looks like any other file; this empty side object tells a restore that a chain may begin
    /// there, so that a hole before it costs nothing.
    fn mark_image(&self, txid: Txid) -> Result<()> {
        let (store, key) = (self.store.clone(), layout::image_key(txid));
        self.ask(async move { Ok(store.commit(&key, Bytes::new(), &PutOptions::create()).await.map(drop)?) })
    }
}
