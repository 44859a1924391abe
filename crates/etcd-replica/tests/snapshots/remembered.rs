//! What one run leaves for the next: numbers that must not be lost, and guards that must not open by themselves.

use crate::bench::{Bench, plain, run};
use crate::fake::{Fake, etcd};
use crate::keeping::{history, options};
use crate::real::k3s_bootstrap;
use etcd_replica::result::last_run;
use etcd_replica::retention::Gate;
use etcd_replica::{Catalogue, Token, plan_prune, prune, record_failure};
use store::fault::When;
use store::{DeniedReason, Error, Operation, Trouble};
use testkit::bolt::{kubernetes, snapshot};

/// Somebody, or a bug elsewhere, removes the oldest ones.
fn lose(bench: &Bench, count: usize) {
    let catalogue = run(Catalogue::load(&bench.store, "prod")).unwrap();
    for item in &catalogue.items[..count] {
        run(bench.store.delete_all(&item.keys)).unwrap();
    }
}

/// Ships once and says which gates were closed.
fn gates(bench: &Bench, fake: &Fake) -> Vec<Gate> {
    bench.clock.advance_ms(3_600_000);
    let delivery = bench.ship(&plain(fake.port)).unwrap();
    delivery.shipped.unwrap();
    delivery.pruned.unwrap().unwrap().plan.gates
}

#[test]
fn p3_a_fall_in_the_listing_is_not_forgotten_until_a_person_accepts_it() {
    let (bench, fake) = (Bench::new(), Fake::start(None));
    history(&bench, &fake, 12);
    lose(&bench, 8);
    for now in [5, 6, 7] {
        assert_eq!(gates(&bench, &fake), [Gate::FewerThanBefore { before: 12, now }]);
    }
    let mut options = options(bench.policy.clone());
    let (plan, _) = run(plan_prune(&bench.store, "prod", &options, &*bench.clock)).unwrap();
    assert!(plan.to_string().contains("prune --apply --accept-fewer 7"), "{plan}");
    // Fewer than the person has seen is something else.
    options.fewer = Some(8);
    let (plan, _) = run(plan_prune(&bench.store, "prod", &options, &*bench.clock)).unwrap();
    assert_eq!(plan.gates.len(), 1);
    options.fewer = Some(7);
    let pruned = run(prune(&bench.store, "prod", &options, &*bench.clock)).unwrap();
    assert_eq!((pruned.plan.gates, pruned.deleted.len()), (vec![], 0));
    assert_eq!(gates(&bench, &fake), []);
}

#[test]
fn p3_while_another_gate_is_closed_the_count_still_grows() {
    let (mut bench, fake) = (Bench::new(), Fake::start(None));
    history(&bench, &fake, 3);
    bench.policy.keep_all /= 2;
    let hash = bench.policy.hash();
    for _ in 0..5 {
        assert_eq!(gates(&bench, &fake), [Gate::PolicyTightened { hash: hash.clone() }]);
    }
    lose(&bench, 5);
    let gates = gates(&bench, &fake);
    assert_eq!(gates, [Gate::FewerThanBefore { before: 8, now: 4 }, Gate::PolicyTightened { hash }]);
}

#[test]
fn p6_a_result_that_cannot_be_read_is_no_first_run() {
    let (bench, fake) = (Bench::new(), Fake::start(None));
    history(&bench, &fake, 12);
    lose(&bench, 8);
    let denied = Error::Denied { what: "get".into(), reason: DeniedReason::Access, detail: "once".into() };
    // The first reading is the snapshot's, the second one the result's.
    bench.faults.fail_nth(Some(Operation::Get), 2, When::Before, denied);
    assert_eq!(gates(&bench, &fake), [Gate::FewerThanBefore { before: 12, now: 5 }]);
    let failed =
        |call: &store::fault::Call| call.key == "prod/_result.json" && call.outcome == "access_denied";
    assert!(bench.faults.log().iter().any(failed), "it was the result's");
    assert_eq!(gates(&bench, &fake), [Gate::FewerThanBefore { before: 12, now: 6 }]);

    let before = run(last_run(&bench.store, "prod")).unwrap().unwrap();
    let broken = Error::Unavailable { what: "get".into(), trouble: Trouble::Server, detail: "500".into() };
    bench.faults.fail_next(Some(Operation::Get), 3, When::Before, broken);
    run(record_failure(&bench.to(), "prod", 1, &*bench.clock));
    assert_eq!(run(last_run(&bench.store, "prod")).unwrap().unwrap(), before, "no zeros in its place");
    run(record_failure(&bench.to(), "prod", 1, &*bench.clock));
    let after = run(last_run(&bench.store, "prod")).unwrap().unwrap();
    assert_eq!((after.last_exit_code, after.revision), (1, before.revision));
}

#[test]
fn a_token_that_opens_nothing_is_the_exit_code_of_the_last_run_too() {
    let (mut bench, fake) = (Bench::new(), Fake::start(None));
    let (name, sealed) = k3s_bootstrap("s3cret");
    let mut pairs = kubernetes();
    pairs.push((format!("/bootstrap/{name}"), sealed.into_bytes()));
    etcd(&fake, &snapshot(&pairs), 2);
    for (password, opens, exit) in [("another", false, 3), ("s3cret", true, 0)] {
        bench.token = Some(Token::parse(&format!("K10aa::server:{password}"), "test").unwrap());
        let manifest = bench.ship(&plain(fake.port)).unwrap().shipped.unwrap();
        assert_eq!((manifest.token_opens, manifest.exit().code()), (Some(opens), exit));
        let last = run(last_run(&bench.store, "prod")).unwrap().unwrap();
        assert_eq!(last.last_exit_code, exit, "{password}");
        bench.clock.advance_ms(3_600_000);
    }
}
