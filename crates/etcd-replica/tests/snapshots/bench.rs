//! What the tests share: a store that can be commanded, options, keys, one call to ship.

use clock::{ManualClock, SeededIds};
use etcd_replica::{
    Delivery, Destination, Error, EtcdSource, Limits, Policy, ShipOptions, Source, TlsFiles, Token, ship,
};
use seal::{Identities, Protection, Recipients};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use store::fault::{FaultStore, Faults};
use store::{MemoryStore, OpenConfig, RetryPolicy, Store};
use testkit::s3::S3Server;

/// 2026-11-21T14:15:00Z
pub(crate) const NOW: i64 = 1_795_270_500_000;

pub(crate) struct Bench {
    pub(crate) store: Store,
    pub(crate) memory: MemoryStore,
    pub(crate) faults: Faults,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) identities: Arc<Identities>,
    pub(crate) recipient: String,
    pub(crate) token: Option<Token>,
    pub(crate) policy: Policy,
}

pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

impl Bench {
    pub(crate) fn new() -> Bench {
        let clock = Arc::new(ManualClock::at(NOW));
        let memory = MemoryStore::new(clock.clone()).with_part_size(64 << 10);
        let (backend, faults) = FaultStore::new(Arc::new(memory.clone()));
        let mut config = OpenConfig::new(clock.clone(), Arc::new(SeededIds::new(1)));
        config.retry = RetryPolicy::immediate(3);
        let key = age::x25519::Identity::generate();
        let text = age::secrecy::ExposeSecret::expose_secret(&key.to_string()).to_owned();
        Bench {
            store: Store::new(Arc::new(backend), &config),
            memory,
            faults,
            clock,
            // Not in the system's temporary directory, which may be a tmpfs: that is refused on purpose.
            dir: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
            identities: Arc::new(Identities::parse(&text, "test").unwrap()),
            recipient: key.to_public().to_string(),
            token: None,
            policy: Policy::default(),
        }
    }

    pub(crate) fn options(&self) -> ShipOptions {
        ShipOptions {
            cluster: "prod".into(),
            protection: Protection::Sealed(Recipients::parse(&self.recipient, "test").unwrap()),
            spool_dir: self.dir.path().to_owned(),
            interval: 3_600,
            token: self.token.clone(),
            prune: true,
            accepted: None,
            tool: "test".into(),
        }
    }

    pub(crate) fn to(&self) -> Destination {
        Destination { url: "memory://test".into(), store: self.store.clone(), policy: self.policy.clone() }
    }

    /// Ships to the one destination.
    pub(crate) fn ship(&self, source: &Source) -> Result<Delivery, Error> {
        let mut deliveries = run(ship(source, &[self.to()], &self.options(), &*self.clock))?;
        Ok(deliveries.remove(0))
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        run(self.store.list_all("")).unwrap().into_iter().map(|object| object.key).collect()
    }

    /// Nothing that anybody could take for a backup, and nothing left on disk.
    #[track_caller]
    pub(crate) fn assert_nothing_kept(&self, what: &str) {
        let keys = self.keys();
        assert!(!keys.iter().any(|key| key.ends_with("manifest.json")), "{what}: {keys:?}");
        assert_eq!(self.memory.pending_uploads(), 0, "{what}");
        let left: Vec<_> =
            std::fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| name == ".etcd-shipper.lock"), "{what}: {left:?}");
    }
}

/// Longer than any machine that is merely busy takes; a test that is about limits sets its own.
pub(crate) fn patient() -> Limits {
    Limits { idle: Duration::from_secs(60), total: Duration::from_secs(120) }
}

pub(crate) fn plain(port: u16) -> Source {
    etcd_at(&[format!("http://127.0.0.1:{port}")], TlsFiles::default())
}

pub(crate) fn etcd_at(endpoints: &[String], tls: TlsFiles) -> Source {
    Source::Etcd(EtcdSource { endpoints: endpoints.to_vec(), tls, limits: patient() })
}

pub(crate) fn tls_files(ca: &Path, cert: &Path, key: &Path) -> TlsFiles {
    TlsFiles { cacert: Some(ca.to_owned()), cert: Some(cert.to_owned()), key: Some(key.to_owned()) }
}

/// A store whose clock is fifty minutes off, and its server.
pub(crate) fn skewed() -> (S3Server, Store) {
    let server = S3Server::start();
    let config = OpenConfig {
        credentials_dir: None,
        env: |name| match name {
            "AWS_ACCESS_KEY_ID" => Some(testkit::s3::ACCESS_KEY.into()),
            "AWS_SECRET_ACCESS_KEY" => Some(testkit::s3::SECRET_KEY.into()),
            _ => None,
        },
        ..OpenConfig::default()
    };
    server.faults().skew_date(Duration::from_secs(3_000));
    let url = store::StoreUrl::parse(&server.url("etcd")).unwrap();
    let store = run(store::open(&url, config)).unwrap();
    (server, store)
}
