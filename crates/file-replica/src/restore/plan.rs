//! What a restore will write: a snapshot, or parts of it, as a value.

use crate::catalogue::{Catalogue, read_manifest, read_newest};
use crate::entry::Entry;
use crate::layout::{PACKS, REPO_KEY, Seq};
use crate::manifest::{Head, Manifest};
use crate::path::RelPath;
use crate::repo::Repo;
use crate::{Error, Result};
use clock::UnixMs;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use seal::Identities;
use std::collections::HashSet;
use std::fmt;
use store::Store;

/// Which snapshot is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// The newest.
    Newest,
    /// This one.
    Number(Seq),
    /// The newest at or before a time.
    At(UnixMs),
    /// The newest one whose objects are all there, should the newest be damaged.
    LatestValid,
}

/// A snapshot, and which of its entries are wanted.
#[derive(Debug, Clone)]
pub struct RestorePlan {
    /// The commit.
    pub head: Head,
    /// Its tree.
    pub manifest: Manifest,
    /// Indexes of the wanted entries; all of them for a whole tree.
    pub(crate) wanted: Vec<usize>,
    /// Whether the whole tree is wanted.
    pub whole: bool,
}

impl RestorePlan {
    /// Reads the wanted snapshot. `only` are gitignore-like patterns of what is wanted; empty means all.
    pub async fn new(
        store: &Store,
        want: Want,
        only: &[String],
        identities: Option<&Identities>,
    ) -> Result<RestorePlan> {
        // One after the other would be the first of few round trips twice.
        let (repo, catalogue) = futures::future::join(Repo::load(store), Catalogue::load(store)).await;
        if repo?.is_none() {
            return Err(Error::Nothing {
                what: format!("there is no {REPO_KEY} here"),
                hint: "check the URL".into(),
            });
        }
        let catalogue = catalogue?;
        let number = match want {
            Want::Number(number) => number,
            Want::At(at) => catalogue.snapshot_at(store, at).await?.number,
            Want::Newest => {
                let newest = read_newest(&catalogue, store, identities).await?;
                let (head, manifest) = newest.ok_or_else(|| Error::Nothing {
                    what: "the replica holds no snapshot".into(),
                    hint: "nothing was ever committed".into(),
                })?;
                return Self::of(head, manifest, only);
            }
            Want::LatestValid => return Self::latest_valid(store, &catalogue, only, identities).await,
        };
        let (head, manifest) = read_manifest(store, number, identities).await?;
        Self::of(head, manifest, only)
    }

    /// From the newest back to the first snapshot of which everything that is stored proves itself.
    async fn latest_valid(
        store: &Store,
        catalogue: &Catalogue,
        only: &[String],
        identities: Option<&Identities>,
    ) -> Result<RestorePlan> {
        let mut damage = None;
        for number in catalogue.numbers.iter().rev() {
            let head = crate::catalogue::read_head(store, *number).await;
            match head {
                Ok(head) if head.kind == crate::CommitKind::Claim => continue,
                Ok(_) => {}
                Err(e) if e.class() == crate::Class::Damaged => {
                    damage = Some(e);
                    continue;
                }
                Err(e) => return Err(e),
            }
            let tried = async {
                let (head, manifest) = read_manifest(store, *number, identities).await?;
                for object in &manifest.objects {
                    crate::verify::prove_object(store, object).await?;
                }
                Self::of(head, manifest, only)
            };
            match tried.await {
                Err(e) if e.class() == crate::Class::Damaged => {
                    tracing::warn!(snapshot = number, error = %e, "damaged, an older snapshot is tried");
                    damage = Some(e);
                }
                other => return other,
            }
        }
        Err(damage.unwrap_or_else(|| Error::Nothing {
            what: "the replica holds no snapshot".into(),
            hint: "nothing was ever committed".into(),
        }))
    }

    /// A plan for a manifest that was read already.
    pub(crate) fn of(head: Head, manifest: Manifest, only: &[String]) -> Result<RestorePlan> {
        let whole = only.is_empty();
        let wanted = match whole {
            true => (0..manifest.entries.len()).collect(),
            false => select(&manifest, only)?,
        };
        if wanted.is_empty() && !whole {
            return Err(Error::Nothing {
                what: format!("nothing in snapshot {} matches {}", head.number, only.join(", ")),
                hint: "list the snapshot with restore list --snapshot".into(),
            });
        }
        Ok(RestorePlan { head, manifest, wanted, whole })
    }

    /// The wanted entries, in the order of their paths.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.wanted.iter().map(|at| &self.manifest.entries[*at])
    }

    /// Objects that are read, in the order of the manifest.
    pub(crate) fn objects(&self) -> Vec<u32> {
        let mut needed: Vec<u32> = self.entries().filter_map(|e| e.content()?.object).collect();
        needed.sort_unstable();
        needed.dedup();
        needed
    }

    /// Stored bytes that are read.
    pub fn stored_bytes(&self) -> u64 {
        self.objects().iter().map(|at| self.manifest.objects[*at as usize].size).sum()
    }

    /// Requests it takes at most: repository, listing, two commits, one per object.
    pub fn requests(&self) -> u64 {
        4 + self.objects().len() as u64
    }

    /// Bytes of content that are written.
    pub fn bytes(&self) -> u64 {
        self.entries().map(Entry::size).sum()
    }
}

/// What matches, what lies below it, and the directories it lies in.
fn select(manifest: &Manifest, only: &[String]) -> Result<Vec<usize>> {
    let mut builder = GitignoreBuilder::new("");
    for pattern in only {
        let usage = |e: ignore::Error| {
            Error::Usage(format!("path {pattern:?}: {e} (a path, or a gitignore pattern)"))
        };
        builder.add_line(None, pattern).map_err(usage)?;
    }
    let patterns: Gitignore = builder.build().map_err(|e| Error::Usage(e.to_string()))?;
    let mut dirs: HashSet<RelPath> = HashSet::new();
    let mut wanted: HashSet<usize> = HashSet::new();
    for (at, entry) in manifest.entries.iter().enumerate() {
        let hit = patterns.matched_path_or_any_parents(entry.path.as_path(), entry.is_dir()).is_ignore();
        if hit {
            wanted.insert(at);
            dirs.extend(std::iter::successors(entry.path.parent(), RelPath::parent));
        }
    }
    let parents = |(_, e): &(usize, &Entry)| dirs.contains(&e.path);
    wanted.extend(manifest.entries.iter().enumerate().filter(parents).map(|(at, _)| at));
    let mut wanted: Vec<usize> = wanted.into_iter().collect();
    wanted.sort_unstable();
    Ok(wanted)
}

impl fmt::Display for RestorePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let objects = self.objects();
        let packs =
            objects.iter().filter(|at| self.manifest.objects[**at as usize].key.starts_with(PACKS)).count();
        write!(
            f,
            "snapshot {} of {}: {} entries, {} bytes, from {} packs and {} big files ({} bytes stored)",
            self.head.number,
            self.head.time,
            self.wanted.len(),
            self.bytes(),
            packs,
            objects.len() - packs,
            self.stored_bytes()
        )?;
        match self.head.unstable {
            0 => Ok(()),
            n => {
                write!(f, "; {n} files are of an earlier snapshot because they changed while they were read")
            }
        }
    }
}
