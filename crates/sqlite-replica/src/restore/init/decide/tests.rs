//! The table is the specification: every combination is covered by exactly one rule, and the function says the same.

use super::*;

const TABLE: &str = include_str!("table.txt");

fn all() -> Vec<(Observed, [String; 6])> {
    let locals = [
        ("missing", Local::Missing),
        ("empty", Local::Empty),
        ("corrupt", Local::Corrupt),
        ("healthy", Local::Healthy),
    ];
    let ties = [
        ("unknown", Tie::Unknown),
        ("continues", Tie::Continues),
        ("lost-last", Tie::LostLast),
        ("behind", Tie::Behind),
        ("stranger", Tie::Stranger),
        ("restored", Tie::Restored),
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
                        out.push((
                            Observed { local, remembers, tie, replica, mode, at },
                            names.map(str::to_owned),
                        ));
                    }
                }
            }
        }
    }
    out
}

fn action(words: &str) -> Action {
    match words {
        "keep" => Action::Keep,
        "go-on" => Action::GoOn,
        "keep-unclaimed" => Action::KeepUnclaimed,
        "fresh" => Action::Fresh,
        "restore" => Action::Restore,
        "restore-at" => Action::RestoreAt,
        "retry" => Action::Retry,
        "damaged" => Action::Damaged,
        "refuse corrupt-without-replica" => Action::Refuse(Reason::CorruptWithoutReplica),
        "refuse corrupt-and-never" => Action::Refuse(Reason::CorruptAndNever),
        "refuse required" => Action::Refuse(Reason::Required),
        "refuse replica-gone" => Action::Refuse(Reason::ReplicaGone),
        "refuse behind" => Action::Refuse(Reason::Behind),
        "refuse stranger" => Action::Refuse(Reason::Stranger),
        "refuse unknown" => Action::Refuse(Reason::Unknown),
        "refuse nothing-at" => Action::Refuse(Reason::NothingAt),
        other => panic!("{other:?} is no action"),
    }
}

#[test]
fn p3_p6_every_combination_has_one_rule_and_follows_it() {
    let rules: Vec<(Vec<&str>, Action)> = TABLE
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            (words[..6].to_vec(), action(&words[6..].join(" ")))
        })
        .collect();
    let mut used = vec![false; rules.len()];
    let combinations = all();
    assert_eq!(combinations.len(), 4 * 5 * 6 * 3 * 4);
    for (observed, names) in &combinations {
        let mut said = None;
        for (i, (pattern, wanted)) in rules.iter().enumerate() {
            if pattern.iter().zip(names).all(|(p, n)| *p == "*" || p == n) {
                assert!(said.is_none_or(|before| before == *wanted), "two rules differ for {names:?}");
                (said, used[i]) = (Some(*wanted), true);
            }
        }
        assert_eq!(Some(decide(observed)), said, "{names:?}");
    }
    let unused: Vec<_> = rules.iter().zip(used).filter(|(_, used)| !used).collect();
    assert!(unused.is_empty(), "{unused:?}");
}

/// What may never happen, said a second time and without the table.
#[test]
fn p3_no_start_on_nothing_and_nothing_over_something() {
    for (o, names) in all() {
        let action = decide(&o);
        let starts_on_nothing = action == Action::Fresh
            && o.mode != RestoreMode::Never
            && (o.remembers && o.replica == Replica::Absent || o.replica == Replica::History);
        assert!(!starts_on_nothing, "{names:?}");
        let replaces = matches!(action, Action::Restore);
        let local_may_hold_more = o.local == Local::Healthy && o.tie != Tie::LostLast;
        assert!(!(replaces && local_may_hold_more), "{names:?}");
        let touches_unasked = o.replica == Replica::Unreachable
            && !matches!(action, Action::Retry | Action::KeepUnclaimed | Action::Refuse(_));
        assert!(!touches_unasked, "{names:?}");
    }
}
