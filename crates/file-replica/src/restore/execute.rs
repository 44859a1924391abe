//! Executing a plan: journal, packs in parallel, links, directories, marker; in this order.
//!
//! Per pack: fetch, prove the stored bytes, unpack, prove every file, write all under temporary names, rename (`fetch`). The file
//! system is synced once, before state and marker say that the tree is whole. A second run after a crash finds the journal, keeps what is
//! exactly as it must be, by content, and does the rest. Of a whole tree the result is exact: what does not belong is moved aside
//! (`sort`).

use super::budget::Budget;
use super::plan::RestorePlan;
use super::sort::{Sorted, move_aside, sort_out};
use super::tree::{Publisher, Tree};
use super::{Journal, is_unfinished};
use crate::entry::{Entry, Kind};
use crate::filter::Filter;
use crate::home::{Home, Lock, Marker};
use crate::layout::Seq;
use crate::path::RelPath;
use crate::scan::{Look, Scanner};
use crate::state::{Print, State};
use crate::steps::Steps;
use crate::write::blocking;
use crate::{Error, Result};
use clock::Clock;
use futures::stream::{self, StreamExt};
use rustix::fs::FileType;
use seal::Identities;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use store::{Progress, Store};

/// How a restore is carried out.
#[derive(Debug, Clone)]
pub struct Options {
    /// Objects in flight; each may hold a pack in memory.
    pub parallelism: usize,
    /// Restore over files that are there; they are moved aside.
    pub force: bool,
    /// Memory of all restores that run side by side.
    pub budget: Budget,
    /// What does not belong to the tree and is left alone (databases always are).
    pub filter: Filter,
    /// Claim to write into the marker; 0 by hand.
    pub epoch: Seq,
    /// Where tests pull the plug.
    pub steps: Steps,
}

impl Default for Options {
    fn default() -> Self {
        let filter = Filter::new(&[]).expect("no pattern cannot be wrong");
        let budget = Budget::default();
        Self { parallelism: 4, force: false, budget, filter, epoch: 0, steps: Steps::default() }
    }
}

/// What a restore did.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Restored {
    /// The snapshot.
    pub snapshot: Seq,
    /// When it was committed.
    pub time: String,
    /// Entries of the result.
    pub entries: u64,
    /// Bytes of content of the result.
    pub bytes: u64,
    /// Files that were in place already.
    pub kept: u64,
    /// Entries that were not written, because a database has their name.
    pub left_to_databases: u64,
    /// Things that were moved aside.
    pub moved_aside: u64,
    /// Where they are.
    pub aside: Option<String>,
    /// Entries whose owner this user may not set.
    pub foreign_owner: u64,
    /// Attributes this user or file system may not set.
    pub lost_attributes: u64,
}

pub(super) struct Run<'a> {
    pub(super) store: &'a Store,
    pub(super) plan: &'a RestorePlan,
    pub(super) identities: Option<Arc<Identities>>,
    pub(super) options: &'a Options,
    pub(super) progress: Arc<Progress>,
    pub(super) tree: Arc<Tree>,
}

/// Carries out a plan in `target`, which is created if it is not there.
pub async fn restore(
    store: &Store,
    plan: &RestorePlan,
    target: &Path,
    identities: Option<Arc<Identities>>,
    options: &Options,
    clock: &dyn Clock,
    progress: Arc<Progress>,
) -> Result<Restored> {
    std::fs::create_dir_all(target).map_err(Error::io(target, "create"))?;
    let lock = Home::of(target).lock()?;
    restore_locked(store, plan, target, identities, options, clock, progress, &lock).await
}

/// The same for a caller who works on the tree already.
#[allow(clippy::too_many_arguments, reason = "those of `restore`, and the proof that nobody else works here")]
pub(super) async fn restore_locked(
    store: &Store,
    plan: &RestorePlan,
    target: &Path,
    identities: Option<Arc<Identities>>,
    options: &Options,
    clock: &dyn Clock,
    progress: Arc<Progress>,
    _lock: &Lock,
) -> Result<Restored> {
    let home = Home::of(target);
    let resuming = is_unfinished(&home)?;
    if resuming && !plan.whole {
        return Err(Error::refused("a restore of the whole tree is not finished here", "finish it first"));
    }
    let filter = options.filter.clone();
    let scan_root = target.to_owned();
    let scan =
        blocking(move || Scanner::new(&scan_root).scan(&filter, crate::Time::default(), &mut |_| {})).await?;
    let there: Vec<(RelPath, Look)> = scan.found.into_iter().map(|f| (f.path, f.look)).collect();
    let sorted = sort_out(plan, target, &there, &options.filter)?;
    let has_files = there.iter().any(|(_, look)| look.kind != FileType::Directory);
    let in_the_way = if plan.whole { has_files } else { !sorted.aside.is_empty() };
    if in_the_way && !resuming && !options.force {
        return Err(Error::refused(
            format!("{} is not empty", target.display()),
            "choose an empty directory, or restore over it with --force (what is replaced is moved aside)",
        ));
    }
    let set_aside = match Journal::load(&home)? {
        Some(journal) => journal.set_aside,
        None => format!(
            "{}-before-{}",
            clock::format_unix_ms(clock.unix_ms()).replace(':', "-"),
            plan.head.number
        ),
    };
    options.steps.at("write the journal")?;
    if plan.whole {
        let (lineage, snapshot) = (plan.head.lineage.clone(), plan.head.number);
        Journal { format: 1, lineage, snapshot, set_aside: set_aside.clone() }.save(&home)?;
    }
    options.steps.at("move aside")?;
    let moved_aside = move_aside(&home, target, &set_aside, &sorted.aside)?;
    let tree = Arc::new(Tree::open(target, home.stage())?);
    let run = Run { store, plan, identities, options, progress, tree: tree.clone() };
    run.write(&sorted).await?;
    let restored = Restored {
        snapshot: plan.head.number,
        time: plan.head.time.clone(),
        entries: plan.wanted.len() as u64,
        bytes: plan.bytes(),
        kept: sorted.keep.len() as u64,
        left_to_databases: sorted.leave.len() as u64,
        moved_aside,
        aside: (moved_aside > 0).then(|| home.set_aside(&set_aside).display().to_string()),
        foreign_owner: tree.foreign.load(Ordering::Relaxed),
        lost_attributes: tree.lost_xattrs.load(Ordering::Relaxed),
    };
    let stage = home.stage();
    std::fs::remove_dir_all(&stage).map_err(Error::io(&stage, "remove"))?;
    if plan.whole {
        finish(&home, plan, options)?;
    }
    if restored.foreign_owner > 0 {
        tracing::warn!(entries = restored.foreign_owner, "owners could not be set by this user");
    }
    Ok(restored)
}

