//! A snapshot as plain objects, one per file, as `rclone sync --links --metadata` would have left them: for tools and people that go back.
//!
//! Written into an empty prefix only and create-only, so nothing that is there can be lost (P3). What a mirror cannot hold is counted:
//! empty directories, fifos, attributes, second names of one file (they become files of their own).

use crate::catalogue::read_object;
use crate::chest::{self, Digesting};
use crate::entry::{Entry, Kind};
use crate::export::Body;
use crate::import::encode;
use crate::layout::PACKS;
use crate::manifest::Object;
use crate::pack::{prove, unpack};
use crate::path::RelPath;
use crate::restore::RestorePlan;
use crate::write::blocking;
use crate::{Error, Result};
use bytes::Bytes;
use futures::stream::{self, TryStreamExt};
use seal::Identities;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::Arc;
use store::capability::PROBE_KEY;
use store::{PutOptions, Store};
use tokio::runtime::Handle;

/// Objects written side by side.
const AT_ONCE: usize = 8;

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Mirrored {
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Entries that a mirror has no form for: empty directories, fifos.
    pub left_out: u64,
    /// Entries whose attributes are lost.
    pub lost_attributes: u64,
}

/// Writes a plan as a mirror.
pub async fn export_mirror(
    store: &Store,
    plan: &RestorePlan,
    identities: Option<Arc<Identities>>,
    mirror: &Store,
) -> Result<Mirrored> {
    if mirror.list("", None).try_next().await?.is_some() {
        return Err(Error::refused(
            "there are objects at the mirror's place already",
            "choose an empty prefix",
        ));
    }
    let export = Export { store, plan, identities, mirror };
    let mut done = Mirrored::default();
    let mut by_object: BTreeMap<u32, Vec<Entry>> = BTreeMap::new();
    let mut plain: Vec<(Entry, Bytes)> = Vec::new();
    let parents: HashSet<RelPath> = plan.entries().filter_map(|e| e.path.parent()).collect();
    for entry in plan.entries() {
        done.lost_attributes += u64::from(!entry.xattrs.is_empty());
        match &entry.kind {
            Kind::Dir => done.left_out += u64::from(!parents.contains(&entry.path)),
            Kind::Fifo => done.left_out += 1,
            Kind::Symlink { target } => plain.push((entry.clone(), target.clone().into())),
            Kind::File(content) => match content.object {
                None => plain.push((entry.clone(), Bytes::new())),
                Some(object) => by_object.entry(object).or_default().push(entry.clone()),
            },
        }
        if !matches!(entry.kind, Kind::Dir | Kind::Fifo) {
            done.objects += 1;
            done.bytes += entry.size();
        }
    }
    export.put_all(plain).await?;
    for (at, entries) in by_object {
        let object = &plan.manifest.objects[at as usize];
        if object.key.starts_with(PACKS) {
            export.pack(object, entries).await?;
        } else {
            for entry in entries {
                export.big(object, entry).await?;
            }
        }
    }
    // Sending a big file asks the store what it can do, and the question would be pulled as a file of the tree.
    if !plan.entries().any(|entry| entry.path.as_bytes() == PROBE_KEY.as_bytes()) {
        mirror.delete_all(&[PROBE_KEY.to_owned()]).await?;
    }
    Ok(done)
}

struct Export<'a> {
    store: &'a Store,
    plan: &'a RestorePlan,
    identities: Option<Arc<Identities>>,
    mirror: &'a Store,
}

