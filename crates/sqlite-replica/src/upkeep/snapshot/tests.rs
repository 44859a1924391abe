use super::*;
use crate::upkeep::tests::model::{aged, txid};

const HOUR: i64 = 3_600_000;

#[test]
fn an_unchanged_database_takes_nothing() {
    let mut holdings = aged(&[(9, 1, 1, 0), (0, 2, 2, HOUR)]);
    holdings.proven = Some(txid(2));
    assert_eq!(SnapshotPlan::new(&holdings, &Policy::default(), None), SnapshotPlan::Nothing);
}

#[test]
fn trap_16_an_image_only_for_half_of_the_database_or_a_day() {
    let policy = Policy::default();
    // Files of 100 bytes; the image of 1,000.
    let mut holdings = aged(&[(0, 2, 2, HOUR), (0, 3, 3, HOUR), (0, 4, 4, 2 * HOUR)]);
    let mut image = aged(&[(9, 1, 1, 0)]).iter().next().unwrap();
    image.size = 1_000;
    holdings.add(image);
    holdings.proven = Some(txid(2));
    let proof = SnapshotPlan::new(&holdings, &policy, None);
    assert_eq!(proof, SnapshotPlan::Prove { files: 4, bytes: 1_300 }, "{proof}");
    aged(&[(0, 5, 5, 25 * HOUR)]).iter().for_each(|h| holdings.add(h));
    let daily = SnapshotPlan::new(&holdings, &policy, None);
    assert!(matches!(daily, SnapshotPlan::Image { why } if why.contains("a day old")), "{daily}");
    for t in 5..=8 {
        aged(&[(0, t, t, 3 * HOUR)]).iter().for_each(|h| holdings.add(h));
    }
    let heavy = SnapshotPlan::new(&holdings, &policy, None);
    assert!(matches!(heavy, SnapshotPlan::Image { why } if why.contains("half")), "{heavy}");
}

#[test]
fn a_hole_or_a_blocked_level_takes_an_image() {
    let holdings = aged(&[(9, 1, 1, 0), (0, 2, 2, 0), (0, 4, 4, 0)]);
    let plan = SnapshotPlan::new(&holdings, &Policy::default(), None);
    assert!(matches!(plan, SnapshotPlan::Image { why } if why.contains("hole")), "{plan}");
    let whole = aged(&[(9, 1, 1, 0), (0, 2, 2, 0)]);
    let plan = SnapshotPlan::new(&whole, &Policy::default(), Some(Why::NotAtHand));
    assert!(matches!(plan, SnapshotPlan::Image { .. }));
}

#[test]
fn starts_without_commits_take_no_new_proof() {
    let mut holdings = aged(&[(9, 1, 1, 0), (0, 2, 2, 0)]);
    holdings.proven = Some(txid(2));
    let claim = aged(&[(0, 3, 3, HOUR)]).iter().next().unwrap();
    holdings.add(crate::upkeep::Holding { size: crate::upkeep::CLAIM_SIZE, ..claim });
    assert_eq!(SnapshotPlan::new(&holdings, &Policy::default(), None), SnapshotPlan::Nothing);
}
