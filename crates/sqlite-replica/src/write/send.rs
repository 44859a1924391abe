//! One object on its way: durable means that the store has it *and* the WAL it came from is on the disk (P1, trap 10).
//!
//! With `synchronous=NORMAL` the application syncs nothing at a commit; were only the replica durable, a power loss would leave the
//! local database behind the replica.

use crate::error::{Error, Result};
use crate::write::form::Body;
use crate::write::host::{Host, offload};
use crate::write::ours::nothing_behind;
use bytes::{Bytes, BytesMut};
use clock::Clock;
use futures::stream::{self, BoxStream, StreamExt};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store::{Commit, PutOptions, Store};

/// Bytes of a staged file read at a time.
const CHUNK: usize = 256 << 10;

/// Options of an LTX object: its commit time and write id ride as metadata.
pub(crate) fn options(timestamp_ms: i64, write_id: [u8; 6]) -> PutOptions {
    PutOptions::create()
        .with_metadata("litestream-timestamp", clock::format_unix_ms(timestamp_ms))
        .with_metadata(store::WRITE_ID, hex::encode(write_id))
        .with_modified_ms(timestamp_ms)
}

/// What is sent where.
pub(crate) struct Parcel {
    pub(crate) key: String,
    pub(crate) body: Body,
    pub(crate) options: PutOptions,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    /// Duration of the PUT.
    pub(crate) took: Duration,
    /// The store took it now. Otherwise it was there already, under the same write id; where each attempt is sealed anew, with other
    /// bytes.
    pub(crate) anew: bool,
}

/// Commits a parcel under its number and syncs the WAL meanwhile.
pub(crate) async fn send(
    store: Store,
    parcel: Parcel,
    wal: Option<(Arc<File>, PathBuf)>,
    clock: Arc<dyn Clock>,
    host: Arc<dyn Host>,
    suspicion: Option<Suspicion>,
) -> Result<Sent> {
    let started = clock.monotonic_ns();
    let Parcel { key, body, options } = parcel;
    let sent = key.clone();
    let put = async {
        let committed = body.commit(&store, &key, &options).await?;
        tracing::trace!(key, ?committed, "put");
        let took = Duration::from_nanos(clock.monotonic_ns() - started);
        Ok::<_, Error>(Sent { took, anew: committed == Commit::Created })
    };
    let sync = async {
        let Some(wal) = wal else { return Ok(()) };
        offload(&*host, move || sync_wal(&wal)).await
    };
    let (sent_now, ()) = tokio::try_join!(put, sync)?;
    if let Some(suspicion) = suspicion {
        suspicion.look(&store, &sent).await?;
    }
    Ok(sent_now)
}

/// A writer that was stopped for longer than level 0 files are kept may create a number that its successor used and retention has
/// deleted (trap 3). The pinned claims are the fence; where even they were removed, this look is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Suspicion {
    /// The store's clock at its last confirmed answer, ms.
    pub(crate) since_ms: i64,
    /// How far it may have moved since, ms.
    pub(crate) limit_ms: i64,
}

impl Suspicion {
    /// Before an object is reported durable: if the store's clock has moved too far, nothing may lie behind the object.
    async fn look(&self, store: &Store, key: &str) -> Result<()> {
        let moved = store.server_date().map_or(0, |date| date.server_ms.saturating_sub(self.since_ms));
        if moved <= self.limit_ms {
            return Ok(());
        }
        nothing_behind(store, key).await
    }
}

/// A file as a stream; each call of the factory reads it anew.
pub(crate) fn chunks(path: &Path) -> BoxStream<'static, io::Result<Bytes>> {
    let opened = File::open(path);
    stream::try_unfold(Some(opened), |file| async move {
        let Some(file) = file else { return Ok(None) };
        let mut file = file?;
        let mut chunk = BytesMut::zeroed(CHUNK);
        let n = file.read(&mut chunk)?;
        chunk.truncate(n);
        Ok((n > 0).then(|| (chunk.freeze(), Some(Ok(file)))))
    })
    .boxed()
}

/// Makes what the WAL holds survive a power loss.
pub(crate) fn sync_wal((file, path): &(Arc<File>, PathBuf)) -> Result<()> {
    file.sync_data().map_err(Error::io(path, "sync the WAL of"))
}
