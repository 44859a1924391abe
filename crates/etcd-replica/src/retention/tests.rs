//! The list of properties that the retention must have, each by name.

use super::model::{START, after, at, every, history, kept, object, uncapped};
use super::*;
use testkit::rng::Rng;

const HISTORIES: u64 = 100;
const HOUR: i64 = 3_600;

fn ids(objects: &[Object]) -> Vec<String> {
    let mut ids: Vec<String> = objects.iter().map(|object| object.id.clone()).collect();
    ids.sort();
    ids
}

fn last(objects: &[Object]) -> i64 {
    objects.iter().map(|object| object.taken).max().unwrap_or(START)
}

/// The gates belong to other tests: here backups have just run and no gap is one.
fn open(now: i64) -> Context {
    at(now, 400 * DAY)
}

#[test]
fn p3_retention_is_idempotent_and_does_not_depend_on_the_order_of_the_listing() {
    for seed in 0..HISTORIES {
        let mut rng = Rng::new(seed);
        let (objects, _) = history(&mut rng);
        let context = open(last(&objects));
        let once = after(&objects, &uncapped(), &context);
        assert_eq!(ids(&after(&once, &uncapped(), &context)), ids(&once), "seed {seed}");
        let mut shuffled = objects.clone();
        rng.shuffle(&mut shuffled);
        assert_eq!(ids(&after(&shuffled, &uncapped(), &context)), ids(&once), "seed {seed}");
    }
}

#[test]
fn p3_pruning_at_every_run_and_once_at_the_end_keep_the_same() {
    for seed in 0..40 {
        let (objects, _) = history(&mut Rng::new(seed));
        let mut incremental: Vec<Object> = Vec::new();
        for object in &objects {
            incremental.push(object.clone());
            incremental = after(&incremental, &uncapped(), &open(object.taken));
        }
        let at_once = after(&objects, &uncapped(), &open(last(&objects)));
        assert_eq!(ids(&incremental), ids(&at_once), "seed {seed}");
    }
}

#[test]
fn p3_the_newest_verified_and_the_floor_are_never_due() {
    for seed in 0..HISTORIES {
        let (objects, _) = history(&mut Rng::new(seed));
        let much_later = open(last(&objects) + 400 * DAY);
        let left = after(&objects, &uncapped(), &much_later);
        let newest = objects.iter().rev().filter(|object| object.state == State::Verified).take(7);
        for object in newest {
            assert!(left.contains(object), "seed {seed}: {} is gone", object.id);
        }
    }
}

#[test]
fn p3_without_a_verified_one_nothing_is_deleted() {
    let mut objects = every(HOUR, 40);
    for (index, object) in objects.iter_mut().enumerate() {
        object.state = [State::Failed, State::Unproven, State::Partial, State::Orphan][index % 4];
    }
    let plan = plan(&objects, &uncapped(), &open(last(&objects)));
    assert_eq!(plan.gates, [Gate::NothingProven]);
    assert!(plan.deletions().is_empty() && plan.waiting() == 0);
    assert!(super::plan(&[], &uncapped(), &open(START)).rows.is_empty(), "an empty bucket");
}

#[test]
fn p3_when_backups_stop_deletions_stop() {
    let objects = every(6 * HOUR, 40);
    let settled = after(&objects, &uncapped(), &open(last(&objects)));
    let later = open(last(&objects) + 90 * DAY);
    assert_eq!(ids(&after(&settled, &uncapped(), &later)), ids(&settled));
}

#[test]
fn p3_objects_from_the_future_are_inert() {
    let objects = every(HOUR, 40);
    let context = open(last(&objects));
    let expected = after(&objects, &uncapped(), &context);
    let mut future = object(last(&objects) + 400 * DAY);
    future.id = "future".into();
    let with = after(&[objects, vec![future.clone()]].concat(), &uncapped(), &context);
    assert!(with.contains(&future));
    assert_eq!(ids(&with).len(), expected.len() + 1);
}

#[test]
fn p3_foreign_objects_are_inert() {
    let objects = every(HOUR, 40);
    let context = open(last(&objects));
    let expected = after(&objects, &uncapped(), &context);
    let foreign: Vec<Object> = (0..200)
        .map(|n| Object { id: format!("foreign{n}"), state: State::Foreign, ..object(START + n * DAY / 3) })
        .collect();
    let with = after(&[objects, foreign.clone()].concat(), &uncapped(), &context);
    assert_eq!(with.len(), expected.len() + foreign.len());
}

