//! S3 over real HTTP, with a server that misbehaves on command.

mod access;
mod requests;
mod wire;

use bytes::Bytes;
use store::{OpenConfig, PutOptions, RetryPolicy, Store, StoreUrl};
use testkit::s3::S3Server;

/// A server, a store on it, and the directory its credentials are in.
struct Bench {
    server: S3Server,
    store: Store,
    credentials: tempfile::TempDir,
}

fn config(credentials: &tempfile::TempDir) -> OpenConfig {
    OpenConfig {
        credentials_dir: Some(credentials.path().to_owned()),
        env: |_| None,
        retry: RetryPolicy::immediate(4),
        ..OpenConfig::default()
    }
}

async fn open(url: &str, config: OpenConfig) -> Store {
    store::open(&StoreUrl::parse(url).expect("a url"), config).await.expect("opens")
}

/// A store that has been probed, so that only the requests of the test are counted.
async fn bench() -> Bench {
    let server = S3Server::start();
    let credentials = tempfile::tempdir().expect("scratch");
    for (name, value) in server.env() {
        std::fs::write(credentials.path().join(name), value).expect("write");
    }
    let store = open(&server.url("p"), config(&credentials)).await;
    assert!(store.capabilities().await.expect("probes").create_only);
    server.reset();
    Bench { server, store, credentials }
}

async fn put(store: &Store, key: &str, body: &'static str) {
    store.put(key, Bytes::from_static(body.as_bytes()), &PutOptions::overwrite()).await.expect("puts");
}
