//! The table is the specification: every combination is covered by one rule, and the function says the same.

use super::*;

const TABLE: &str = include_str!("table.txt");

fn all() -> Vec<(Observed, [String; 6])> {
    let locals = [("empty", Local::Empty), ("half", Local::Half), ("files", Local::Files)];
    let ties = [
        ("unmarked", Tie::Unmarked),
        ("current", Tie::Current),
        ("unchanged", Tie::Unchanged),
        ("behind", Tie::Behind),
        ("foreign", Tie::Foreign),
    ];
    let replicas = [
        ("unreachable", Replica::Unreachable),
        ("absent", Replica::Absent),
        ("begun", Replica::Begun),
        ("history", Replica::History),
        ("damaged", Replica::Damaged),
    ];
    let modes =
        [("auto", RestoreMode::Auto), ("never", RestoreMode::Never), ("require", RestoreMode::Require)];
    let mut out = Vec::new();
    for (local_name, local) in locals {
        for (tie_name, tie) in ties {
            for (replica_name, replica) in replicas {
                for (mode_name, mode) in modes {
                    for (remembers, at) in [(false, false), (false, true), (true, false), (true, true)] {
                        let yes = |b: bool| if b { "yes" } else { "no" };
                        let names = [local_name, yes(remembers), tie_name, replica_name, mode_name, yes(at)];
                        let observed = Observed { local, remembers, tie, replica, mode, at };
                        out.push((observed, names.map(str::to_owned)));
                    }
                }
            }
        }
    }
    out
}

fn decision(words: &str) -> Decision {
    match words {
        "keep" => Decision::Keep,
        "keep-unclaimed" => Decision::KeepUnclaimed,
        "fresh" => Decision::Fresh,
        "restore" => Decision::Restore,
        "restore-at" => Decision::RestoreAt,
        "retry" => Decision::Retry,
        "damaged" => Decision::Damaged,
        "refuse unknown" => Decision::Refuse(Reason::Unknown),
        "refuse behind" => Decision::Refuse(Reason::Behind),
        "refuse foreign" => Decision::Refuse(Reason::Foreign),
        "refuse replica-gone" => Decision::Refuse(Reason::ReplicaGone),
        "refuse half-and-gone" => Decision::Refuse(Reason::HalfAndGone),
        "refuse half-and-never" => Decision::Refuse(Reason::HalfAndNever),
        "refuse required" => Decision::Refuse(Reason::Required),
        "refuse nothing-at" => Decision::Refuse(Reason::NothingAt),
        other => panic!("{other:?} is no decision"),
    }
}

#[test]
fn p3_p6_every_combination_has_one_rule_and_follows_it() {
    let rules: Vec<(Vec<&str>, Decision)> = TABLE
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            (words[..6].to_vec(), decision(&words[6..].join(" ")))
        })
        .collect();
    let mut used = vec![false; rules.len()];
    let combinations = all();
    assert_eq!(combinations.len(), 3 * 5 * 5 * 3 * 4);
    for (observed, names) in &combinations {
        let mut said = None;
        for (i, (pattern, wanted)) in rules.iter().enumerate() {
            if pattern.iter().zip(names).all(|(p, n)| *p == "*" || p == n) {
                assert!(said.is_none_or(|before| before == *wanted), "two rules differ for {names:?}");
                (said, used[i]) = (Some(*wanted), true);
            }
        }
        assert_eq!(Some(decide(observed, Policy::Refuse)), said, "{names:?}");
    }
    let unused: Vec<_> = rules.iter().zip(used).filter(|(_, used)| !used).collect();
    assert!(unused.is_empty(), "{unused:?}");
}

/// What may never happen, said a second time and without the table.
#[test]
fn p3_no_start_on_nothing_and_nothing_over_something() {
    for (o, names) in all() {
        let decision = decide(&o, Policy::Refuse);
        let had_something = o.replica == Replica::History || (o.remembers && o.replica != Replica::History);
        let starts_on_nothing = decision == Decision::Fresh && o.mode != RestoreMode::Never && had_something;
        assert!(!starts_on_nothing, "{names:?}");
        let local_may_hold_more = o.local == Local::Files && o.tie != Tie::Unchanged;
        assert!(!(decision == Decision::Restore && local_may_hold_more), "{names:?}");
        let takes_half_for_whole = o.local == Local::Half
            && matches!(decision, Decision::Keep | Decision::KeepUnclaimed | Decision::Fresh);
        assert!(!takes_half_for_whole, "{names:?}");
        let touches_unasked = o.replica == Replica::Unreachable
            && !matches!(decision, Decision::Retry | Decision::KeepUnclaimed | Decision::Refuse(_));
        assert!(!touches_unasked, "{names:?}");
    }
}

#[test]
fn p3_a_policy_decides_only_what_both_sides_may_lack() {
    for (o, names) in all() {
        let refused = decide(&o, Policy::Refuse);
        let open = matches!(refused, Decision::Refuse(Reason::Unknown | Reason::Behind));
        let never = o.mode == RestoreMode::Never;
        let (adopted, restored) = (decide(&o, Policy::AdoptLocal), decide(&o, Policy::RestoreOver));
        assert_eq!(adopted, if open { Decision::Adopt } else { refused }, "{names:?}");
        assert_eq!(restored, if open && !never { Decision::Restore } else { refused }, "{names:?}");
    }
}
