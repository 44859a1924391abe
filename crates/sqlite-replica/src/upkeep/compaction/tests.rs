use super::*;
use crate::upkeep::tests::model::{Model, held, txid};

const FREE: Bounds = Bounds { bytes: u64::MAX / 4, inputs: MAX_INPUTS };

fn outlook(holdings: &Holdings, to: u8) -> Outlook {
    Outlook::of(holdings, Level(to), FREE, |_| true)
}

fn merged(outlook: Outlook) -> (u64, u64) {
    match outlook {
        Outlook::Merge(plan) => (plan.name().min.get(), plan.name().max.get()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_empty_level_begins_where_a_snapshot_ends() {
    let mut holdings = held(&[(9, 1, 1), (0, 2, 2), (0, 3, 3), (0, 4, 4)]);
    assert_eq!(merged(outlook(&holdings, 1)), (2, 4));
    let snapshot = holdings.level(Level::SNAPSHOT).next().unwrap();
    holdings.remove(&snapshot);
    assert_eq!(outlook(&holdings, 1), Outlook::Blocked { at: Txid::FIRST, why: Why::NoSnapshot });
}

#[test]
fn a_single_file_stays_where_it_is() {
    assert_eq!(outlook(&held(&[(9, 1, 1), (0, 2, 2)]), 1), Outlook::Nothing);
    assert_eq!(outlook(&held(&[(9, 1, 1), (1, 2, 9), (0, 9, 9), (0, 10, 10)]), 1), Outlook::Nothing);
}

#[test]
fn p7_a_merge_is_bounded_in_files_and_bytes() {
    let files: Vec<_> = (2..200).map(|t| (0, t, t)).collect();
    let holdings = held(&[&[(9, 1, 1)], &files[..]].concat());
    assert_eq!(merged(outlook(&holdings, 1)), (2, 1 + MAX_INPUTS as u64));
    let small = Bounds { bytes: 1000, inputs: MAX_INPUTS };
    assert_eq!(merged(Outlook::of(&holdings, Level(1), small, |_| true)), (2, 11), "files of 100 bytes");
}

#[test]
fn litestream_1510_an_image_is_not_rewritten_and_the_level_goes_on_behind_a_snapshot() {
    let mut holdings = held(&[(9, 1, 1), (0, 2, 2), (0, 3, 3), (0, 4, 4), (0, 5, 5), (0, 6, 6)]);
    holdings.images.insert(txid(4));
    assert_eq!(merged(outlook(&holdings, 1)), (2, 3), "up to the image");
    holdings = held(&[(9, 1, 1), (1, 2, 3), (0, 4, 4), (0, 5, 5), (0, 6, 6), (0, 7, 7)]);
    holdings.images.insert(txid(4));
    assert_eq!(outlook(&holdings, 1), Outlook::Blocked { at: txid(4), why: Why::Image });
    for (snapshot, expected) in [(5, (6, 7)), (4, (5, 7))] {
        let mut bridged = holdings.clone();
        held(&[(9, 1, snapshot)]).iter().for_each(|h| bridged.add(h));
        assert_eq!(merged(outlook(&bridged, 1)), expected);
    }
}

#[test]
fn before_an_image_even_a_single_file_goes_up() {
    let mut holdings = held(&[(9, 1, 1), (0, 2, 2), (0, 3, 3)]);
    holdings.images.insert(txid(3));
    assert_eq!(merged(outlook(&holdings, 1)), (2, 2));
}

#[test]
fn trap_12_what_is_not_at_hand_waits_for_a_snapshot_and_no_level_has_a_gap() {
    let holdings = held(&[(9, 1, 1), (0, 2, 2), (0, 3, 3), (0, 4, 4), (0, 5, 5)]);
    let not_three = |h: &Holding| h.name.min != txid(3);
    let Outlook::Merge(plan) = Outlook::of(&holdings, Level(1), FREE, not_three) else { panic!() };
    assert_eq!(plan.name().max, txid(2));
    let mut holdings = holdings;
    held(&[(1, 2, 2)]).iter().for_each(|h| holdings.add(h));
    let stuck = Outlook::of(&holdings, Level(1), FREE, not_three);
    assert_eq!(stuck, Outlook::Blocked { at: txid(3), why: Why::NotAtHand });
}

#[test]
fn a_level_above_goes_on_over_a_gap_that_a_snapshot_bridges_only() {
    let files = [(9, 1, 1), (1, 2, 3), (1, 6, 8), (1, 9, 10)];
    let holdings = held(&[&files[..], &[(2, 2, 3)]].concat());
    assert_eq!(outlook(&holdings, 2), Outlook::Blocked { at: txid(4), why: Why::Hole });
    let bridged = held(&[&files[..], &[(2, 2, 3), (9, 1, 5)]].concat());
    assert_eq!(merged(outlook(&bridged, 2)), (6, 10));
    let across = held(&[&files[..], &[(2, 2, 3), (9, 1, 7)]].concat());
    assert_eq!(merged(outlook(&across, 2)), (6, 10), "the file that reaches across the snapshot");
}

#[test]
fn a_plan_says_what_it_does() {
    let Outlook::Merge(plan) = outlook(&held(&[(9, 1, 1), (0, 2, 2), (0, 3, 3)]), 1) else { panic!() };
    let text = plan.to_string();
    assert!(text.contains("become level 1  0000000000000002-0000000000000003.ltx"), "{text}");
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!((json["to"].as_u64(), json["inputs"][1]["bytes"].as_u64()), (Some(1), Some(100)));
}

/// However commits, ticks, images, snapshots and losses of the spool follow each other: no level has a gap that Litestream refuses,
/// and the newest point stays restorable after every single step.
#[test]
fn no_sequence_of_compactions_leaves_a_gap() {
    for seed in 0..60 {
        let mut model = Model::new(seed);
        for step in 0..150 {
            model.step_without_retention();
            model.check(&format!("seed {seed}, step {step}"));
        }
    }
}
