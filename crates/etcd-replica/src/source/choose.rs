//! Which member is asked for a snapshot.
//!
//! A snapshot is one member's own state: a learner's, a corrupt member's or a cut-off member's is bit-perfect and wrong. So those are refused,
//! and of the others a follower is preferred, because the leader has more to do; among followers the most advanced.
//! When only refused members answer, the reasons of all are in the error.

use crate::{Error, Result};

/// A follower may be this far behind the most advanced member; Kubernetes writes some hundred entries per second.
const MAX_BEHIND: u64 = 10_000;

/// What is known about a member before it is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) endpoint: String,
    pub(crate) member_id: u64,
    /// Who leads, in this member's eyes; 0 for nobody.
    pub(crate) leader: u64,
    pub(crate) learner: bool,
    pub(crate) applied: u64,
    /// Errors that the member states about itself.
    pub(crate) errors: Vec<String>,
    /// A CORRUPT alarm names it.
    pub(crate) corrupt: bool,
}

impl Candidate {
    fn refusal(&self, most_advanced: u64) -> Option<String> {
        if self.learner {
            Some("is a learner, whose state is incomplete".into())
        } else if self.leader == 0 {
            Some("has no leader: it may be cut off and old".into())
        } else if self.corrupt {
            Some("has the alarm CORRUPT".into())
        } else if let Some(error) = self.errors.iter().find(|error| !error.contains("NOSPACE")) {
            // Out of quota is a reason to take a backup, not against it.
            Some(format!("states an error: {error}"))
        } else if most_advanced.saturating_sub(self.applied) > MAX_BEHIND {
            Some(format!("is {} entries behind", most_advanced - self.applied))
        } else {
            None
        }
    }
}

/// The index of the member to ask.
pub(crate) fn choose(candidates: &[Candidate]) -> Result<usize> {
    let most_advanced = candidates.iter().map(|c| c.applied).max().unwrap_or(0);
    let best = candidates
        .iter()
        .enumerate()
        .filter(|(_, c)| c.refusal(most_advanced).is_none())
        .max_by_key(|(_, c)| (c.leader != c.member_id, c.applied));
    if let Some((index, _)) = best {
        return Ok(index);
    }
    let reasons: Vec<String> = candidates
        .iter()
        .filter_map(|c| Some(format!("{} {}", c.endpoint, c.refusal(most_advanced)?)))
        .collect();
    Err(Error::Source(format!("no member can be backed up: {}", reasons.join("; "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, applied: u64) -> Candidate {
        Candidate { endpoint: format!("m{id}"), member_id: id, leader: 1, applied, ..Candidate::default() }
    }

    #[test]
    fn p2_a_healthy_follower_is_preferred_and_unsound_members_are_refused() {
        assert_eq!(choose(&[member(1, 9), member(2, 8), member(3, 9)]).unwrap(), 2);
        assert_eq!(choose(&[member(1, 9)]).unwrap(), 0, "a lone leader serves");
        let learner = Candidate { learner: true, ..member(2, 9) };
        let cut_off = Candidate { leader: 0, ..member(3, 9) };
        let corrupt = Candidate { corrupt: true, ..member(4, 9) };
        let broken = Candidate { errors: vec!["memberID:5 alarm:CORRUPT".into()], ..member(5, 9) };
        let slow = member(6, 9);
        let ahead = member(1, 20_010);
        let all = [learner, cut_off, corrupt, broken, slow];
        assert_eq!(choose(&[all.to_vec(), vec![ahead]].concat()).unwrap(), 5);
        let error = choose(&all[..4]).unwrap_err().to_string();
        for reason in ["m2 is a learner", "m3 has no leader", "m4 has the alarm", "m5 states an error"] {
            assert!(error.contains(reason), "{error}");
        }
        let full = Candidate { errors: vec!["memberID:2 alarm:NOSPACE ".into()], ..member(2, 9) };
        assert_eq!(choose(&[full]).unwrap(), 0, "a full quota is no reason against a backup");
    }
}
