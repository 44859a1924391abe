//! Carries out a compaction plan: merge into a file on the volume, commit it under its name, create-only.
//!
//! Every input is proven to its end before the output counts (`ltx::merge`). The same inputs give the same bytes, and the write id is
//! that of the newest input, so a merge repeated after a crash or a lost reply meets its own object.

use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::local::{local_header, write_id};
use crate::restore::read_header;
use crate::upkeep::compaction::CompactionPlan;
use crate::upkeep::holdings::Holding;
use crate::upkeep::remote::{RemoteFile, stored_size, unwrap};
use crate::upkeep::spool::Spool;
use crate::upkeep::task::Stored;
use crate::write::{Form, Host, Leash, Leashed, Parcel, offload, options, send};
use clock::Clock;
use ltx::{Header, PageEncoding, SeekSpool, Stamp, merge_with};
use std::fs::{self, File};
use std::io::{BufWriter, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::Store;

/// What a merge needs.
pub(crate) struct Merging {
    pub(crate) store: Store,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) plan: CompactionPlan,
    /// For each input where it lies on the volume, if it does.
    pub(crate) local: Vec<Option<PathBuf>>,
    pub(crate) scratch: PathBuf,
    pub(crate) form: Form,
    pub(crate) leash: Leash,
}

impl Merging {
    /// Merges and commits; gives the file, which lies at `scratch` still.
    pub(crate) async fn run(self) -> Result<Stored> {
        let layout = Layout::of(self.store.kind());
        let newest = self.plan.inputs.last().expect("a plan has inputs");
        let header = match self.local.last().expect("one per input") {
            Some(path) => local_header(path)?,
            None => read_header(&self.store, &newest.entry(layout)).await?,
        };
        let stamp = Stamp { node_id: header.node_id, reserved: header.reserved };
        let readers: Vec<Box<dyn Read + Send>> = (self.plan.inputs.iter().zip(&self.local))
            .map(|(input, local)| {
                let leash = self.leash.clone();
                Ok(match local {
                    Some(path) => {
                        let file = File::open(path).map_err(Error::io(path, "open"))?;
                        Box::new(Leashed(file, leash)) as Box<dyn Read + Send>
                    }
                    None => {
                        let (store, host) = (self.store.clone(), self.host.clone());
                        Box::new(Leashed(RemoteFile::new(store, input.key(layout), host), leash))
                    }
                })
            })
            .collect::<Result<_>>()?;
        let scratch = self.scratch.clone();
        let name = self.plan.name();
        let key = layout.key(self.plan.to, name);
        let merged = {
            let (scratch, place) = (scratch.clone(), key.clone());
            offload(&*self.host, move || merge_into(&scratch, readers, stamp, &place)).await?
        };
        if (merged.min_txid, merged.max_txid) != (name.min, name.max) {
            return Err(Error::Damaged {
                what: format!("the inputs of {key} hold TXID {}-{}", merged.min_txid, merged.max_txid),
                hint: "an object is not the one its name says; a snapshot will bridge it".into(),
            });
        }
        let (form, object) = (self.form, Spool::object_of(&scratch));
        let sealed = object.clone();
        let is_sealed = form.is_sealed();
        let body = offload(&*self.host, move || form.body(&scratch, &object)).await?;
        let (mut size, mut sha256) = (body.size(), body.sha256());
        let options = options(merged.timestamp_ms, write_id(&header));
        let parcel = Parcel { key: key.clone(), body, options };
        let sent = send(self.store.clone(), parcel, None, self.clock.clone(), self.host.clone(), None).await;
        // Made anew if it is sent again; the merged file in plain text stays for the spool.
        let _ = fs::remove_file(sealed);
        if !sent?.anew && is_sealed {
            (size, sha256) = (stored_size(&self.store, &key).await?, None);
        }
        let time_ms = super::store_now(&self.store, &*self.clock);
        Ok(Stored { file: Holding { level: self.plan.to, name, size, time_ms }, sha256 })
    }
}

fn merge_into(
    scratch: &Path,
    readers: Vec<Box<dyn Read + Send>>,
    stamp: Stamp,
    place: &str,
) -> Result<Header> {
    let dir = scratch.parent().expect("the scratch file has a directory");
    fs::create_dir_all(dir).map_err(Error::io(dir, "create"))?;
    let out = File::create(scratch).map_err(Error::io(scratch, "create"))?;
    let index = tempfile::tempfile_in(dir).map_err(Error::io(dir, "create the index spool in"))?;
    let index = SeekSpool::new(index).map_err(Error::io(dir, "use the index spool in"))?;
    let (_, header, _) = merge_with(readers, BufWriter::new(out), PageEncoding::Frame, stamp, index)
        .map_err(|e| unwrap(place, e))?;
    Ok(header)
}
