//! Reasons to delete nothing at all in this run.

use super::object::{Object, State};
use super::{Context, Policy, SLACK};
use serde::Serialize;
use std::fmt;

/// Clocks may differ by this many seconds before nothing is deleted.
const MAX_SKEW: i64 = 300;
/// A gap of more intervals than this means that backups had stopped.
const GAP: i64 = 3;
/// Proven snapshots that must exist after a gap.
const AFTER_GAP: usize = 3;

/// Why nothing is deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "gate")]
#[allow(missing_docs, reason = "each variant is explained by its text below")]
pub enum Gate {
    NothingProven,
    NewestIsOld { seconds: i64 },
    NotInListing { key: String },
    FewerThanBefore { before: usize, now: usize },
    Clock { skew: i64 },
    Gap { seconds: i64, after: usize },
    PolicyTightened { hash: String },
    Mismatch { key: String },
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingProven => f.write_str("no proven snapshot is here"),
            Self::NewestIsOld { seconds } => {
                write!(
                    f,
                    "the newest proven snapshot is {} h old: do backups run? (--interval sets what is normal)",
                    seconds / 3_600
                )
            }
            Self::NotInListing { key } => {
                write!(f, "the listing does not contain {key}, which was just written")
            }
            Self::FewerThanBefore { before, now } => {
                write!(
                    f,
                    "only {now} of {before} snapshots are listed: wrong prefix, or half a listing; if the others were removed on purpose, accept it with prune --apply --accept-fewer {now}"
                )
            }
            Self::Clock { skew } => write!(f, "this clock and the store's differ by {} s", skew.abs()),
            Self::Gap { seconds, after } => write!(
                f,
                "backups had stopped for {} h and only {after} of {AFTER_GAP} proven ones exist since (--interval sets what is normal)",
                seconds / 3_600
            ),
            Self::PolicyTightened { hash } => {
                write!(f, "this policy keeps less than the one before; accept it with --accept-policy {hash}")
            }
            Self::Mismatch { key } => {
                write!(f, "{key} differs from a live member (HashKV): find out which is corrupt first")
            }
        }
    }
}

pub(crate) fn gates(
    objects: &[&Object],
    policy: &Policy,
    context: &Context,
    anchor: Option<i64>,
) -> Vec<Gate> {
    let mut gates = Vec::new();
    let Some(anchor) = anchor else { return vec![Gate::NothingProven] };
    if let Some(key) = &context.just_written {
        if !objects.iter().any(|object| object.id == *key && object.state == State::Verified) {
            gates.push(Gate::NotInListing { key: key.clone() });
        }
    } else if context.now - anchor > context.interval * 5 / 2 + SLACK {
        gates.push(Gate::NewestIsOld { seconds: context.now - anchor });
    }
    let candidates = objects.iter().filter(|object| object.is_candidate()).count();
    let is_accepted = context.fewer.is_some_and(|least| candidates >= least);
    let before = context.candidates_before.filter(|before| candidates * 10 < before * 8);
    if let Some(before) = before.filter(|_| !is_accepted) {
        gates.push(Gate::FewerThanBefore { before, now: candidates });
    }
    if let Some(skew) = context.skew.filter(|skew| skew.abs() > MAX_SKEW) {
        gates.push(Gate::Clock { skew });
    }
    let believed = |object: &&&Object| {
        object.state == State::Verified && !object.suspect && object.taken <= context.now + SLACK
    };
    let newest: Vec<i64> =
        objects.iter().rev().filter(believed).take(AFTER_GAP).map(|object| object.taken).collect();
    for (index, pair) in newest.windows(2).enumerate() {
        if pair[0] - pair[1] > GAP * context.interval {
            gates.push(Gate::Gap { seconds: pair[0] - pair[1], after: index + 1 });
            break;
        }
    }
    if let Some(before) = &context.policy_before
        && policy.is_tighter_than(before)
        && context.accepted.as_deref() != Some(&policy.hash())
    {
        gates.push(Gate::PolicyTightened { hash: policy.hash() });
    }
    let last_word =
        objects.iter().rev().find(|object| matches!(object.state, State::Verified | State::Mismatch));
    if let Some(object) = last_word.filter(|object| object.state == State::Mismatch) {
        gates.push(Gate::Mismatch { key: object.id.clone() });
    }
    gates
}
