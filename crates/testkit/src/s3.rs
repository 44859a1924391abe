//! An S3 server inside the test: real HTTP, real signatures, objects as files, every request counted, and faults.
//!
//! The protocol is `s3s`; the store behind it is ours and small (module `backend`), because the promises under test hang
//! on semantics (create-only puts, also of multipart uploads) that a fake must not get wrong. Each server has its own
//! directory, port and threads: current-thread tests and programs without a runtime can use it, and many run at once.
//! It stops when dropped. Not a security boundary, not durable (no fsync).

mod backend;
mod body;
mod client;
mod counts;
mod disk;
mod faults;
mod gate;
mod listing;
mod multipart;
mod operation;
mod protocol;
mod throttle;
pub(crate) mod tls;

#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod tests;

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::auth::{S3Auth, SecretKey};
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::S3ServiceBuilder;
use s3s::{S3Result, s3_error};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::procs::{free_port, listen};

pub use client::{Client, Reply};
pub use counts::{Counts, Request};
pub use faults::{Action, Faults, Rule};
pub use operation::Operation;

use backend::Backend;
use counts::Ledger;
use disk::Disk;
use gate::Gate;

/// The one bucket of every server.
pub const BUCKET: &str = "bucket-hw";
/// The access key every server starts with.
pub const ACCESS_KEY: &str = "test-access";
/// The secret key every server starts with.
pub const SECRET_KEY: &str = "test-secret";
/// The region of every server (any is accepted).
pub const REGION: &str = "us-east-1";

/// Threads per server; each accepts and serves connections on its own.
const THREADS: usize = 2;

/// A running server; see the module.
#[derive(Debug)]
pub struct S3Server {
    root: PathBuf,
    port: u16,
    ca_pem: Option<String>,
    faults: Arc<Faults>,
    ledger: Arc<Ledger>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
    _scratch: Option<tempfile::TempDir>,
}

impl S3Server {
    /// An empty server on a free port.
    pub fn start() -> S3Server {
        S3Server::start_on(0)
    }

    /// An empty server on this port (0 for a free one).
    pub fn start_on(port: u16) -> S3Server {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let root = scratch.path().to_owned();
        S3Server::launch(root, Some(scratch), port, false)
    }

    /// A server over a directory that stays: what was stored there before is there again. While it is down, nobody is
    /// given its port ([`free_port`]).
    pub fn start_in(dir: PathBuf) -> S3Server {
        S3Server::launch(dir, None, free_port(), false)
    }

    /// As [`Self::start_in`], on this port: a store that comes back after an outage.
    pub fn start_in_on(dir: PathBuf, port: u16) -> S3Server {
        S3Server::launch(dir, None, port, false)
    }

    /// An empty server behind TLS, with a certificate of a CA made for it ([`Self::ca_pem`]).
    pub fn start_tls() -> S3Server {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let root = scratch.path().to_owned();
        S3Server::launch(root, Some(scratch), 0, true)
    }

    fn launch(root: PathBuf, scratch: Option<tempfile::TempDir>, port: u16, tls: bool) -> S3Server {
        let listener = listen(port);
        let port = listener.local_addr().expect("a bound socket has an address").port();
        listener.set_nonblocking(true).expect("sockets can be non-blocking");
        let faults = Arc::new(Faults::new(ACCESS_KEY, SECRET_KEY));
        let ledger = Arc::new(Ledger::new());
        let disk = Arc::new(Disk::open(&root, BUCKET).expect("the directory is writable"));
        let gate = Gate {
            service: service(Backend { disk, faults: faults.clone() }),
            faults: faults.clone(),
            ledger: ledger.clone(),
        };
        let identity = tls.then(tls::Identity::generate);
        let acceptor = identity.as_ref().map(|identity| identity.acceptor.clone());
        let (stop, stopped) = watch::channel(false);
        let threads = (0..THREADS)
            .map(|_| {
                let listener = listener.try_clone().expect("sockets can be shared");
                let (gate, acceptor, stopped) = (gate.clone(), acceptor.clone(), stopped.clone());
                let serve = move || serve(listener, gate, acceptor, stopped);
                thread::Builder::new().name("s3-server".into()).spawn(serve).expect("a thread")
            })
            .collect();
        let ca_pem = identity.map(|identity| identity.ca_pem);
        S3Server { root, port, ca_pem, faults, ledger, stop, threads, _scratch: scratch }
    }

