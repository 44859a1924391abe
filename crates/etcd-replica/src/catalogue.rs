//! What is in a destination: snapshots with their manifests, leftovers without, and what is not ours.
//!
//! One listing, then one read per manifest. Only a listing that came to its end counts (P6); an object is ours when its key parses
//! whole *and* its manifest names our cluster, key and time. Everything else is foreign, reported and never touched.

use crate::layout::{Name, Part};
use crate::manifest::{LaterProof, MAX_BYTES, Manifest};
use crate::proof::Verdict;
use crate::{Error, Result};
use futures::stream::{self, StreamExt, TryStreamExt};
use std::collections::{BTreeMap, BTreeSet};
use store::{ObjectMeta, Store};

/// Manifests read at a time.
const READERS: usize = 8;

/// All objects of one snapshot.
#[derive(Debug, Clone)]
pub struct Item {
    /// Their common name.
    pub name: Name,
    /// The snapshot itself.
    pub payload: Option<ObjectMeta>,
    /// The manifest, if it is there and can be read.
    pub manifest: Option<Manifest>,
    /// Why a manifest or a later proof that is there cannot be used.
    pub unreadable: Option<String>,
    /// What was proven later.
    pub later: Option<LaterProof>,
    /// A person pinned it.
    pub pinned: bool,
    /// Keys of all its objects.
    pub keys: Vec<String>,
    /// The store's newest time of any of them, Unix ms.
    pub modified_ms: i64,
}

/// One cluster in one destination.
#[derive(Debug, Clone)]
pub struct Catalogue {
    /// Which cluster.
    pub cluster: String,
    /// Ascending by time, then revision, then name.
    pub items: Vec<Item>,
    /// Keys below the cluster's prefix that are not ours.
    pub foreign: Vec<String>,
}

impl Item {
    /// Proven: SHA-256, length and structure, and the stored object read back; never with a mismatch or a later failure.
    pub fn is_verified(&self) -> bool {
        let Some(manifest) = &self.manifest else { return false };
        let is_whole = self.payload.is_some() && self.unreadable.is_none();
        if manifest.hashkv.verdict == Verdict::Mismatch || !is_whole {
            return false;
        }
        match &self.later {
            Some(later) => later.failed.is_none() && (manifest.read_back || later.level >= 4),
            None => manifest.level >= 2 && manifest.read_back,
        }
    }

    /// A manifest whose content was proven wrong.
    pub fn is_failed(&self) -> bool {
        self.unreadable.is_some()
            || self.manifest.as_ref().is_some_and(|manifest| manifest.hashkv.verdict == Verdict::Mismatch)
            || self.later.as_ref().is_some_and(|later| later.failed.is_some())
    }

    /// Says that it differs from a live member, if it does.
    pub fn mismatch(&self) -> Option<String> {
        let manifest = self.manifest.as_ref()?;
        (manifest.hashkv.verdict == Verdict::Mismatch).then(|| {
            format!("{} differs from a live member (HashKV): one of the two is corrupt", manifest.object)
        })
    }

    /// Restored by a drill.
    pub fn is_drilled(&self) -> bool {
        self.later.as_ref().is_some_and(|later| later.level >= 5 && later.failed.is_none())
    }

    /// The level of proof, later ones included.
    pub fn level(&self) -> u8 {
        let first = self.manifest.as_ref().map_or(0, |manifest| manifest.level);
        self.later
            .as_ref()
            .filter(|later| later.failed.is_none())
            .map_or(first, |later| later.level.max(first))
    }
}

/// Names of all clusters that have snapshots here.
pub async fn clusters(store: &Store) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let mut listing = store.list("", None);
    while let Some(object) = listing.try_next().await? {
        if let Some((name, _)) = Name::parse(&object.key) {
            names.insert(name.cluster);
        }
    }
    Ok(names)
}

/// The cluster that is meant: the named one, or the only one.
pub async fn resolve(store: &Store, cluster: Option<&str>) -> Result<String> {
    if let Some(name) = cluster {
        crate::layout::check_cluster(name)?;
        return Ok(name.to_owned());
    }
    let mut names = clusters(store).await?;
    match (names.len(), names.pop_first()) {
        (1, Some(only)) => Ok(only),
        (_, None) => Err(Error::Refused("no etcd snapshot is here".into())),
        (count, Some(first)) => {
            let rest: Vec<String> = names.into_iter().collect();
            Err(Error::Refused(format!(
                "{count} clusters are here ({first}, {}); say --cluster",
                rest.join(", ")
            )))
        }
    }
}

