//! Making the replica ours: the lineage of a new one, and the claim that every start takes (P4).

use crate::error::Result;
use crate::identity::{FORMAT, Lineage};
use crate::state::Mark;
use crate::write::engine::Writer;
use crate::write::event::Event;
use crate::write::send::{self, Body, send};
use ltx::Txid;
use sqlite_tail::Position;

impl Writer {
    pub(crate) fn create_lineage(&mut self) -> Result<()> {
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
    pub(crate) fn claim(&mut self, position: Position) -> Result<()> {
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

    pub(crate) fn put(&self, txid: u64, write_id: [u8; 6], body: Body) -> Result<()> {
        let key = self.layout.sync_key(Txid::new(txid).expect("intents have a TXID"));
        let timestamp = self.record.mark.map_or(0, |m| m.timestamp_ms);
        let sending = send(
            self.store.clone(),
            key,
            body,
            send::options(timestamp, write_id),
            None,
            self.clock.clone(),
            self.host.clone(),
        );
        self.ask(sending).map(drop)
    }

    pub(crate) fn mark_at(&self, commit: u32, rolling: u64, timestamp_ms: i64, position: Position) -> Mark {
        Mark { page_size: self.tail.page_size(), commit, rolling, timestamp_ms, position: position.into() }
    }
}
