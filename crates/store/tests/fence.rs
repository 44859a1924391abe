//! The fence under accidents, request by request: what is sent, what is concluded.

use bytes::Bytes;
use clock::{ManualClock, SeededIds};
use futures::stream::{self, StreamExt};
use std::sync::Arc;
use store::fault::{FaultStore, Faults, When, lost};
use store::{
    Commit, Counters, DeniedReason, Error, MemoryStore, OpenConfig, Operation, PutOptions, RetryPolicy,
    Store, Trouble, WRITE_ID,
};

fn config() -> OpenConfig {
    let config = OpenConfig::new(Arc::new(ManualClock::at(1_700_000_000_000)), Arc::new(SeededIds::new(1)));
    OpenConfig { retry: RetryPolicy::immediate(4), ..config }
}

fn memory() -> MemoryStore {
    MemoryStore::new(Arc::new(ManualClock::at(1_700_000_000_000))).with_part_size(1_000)
}

fn faulty(backend: MemoryStore) -> (Store, Faults) {
    let (backend, faults) = FaultStore::new(Arc::new(backend));
    (Store::new(Arc::new(backend), &config()), faults)
}

async fn commit(store: &Store, body: &'static str) -> Result<Commit, Error> {
    store.commit("0000/1", Bytes::from_static(body.as_bytes()), &PutOptions::create()).await
}

fn spent(store: &Store, before: &Counters) -> Vec<(Operation, u64)> {
    let now = store.counters().since(before);
    Operation::ALL.into_iter().map(|o| (o, now.requests(o))).filter(|(_, n)| *n > 0).collect()
}

#[tokio::test]
async fn a_commit_is_one_put() {
    let (store, _) = faulty(memory());
    let before = store.counters();
    assert_eq!(commit(&store, "a").await.expect("commits"), Commit::Created);
    assert_eq!(spent(&store, &before), [(Operation::Put, 1)]);
}

#[tokio::test]
async fn trap_11_a_lost_reply_is_not_another_writer() {
    let (store, faults) = faulty(memory());
    faults.lose_reply_next(Operation::Put, 1);
    assert_eq!(commit(&store, "a").await.expect("commits"), Commit::Repeated);
    assert_eq!(spent(&store, &Counters::default()), [(Operation::Put, 2), (Operation::Head, 1)]);
    assert_eq!(store.counters().of(Operation::Put).retries, 1);
}

#[tokio::test]
async fn trap_11_a_write_only_credential_compares_by_listing() {
    let (store, faults) = faulty(memory());
    for denied in [Operation::Head, Operation::Get] {
        faults.deny(denied, true);
    }
    faults.lose_reply_next(Operation::Put, 1);
    assert_eq!(commit(&store, "a").await.expect("commits"), Commit::Repeated);
    assert!(commit(&store, "other size").await.expect_err("fenced").is_fenced());
    // The same size and another tag: the tags of this store are not known to be MD5s yet, and reading is forbidden.
    let undecided = commit(&store, "b").await;
    assert!(matches!(undecided, Err(Error::Undecided { .. })), "{undecided:?}");
    // A plain put teaches what its tags are; then the listing decides.
    store.put("other", Bytes::from_static(b"x"), &PutOptions::create()).await.expect("puts");
    assert!(commit(&store, "b").await.expect_err("fenced").is_fenced());
}

#[tokio::test]
async fn p6_without_any_right_to_look_it_is_undecided_never_fenced() {
    let (store, faults) = faulty(memory());
    commit(&store, "a").await.expect("commits");
    for denied in [Operation::Head, Operation::Get, Operation::List] {
        faults.deny(denied, true);
    }
    for body in ["a", "b", "longer"] {
        let error = commit(&store, body).await.expect_err("undecided");
        assert!(matches!(error, Error::Undecided { .. }) && !error.is_fenced(), "{error:?}");
    }
}

#[tokio::test]
async fn an_outage_leaves_the_question_open_and_the_next_try_answers_it() {
    let (store, faults) = faulty(memory());
    faults.lose_reply_next(Operation::Put, 4);
    let open = commit(&store, "a").await.expect_err("no reply");
    assert!(open.is_retriable(), "{open:?}");
    assert_eq!(commit(&store, "a").await.expect("commits"), Commit::Repeated);
    faults.offline(true);
    assert!(
        store
            .commit("0000/2", Bytes::new(), &PutOptions::create())
            .await
            .expect_err("offline")
            .is_retriable()
    );
}

#[tokio::test]
async fn conflicts_and_throttling_are_repeated_and_denials_are_not() {
    let (store, faults) = faulty(memory());
    let conflict =
        Error::Unavailable { what: "put".into(), trouble: Trouble::Conflict, detail: "409".into() };
    faults.fail_next(Some(Operation::Put), 2, When::Before, conflict);
    assert_eq!(commit(&store, "a").await.expect("commits"), Commit::Created);
    faults.throttle_next(3);
    store.head("0000/1").await.expect("three 503 are survived");
    let before = store.counters();
    faults.deny(Operation::Put, true);
    let denied = store.put("x", Bytes::new(), &PutOptions::overwrite()).await;
    assert!(matches!(denied, Err(Error::Denied { reason: DeniedReason::Access, .. })));
    assert_eq!(spent(&store, &before), [(Operation::Put, 1)]);
}

