use super::*;
use crate::upkeep::tests::model::{Model, aged, held, txid};
use protect::Keep;
use std::collections::HashSet;
use std::time::Duration;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

fn plan(holdings: &Holdings) -> RetentionPlan {
    plan_with(holdings, &Policy::default())
}

fn plan_with(holdings: &Holdings, policy: &Policy) -> RetentionPlan {
    let plan = RetentionPlan::new(holdings, policy, holdings.newest_ms() + DAY);
    plan.check(holdings).expect("a plan passes its own guard");
    plan
}

fn names(plan: &RetentionPlan) -> Vec<(u8, u64, u64, Reason)> {
    let of = |d: &Deletion| (d.file.level.0, d.file.name.min.get(), d.file.name.max.get(), d.reason);
    plan.deletions.iter().map(of).collect()
}

#[test]
fn p3_nothing_goes_before_a_point_is_proven() {
    let mut holdings = aged(&[(9, 1, 1, 0), (0, 2, 2, 0), (0, 3, 3, 1), (1, 2, 3, 1), (0, 4, 4, HOUR)]);
    let unproven = plan(&holdings);
    assert!(unproven.deletions.is_empty() && unproven.to_string().contains("no point was proven yet"));
    holdings.proven = Some(txid(3));
    assert_eq!(names(&plan(&holdings)), [(0, 2, 2, Reason::Merged), (0, 3, 3, Reason::Merged)]);
    holdings.proven = Some(txid(2));
    assert!(plan(&holdings).deletions.is_empty(), "the merged file is not proven");
}

#[test]
fn litestream_the_newest_of_level_0_stays() {
    let mut holdings = aged(&[(9, 1, 1, 0), (0, 2, 2, 0), (0, 3, 3, 0), (1, 2, 3, 0), (9, 1, 3, HOUR)]);
    holdings.proven = Some(txid(3));
    assert_eq!(names(&plan(&holdings)), [(0, 2, 2, Reason::Merged)]);
}

#[test]
fn trap_3_a_claim_that_still_fences_stays() {
    let mut holdings = aged(&[(9, 1, 1, 0), (0, 3, 3, 0), (1, 2, 3, 0), (0, 4, 4, DAY)]);
    let claim = Holding { size: crate::upkeep::CLAIM_SIZE, ..held(&[(0, 2, 2)]).iter().next().unwrap() };
    holdings.add(claim);
    holdings.proven = Some(txid(3));
    assert_eq!(names(&plan(&holdings)), [(0, 3, 3, Reason::Merged)]);
}

#[test]
fn trap_17_ages_are_relative_to_the_newest_point() {
    // A pod that stood still for a year: nothing is old.
    let mut holdings = aged(&[(9, 1, 1, 0), (0, 2, 2, MINUTE), (0, 3, 3, 2 * MINUTE), (1, 2, 3, 2 * MINUTE)]);
    holdings.proven = Some(txid(3));
    let plan = RetentionPlan::new(&holdings, &Policy::default(), 365 * DAY);
    assert!(plan.deletions.is_empty(), "{plan}");
}

#[test]
fn pain_15_what_was_just_replaced_stays_for_restores_under_way() {
    let mut holdings = aged(&[(9, 1, 1, 0), (0, 2, 2, 0), (0, 3, 3, 0), (1, 2, 3, HOUR), (0, 4, 4, HOUR)]);
    holdings.proven = Some(txid(3));
    let policy = Policy::default();
    assert!(RetentionPlan::new(&holdings, &policy, HOUR + MINUTE).deletions.is_empty());
    assert_eq!(RetentionPlan::new(&holdings, &policy, HOUR + 5 * MINUTE).deletions.len(), 2);
}

