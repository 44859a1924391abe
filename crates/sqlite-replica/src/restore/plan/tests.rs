//! Plans over made-up catalogues.

use super::*;
use crate::layout::Level;
use ltx::FileName;

fn catalogue(files: &[(u8, u64, u64)]) -> Catalogue {
    let entries = files
        .iter()
        .map(|&(level, min, max)| {
            let name = FileName { min: Txid::new(min).unwrap(), max: Txid::new(max).unwrap() };
            Entry { level: Level(level), name, key: format!("{level:04x}/{name}"), size: 1, modified_ms: 0 }
        })
        .collect();
    Catalogue { entries, ..Catalogue::default() }
}

fn spans(plan: &RestorePlan) -> Vec<(u8, u64, u64)> {
    plan.files.iter().map(|f| (f.level.0, f.name.min.get(), f.name.max.get())).collect()
}

fn txid(n: u64) -> Option<Txid> {
    Txid::new(n)
}

#[test]
fn newest_base_then_furthest_reach() {
    let c = catalogue(&[(9, 1, 10), (9, 1, 4), (1, 1, 6), (1, 7, 12), (0, 11, 11), (0, 12, 12), (0, 13, 13)]);
    assert_eq!(spans(&RestorePlan::new(&c, None).unwrap()), [(9, 1, 10), (1, 7, 12), (0, 13, 13)]);
    assert_eq!(spans(&RestorePlan::new(&c, txid(11)).unwrap()), [(9, 1, 10), (0, 11, 11)]);
    assert_eq!(spans(&RestorePlan::new(&c, txid(6)).unwrap()), [(1, 1, 6)]);
}

#[test]
fn p2_a_hole_is_named_with_the_point_before_it() {
    let error = RestorePlan::new(&catalogue(&[(0, 1, 1), (0, 2, 2), (0, 4, 4)]), None).unwrap_err();
    assert!(matches!(&error, Error::Damaged { hint, .. } if hint.contains("0000000000000002")), "{error}");
}

#[test]
fn an_image_after_a_hole_begins_a_new_chain() {
    let mut c = catalogue(&[(0, 1, 1), (0, 4, 4), (0, 5, 5), (0, 6, 6)]);
    c.images.extend(txid(5));
    assert_eq!(spans(&RestorePlan::new(&c, None).unwrap()), [(0, 5, 5), (0, 6, 6)]);
    assert_eq!(spans(&RestorePlan::new(&c, txid(1)).unwrap()), [(0, 1, 1)]);
    assert!(matches!(RestorePlan::new(&c, txid(4)), Err(Error::Damaged { .. })));
}

#[test]
fn a_point_swallowed_by_compaction_is_not_damage() {
    let error = RestorePlan::new(&catalogue(&[(0, 1, 1), (1, 2, 9)]), txid(5)).unwrap_err();
    assert!(matches!(error, Error::Nothing { .. }), "{error}");
}

#[test]
fn nothing_and_no_base_are_told_apart() {
    assert!(matches!(RestorePlan::new(&Catalogue::default(), None), Err(Error::Nothing { .. })));
    assert!(matches!(RestorePlan::new(&catalogue(&[(0, 2, 2)]), None), Err(Error::Damaged { .. })));
    assert!(matches!(RestorePlan::new(&catalogue(&[(0, 1, 1)]), txid(2)), Err(Error::Nothing { .. })));
}

#[test]
fn the_furthest_plan_goes_as_far_as_the_chain_holds() {
    let c = catalogue(&[(0, 1, 1), (0, 2, 2), (0, 4, 4)]);
    assert_eq!(spans(&RestorePlan::furthest(&c, None).unwrap()), [(0, 1, 1), (0, 2, 2)]);
    assert_eq!(spans(&RestorePlan::furthest(&c, txid(1)).unwrap()), [(0, 1, 1)]);
    assert!(RestorePlan::furthest(&catalogue(&[(0, 2, 2)]), None).is_none());
}