/// State, marker, journal; the marker says that the tree is whole, so it comes after everything and before the journal goes.
fn finish(home: &Home, plan: &RestorePlan, options: &Options) -> Result<()> {
    options.steps.at("write the state")?;
    let prints = plan
        .manifest
        .entries
        .iter()
        .map(|entry| match rustix::fs::lstat(home.root().join(entry.path.as_path())) {
            Ok(stat) => Print::fresh(&stat.into()),
            Err(_) => Print { ino: 0, ctime: crate::Time::default(), suspect: true },
        })
        .collect();
    let number = plan.head.number;
    let heads = BTreeMap::from([(number, plan.head.clone())]);
    State { manifest: plan.manifest.clone(), prints, last_number: number, heads }.save(home)?;
    options.steps.at("write the marker")?;
    home.set_marker(&Marker::new(&plan.head.lineage, number, options.epoch.max(plan.head.epoch)))?;
    options.steps.at("remove the journal")?;
    Journal::remove(home)
}

impl Run<'_> {
    async fn write(&self, sorted: &Sorted) -> Result<()> {
        let steps = &self.options.steps;
        // What lies below a name that is left alone cannot be written either.
        let is_left = |e: &&Entry| {
            !sorted.leave.is_empty()
                && std::iter::successors(Some(e.path.clone()), RelPath::parent)
                    .any(|p| sorted.leave.contains(&p))
        };
        let entries: Vec<&Entry> = self.plan.entries().filter(|e| !is_left(e)).collect();
        for entry in entries.iter().filter(|e| e.is_dir()) {
            steps.at("make a directory")?;
            self.tree.make_dir(&entry.path)?;
        }
        let mut first_names: HashMap<u32, RelPath> = HashMap::new();
        let mut later_names: Vec<(&Entry, RelPath)> = Vec::new();
        let mut by_object: BTreeMap<u32, Vec<Entry>> = BTreeMap::new();
        let mut empty: Vec<&Entry> = Vec::new();
        for entry in entries.iter().copied() {
            let Kind::File(content) = &entry.kind else { continue };
            if let Some(link) = content.link {
                if let Some(first) = first_names.get(&link) {
                    later_names.push((entry, first.clone()));
                    continue;
                }
                first_names.insert(link, entry.path.clone());
            }
            match content.object {
                _ if sorted.keep.contains(&entry.path) => {}
                None => empty.push(entry),
                Some(object) => by_object.entry(object).or_default().push(entry.clone()),
            }
        }
        let parallelism = self.options.parallelism.max(1);
        // After an error nothing new is begun, and what is under way is waited for: its thread writes into the tree, and whoever tries
        // again must not meet it there.
        let failed: Mutex<Option<Error>> = Mutex::new(None);
        let first = || failed.lock().unwrap_or_else(PoisonError::into_inner);
        let one = async |object: u32, entries: Vec<Entry>| {
            if first().is_none()
                && let Err(error) = self.fetch(object, entries).await
            {
                first().get_or_insert(error);
            }
        };
        stream::iter(by_object)
            .for_each_concurrent(parallelism, |(object, entries)| one(object, entries))
            .await;
        if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let stage = self.tree.stage()?;
        let mut publisher = Publisher::new(&self.tree, &stage);
        for entry in empty {
            steps.at("write an empty file")?;
            let Kind::File(content) = &entry.kind else { continue };
            publisher.publish(self.tree.write(&stage, entry, content, b"")?)?;
        }
        for entry in entries.iter().filter(|e| matches!(e.kind, Kind::Symlink { .. } | Kind::Fifo)) {
            steps.at("make a link")?;
            self.tree.make_special(entry)?;
        }
        for (entry, first) in later_names {
            steps.at("link another name")?;
            self.tree.link(&first, entry)?;
        }
        for entry in entries.iter().rev().filter(|e| e.is_dir()) {
            steps.at("finish a directory")?;
            self.tree.dress_dir(entry)?;
        }
        self.tree.sync()
    }
}