#[test]
fn p3_hostile_writes_evict_nothing() {
    for seed in 0..HISTORIES {
        let mut rng = Rng::new(seed);
        let (objects, _) = history(&mut rng);
        let now = last(&objects);
        let context = open(now);
        let before = after(&objects, &uncapped(), &context);
        // Written now with any time in the name: the store's own time tells.
        let hostile: Vec<Object> = (0..499)
            .map(|n| {
                let taken = START + rng.below((now - START + 2 * DAY) as u64) as i64;
                let suspect = Object::is_late(taken, now);
                Object {
                    id: format!("hostile{n}"),
                    taken,
                    revision: rng.below(9_999) as i64,
                    modified: now,
                    suspect,
                    ..object(taken)
                }
            })
            .collect();
        let with = after(&[objects.clone(), hostile].concat(), &uncapped(), &context);
        for object in before.iter().filter(|object| object.state == State::Verified) {
            // A time up to SLACK ahead of ours is believed, so ages can be off by as much.
            let age = now - object.taken + SLACK;
            let first = before.iter().find(|o| {
                o.state == State::Verified && o.taken.div_euclid(DAY) == object.taken.div_euclid(DAY)
            });
            let protected = age < 7 * DAY || (age < 29 * DAY && first == Some(object));
            assert!(!protected || with.contains(object), "seed {seed}: {} was evicted", object.id);
        }
    }
}

#[test]
fn equal_times_are_ordered_by_revision_then_name() {
    let twin = |id: &str, revision| Object { id: id.into(), revision, ..object(START + 100) };
    let objects = [twin("b", 7), twin("a", 7), twin("c", 6)];
    let plan = plan(&objects, &uncapped(), &open(START + 200));
    let order: Vec<&str> = plan.rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(order, ["c", "a", "b"]);
}

#[test]
fn a_day_ends_at_midnight_utc_whatever_the_zone_says() {
    // 2026-03-29 and 2026-10-25 are the changes of European summer time; days have 86,400 s all the same.
    for text in ["2026-03-29T00:00:00Z", "2026-10-25T00:00:00Z", "2026-06-01T00:00:00Z"] {
        let midnight = clock::parse_unix_ms(text).unwrap() / 1_000;
        let mut objects = vec![object(midnight - 1), object(midnight), object(midnight + 1)];
        objects.extend((0..8).map(|n| object(midnight + 20 * DAY + n)));
        let left = ids(&after(&objects, &uncapped(), &open(midnight + 20 * DAY + 8)));
        let has = |taken| left.contains(&object(taken).id);
        assert!(has(midnight - 1) && has(midnight) && !has(midnight + 1), "{text}: {left:?}");
    }
}

#[test]
fn exactly_seven_and_thirty_days_are_over() {
    let anchor = START.div_euclid(DAY) * DAY + 30 * DAY + 5_000;
    let newest = (0..7).map(|n| object(anchor - n));
    let reason = |age: i64, second_of_day: bool| {
        let mut objects: Vec<Object> = newest.clone().collect();
        objects.push(object(anchor - age));
        if second_of_day {
            objects.push(object(anchor - age - 1_000));
        }
        // Something in the window's last day, so that the reach rule has nothing to do.
        objects.push(object(anchor - 29 * DAY - 10));
        let plan = plan(&objects, &uncapped(), &open(anchor));
        plan.rows.into_iter().find(|row| row.id == object(anchor - age).id).unwrap().verdict
    };
    assert_eq!(reason(7 * DAY - 1, true), Verdict::Keep(vec![Keep::All]));
    assert_eq!(reason(7 * DAY, true), Verdict::Delete);
    assert_eq!(reason(7 * DAY, false), Verdict::Keep(vec![Keep::Daily]));
    assert_eq!(reason(30 * DAY - 1, false), Verdict::Keep(vec![Keep::Daily]));
    assert_eq!(reason(30 * DAY, false), Verdict::Delete);
}

#[test]
fn the_table_of_what_a_schedule_keeps() {
    for (interval, expected) in [(900, 695), (HOUR, 191), (6 * HOUR, 52), (12 * HOUR, 38), (DAY, 31)] {
        let first = START.div_euclid(DAY) * DAY;
        let objects: Vec<Object> = (0..60 * DAY / interval).map(|n| object(first + n * interval)).collect();
        let found = kept(&objects, &uncapped(), &open(last(&objects)));
        assert!(found.abs_diff(expected) <= 1, "every {interval} s keeps {found}, expected {expected}");
        let settled = after(&objects, &uncapped(), &open(last(&objects)));
        let next = object(last(&objects) + interval);
        let due =
            plan(&[settled, vec![next.clone()]].concat(), &uncapped(), &open(next.taken)).deletions().len();
        assert!(due <= 2, "a run of a steady schedule deletes {due}");
    }
}

