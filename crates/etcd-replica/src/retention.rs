//! Which snapshots stay: everything for a week, then the first of each day for a month, and never less than what is safe.
//!
//! A pure function from a catalogue, a policy and the time to a plan with a reason per object (P3). Ages count from the newest
//! proven snapshot, not from now: when backups stop, deletions stop. The *first* of a UTC day is the one that is kept, so a later
//! write, hostile or not, can never push it out. Guards ([`Gate`]) refuse to delete anything when the listing, the clock, the policy
//! or the newest proof cannot be believed.
//! What it does not do: delete ([`crate::prune`]), look at any clock or store.

mod gate;
mod keep;
mod object;
mod plan;
mod policy;

pub use gate::Gate;
pub use keep::Keep;
pub use object::{Object, State};
pub use plan::{Plan, Row, Verdict, plan};
pub use policy::Policy;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

/// Seconds of a day.
pub(crate) const DAY: i64 = 86_400;
/// Clocks of two machines may differ by this.
pub(crate) const SLACK: i64 = 600;
/// What has no manifest is a running upload until it is this old.
pub(crate) const PARTIAL_AGE: i64 = 2 * DAY;
/// A snapshot that was proven wrong is kept this long for a look, counted from that proof.
pub(crate) const FAILED_AGE: i64 = 7 * DAY;
/// A snapshot's time and the store's may differ by this before it is not believed as an anchor.
pub(crate) const LATE: i64 = 3_600;

/// What a run knows besides the objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// Our clock, Unix s.
    pub now: i64,
    /// Seconds between two snapshots, as scheduled.
    pub interval: i64,
    /// Store's clock minus ours in s.
    pub skew: Option<i64>,
    /// The snapshot that this run has just written; it must be in the listing.
    pub just_written: Option<String>,
    /// Candidates that the last run saw.
    pub candidates_before: Option<usize>,
    /// As few of them as a person accepted.
    pub fewer: Option<usize>,
    /// The policy that was applied last.
    pub policy_before: Option<Policy>,
    /// Hash of the policy that a person accepted.
    pub accepted: Option<String>,
}