#[test]
fn everything_young_is_kept_and_older_snapshots_by_rule() {
    // One snapshot and one increment a day for 100 days.
    let mut files = vec![(9, 1, 1, 0)];
    for day in 1..=100u64 {
        files.push((0, 2 * day, 2 * day, day as i64 * DAY));
        files.push((1, 2 * day, 2 * day + 1, day as i64 * DAY));
        files.push((9, 1, 2 * day + 1, day as i64 * DAY));
    }
    let mut holdings = aged(&files);
    holdings.proven = Some(txid(201));
    let keep = Keep { all: Duration::from_secs(7 * 86_400), hourly: 0, daily: 10, weekly: 4, monthly: 2 };
    let policy = Policy { keep, ..Policy::default() };
    let plan = plan_with(&holdings, &policy);
    let gone: HashSet<Holding> = plan.deletions.iter().map(|d| d.file).collect();
    let kept: Vec<u64> =
        holdings.level(Level::SNAPSHOT).filter(|h| !gone.contains(h)).map(|h| h.name.max.get() / 2).collect();
    let young: Vec<u64> = (93..=100).collect();
    assert!(kept.ends_with(&young), "{kept:?}");
    let daily: Vec<u64> = (83..93).collect();
    assert!(daily.iter().all(|day| kept.contains(day)), "{kept:?}");
    // Of the last four weeks with snapshots, three end within those days; so do both months.
    assert_eq!(kept.len(), 8 + 10 + 1, "{kept:?}");
    assert!(kept.contains(&76), "{kept:?}");
    let levels: Vec<u64> =
        holdings.level(Level(1)).filter(|h| !gone.contains(h)).map(|h| h.name.max.get() / 2).collect();
    assert_eq!(levels, (94..=100).collect::<Vec<_>>(), "increments behind the oldest young snapshot");
    assert!(!plan.more && plan.held_back.is_none());
    assert!(plan.to_string().contains("files to delete"));
}

#[test]
fn the_budget_of_one_run_is_kept() {
    let mut files = vec![(9, 1, 1, 0)];
    files.extend((2..100).map(|t| (0, t, t, 0)));
    files.extend([(1, 2, 99, 0), (0, 100, 100, HOUR)]);
    let mut holdings = aged(&files);
    holdings.proven = Some(txid(99));
    let policy = Policy { delete_budget: 10, ..Policy::default() };
    let plan = plan_with(&holdings, &policy);
    assert_eq!((plan.deletions.len(), plan.more), (10, true));
    assert_eq!(plan.deletions[0].file.name.min, txid(2), "oldest first");
}

/// The guard stands on its own: plans a buggy planner might make are refused.
#[test]
fn p3_the_guard_refuses_what_must_never_happen() {
    let mut holdings = aged(&[
        (9, 1, 1, 0),
        (0, 2, 2, 0),
        (0, 3, 3, 0),
        (1, 2, 3, 0),
        (9, 1, 3, 0),
        (1, 4, 5, 0),
        (0, 4, 4, 0),
        (0, 5, 5, 0),
        (0, 6, 6, 0),
    ]);
    holdings.proven = Some(txid(5));
    let planted = |level: u8, min: u64| {
        let file = match level {
            9 => holdings.level(Level(9)).find(|h| h.name.max == txid(min)).unwrap(),
            _ => holdings.level_from(Level(level), txid(min)).next().unwrap(),
        };
        RetentionPlan {
            deletions: vec![Deletion { file, reason: Reason::Merged }],
            ..RetentionPlan::default()
        }
    };
    let bugs = [
        (planted(9, 3), "restore of the newest point"),
        (planted(1, 4), "restore of the newest point"),
        (planted(0, 6), "restore of the newest point"),
    ];
    for (plan, rule) in bugs {
        let refusal = plan.check(&holdings).expect_err(rule);
        assert!(refusal.contains(rule), "{refusal}");
    }
    planted_in(&holdings, 0, 4).check(&holdings).expect("a merged file may go");
    holdings.proven = Some(txid(3));
    let beyond = planted_in(&holdings, 0, 4).check(&holdings).unwrap_err();
    assert!(beyond.contains("beyond the proven point"), "{beyond}");
    holdings.proven = None;
    assert!(planted_in(&holdings, 0, 4).check(&holdings).unwrap_err().contains("nothing is proven"));
}

fn planted_in(holdings: &Holdings, level: u8, min: u64) -> RetentionPlan {
    let file = holdings.level_from(Level(level), txid(min)).next().unwrap();
    RetentionPlan { deletions: vec![Deletion { file, reason: Reason::Merged }], ..RetentionPlan::default() }
}

