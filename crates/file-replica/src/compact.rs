//! Which packs are rewritten with the next commit, so that a restore stays a handful of requests.
//!
//! The bound is 16 packs up to 128 MiB of small files, and one more for each further 8 MiB. When it would be exceeded, the packs
//! with the least live content are rewritten into as few as possible; a pack that is mostly dead is rewritten too. The files
//! are read from the tree, not from the store: a writer needs no right and no key to read.

use crate::pack::PACK_RAW;

/// Packs allowed beside the big objects.
const MOST: u64 = 16;
/// What is aimed at when the bound is hit, so that not every commit compacts.
const AIM: u64 = 10;
const ALLOWANCE: u64 = 128 << 20;
const PER_PACK: u64 = 8 << 20;
/// Dead bytes below this are not worth an upload.
const DEAD_FLOOR: u64 = 1 << 20;

/// One pack: bytes of content in it, and how many of them the tree still needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PackUse {
    pub(crate) raw: u64,
    pub(crate) live: u64,
}

/// Packs allowed for so many live bytes.
pub(crate) fn allowed(live: u64) -> u64 {
    MOST + live.saturating_sub(ALLOWANCE).div_ceil(PER_PACK)
}

/// Indexes of the packs to rewrite when one more pack is about to be written.
pub(crate) fn choose(packs: &[PackUse]) -> Vec<usize> {
    let live: u64 = packs.iter().map(|p| p.live).sum();
    let dead: u64 = packs.iter().map(|p| p.raw.saturating_sub(p.live)).sum();
    let mut order: Vec<usize> = (0..packs.len()).filter(|i| packs[*i].live > 0).collect();
    order.sort_by_key(|i| packs[*i].live);
    let mut chosen: Vec<usize> = Vec::new();
    if dead > live.max(DEAD_FLOOR) {
        chosen.extend(order.iter().filter(|i| packs[**i].live * 2 < packs[**i].raw));
    }
    let bound = allowed(live);
    let count = order.len() as u64;
    if count + 1 > bound {
        let aim = bound - (MOST - AIM);
        let mut merged = 0;
        for (taken, index) in order.iter().enumerate() {
            merged += packs[*index].live;
            if !chosen.contains(index) {
                chosen.push(*index);
            }
            let after = count - (taken as u64 + 1) + merged.div_ceil(PACK_RAW).max(1);
            let next_is_large = order.get(taken + 1).is_none_or(|next| packs[*next].live * 2 >= PACK_RAW);
            // Large packs are touched only when the bound cannot be kept without them.
            if after < bound && (after < aim || next_is_large) {
                break;
            }
        }
    }
    chosen.sort_unstable();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packs(uses: &[(u64, u64)]) -> Vec<PackUse> {
        uses.iter().map(|(raw, live)| PackUse { raw: *raw, live: *live }).collect()
    }

    #[test]
    fn few_packs_are_left_alone() {
        assert!(choose(&[]).is_empty());
        assert!(choose(&packs(&[(1000, 1000); 15])).is_empty());
        assert!(choose(&packs(&[(1000, 100); 5])).is_empty(), "little dead content is not worth an upload");
    }

    #[test]
    fn sixteen_small_packs_become_few() {
        let chosen = choose(&packs(&[(1000, 1000); 16]));
        assert!(chosen.len() >= 7, "{chosen:?}");
    }

    #[test]
    fn mostly_dead_packs_are_rewritten() {
        let mut all = packs(&[(9 << 20, 9 << 20)]);
        all.extend(packs(&[(9 << 20, 1 << 20), (9 << 20, 1 << 20)]));
        assert_eq!(choose(&all), vec![1, 2]);
    }

    /// Commits of random size for a long time: the number of packs never exceeds the bound, and what is rewritten stays a
    /// bounded multiple of what was changed.
    #[test]
    fn p7_the_bound_of_requests_holds_for_ever() {
        let ids = clock::SeededIds::new(1);
        use clock::IdGen;
        for total in [1u64 << 20, 100 << 20, 127 << 20, 300 << 20] {
            let mut all: Vec<PackUse> = Vec::new();
            let mut left = total;
            while left > 0 {
                let raw = left.min(PACK_RAW);
                all.push(PackUse { raw, live: raw });
                left -= raw;
            }
            let (mut changed, mut rewritten) = (0u64, 0u64);
            for _ in 0..2_000 {
                let change = 1 + ids.next_u64() % 20_000;
                changed += change;
                // The change takes from some pack what it adds to a new one.
                let victim = (ids.next_u64() % all.len() as u64) as usize;
                all[victim].live = all[victim].live.saturating_sub(change);
                let chosen = choose(&all);
                let mut merged = change;
                for index in &chosen {
                    merged += all[*index].live;
                }
                rewritten += merged;
                let mut rest: Vec<PackUse> = all
                    .iter()
                    .enumerate()
                    .filter(|(i, p)| !chosen.contains(i) && p.live > 0)
                    .map(|(_, p)| *p)
                    .collect();
                while merged > 0 {
                    let raw = merged.min(PACK_RAW);
                    rest.push(PackUse { raw, live: raw });
                    merged -= raw;
                }
                all = rest;
                let live: u64 = all.iter().map(|p| p.live).sum();
                assert!(all.len() as u64 <= allowed(live), "{} packs for {live} bytes", all.len());
            }
            assert!(rewritten < changed + total * 400, "{rewritten} for {changed} of {total}");
        }
    }
}
