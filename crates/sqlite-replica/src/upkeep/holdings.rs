//! What the replica holds, kept in memory: listed once at the start and on suspicion, carried forward by what we did (zero requests
//! while idle).
//!
//! 40 bytes per file instead of a key: names are computed. The chain is the one every restore uses: newest image first, then
//! always the file that reaches furthest without a gap.

use crate::catalogue::{Catalogue, Entry};
use crate::layout::{Layout, Level};
use clock::UnixMs;
use ltx::{FileName, Txid};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;

/// Bytes of a file without pages: header, end of pages, an empty index, trailer. At level 0 that is a claim (P4).
pub(crate) const CLAIM_SIZE: u64 = 100 + 6 + 9 + 16;

/// One LTX file of the replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holding {
    /// Level it lies in.
    pub level: Level,
    /// TXIDs it covers.
    pub name: FileName,
    /// Bytes.
    pub size: u64,
    /// When it was stored, by the store's clock where that is known, ms.
    pub time_ms: UnixMs,
}

impl Holding {
    /// Key below the prefix.
    pub fn key(&self, layout: Layout) -> String {
        layout.key(self.level, self.name)
    }

    /// A level 0 file of no pages: somebody started here, and whoever wrote before collides with it (P4).
    pub fn is_claim(&self) -> bool {
        self.level == Level::SYNC && self.size == CLAIM_SIZE
    }

    /// Whether it holds all transactions of `other`.
    pub(crate) fn covers(&self, other: &Holding) -> bool {
        self.name.min <= other.name.min && other.name.max <= self.name.max
    }

    /// As an entry of a catalogue.
    pub(crate) fn entry(&self, layout: Layout) -> Entry {
        let key = self.key(layout);
        Entry { level: self.level, name: self.name, key, size: self.size, modified_ms: self.time_ms }
    }
}

impl fmt::Display for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "level {} {} ({} bytes)", self.level.0, self.name, self.size)
    }
}

impl Serialize for Holding {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut out = serializer.serialize_struct("Holding", 4)?;
        out.serialize_field("level", &self.level.0)?;
        out.serialize_field("name", &self.name.to_string())?;
        out.serialize_field("bytes", &self.size)?;
        out.serialize_field("time", &clock::format_unix_ms(self.time_ms))?;
        out.end()
    }
}

type Place = (Level, Txid, Txid);

/// All files of a replica.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holdings {
    files: BTreeMap<Place, (u64, UnixMs)>,
    /// Level 0 files beyond TXID 1 that hold every page.
    pub images: BTreeSet<Txid>,
    /// TXIDs whose proof from outside is marked by an object of its own.
    pub proofs: BTreeSet<Txid>,
    /// Newest TXID somebody has read back from the store and checked, if anybody did.
    pub proven: Option<Txid>,
    /// The TXID that the note of the last proof names; what was read back since may reach further.
    pub noted: Option<Txid>,
}

impl From<&Catalogue> for Holdings {
    fn from(catalogue: &Catalogue) -> Holdings {
        let mut holdings = Holdings {
            images: catalogue.images.clone(),
            proven: catalogue.proofs.last().copied(),
            proofs: catalogue.proofs.clone(),
            ..Holdings::default()
        };
        for e in &catalogue.entries {
            holdings.add(Holding { level: e.level, name: e.name, size: e.size, time_ms: e.modified_ms });
        }
        holdings
    }
}

impl Holdings {
    /// Takes in a file.
    pub fn add(&mut self, h: Holding) {
        self.files.insert((h.level, h.name.min, h.name.max), (h.size, h.time_ms));
    }

    /// Forgets a file; true if it was there.
    pub fn remove(&mut self, h: &Holding) -> bool {
        self.files.remove(&(h.level, h.name.min, h.name.max)).is_some()
    }

    /// Whether a file is there.
    pub fn contains(&self, h: &Holding) -> bool {
        self.files.contains_key(&(h.level, h.name.min, h.name.max))
    }

    /// A file whose size is not the one that was known. Nothing is ever overwritten, so somebody else did that; who cannot open
    /// what he stored sees at least this.
    pub(crate) fn resized(&self, known: &Holdings) -> Option<(Holding, u64)> {
        let mut both = self.files.iter().filter_map(|file| Some((file, known.files.get(file.0)?.0)));
        both.find_map(|(file, before)| {
            let now = holding(file);
            (now.size != before).then_some((now, before))
        })
    }

    /// The file of one sync with exactly this name and size, unless it is an image.
    pub(crate) fn sync_file(&self, name: FileName, size: u64) -> Option<Holding> {
        let found = self.files.get_key_value(&(Level::SYNC, name.min, name.max)).map(holding)?;
        (found.size == size && !self.is_base(&found)).then_some(found)
    }