    /// Replica URL of a prefix: `s3://bucket-hw/<prefix>?endpoint=…&region=…&path-style=true`.
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}?endpoint={}&region={REGION}&path-style=true", self.endpoint())
    }

    /// `http://127.0.0.1:<port>`, or `https://localhost:<port>` behind TLS.
    pub fn endpoint(&self) -> String {
        match self.ca_pem {
            None => format!("http://127.0.0.1:{}", self.port),
            Some(_) => format!("https://localhost:{}", self.port),
        }
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The CA certificate to trust; only behind TLS.
    pub fn ca_pem(&self) -> &str {
        self.ca_pem.as_deref().expect("the server was started with start_tls")
    }

    /// The credentials as the environment variables every S3 client reads.
    pub fn env(&self) -> Vec<(String, String)> {
        [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec()
    }

    /// Where the objects lie on disk: `<dir>/<key>`. Files may be read, planted, changed and removed there.
    pub fn dir(&self) -> PathBuf {
        self.root.join(BUCKET)
    }

    /// The file of one object.
    pub fn object(&self, key: &str) -> PathBuf {
        self.dir().join(key)
    }

    /// All keys that start with this prefix, in order.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let query = listing::Query { prefix: prefix.to_owned(), max: usize::MAX - 1, ..Default::default() };
        let (entries, _) = listing::list(&self.dir(), &query).expect("the bucket can be read");
        entries
            .into_iter()
            .map(|entry| match entry {
                listing::Entry::Key(name) | listing::Entry::Prefix(name) => name,
            })
            .collect()
    }

    /// Multipart uploads that were neither completed nor aborted.
    pub fn unfinished_uploads(&self) -> usize {
        fs::read_dir(self.root.join(".uploads")).map_or(0, Iterator::count)
    }

    /// What can be made to go wrong.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Requests and bytes since the start or the last [`Self::reset`].
    pub fn counts(&self) -> Counts {
        self.ledger.counts()
    }

    /// Sets counters to zero and forgets the log.
    pub fn reset(&self) {
        self.ledger.reset();
    }

    /// The last requests, oldest first.
    pub fn log(&self) -> Vec<Request> {
        self.ledger.log()
    }

    /// A raw client with the right credentials (not for TLS).
    pub fn client(&self) -> Client {
        Client::new(self.port)
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Accepts the key pair the faults hold at the moment, so that rotation can be tested.
struct Keys(Arc<Faults>);

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        match self.0.secret_of(access_key) {
            Some(secret) => Ok(secret.into()),
            None => Err(s3_error!(InvalidAccessKeyId, "the access key does not exist in our records")),
        }
    }
}

fn service(backend: Backend) -> s3s::service::S3Service {
    let keys = Keys(backend.faults.clone());
    let mut builder = S3ServiceBuilder::new(backend);
    builder.set_auth(keys);
    // The clock is the gate's business (`require_clock`): tests run clients in other years.
    let mut config = S3Config::default();
    config.presigned_url_max_skew_time_secs = u32::MAX;
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    builder.build()
}

fn serve(listener: TcpListener, gate: Gate, tls: Option<TlsAcceptor>, mut stopped: watch::Receiver<bool>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        loop {
            let accepted = tokio::select! {
                _ = stopped.changed() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                // The other thread was faster, or the client is gone, or files ran out for a moment.
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
                Ok(_) if gate.faults.is_unavailable() => {}
                Ok((socket, _)) => {
                    let _ = socket.set_nodelay(true);
                    tokio::spawn(connection(socket, gate.clone(), tls.clone()));
                }
            }
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
}

async fn connection(socket: tokio::net::TcpStream, gate: Gate, tls: Option<TlsAcceptor>) {
    match tls {
        None => http(socket, gate).await,
        Some(tls) => {
            if let Ok(socket) = tls.accept(socket).await {
                http(socket, gate).await;
            }
        }
    }
}

async fn http<S: AsyncRead + AsyncWrite + Unpin + 'static>(socket: S, gate: Gate) {
    let service = service_fn(move |request| gate.clone().call(request));
    // Errors are the client's hanging up, or our own cuts.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(1 << 20)
        .serve_connection(TokioIo::new(socket), service)
        .await;
}
