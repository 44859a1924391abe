//! Accidents on the wire: storms, lost replies, stalls, crawling uplinks, short bodies.

use super::{bench, config, open, put};
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use std::time::Duration;
use store::{Commit, Error, OpenConfig, Operation, PutOptions, RetryPolicy, Trouble};
use testkit::line::Line;
use testkit::procs::free_port;
use testkit::s3::{Action, Operation as Wire, Rule, S3Server};
use tokio::time::Instant;

#[tokio::test]
async fn a_storm_of_503_is_survived_within_the_policy_and_reported_beyond_it() {
    let b = bench().await;
    b.server.faults().fail_next(3, 503);
    put(&b.store, "k", "x").await;
    assert_eq!(b.store.counters().of(Operation::Put).retries, 3);
    b.server.faults().fail_next(4, 503);
    let error = b.store.head("k").await.expect_err("four in a row");
    assert!(error.is_retriable(), "{error}");
    assert_eq!(b.server.faults().pending(), 0);
}

#[tokio::test]
async fn a_409_is_repeated_and_a_412_is_compared() {
    let b = bench().await;
    b.server.faults().fail_next_with(2, 409, "ConditionalRequestConflict");
    let opts = PutOptions::create();
    let commit = |body: &'static [u8]| b.store.commit("0000/1", Bytes::from_static(body), &opts);
    assert_eq!(commit(b"a").await.expect("commits"), Commit::Created);
    assert!(commit(b"b").await.expect_err("fenced").is_fenced());
}

#[tokio::test]
async fn trap_11_a_lost_reply_of_a_commit_is_recognised() {
    let b = bench().await;
    b.server.faults().lose_reply_next(1);
    let done =
        b.store.commit("0000/1", Bytes::from_static(b"a"), &PutOptions::create()).await.expect("commits");
    assert_eq!(done, Commit::Repeated);
    let counts = b.server.counts();
    assert_eq!((counts.put, counts.head, counts.total()), (2, 1, 3));
}

#[tokio::test]
async fn cut_connections_are_repeated() {
    let b = bench().await;
    b.server.faults().drop_before_next(2);
    assert_eq!(
        b.store.commit("0000/1", Bytes::new(), &PutOptions::create()).await.expect("commits"),
        Commit::Created
    );
}

#[tokio::test]
async fn an_upload_survives_what_happens_to_each_of_its_requests() {
    let body = || stream::iter((0..9).map(|n| Ok(Bytes::from(vec![n; 1 << 20])))).boxed();
    let inside = || Action::FailInside200("InternalError".to_owned());
    for (operation, action) in [
        (Wire::MultipartCreate, Action::DropBefore),
        (Wire::UploadPart, Action::DropBefore),
        (Wire::UploadPart, Action::LoseReply),
        (Wire::Complete, inside()),
        (Wire::Complete, Action::DropBefore),
        (Wire::Complete, Action::LoseReply),
    ] {
        let b = bench().await;
        let action_text = format!("{operation:?} {action:?}");
        b.server.faults().add(Rule { operation: Some(operation), ..Rule::any(1, action) });
        b.store.put_stream("k", body(), Some(9 << 20), &PutOptions::create()).await.expect(&action_text);
        assert_eq!(b.store.head("k").await.expect("is there").size, 9 << 20);
        assert_eq!((b.server.faults().pending(), b.server.unfinished_uploads()), (0, 0), "{action_text}");
    }
}

