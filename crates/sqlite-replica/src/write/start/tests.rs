//! The table of the module header, row by row.

use super::*;
use crate::identity::Identity;
use crate::state::{Mark, Staged, WalPosition};

const OURS: u64 = 0xaaaa;

fn record(confirmed: u64, intent: Option<(u64, u8, bool)>) -> Record {
    let position = WalPosition { salt1: 1, salt2: 2, frame: 3, cksum1: 4, cksum2: 5 };
    Record {
        format: 1,
        sequence: 1,
        replica: "memory://r".into(),
        identity: Identity { cluster: String::new(), app: String::new(), database: "d".into() },
        lineage: OURS,
        epoch: 2,
        confirmed,
        intent: intent.map(|(txid, write_id, staged)| Intent {
            txid,
            write_id: [write_id; 6],
            staged: staged.then(|| Staged { size: 1, sha256: String::new(), apart: false }),
        }),
        mark: Some(Mark { page_size: 4096, commit: 1, rolling: 1, timestamp_ms: 1, position }),
        inherited: None,
        fenced: None,
        file: None,
    }
}

fn remote(newest: u64, write_id: Option<u8>) -> Remote {
    Remote {
        lineage: Some(OURS),
        newest: Txid::new(newest),
        stamp: write_id.map(|write_id| Extension { epoch: 2, lineage: OURS, write_id: [write_id; 6] }),
    }
}

fn refused(plan: Result<Plan>) -> bool {
    matches!(plan, Err(Error::Refused { .. }))
}

#[test]
fn p6_only_a_proven_absence_is_a_first_start() {
    let nothing = Remote { lineage: None, newest: None, stamp: None };
    assert_eq!(decide(None, &nothing, false).unwrap(), Plan::NewLineage);
    assert_eq!(decide(Some(&record(4, None)), &nothing, false).unwrap(), Plan::NewLineage);
}

#[test]
fn p3_a_volume_without_memory_does_not_upload_over_a_history() {
    let newest = Txid::new(5).unwrap();
    assert_eq!(decide(None, &remote(5, Some(1)), false).unwrap(), Plan::Prove { newest });
    let mut other = record(5, None);
    other.lineage = 0xbbbb;
    assert_eq!(decide(Some(&other), &remote(5, Some(1)), false).unwrap(), Plan::Prove { newest });
    assert!(refused(decide(None, &remote(5, None), false)), "a foreign newest file proves nothing");
    assert!(matches!(decide(None, &remote(5, Some(1)), true).unwrap(), Plan::FullImage { .. }));
}

#[test]
fn p4_a_replica_ahead_by_another_write_is_refused() {
    assert!(refused(decide(Some(&record(5, None)), &remote(6, Some(1)), false)));
    assert!(refused(decide(Some(&record(5, Some((6, 77, true)))), &remote(6, Some(78)), false)));
    assert!(refused(decide(Some(&record(5, Some((6, 77, true)))), &remote(7, Some(77)), false)));
}

#[test]
fn p4_a_lost_reply_is_told_from_a_foreign_write() {
    let newest = Txid::new(6).unwrap();
    let plan = decide(Some(&record(5, Some((6, 77, true)))), &remote(6, Some(77)), false).unwrap();
    assert_eq!(plan, Plan::Resume { newest, resend: false });
}

#[test]
fn an_intent_that_never_arrived_is_sent_again() {
    let newest = Txid::new(5).unwrap();
    let plan = decide(Some(&record(5, Some((6, 77, true)))), &remote(5, Some(1)), false).unwrap();
    assert_eq!(plan, Plan::Resume { newest, resend: true });
    let plan = decide(Some(&record(5, Some((6, 77, false)))), &remote(5, Some(1)), false).unwrap();
    assert!(matches!(plan, Plan::FullImage { .. }), "a streamed image cannot be resent");
}

#[test]
fn a_plain_restart_resumes() {
    let newest = Txid::new(5).unwrap();
    assert_eq!(
        decide(Some(&record(5, None)), &remote(5, Some(9)), false).unwrap(),
        Plan::Resume { newest, resend: false }
    );
}

#[test]
fn a_hole_or_a_foreign_writer_is_bridged_by_an_image() {
    assert!(matches!(
        decide(Some(&record(9, None)), &remote(5, Some(9)), false).unwrap(),
        Plan::FullImage { .. }
    ));
    assert!(matches!(
        decide(Some(&record(5, None)), &remote(8, None), false).unwrap(),
        Plan::FullImage { .. }
    ));
}

#[test]
fn an_unfinished_first_image_is_done_again_by_its_own_volume_only() {
    let claimed = Remote { lineage: Some(OURS), newest: None, stamp: None };
    assert_eq!(decide(Some(&record(0, None)), &claimed, false).unwrap(), Plan::FirstImage);
    assert!(refused(decide(None, &claimed, false)));
}
