//! The rules, and the plan they give.

use super::gate::{Gate, gates};
use super::{Context, DAY, FAILED_AGE, LATE, PARTIAL_AGE, Policy, SLACK};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// What is known about an object's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Proven and read back.
    Verified,
    /// A sound manifest, but nobody has read the object back.
    Unproven,
    /// A live member differs.
    Mismatch,
    /// Proven wrong later, or its manifest cannot be read.
    Failed,
    /// No manifest: a running or broken upload.
    Partial,
    /// A manifest without its snapshot.
    Orphan,
    /// Not this cluster's.
    Foreign,
}

/// One snapshot as the planner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its name in the store.
    pub id: String,
    /// When its stream was opened, Unix s.
    pub taken: i64,
    /// etcd revision.
    pub revision: i64,
    /// See [`State`].
    pub state: State,
    /// The store's time of the last change, Unix s.
    pub modified: i64,
    /// Its time is not believed: clocks differed when it was made, or the store's time says otherwise.
    pub suspect: bool,
    /// Pinned by a person.
    pub pinned: bool,
    /// The store refuses to delete it until then, Unix s.
    pub locked_until: Option<i64>,
    /// A drill restored it.
    pub drilled: bool,
}

impl Object {
    /// Whether the store's time contradicts its own.
    pub fn is_late(taken: i64, modified: i64) -> bool {
        (modified - taken).abs() > LATE
    }

    pub(crate) fn is_candidate(&self) -> bool {
        matches!(self.state, State::Verified | State::Unproven | State::Mismatch | State::Failed)
    }
}

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

/// What happens to an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Stays, and why.
    Keep(Vec<Keep>),
    /// Goes in this run.
    Delete,
    /// Due, but beyond the cap, or a gate is closed.
    Wait,
}

/// One object with its verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Name in the store.
    pub id: String,
    /// RFC 3339.
    pub taken: String,
    /// See [`State`].
    pub state: State,
    /// See [`Verdict`].
    pub verdict: Verdict,
}

/// What a run would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Ascending by time.
    pub rows: Vec<Row>,
    /// Why nothing is deleted; empty when deletions may happen.
    pub gates: Vec<Gate>,
    /// From what ages count, RFC 3339.
    pub anchor: Option<String>,
    /// The policy in words.
    pub policy: String,
    /// Stands for the policy; see `--accept-policy`.
    pub policy_hash: String,
    /// Stands for exactly these deletions; see `--plan-hash`.
    pub hash: String,
}

/// Decides about every object; the order of the input does not matter.
pub fn plan(objects: &[Object], policy: &Policy, context: &Context) -> Plan {
    let mut sorted: Vec<&Object> = objects.iter().collect();
    sorted.sort_by(|a, b| (a.taken, a.revision, &a.id).cmp(&(b.taken, b.revision, &b.id)));
    let is_future = |object: &Object| object.taken > context.now + SLACK;
    let anchor = sorted
        .iter()
        .rev()
        .find(|object| object.state == State::Verified && !object.suspect && !is_future(object))
        .map(|object| object.taken);
    let keeps = anchor.map(|anchor| keeps(&sorted, policy, context, anchor));
    let gates = gates(&sorted, policy, context, anchor);
    let mut left = if gates.is_empty() { policy.max_deletes } else { 0 };
    let mut due = Sha256::new();
    let rows = sorted
        .iter()
        .enumerate()
        .map(|(index, object)| {
            let reasons = match &keeps {
                Some(keeps) => keeps[index].clone(),
                None => vec![Keep::Floor],
            };
            let verdict = if !reasons.is_empty() {
                Verdict::Keep(reasons)
            } else if left > 0 {
                left -= 1;
                due.update(object.id.as_bytes());
                due.update([0]);
                Verdict::Delete
            } else {
                Verdict::Wait
            };
            let taken = clock::format_unix_ms(object.taken.saturating_mul(1_000));
            Row { id: object.id.clone(), taken, state: object.state, verdict }
        })
        .collect();
    due.update(policy.hash());
    Plan {
        rows,
        gates,
        anchor: anchor.map(|anchor| clock::format_unix_ms(anchor * 1_000)),
        policy: policy.to_string(),
        policy_hash: policy.hash(),
        hash: hex::encode(&due.finalize()[..6]),
    }
}

/// The reasons of each object, in the order given.
fn keeps(sorted: &[&Object], policy: &Policy, context: &Context, anchor: i64) -> Vec<Vec<Keep>> {
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
        State::Mismatch | State::Failed if anchor - object.taken < FAILED_AGE => {
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

impl Plan {
    /// Names to delete, oldest first.
    pub fn deletions(&self) -> Vec<&str> {
        self.rows.iter().filter(|row| row.verdict == Verdict::Delete).map(|row| row.id.as_str()).collect()
    }

    /// Due, but not deleted in this run.
    pub fn waiting(&self) -> usize {
        self.rows.iter().filter(|row| row.verdict == Verdict::Wait).count()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<24}  {:<9}  {:<8}  {:<28}  NAME", "TAKEN", "STATE", "VERDICT", "WHY")?;
        for row in &self.rows {
            let state = format!("{:?}", row.state).to_lowercase();
            let (verdict, why) = match &row.verdict {
                Verdict::Keep(reasons) => {
                    let words: Vec<String> =
                        reasons.iter().map(|reason| format!("{reason:?}").to_lowercase()).collect();
                    ("keep", words.join(","))
                }
                Verdict::Delete => ("delete", "due".to_owned()),
                Verdict::Wait => (
                    "wait",
                    if self.gates.is_empty() { "due, over the cap" } else { "due, gate closed" }.to_owned(),
                ),
            };
            writeln!(f, "{:<24}  {state:<9}  {verdict:<8}  {why:<28}  {}", row.taken, row.id)?;
        }
        for gate in &self.gates {
            writeln!(f, "nothing is deleted: {gate}")?;
        }
        let (delete, wait) = (self.deletions().len(), self.waiting());
        write!(
            f,
            "policy: {} ({}); ages count from {}; {delete} to delete, {wait} waiting; plan {}",
            self.policy,
            self.policy_hash,
            self.anchor.as_deref().unwrap_or("nothing"),
            self.hash
        )
    }
}