#[tokio::test]
async fn short_bodies_are_noticed_and_resumed() {
    let b = bench().await;
    let body = Bytes::from((0..100_000u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>());
    b.store.put("k", body.clone(), &PutOptions::create()).await.expect("puts");
    b.server.faults().truncate_next_get(150_000);
    assert!(b.store.get_bytes("k", None).await.expect("reads") == body);
    assert_eq!(b.server.counts().get, 2);

    let once = OpenConfig { retry: RetryPolicy::none(), ..config(&b.credentials) };
    let impatient = open(&b.server.url("p"), once).await;
    b.server.faults().truncate_next_get(150_000);
    let error = impatient.get_bytes("k", None).await.expect_err("short");
    assert!(error.is_retriable(), "{error:?}");
}

#[tokio::test]
async fn p7_a_server_that_never_answers_is_given_up() {
    let b = bench().await;
    let config = OpenConfig { idle: Duration::from_millis(300), ..config(&b.credentials) };
    let store = open(&b.server.url("p"), config).await;
    b.server.faults().hang_next(4);
    let error = store.head("k").await.expect_err("no answer");
    assert!(matches!(error, Error::Unavailable { trouble: Trouble::Timeout, .. }), "{error:?}");
}

/// What the store has taken, and what lies in our socket because nobody takes it: the size of the body changes nothing.
#[tokio::test]
async fn p7_a_put_that_hangs_is_given_up_whatever_its_size() {
    let b = bench().await;
    let config =
        OpenConfig { idle: Duration::from_secs(1), retry: RetryPolicy::none(), ..config(&b.credentials) };
    let line = Line::to(&b.server, 0);
    for url in [b.server.url("p"), line.url(&b.server.url("p"))] {
        let store = open(&url, config.clone()).await;
        for size in [0, 280 << 10, 4 << 20] {
            b.server.faults().clear();
            b.server.faults().hang_next(1);
            let begun = Instant::now();
            let body = Bytes::from(vec![7; size]);
            let error = store.put("k", body, &PutOptions::overwrite()).await.expect_err("no answer");
            assert!(matches!(error, Error::Unavailable { trouble: Trouble::Timeout, .. }), "{error:?}");
            let took = begun.elapsed();
            // Patience by the size of the body would be 17 s for the larger ones.
            assert!(took < Duration::from_secs(12), "{size} bytes to {url}: {took:?}");
        }
    }
}

/// Everything is in our socket at once, and leaves it for three times as long as a request may go without progress. Where the socket is not
/// seen, patience with 160 KiB ends after 16 s.
async fn crawls(server: S3Server, more: &str, credentials: &tempfile::TempDir) {
    let config = OpenConfig { idle: Duration::from_secs(6), ..config(credentials) };
    let line = Line::to(&server, u64::MAX);
    let store = open(&format!("{}{more}", line.url(&server.url("p"))), config).await;
    store.capabilities().await.expect("probes");
    server.reset();
    line.set_rate(8 << 10);
    let begun = Instant::now();
    let body = Bytes::from(vec![7; 160 << 10]);
    let done = store.commit("0000/1", body, &PutOptions::create()).await.expect("commits");
    assert_eq!((done, server.counts().put), (Commit::Created, 1), "without a repetition");
    assert!(begun.elapsed() > Duration::from_secs(18), "{:?}: the line was not slow", begun.elapsed());
}

#[tokio::test]
async fn a_line_that_crawls_is_waited_for() {
    let b = bench().await;
    crawls(b.server, "", &b.credentials).await;
}

#[tokio::test]
async fn a_line_that_crawls_is_waited_for_behind_tls() {
    let (b, server) = (bench().await, S3Server::start_tls());
    let ca = b.credentials.path().join("ca.pem");
    std::fs::write(&ca, server.ca_pem()).expect("write");
    crawls(server, &format!("&ca={}", ca.display()), &b.credentials).await;
}

#[tokio::test]
async fn a_store_that_sends_slowly_is_read() {
    let b = bench().await;
    let config = OpenConfig { idle: Duration::from_secs(6), ..config(&b.credentials) };
    let store = open(&b.server.url("p"), config).await;
    let body = Bytes::from(vec![8; 128 * 1_024]);
    store.put("0000/2", body.clone(), &PutOptions::create()).await.expect("puts");
    // 8 s in steps of 1 s: the test server lets 16 KiB pass at once.
    b.server.faults().throttle_out(16 * 1_024);
    assert!(store.get_bytes("0000/2", None).await.expect("reads") == body);
    assert_eq!(b.server.counts().get, 1);
}

#[tokio::test]
async fn an_unreachable_server_is_unreachable() {
    let b = bench().await;
    // Not the port of a server that has ended: the kernel would give it to the next one.
    let url = b.server.url("p").replace(&format!(":{}", b.server.port()), &format!(":{}", free_port()));
    let store = open(&url, config(&b.credentials)).await;
    let error = store.list_all("").await.expect_err("nobody listens");
    assert!(matches!(error, Error::Unavailable { trouble: Trouble::Connect, .. }), "{error:?}");
    let url = url.replace("127.0.0.1", "localhost");
    let config = OpenConfig { connect: Duration::from_millis(200), ..config(&b.credentials) };
    assert!(open(&url, config).await.head("k").await.expect_err("nobody listens").is_retriable());
}
