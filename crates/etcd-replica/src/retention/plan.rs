//! The plan that the rules give: a verdict and its reasons for every object, printable, and a hash that stands for exactly its deletions.

use super::gate::{Gate, gates};
use super::keep::{Keep, keeps};
use super::object::{Object, State};
use super::{Context, Policy, SLACK};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fmt;

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