impl Export<'_> {
    async fn put_all(&self, all: Vec<(Entry, Bytes)>) -> Result<()> {
        stream::iter(all.into_iter().map(Ok::<_, Error>))
            .try_for_each_concurrent(AT_ONCE, |(entry, bytes)| async move {
                self.mirror.put(&key_of(&entry), bytes, &options_of(&entry)).await?;
                Ok(())
            })
            .await
    }

    async fn pack(&self, object: &Object, entries: Vec<Entry>) -> Result<()> {
        let body = read_object(self.store, object).await?;
        let (object, identities, sealed) = (object.clone(), self.identities.clone(), self.plan.head.sealed);
        let files = blocking(move || {
            let mut wanted: HashMap<RelPath, Vec<Entry>> = HashMap::new();
            for entry in entries {
                let member =
                    entry.content().and_then(|c| c.member.clone()).unwrap_or_else(|| entry.path.clone());
                wanted.entry(member).or_default().push(entry);
            }
            let mut files = Vec::new();
            unpack(&object, &body, sealed, identities.as_deref(), |name, bytes| {
                let bytes = Bytes::copy_from_slice(bytes);
                for entry in wanted.remove(&name).unwrap_or_default() {
                    if let Some(content) = entry.content() {
                        prove(&object.key, &entry.path, &bytes, &content.sha256)?;
                    }
                    files.push((entry, bytes.clone()));
                }
                Ok(())
            })?;
            match wanted.keys().next() {
                Some(missing) => Err(Error::damaged(format!("{} does not hold {missing}", object.key))),
                None => Ok(files),
            }
        })
        .await?;
        self.put_all(files).await
    }

    /// Streamed; the object appears only when its bytes were proven, because the end of the stream is an error otherwise.
    async fn big(&self, object: &Object, entry: Entry) -> Result<()> {
        let got = self.store.get(&object.key, None).await?;
        let got = Body { handle: Handle::current(), stream: got.stream, rest: Bytes::new() };
        let (mut feed, body) = store::feed();
        let (sealed, identities, key) = (self.plan.head.sealed, self.identities.clone(), object.key.clone());
        let wanted = entry.content().map(|c| (c.sha256, c.size));
        let reading = tokio::spawn(blocking(move || {
            let wrong = |what: String| Error::damaged(format!("{key}: {what}"));
            let mut plain = Digesting::new(chest::open(got, sealed, identities.as_deref(), &key)?);
            match io::copy(&mut plain, &mut feed) {
                Ok(_) => {}
                // The upload has failed, and says why.
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                Err(e) => return Err(wrong(e.to_string())),
            }
            let (_, size, sha256) = plain.digest();
            if wanted != Some((sha256, size)) {
                return Err(wrong("its content is not the file that was stored".into()));
            }
            // A failure here is the upload's, too.
            let _ = feed.finish();
            Ok(())
        }));
        let put =
            self.mirror.put_stream(&key_of(&entry), body, Some(entry.size()), &options_of(&entry)).await;
        let read = reading.await.map_err(|e| Error::damaged(format!("{}: {e}", object.key)))?;
        read?;
        put?;
        Ok(())
    }
}

fn key_of(entry: &Entry) -> String {
    let key = encode(&entry.path);
    match entry.kind {
        Kind::Symlink { .. } => key + ".rclonelink",
        _ => key,
    }
}

/// The fields of `rclone --metadata`.
fn options_of(entry: &Entry) -> PutOptions {
    let kind = if matches!(entry.kind, Kind::Symlink { .. }) { 0o120_000 } else { 0o100_000 };
    PutOptions::create()
        .with_metadata("mtime", entry.mtime.text())
        .with_metadata("mode", format!("{:o}", kind | entry.mode))
        .with_metadata("uid", entry.uid.to_string())
        .with_metadata("gid", entry.gid.to_string())
        .with_modified_ms(entry.mtime.sec * 1000 + i64::from(entry.mtime.nsec / 1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restore::Want;
    use crate::restore_fold as fold;
    use crate::testing::{Bench, run};

    #[test]
    fn p2_a_mirror_of_a_snapshot_is_imported_as_the_same_tree() {
        run(async {
            let (b, mirror) = (Bench::new(), Bench::new());
            for i in 0..20 {
                b.put(&format!("d{}/f{i}", i % 3), format!("content {i}"));
            }
            b.put("empty", "");
            b.put("big", (0..5_500_000u32).map(|i| (i % 251) as u8).collect::<Vec<_>>());
            b.put("sch\u{201B}n \u{FF0F}", "quoted");
            std::os::unix::fs::symlink("d0/f0", b.root().join("link")).unwrap();
            b.commit().await.unwrap();
            let plan = RestorePlan::new(&b.store, Want::Newest, &[], None).await.unwrap();
            let done = export_mirror(&b.store, &plan, None, &mirror.store).await.unwrap();
            assert_eq!((done.objects, done.left_out), (24, 0));
            let back = b.dir.path().join("back");
            crate::import(&mirror.store, &back).await.unwrap().unwrap();
            let files = |root: &std::path::Path| -> Vec<String> {
                fold(root).into_iter().filter(|line| !line.contains(" Directory ")).collect()
            };
            assert_eq!(files(&back), files(b.root()));
            let again = export_mirror(&b.store, &plan, None, &mirror.store).await.unwrap_err();
            assert_eq!(again.class(), crate::Class::Refused, "{again}");
        });
    }
}