#[test]
fn p3_a_gap_behind_the_newest_snapshot_is_refused() {
    let mut holdings = aged(&[
        (9, 1, 1, 0),
        (2, 2, 3, 0),
        (2, 4, 9, 0),
        (1, 4, 5, 0),
        (1, 6, 9, 0),
        (1, 10, 11, 0),
        (0, 11, 11, 0),
    ]);
    holdings.proven = Some(txid(11));
    assert_eq!(holdings.first_gap(), None);
    assert_eq!(held(&[(9, 1, 1), (1, 3, 4)]).first_gap(), Some(txid(2)));
    planted_in(&holdings, 1, 4).check(&holdings).expect("level 2 has it");
}

/// Whatever a replica went through: a plan is checked, changes nothing that a restore of the newest or the proven point reads, can
/// be stopped anywhere, and a second plan behind it finds nothing more (beyond the budget).
#[test]
fn p3_no_sequence_of_retention_runs_loses_a_point_it_must_keep() {
    let mut deleted = 0;
    for seed in 0..60 {
        let mut model = Model::new(seed);
        for step in 0..200 {
            model.step();
            model.check(&format!("seed {seed}, step {step}"));
        }
        deleted += model.deleted;
    }
    assert!(deleted > 1_000, "the model deletes: {deleted}");
}

/// What was read back since reaches further than the note; whoever restores the point that the note names gets exactly that.
#[test]
fn p3_the_point_that_a_proof_names_stays_exactly() {
    let mut holdings =
        aged(&[(9, 1, 1, 0), (0, 2, 2, 0), (0, 3, 3, 1), (0, 4, 4, 1), (1, 2, 4, 1), (0, 5, 5, HOUR)]);
    holdings.proven = Some(txid(4));
    assert_eq!(plan(&holdings).deletions.len(), 3);
    let (mut noted, mut marked) = (holdings.clone(), holdings.clone());
    noted.noted = Some(txid(3));
    marked.proofs = [2, 3].map(txid).into();
    for holdings in [noted, marked] {
        assert_eq!(names(&plan(&holdings)), [(0, 4, 4, Reason::Merged)]);
        let refusal = planted_in(&holdings, 0, 3).check(&holdings).unwrap_err();
        assert!(refusal.contains("restore of the proven point"), "{refusal}");
    }
    // Nothing is held for a point that is gone already.
    holdings.noted = Some(txid(6));
    assert_eq!(plan(&holdings).deletions.len(), 3);
}

#[test]
fn p3_the_mark_of_a_proof_goes_with_its_point_and_the_newest_stays() {
    let mut holdings =
        aged(&[(9, 1, 1, 0), (0, 2, 2, 0), (0, 3, 3, 1), (0, 4, 4, 2), (1, 2, 4, 2), (0, 5, 5, HOUR)]);
    holdings.proofs = [2, 4, 5].map(txid).into();
    // Nothing proven, nothing goes; not the marks either.
    assert!(plan(&holdings).is_empty());
    holdings.proven = Some(txid(5));
    let whole = plan(&holdings);
    assert_eq!(whole.deletions.len(), 3, "{whole}");
    assert_eq!(whole.proofs, [txid(2)].into(), "TXID 4 is the end of a file, 5 the newest");
    assert!(whole.to_string().contains("marks of 1 proofs"), "{whole}");
    let json = serde_json::to_value(&whole).unwrap();
    assert_eq!(json["proofs"], serde_json::json!(["0000000000000002"]));
    // The budget counts marks as well.
    let tight = plan_with(&holdings, &Policy { delete_budget: 3, ..Policy::default() });
    assert!(tight.proofs.is_empty() && tight.more);
    // The point of the newest mark is gone: it stays, it is all there is of a proof.
    holdings.proofs = [txid(2)].into();
    assert!(plan(&holdings).proofs.is_empty());
    holdings.proofs = [2, 4, 5].map(txid).into();
    for (mark, rule) in [(4, "can be restored"), (5, "is the newest"), (3, "no proof")] {
        let planted = RetentionPlan { proofs: [txid(mark)].into(), ..RetentionPlan::default() };
        let refusal = planted.check(&holdings).expect_err(rule);
        assert!(refusal.contains(rule), "{refusal}");
    }
}