#[test]
fn p3_after_an_outage_the_gap_guard_waits_and_the_cap_spreads() {
    let mut objects = after(&every(HOUR, 40), &uncapped(), &open(START + 40 * DAY));
    let back = last(&objects) + 20 * DAY;
    for run in 0..3 {
        objects.push(object(back + run * HOUR));
        let plan = plan(&objects, &Policy::default(), &at(back + run * HOUR, HOUR));
        if run < 2 {
            assert!(matches!(plan.gates[..], [Gate::Gap { .. }]), "{:?}", plan.gates);
            assert!(plan.deletions().is_empty() && plan.waiting() > 100);
        } else {
            assert!(plan.gates.is_empty(), "{:?}", plan.gates);
            assert_eq!((plan.deletions().len(), plan.waiting() > 100), (10, true));
            let oldest =
                objects.iter().find(|object| plan.deletions().contains(&object.id.as_str())).unwrap();
            assert!(
                objects.iter().take_while(|object| object.id != oldest.id).all(|o| o.taken <= oldest.taken)
            );
        }
    }
}

#[test]
fn p3_a_tighter_policy_needs_a_word() {
    let objects = every(HOUR, 40);
    let tight = Policy { keep_all: 2 * DAY, ..uncapped() };
    let mut context = open(last(&objects));
    context.policy_before = Some(uncapped());
    let refused = plan(&objects, &tight, &context);
    assert_eq!(refused.gates, [Gate::PolicyTightened { hash: tight.hash() }]);
    assert!(refused.deletions().is_empty() && refused.waiting() > 0);
    context.accepted = Some(Policy::default().hash());
    assert!(!plan(&objects, &tight, &context).gates.is_empty(), "another policy's word does not count");
    context.accepted = Some(tight.hash());
    assert!(plan(&objects, &tight, &context).gates.is_empty());
    context.policy_before = Some(tight);
    context.accepted = None;
    assert!(plan(&objects, &uncapped(), &context).gates.is_empty(), "a looser one needs none");
}

#[test]
fn p3_locked_and_pinned_objects_stay() {
    let mut objects = every(HOUR, 40);
    objects[5].locked_until = Some(last(&objects) + 10);
    objects[6].locked_until = Some(last(&objects) - 10);
    objects[7].pinned = true;
    let left = ids(&after(&objects, &uncapped(), &open(last(&objects))));
    assert!(left.contains(&objects[5].id) && left.contains(&objects[7].id) && !left.contains(&objects[6].id));
}

#[test]
fn p3_leftovers_wait_two_days_and_failures_a_week() {
    let mut objects = every(HOUR, 40);
    let now = last(&objects);
    let mut add = |id: &str, state, age: i64| {
        objects.push(Object { id: id.into(), state, ..object(now - age) });
    };
    add("young partial", State::Partial, 47 * HOUR);
    add("old partial", State::Partial, 49 * HOUR);
    add("lost payload", State::Orphan, 49 * HOUR);
    add("young failure", State::Failed, 6 * DAY);
    add("old failure", State::Failed, 8 * DAY);
    add("old unproven", State::Unproven, 38 * DAY);
    let plan = plan(&objects, &uncapped(), &open(now));
    let deleted = plan.deletions();
    let gone = |id| deleted.contains(&id);
    assert!(!gone("young partial") && gone("old partial") && gone("lost payload"));
    assert!(!gone("young failure") && gone("old failure") && !gone("old unproven"));
    // A partial that is newer than the newest proven one may be the next backup, on a slow line.
    let mut stalled = every(HOUR, 2);
    stalled.push(Object { id: "running".into(), state: State::Partial, ..object(last(&stalled) + HOUR) });
    let late = super::plan(&stalled, &uncapped(), &open(last(&stalled) + 30 * DAY));
    assert!(!late.deletions().contains(&"running"));
}

#[test]
fn p3_an_old_snapshot_that_is_condemned_today_is_kept_for_a_look() {
    for state in [State::Failed, State::Mismatch] {
        let mut objects = every(HOUR, 40);
        let now = last(&objects);
        let of_day_ten = objects.iter().position(|o| o.taken >= START + 10 * DAY).unwrap();
        let id = objects[of_day_ten].id.clone();
        objects[of_day_ten].state = state;
        let is_deleted =
            |objects: &[Object]| plan(objects, &uncapped(), &open(now)).deletions().contains(&id.as_str());
        assert!(is_deleted(&objects), "condemned a month ago");
        objects[of_day_ten].touched = now;
        assert!(!is_deleted(&objects), "condemned now");
        objects[of_day_ten].touched = now - FAILED_AGE + 1;
        assert!(!is_deleted(&objects));
        objects[of_day_ten].touched = now - FAILED_AGE;
        assert!(is_deleted(&objects));
    }
}