impl Catalogue {
    /// Lists one cluster and reads its manifests.
    pub async fn load(store: &Store, cluster: &str) -> Result<Self> {
        let mut items: BTreeMap<Name, (Item, bool, bool)> = BTreeMap::new();
        let mut foreign = Vec::new();
        let mut listing = store.list(&format!("{cluster}/"), None);
        while let Some(object) = listing.try_next().await? {
            let Some((name, part)) = Name::parse(&object.key) else {
                let inner = object.key[cluster.len() + 1..].to_owned();
                if ![crate::layout::POLICY, crate::layout::RESULT, crate::layout::LEASE]
                    .contains(&inner.as_str())
                    && !inner.starts_with("highwater/")
                {
                    foreign.push(object.key);
                }
                continue;
            };
            let fresh = || Item {
                name: name.clone(),
                payload: None,
                manifest: None,
                unreadable: None,
                later: None,
                pinned: false,
                keys: Vec::new(),
                modified_ms: 0,
            };
            let (item, manifest, later) =
                items.entry(name.clone()).or_insert_with(|| (fresh(), false, false));
            item.keys.push(object.key.clone());
            item.modified_ms = item.modified_ms.max(object.modified_ms);
            match part {
                Part::Sealed | Part::Plain => item.payload = Some(object),
                Part::Manifest => *manifest = true,
                Part::Proof => *later = true,
                Part::Pin => item.pinned = true,
                Part::Token => {}
            }
        }
        let reads =
            items.into_values().map(|(item, manifest, later)| read(store.clone(), item, manifest, later));
        let mut items: Vec<Item> = stream::iter(reads).buffer_unordered(READERS).try_collect().await?;
        items.sort_by_key(key_of);
        Ok(Self { cluster: cluster.to_owned(), items, foreign })
    }

    /// The newest proven snapshot, at or before a time (Unix s).
    pub fn newest_verified(&self, at: Option<i64>) -> Option<&Item> {
        self.items.iter().rev().find(|item| item.is_verified() && at.is_none_or(|at| item.name.taken <= at))
    }

    /// UID of the cluster whose snapshots these are: the newest proven one's.
    pub fn uid(&self) -> Option<Option<String>> {
        let newest = self.newest_verified(None)?;
        Some(newest.manifest.as_ref()?.kube_system_uid.clone())
    }
}

fn key_of(item: &Item) -> (i64, i64, String) {
    (item.name.taken, item.name.revision, item.name.to_string())
}

async fn read(store: Store, mut item: Item, manifest: bool, later: bool) -> Result<Item> {
    if manifest {
        let key = item.name.key(Part::Manifest);
        let parse = |bytes: bytes::Bytes| belongs(&item, Manifest::parse(&bytes, &key)?);
        match small(&store, &key).await.and_then(parse) {
            Ok(manifest) => item.manifest = Some(manifest),
            // Too large as well as not to be parsed: one such object must not hide all others.
            Err(Error::Damaged(why)) => item.unreadable = Some(why),
            // Removed since the listing: as if it had not been there.
            Err(Error::Store(error)) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    if later {
        let key = item.name.key(Part::Proof);
        match small(&store, &key).await {
            Ok(bytes) => match serde_json::from_slice::<LaterProof>(&bytes) {
                Ok(proof) => item.later = Some(proof),
                Err(error) => item.unreadable = Some(format!("proof {key}: {error}")),
            },
            Err(Error::Damaged(why)) => item.unreadable = Some(why),
            Err(Error::Store(error)) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(item)
}

fn belongs(item: &Item, manifest: Manifest) -> Result<Manifest> {
    let name = &item.name;
    let object = item.payload.as_ref().map(|payload| payload.key.as_str());
    let agrees = manifest.cluster == name.cluster
        && manifest.revision == name.revision
        && manifest.taken() == name.taken
        && manifest.body_sha256.starts_with(&name.digest)
        && object.is_none_or(|object| manifest.object == object);
    if agrees {
        Ok(manifest)
    } else {
        Err(Error::Damaged(format!("manifest {name} describes another object")))
    }
}

/// A small object, bounded.
pub(crate) async fn small(store: &Store, key: &str) -> Result<bytes::Bytes> {
    let got = store.get(key, None).await?;
    if got.meta.size > MAX_BYTES {
        return Err(Error::Damaged(format!("{key} has {} bytes, more than any of its kind", got.meta.size)));
    }
    Ok(got.bytes().await?)
}
