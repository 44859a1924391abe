//! Histories for the tests: schedules with failures, outages, hostile writes.

use super::{Context, DAY, Object, Policy, State, Verdict, plan};
use testkit::rng::Rng;

pub(super) const START: i64 = 1_760_000_000;

pub(super) fn object(taken: i64) -> Object {
    Object {
        id: format!("o{taken:012}"),
        taken,
        revision: taken / 10,
        state: State::Verified,
        modified: taken + 30,
        touched: taken + 30,
        suspect: false,
        pinned: false,
        locked_until: None,
        drilled: false,
    }
}

pub(super) fn every(interval: i64, days: i64) -> Vec<Object> {
    (0..days * DAY / interval).map(|n| object(START + n * interval)).collect()
}

pub(super) fn at(now: i64, interval: i64) -> Context {
    Context {
        now,
        interval,
        skew: Some(0),
        just_written: None,
        candidates_before: None,
        fewer: None,
        policy_before: None,
        accepted: None,
    }
}

/// A policy without the cap, so that one run does all.
pub(super) fn uncapped() -> Policy {
    Policy { max_deletes: usize::MAX, ..Policy::default() }
}

/// What is left after one run.
pub(super) fn after(objects: &[Object], policy: &Policy, context: &Context) -> Vec<Object> {
    let plan = plan(objects, policy, context);
    let gone: std::collections::HashSet<&str> = plan.deletions().into_iter().collect();
    objects.iter().filter(|object| !gone.contains(object.id.as_str())).cloned().collect()
}

/// A random history: failed runs, an outage, sometimes a restore of the cluster, drills.
pub(super) fn history(rng: &mut Rng) -> (Vec<Object>, i64) {
    let interval = [900, 3_600, 6 * 3_600, DAY][rng.below(4) as usize];
    let steps = (45 * DAY / interval).min(1_500);
    let outage = rng.below(steps as u64) as i64;
    let outage_end = outage + (rng.below(15) as i64) * DAY / interval;
    let fails = rng.below(50);
    let mut revision = 1_000;
    let mut objects = Vec::new();
    for step in 0..steps {
        if (outage..outage_end).contains(&step) || rng.below(100) < fails {
            continue;
        }
        revision += 10;
        if rng.below(300) == 0 {
            revision -= 500;
        }
        let mut made = object(START + step * interval);
        made.revision = revision;
        made.drilled = rng.below(100) == 0;
        if rng.below(50) == 0 {
            made.state = State::Failed;
        }
        objects.push(made);
    }
    (objects, interval)
}

pub(super) fn kept(objects: &[Object], policy: &Policy, context: &Context) -> usize {
    let plan = plan(objects, policy, context);
    plan.rows.iter().filter(|row| matches!(row.verdict, Verdict::Keep(_))).count()
}
