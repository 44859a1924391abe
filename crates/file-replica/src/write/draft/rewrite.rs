//! Which packs are packed anew: compaction rides on commits.

use super::{Drafter, is_unchanged};
use crate::compact::{PackUse, choose};
use crate::entry::Digest;
use crate::layout::PACKS;
use crate::scan::Scan;
use std::collections::{HashMap, HashSet};

impl Drafter {
    /// Only when something changed, and then the bound of requests must hold.
    pub(super) fn to_rewrite(&self, scan: &Scan) -> HashSet<u32> {
        let Some(state) = &self.state else { return HashSet::new() };
        let changed = scan.found.len() != state.manifest.entries.len()
            || scan
                .found
                .iter()
                .any(|f| !state.get(&f.path).is_some_and(|(e, p)| is_unchanged(&f.look, e, p)));
        if !changed {
            return HashSet::new();
        }
        let mut live: HashMap<u32, u64> = HashMap::new();
        let mut counted: HashSet<(u32, Digest)> = HashSet::new();
        for found in &scan.found {
            let Some(content) = state.get(&found.path).and_then(|(e, _)| e.content()) else { continue };
            if let Some(object) = content.object.filter(|o| counted.insert((*o, content.sha256))) {
                *live.entry(object).or_default() += content.size;
            }
        }
        let packs: Vec<u32> = (0u32..)
            .zip(state.objects())
            .filter(|(_, o)| o.key.starts_with(PACKS))
            .map(|(index, _)| index)
            .collect();
        let uses: Vec<PackUse> = packs
            .iter()
            .map(|i| PackUse {
                raw: state.objects()[*i as usize].raw,
                live: live.get(i).copied().unwrap_or(0),
            })
            .collect();
        choose(&uses).into_iter().map(|i| packs[i]).collect()
    }
}