#[tokio::test]
async fn a_write_id_tells_two_writers_of_equal_bytes_apart() {
    let (store, _) = faulty(memory());
    let claim = |id: &str| {
        let (store, opts) = (store.clone(), PutOptions::create().with_metadata(WRITE_ID, id));
        async move { store.commit("claim", Bytes::from_static(b"same"), &opts).await }
    };
    assert_eq!(claim("a").await.expect("claims"), Commit::Created);
    assert_eq!(claim("a").await.expect("repeats"), Commit::Repeated);
    assert!(claim("b").await.expect_err("fenced").is_fenced());
}

#[tokio::test]
async fn a_plain_create_reports_what_is_there_unless_it_was_its_own() {
    let (store, faults) = faulty(memory());
    let put = |body: &'static str| {
        let store = store.clone();
        async move { store.put("k", Bytes::from_static(body.as_bytes()), &PutOptions::create()).await }
    };
    faults.lose_reply_next(Operation::Put, 1);
    put("a").await.expect("its own, after a lost reply");
    assert!(matches!(put("a").await, Err(Error::AlreadyExists { .. })));
    faults.fail_next(Some(Operation::Put), 1, When::Before, lost());
    assert!(matches!(put("b").await, Err(Error::AlreadyExists { .. })));
}

#[tokio::test]
async fn without_create_only_puts_a_commit_looks_first() {
    let (store, _) = faulty(memory().without_create_only());
    assert!(!store.is_fenced_weakly(), "not known yet");
    assert_eq!(commit(&store, "a").await.expect("commits"), Commit::Created);
    assert!(store.is_fenced_weakly());
    assert_eq!(
        spent(&store, &Counters::default()),
        [(Operation::Put, 3), (Operation::Head, 1)],
        "two puts probe"
    );
    assert!(commit(&store, "b").await.expect_err("fenced").is_fenced());
    assert_eq!(commit(&store, "a").await.expect("repeats"), Commit::Repeated);
    assert_eq!(store.get_bytes("0000/1", None).await.expect("reads"), "a");
    let large = stream::iter([Ok(Bytes::from(vec![1; 2_500]))]).boxed();
    let taken = store.put_stream("0000/1", large, None, &PutOptions::create()).await;
    assert!(matches!(taken, Err(Error::AlreadyExists { .. })), "{taken:?}");
}

fn body_of(
    length: usize,
) -> impl Fn() -> futures::stream::BoxStream<'static, std::io::Result<Bytes>> + Send + Sync {
    move || {
        stream::iter((0..length).step_by(100).map(|n| Ok(Bytes::from(vec![(n % 251) as u8; 100])))).boxed()
    }
}

#[tokio::test]
async fn every_single_request_of_a_streamed_commit_may_fail() {
    // Start, three parts, complete: each fails before its effect, or loses its reply.
    for nth in 1..=5 {
        for when in [When::Before, When::After] {
            let backend = memory();
            let (store, faults) = faulty(backend.clone());
            let opts = PutOptions::create().with_metadata(WRITE_ID, "w");
            faults.fail_nth(None, nth, when, lost());
            let done =
                store.commit_stream("0000/1", body_of(2_500), Some(2_500), &opts).await.expect("commits");
            assert_eq!(done, Commit::Created, "{nth} {when:?}");
            assert_eq!(store.head("0000/1").await.expect("is there").size, 2_500);
            if (nth, when) != (1, When::After) {
                assert_eq!(backend.pending_uploads(), 0, "{nth} {when:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_failed_or_abandoned_upload_is_thrown_away() {
    let backend = memory();
    let (store, faults) = faulty(backend.clone());
    faults.deny(Operation::CompleteUpload, true);
    store.put_stream("k", body_of(2_500)(), None, &PutOptions::create()).await.expect_err("denied");
    assert_eq!(backend.pending_uploads(), 0);

    let endless = body_of(1_500)().chain(stream::pending()).boxed();
    let opts = PutOptions::create();
    let upload = store.put_stream("k", endless, None, &opts);
    tokio::select! {
        biased;
        _ = upload => unreachable!("the body never ends"),
        () = tokio::task::yield_now() => {}
    }
    tokio::task::yield_now().await;
    assert_eq!(backend.pending_uploads(), 0, "dropping the future aborts the upload");
}

#[tokio::test]
async fn broken_bodies_are_resumed_from_where_they_broke() {
    let (store, faults) = faulty(memory());
    let body = Bytes::from((0..10_000u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>());
    store.put("k", body.clone(), &PutOptions::create()).await.expect("puts");
    faults.cut_next_bodies(3, 7_001);
    assert!(store.get_bytes("k", None).await.expect("reads") == body);
    assert_eq!(store.counters().requests(Operation::Get), 4);
    assert_eq!(store.counters().of(Operation::Get).bytes_in, 40_000, "nothing is read twice");
}

#[tokio::test]
async fn p2_an_object_replaced_while_being_read_is_an_error() {
    let (store, faults) = faulty(memory());
    store.put("k", Bytes::from_static(b"first"), &PutOptions::overwrite()).await.expect("puts");
    faults.cut_next_bodies(1, 2);
    let mut reading = store.get("k", None).await.expect("opens").stream;
    assert_eq!(reading.next().await.expect("a chunk").expect("two bytes"), "fi");
    store.put("k", Bytes::from_static(b"other"), &PutOptions::overwrite()).await.expect("puts");
    let torn = reading.next().await.expect("an end");
    assert!(matches!(torn, Err(Error::Corrupt { .. })), "{torn:?}");
}