#[test]
fn p3_half_a_listing_deletes_nothing() {
    let objects = every(HOUR, 40);
    let mut context = open(last(&objects));
    context.candidates_before = Some(objects.len());
    assert!(plan(&objects, &uncapped(), &context).gates.is_empty());
    let half = &objects[objects.len() / 2..];
    let plan_of_half = plan(half, &uncapped(), &context);
    assert_eq!(plan_of_half.gates, [Gate::FewerThanBefore { before: 960, now: 480 }]);
    assert!(plan_of_half.deletions().is_empty());
    context.just_written = Some("not there".into());
    assert!(
        plan(&objects, &uncapped(), &context).gates.contains(&Gate::NotInListing { key: "not there".into() })
    );
}

#[test]
fn p3_a_clock_that_is_weeks_off_deletes_nothing_it_should_not() {
    let objects = every(HOUR, 40);
    let right = after(&objects, &uncapped(), &open(last(&objects)));
    for off in [-39 * DAY, 40 * DAY] {
        let mut context = open(last(&objects) + off);
        let left = after(&objects, &uncapped(), &context);
        for object in &right {
            assert!(left.contains(object), "clock {off}: {} is gone", object.id);
        }
        context.skew = Some(-off);
        assert!(plan(&objects, &uncapped(), &context).gates.contains(&Gate::Clock { skew: -off }));
    }
    let stale = plan(&objects, &uncapped(), &at(last(&objects) + 40 * DAY, HOUR));
    assert!(matches!(stale.gates[..], [Gate::NewestIsOld { .. }]));
}

#[test]
fn p3_around_a_fall_of_the_revision_snapshots_stay_for_a_month() {
    let mut objects = every(HOUR, 40);
    let fall = 20 * 24 + 7;
    for object in &mut objects[fall..] {
        object.revision -= 1_000_000;
    }
    let left = after(&objects, &uncapped(), &open(last(&objects)));
    for object in &objects[fall - 3..=fall] {
        assert!(left.contains(object), "{} is gone", object.id);
    }
    assert!(!left.contains(&objects[fall - 4]));
}

#[test]
fn p3_the_newest_drilled_one_stays() {
    let mut objects = every(HOUR, 60);
    objects[100].drilled = true;
    objects[200].drilled = true;
    let left = after(&objects, &uncapped(), &open(last(&objects)));
    assert!(left.contains(&objects[200]) && !left.contains(&objects[100]));
}

#[test]
fn p3_after_a_gap_one_can_still_go_back_a_month() {
    let mut objects = every(HOUR, 10);
    objects.extend((0..200).map(|n| object(START + 45 * DAY + n * HOUR)));
    let plan = plan(&objects, &uncapped(), &open(last(&objects)));
    let reach: Vec<_> =
        plan.rows.iter().filter(|row| row.verdict == Verdict::Keep(vec![Keep::Reach])).collect();
    assert_eq!(reach.len(), 1);
    let newest_day = (START + 10 * DAY - HOUR).div_euclid(DAY);
    let taken = clock::parse_unix_ms(&reach[0].taken).unwrap() / 1_000;
    assert_eq!(taken.div_euclid(DAY), newest_day);
}

#[test]
fn p3_a_mismatch_as_the_last_word_stops_deletions() {
    let mut objects = every(HOUR, 40);
    let end = objects.len() - 1;
    objects[end].state = State::Mismatch;
    let plan = plan(&objects, &uncapped(), &open(last(&objects)));
    assert!(matches!(plan.gates[..], [Gate::Mismatch { .. }]), "{:?}", plan.gates);
    objects.push(object(last(&objects) + HOUR));
    assert!(
        super::plan(&objects, &uncapped(), &open(last(&objects))).gates.is_empty(),
        "a later good one ends it"
    );
}

#[test]
fn an_empty_policy_is_refused() {
    assert!(Policy { keep_all: 0, keep_daily: 0, ..Policy::default() }.check().is_err());
    assert!(Policy { floor: 2, ..Policy::default() }.check().is_err());
    assert!(Policy { keep_all: 0, keep_daily: 0, forever: true, ..Policy::default() }.check().is_ok());
    let objects = every(HOUR, 40);
    let forever = Policy { forever: true, ..uncapped() };
    assert_eq!(kept(&objects, &forever, &open(last(&objects))), objects.len());
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the bound is in real time")]
fn p7_a_hundred_thousand_objects_are_planned_at_once() {
    let objects: Vec<Object> = (0..100_000).map(|n| object(START + n * 60)).collect();
    // A busy machine may hold up one of them.
    let is_quick = (0..3).any(|_| {
        let start = std::time::Instant::now();
        let plan = plan(&objects, &Policy::default(), &open(last(&objects)));
        assert_eq!(plan.rows.len(), objects.len());
        start.elapsed().as_secs() < 5
    });
    assert!(is_quick, "three times 5 s and more in a debug build");
}
