//! The rules: why an object stays. One without a reason is due.

use super::object::{Object, State};
use super::{Context, DAY, FAILED_AGE, PARTIAL_AGE, Policy, SLACK};
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};

/// Why an object stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Younger than keep-all.
    All,
    /// First of its UTC day, younger than keep-daily.
    Daily,
    /// One of the newest.
    Floor,
    /// So that one can go back as far as promised after a gap.
    Reach,
    /// The newest that a drill restored.
    Proven,
    /// Around a fall of the revision: somebody restored the cluster.
    Lineage,
    /// Pinned.
    Pin,
    /// Locked by the store.
    Locked,
    /// From the future.
    Future,
    /// Not proven yet: proof comes from outside.
    Unproven,
    /// Kept for a look at what is wrong.
    Forensics,
    /// Too young to be a leftover.
    Young,
    /// Not ours.
    Foreign,
    /// The policy says so.
    Forever,
}

/// The reasons of each object, in the order given; ages count from `anchor`.
pub(super) fn keeps(sorted: &[&Object], policy: &Policy, context: &Context, anchor: i64) -> Vec<Vec<Keep>> {
    let mut keeps: Vec<Vec<Keep>> = vec![Vec::new(); sorted.len()];
    let future = |object: &Object| object.taken > context.now + SLACK;
    let verified: Vec<usize> =
        (0..sorted.len()).filter(|i| sorted[*i].state == State::Verified && !future(sorted[*i])).collect();
    let believed: Vec<usize> = verified.iter().copied().filter(|i| !sorted[*i].suspect).collect();

    for (index, object) in sorted.iter().enumerate() {
        keeps[index] = by_itself(object, policy, context, anchor);
    }
    for index in &verified {
        if anchor - sorted[*index].taken < policy.keep_all {
            keeps[*index].push(Keep::All);
        }
    }
    daily(sorted, policy, anchor, &verified, &mut keeps);
    // What is not believed cannot push believed ones out of the floor.
    let floor: HashSet<usize> = believed
        .iter()
        .rev()
        .take(policy.floor)
        .chain(verified.iter().rev().take(policy.floor))
        .copied()
        .collect();
    floor.into_iter().for_each(|index| keeps[index].push(Keep::Floor));
    if let Some(index) = verified.iter().rev().find(|index| sorted[**index].drilled) {
        keeps[*index].push(Keep::Proven);
    }
    for (place, pair) in verified.windows(2).enumerate() {
        let fell = sorted[pair[1]].revision < sorted[pair[0]].revision;
        if fell && anchor - sorted[pair[1]].taken < 30 * DAY {
            // The one after the fall too: without it a later run would not see the fall any more.
            for index in &verified[place.saturating_sub(2)..=place + 1] {
                keeps[*index].push(Keep::Lineage);
            }
        }
    }
    for reasons in &mut keeps {
        reasons.sort_unstable();
        reasons.dedup();
    }
    keeps
}

/// Reasons that need no other object.
fn by_itself(object: &Object, policy: &Policy, context: &Context, anchor: i64) -> Vec<Keep> {
    let mut reasons = Vec::new();
    if object.state == State::Foreign {
        reasons.push(Keep::Foreign);
    }
    if object.pinned {
        reasons.push(Keep::Pin);
    }
    if object.locked_until.is_some_and(|until| until > context.now) {
        reasons.push(Keep::Locked);
    }
    if object.taken > context.now + SLACK {
        reasons.push(Keep::Future);
    }
    if policy.forever {
        reasons.push(Keep::Forever);
    }
    match object.state {
        State::Unproven => reasons.push(Keep::Unproven),
        // From when it was taken, and from when it was condemned: an old one can be condemned today.
        State::Mismatch | State::Failed if anchor - object.taken.max(object.touched) < FAILED_AGE => {
            reasons.push(Keep::Forensics)
        }
        State::Partial | State::Orphan
            if context.now - object.modified < PARTIAL_AGE
                || object.modified >= anchor
                || object.taken >= anchor =>
        {
            reasons.push(Keep::Young);
        }
        _ => {}
    }
    reasons
}

/// The first of each day, and one beyond the window when the window's last day is empty.
fn daily(sorted: &[&Object], policy: &Policy, anchor: i64, verified: &[usize], keeps: &mut [Vec<Keep>]) {
    if policy.keep_daily <= 0 {
        return;
    }
    // Per day the first believed one, else the first at all: a late write with an early time takes nobody's place.
    let mut firsts: BTreeMap<i64, usize> = BTreeMap::new();
    for index in verified {
        let day = sorted[*index].taken.div_euclid(DAY);
        let first = firsts.entry(day).or_insert(*index);
        if sorted[*first].suspect && !sorted[*index].suspect {
            *first = *index;
        }
    }
    let age = |index: &usize| anchor - sorted[*index].taken;
    let mut reached = false;
    for index in firsts.values() {
        if age(index) < policy.keep_daily {
            keeps[*index].push(Keep::Daily);
            reached |= age(index) >= policy.keep_daily - DAY;
        }
    }
    if !reached && let Some(index) = firsts.values().rev().find(|index| age(index) >= policy.keep_daily) {
        keeps[*index].push(Keep::Reach);
    }
}
