//! Who may: credentials, rights, clocks, buckets, certificates.

use super::{bench, config, open, put};
use bytes::Bytes;
use std::time::Duration;
use store::{Class, DeniedReason, Error, OpenConfig, Operation, PutOptions, StoreUrl};
use testkit::s3::S3Server;

#[tokio::test]
async fn wrong_credentials_are_told_apart_from_missing_rights() {
    let b = bench().await;
    b.server.faults().set_credentials("test-access", "another");
    let error = b.store.list_all("").await.expect_err("wrong secret");
    assert!(matches!(error, Error::Denied { reason: DeniedReason::Credentials, .. }), "{error}");
    assert_eq!(error.class(), Class::Fatal);
    b.server.faults().set_credentials("other-access", "another");
    assert_eq!(b.store.get("k", None).await.expect_err("unknown key").reason(), "bad_credentials");
    b.server.faults().set_credentials("test-access", "test-secret").deny_all(true);
    assert_eq!(b.store.get("k", None).await.expect_err("no right").reason(), "access_denied");
}

#[tokio::test]
async fn rotated_credential_files_are_used_by_the_next_request() {
    let b = bench().await;
    put(&b.store, "k", "x").await;
    b.server.faults().set_credentials("test-access", "rotated");
    std::fs::write(b.credentials.path().join("AWS_SECRET_ACCESS_KEY"), "rotated\n").expect("write");
    put(&b.store, "k", "y").await;
    assert_eq!(b.server.counts().errors, 0);
}

#[tokio::test]
async fn no_credentials_at_all_is_an_error_of_the_request_not_a_hang() {
    let server = S3Server::start();
    let empty = tempfile::tempdir().expect("scratch");
    let store = open(&server.url("p"), config(&empty)).await;
    let error = store.list_all("").await.expect_err("no credentials");
    assert!(matches!(error, Error::Denied { reason: DeniedReason::Credentials, .. }), "{error}");
    assert_eq!(server.counts().total(), 0);
}

#[tokio::test]
async fn p6_a_missing_bucket_is_never_an_absent_object() {
    let b = bench().await;
    let url = b.server.url("p").replace("bucket-hw", "bucket-gone");
    let store = open(&url, config(&b.credentials)).await;
    for error in [
        store.head("k").await.map(|_| ()).expect_err("head"),
        store.get("k", None).await.map(|_| ()).expect_err("get"),
        store.list_all("").await.map(|_| ()).expect_err("list"),
        store.commit("k", Bytes::new(), &PutOptions::create()).await.map(|_| ()).expect_err("commit"),
    ] {
        assert!(matches!(error, Error::NoRoot { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn p6_a_404_without_a_code_proves_nothing() {
    let b = bench().await;
    b.server.faults().fail_next_with(1, 404, "");
    let error = b.store.get("k", None).await.expect_err("a proxy's 404");
    assert!(!error.is_not_found(), "{error:?}");
    assert!(b.store.get("k", None).await.expect_err("absent").is_not_found());
}

#[tokio::test]
async fn trap_11_put_and_list_rights_suffice_for_commits() {
    let b = bench().await;
    b.server.faults().deny_reads(true);
    let opts = PutOptions::create();
    let commit = |body: &'static [u8]| b.store.commit("0000/1", Bytes::from_static(body), &opts);
    commit(b"ours").await.expect("commits");
    commit(b"ours").await.expect("repeats");
    assert!(commit(b"hers").await.expect_err("fenced").is_fenced());
    b.server.faults().deny_lists(true);
    let error = commit(b"ours").await.expect_err("undecided");
    assert!(matches!(error, Error::Undecided { .. }), "{error:?}");
}

#[tokio::test]
async fn clock_skew_is_named_and_measured() {
    let b = bench().await;
    b.server.faults().skew_date(Duration::from_secs(3_600));
    put(&b.store, "k", "x").await;
    let skew = b.store.server_date_skew().expect("a Date was seen");
    assert!((3_590_000..3_610_000).contains(&skew), "{skew}");
    // A fresh client on a machine whose clock is an hour off: one refusal, then it signs with the server's time.
    b.server.faults().require_clock(true);
    let fresh = open(&b.server.url("p"), config(&b.credentials)).await;
    assert_eq!(fresh.get_bytes("k", None).await.expect("reads"), "x");
    assert_eq!(fresh.counters().of(Operation::Get).retries, 1);

    // A server that goes on refusing.
    b.server.faults().fail_next_with(2, 403, "RequestTimeTooSkewed");
    let error = b.store.get("k", None).await.expect_err("refused twice");
    assert!(matches!(error, Error::Denied { reason: DeniedReason::ClockSkew, .. }), "{error:?}");
    assert!(error.to_string().contains("clock skew"), "{error}");
}

#[tokio::test]
async fn certificates_are_checked_against_the_given_authority_only() {
    let server = S3Server::start_tls();
    let credentials = tempfile::tempdir().expect("scratch");
    for (name, value) in server.env() {
        std::fs::write(credentials.path().join(name), value).expect("write");
    }
    let untrusting = open(&server.url("p"), config(&credentials)).await;
    let error = untrusting.list_all("").await.expect_err("a private authority");
    assert!(error.to_string().contains("ca=FILE") && error.class() == Class::Refused, "{error}");

    let ca = credentials.path().join("ca.pem");
    std::fs::write(&ca, server.ca_pem()).expect("write");
    let trusting = open(&format!("{}&ca={}", server.url("p"), ca.display()), config(&credentials)).await;
    assert_eq!(trusting.list_all("").await.expect("trusted"), []);

    for (content, name) in
        [("not pem", "none"), ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "broken")]
    {
        std::fs::write(&ca, content).expect("write");
        let url = StoreUrl::parse(&format!("{}&ca={}", server.url("p"), ca.display())).expect("a url");
        let error = store::open(&url, config(&credentials)).await.expect_err(name);
        assert!(matches!(error, Error::Refused(_)), "{error}");
    }
}

#[tokio::test]
async fn plain_http_beyond_loopback_is_refused_before_any_connection() {
    let error = StoreUrl::parse("s3://bucket/p?endpoint=http://store.invalid:9000").expect_err("plain http");
    assert!(error.to_string().contains("allow-http=true"), "{error}");
    let allowed =
        StoreUrl::parse("s3://bucket/p?endpoint=http://store.invalid:9000&allow-http=true").expect("said so");
    store::open(&allowed, OpenConfig::default()).await.expect("opens without sending anything");
}