    /// Number of files.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// All files, by level, then TXID.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Holding> + '_ {
        self.files.iter().map(holding)
    }

    /// The files of a level, by TXID.
    pub fn level(&self, level: Level) -> impl DoubleEndedIterator<Item = Holding> + '_ {
        self.level_from(level, Txid::FIRST)
    }

    /// The files of a level that begin at `from` or later.
    pub(crate) fn level_from(
        &self,
        level: Level,
        from: Txid,
    ) -> impl DoubleEndedIterator<Item = Holding> + '_ {
        let above = (Level(level.0 + 1), Txid::FIRST, Txid::FIRST);
        self.files.range((Bound::Included((level, from, Txid::FIRST)), Bound::Excluded(above))).map(holding)
    }

    /// The largest TXID of a level.
    pub(crate) fn end_of(&self, level: Level) -> Option<Txid> {
        // Files of one level may overlap (Litestream's may), so the last by begin need not reach furthest.
        self.level(level).rev().take(64).map(|h| h.name.max).max()
    }

    /// The largest TXID in any level.
    pub fn newest(&self) -> Option<Txid> {
        (0..=Level::SNAPSHOT.0).filter_map(|l| self.end_of(Level(l))).max()
    }

    /// When the newest file was stored: what ages are relative to.
    pub fn newest_ms(&self) -> UnixMs {
        (0..=Level::SNAPSHOT.0)
            .filter_map(|l| self.level(Level(l)).next_back())
            .map(|h| h.time_ms)
            .max()
            .unwrap_or(0)
    }

    /// Whether a chain may begin with this file: it holds every page.
    pub fn is_base(&self, h: &Holding) -> bool {
        h.name.min == Txid::FIRST || (h.level == Level::SYNC && self.images.contains(&h.name.min))
    }

    /// The newest image that does not go beyond `target`.
    pub(crate) fn base(&self, target: Txid) -> Option<Holding> {
        let further = |h: &Holding| (h.name.max, std::cmp::Reverse(h.name.min), h.level);
        // Bases are level 9, what begins at TXID 1, and the marked images: never a walk over all files.
        let from_first = (0..=Level::SNAPSHOT.0).flat_map(|l| {
            let level = Level(l);
            let end = (level, Txid::FIRST.next(), Txid::FIRST);
            self.files
                .range((Bound::Included((level, Txid::FIRST, Txid::FIRST)), Bound::Excluded(end)))
                .map(holding)
        });
        let marked = self.images.iter().flat_map(|txid| {
            let at = (Level::SYNC, *txid, *txid);
            self.files.get_key_value(&at).map(holding)
        });
        from_first.chain(marked).filter(|h| h.name.max <= target).max_by_key(further)
    }

    /// The files a restore of `target` reads, oldest first; it may end before `target` when there is a gap.
    pub fn chain(&self, target: Txid) -> Vec<Holding> {
        let Some(base) = self.base(target) else { return Vec::new() };
        let mut by_begin: Vec<Holding> =
            self.iter().filter(|h| h.name.max > base.name.max && h.name.max <= target).collect();
        by_begin.sort_by_key(|h| h.name.min);
        let further = |h: &Holding| (h.name.max, std::cmp::Reverse(h.name.min), h.level);
        let mut files = vec![base];
        let (mut reached, mut next, mut best) = (base.name.max, 0, None::<Holding>);
        loop {
            while let Some(h) = by_begin.get(next).filter(|h| h.name.min <= reached.next()) {
                if best.as_ref().is_none_or(|b| further(h) > further(b)) {
                    best = Some(*h);
                }
                next += 1;
            }
            match best.take() {
                Some(h) if h.name.max > reached => {
                    reached = h.name.max;
                    files.push(h);
                }
                _ => return files,
            }
        }
    }

    /// Whether exactly `target` can be restored.
    pub fn reaches(&self, target: Txid) -> bool {
        self.chain(target).last().is_some_and(|h| h.name.max == target)
    }

    /// The first TXID at which a walk from the top level down, beginning at the newest snapshot, finds a level that goes on behind a
    /// gap: restores of Litestream before 0.5.8 walk so, and refuse it.
    pub fn first_gap(&self) -> Option<Txid> {
        let mut reached = self.level(Level::SNAPSHOT).map(|h| h.name.max).max()?;
        for level in (0..Level::SNAPSHOT.0).rev().map(Level) {
            for h in self.level(level) {
                if h.name.max <= reached {
                    continue;
                }
                if h.name.min > reached.next() {
                    return Some(reached.next());
                }
                reached = h.name.max;
            }
        }
        None
    }

    /// The points that somebody was told are proven, as far as they can be restored exactly: they stay so (P3).
    pub(crate) fn vouched(&self) -> impl Iterator<Item = Txid> + '_ {
        let points: BTreeSet<Txid> =
            [self.proven, self.noted, self.proofs.last().copied()].into_iter().flatten().collect();
        points.into_iter().filter(|point| self.reaches(*point))
    }

    /// Marks of proofs that say nothing any more: their point cannot be restored, and a newer mark stands.
    pub(crate) fn stale_proofs(&self) -> impl Iterator<Item = Txid> + '_ {
        let newest = self.proofs.last().copied();
        self.proofs.iter().copied().filter(move |mark| Some(*mark) != newest && !self.reaches(*mark))
    }

    /// The first thing wrong with the names, if anything is: the chain check.
    pub(crate) fn hole(&self) -> Option<String> {
        let newest = self.newest()?;
        match self.chain(newest).last() {
            None => Some("there is no full image to start from".into()),
            Some(last) if last.name.max < newest => Some(format!(
                "no file continues after TXID {}, and the replica goes on to {newest}",
                last.name.max
            )),
            Some(_) => None,
        }
    }
}

fn holding((&(level, min, max), &(size, time_ms)): (&Place, &(u64, UnixMs))) -> Holding {
    Holding { level, name: FileName { min, max }, size, time_ms }
}
