//! Taking the claim over by hand: whoever held it collides at his next write. For `restore unlock`.

use crate::claim::{Claim, look};
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::layout::Layout;
use crate::write::options;
use clock::{Clock, IdGen};
use ltx::{Encoder, Extension, Header, PageEncoding, Txid};
use store::Store;

/// Claims the replica for nobody; the next start of a pod claims it again. With `identity` only its owner's replica is taken.
/// A replica without files has nothing that could be fenced: its first image is created by exactly one writer.
pub async fn unlock(
    store: &Store,
    identity: Option<&Identity>,
    clock: &dyn Clock,
    ids: &dyn IdGen,
) -> Result<Claim> {
    let seen = look(store, identity, None).await?;
    let (Some(newest), Some(header)) = (seen.remote.newest, seen.header) else {
        return Err(Error::Nothing {
            what: "the replica holds no file, so there is no claim to take over".into(),
            hint: "the first writer that finishes its first image owns it".into(),
        });
    };
    let Some(lineage) = seen.remote.lineage else {
        return Err(Error::Nothing {
            what: "the replica was not written by this program, which therefore holds no claim on it".into(),
            hint: "stop the program that writes it".into(),
        });
    };
    let epoch = seen.next_epoch(0);
    let txid = Txid::new(newest.get() + 1).expect("one more than a TXID is not zero");
    let mut write_id = [0; 6];
    write_id.copy_from_slice(&ids.next_u64().to_be_bytes()[..6]);
    let timestamp_ms = clock.unix_ms().max(header.timestamp_ms + 1);
    let header = Header {
        min_txid: txid,
        max_txid: txid,
        timestamp_ms,
        wal_offset: 32,
        wal_size: 0,
        wal_salt1: 0,
        wal_salt2: 0,
        reserved: Extension { epoch, lineage, write_id }.to_reserved(),
        // A foreign history does not carry the rolling checksum.
        node_id: if seen.remote.stamp.is_some() { header.node_id } else { 0 },
        ..header
    };
    let (bytes, _) = Encoder::new(Vec::new(), header, PageEncoding::Frame)
        .and_then(Encoder::finish)
        .map_err(Error::ltx("claim"))?;
    let key = Layout::of(store.kind()).sync_key(txid);
    store.commit(&key, bytes.into(), &options(timestamp_ms, write_id)).await?;
    Ok(Claim { lineage, epoch, txid: txid.get() })
}
