//! A gRPC server that does on the wire what it is told: etcd's calls, Talos' calls, and everything that can go wrong with them.

use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testkit::bolt::{bytes_field, number_field};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// One thing that happens on a stream of answers.
#[derive(Clone)]
pub(crate) enum Step {
    /// One message.
    Message(Vec<u8>),
    /// Messages without content, for ever.
    EmptyForEver,
    /// Nothing, for ever.
    Stall,
    /// The connection breaks.
    Cut,
}

/// What a call is answered with.
#[derive(Clone)]
pub(crate) enum Answer {
    /// Messages, and OK.
    Stream(Vec<Step>),
    /// An error of gRPC.
    Error(u32, String),
}

pub(crate) fn one(message: Vec<u8>) -> Answer {
    Answer::Stream(vec![Step::Message(message)])
}

type Calls = Arc<Mutex<HashMap<String, Answer>>>;

/// A running fake.
pub(crate) struct Fake {
    pub(crate) port: u16,
    calls: Calls,
    pub(crate) seen: Arc<Mutex<Vec<String>>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Certificates of the server, and the authority of its clients.
pub(crate) struct Tls<'a> {
    pub(crate) ca: &'a Path,
    pub(crate) cert: &'a Path,
    pub(crate) key: &'a Path,
}

impl Fake {
    pub(crate) fn start(tls: Option<Tls<'_>>) -> Fake {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (calls, seen): (Calls, Arc<Mutex<Vec<String>>>) = Default::default();
        let acceptor = tls.map(|tls| acceptor(&tls));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (answers, log) = (calls.clone(), seen.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let serve = async {
                    while let Ok((socket, _)) = listener.accept().await {
                        let (answers, log, acceptor) = (answers.clone(), log.clone(), acceptor.clone());
                        tokio::spawn(async move {
                            match acceptor {
                                None => connection(socket, answers, log).await,
                                Some(acceptor) => {
                                    if let Ok(socket) = acceptor.accept(socket).await {
                                        connection(socket, answers, log).await;
                                    }
                                }
                            }
                        });
                    }
                };
                tokio::select! { () = serve => {}, _ = stopped => {} }
            });
        });
        Fake { port, calls, seen, stop: Some(stop), thread: Some(thread) }
    }

    /// Sets what a call is answered with from now on.
    pub(crate) fn on(&self, path: &str, answer: Answer) -> &Self {
        self.calls.lock().unwrap().insert(path.to_owned(), answer);
        self
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn acceptor(tls: &Tls<'_>) -> TlsAcceptor {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(tls.ca).unwrap()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_file(tls.cert).unwrap()],
            PrivateKeyDer::from_pem_file(tls.key).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    socket: S,
    calls: Calls,
    seen: Arc<Mutex<Vec<String>>>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let path = request.uri().path().to_owned();
        let node = request.headers().get("node").map(|node| format!(" node={}", node.to_str().unwrap()));
        seen.lock().unwrap().push(format!("{path}{}", node.unwrap_or_default()));
        let answer = calls.lock().unwrap().get(&path).cloned();
        async move {
            let _ = request.into_body().collect().await;
            Ok::<_, std::convert::Infallible>(respond(answer))
        }
    });
    let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
}

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, std::io::Error>;

fn respond(answer: Option<Answer>) -> Response<Body> {
    let answer = answer.unwrap_or(Answer::Error(12, "unknown service".into()));
    let steps = match answer {
        Answer::Stream(steps) => steps,
        Answer::Error(code, message) => {
            let empty = http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync();
            return Response::builder()
                .header("content-type", "application/grpc")
                .header("grpc-status", code.to_string())
                .header("grpc-message", message)
                .body(empty)
                .unwrap();
        }
    };
    let stream = futures::stream::unfold((steps.into_iter(), false), |(mut steps, over)| async move {
        if over {
            return None;
        }
        let frame = |message: &[u8]| {
            let mut bytes = vec![0];
            bytes.extend_from_slice(&(message.len() as u32).to_be_bytes());
            bytes.extend_from_slice(message);
            Frame::data(Bytes::from(bytes))
        };
        match steps.next() {
            Some(Step::Message(message)) => Some((Ok(frame(&message)), (steps, false))),
            Some(Step::EmptyForEver) => {
                tokio::time::sleep(Duration::from_millis(5)).await;
                let again: Vec<Step> = vec![Step::EmptyForEver];
                Some((Ok(frame(&[])), (again.into_iter(), false)))
            }
            Some(Step::Stall) => std::future::pending().await,
            Some(Step::Cut) => Some((Err(std::io::Error::other("cut")), (steps, true))),
            None => {
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", "0".parse().unwrap());
                Some((Ok(Frame::trailers(trailers)), (steps, true)))
            }
        }
    });
    let body = StreamBody::new(stream).boxed_unsync();
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

/// The messages of etcd's `Snapshot`: 32 KiB each, the checksum on its own.
pub(crate) fn etcd_stream(file: &[u8]) -> Vec<Step> {
    let (body, trailer) = file.split_at(file.len().saturating_sub(32));
    let mut left = body.len();
    let mut steps: Vec<Step> = body
        .chunks(32 << 10)
        .map(|chunk| {
            left -= chunk.len();
            Step::Message([number_field(2, left as u64), bytes_field(3, chunk)].concat())
        })
        .collect();
    steps.push(Step::Message(bytes_field(3, trailer)));
    steps
}

/// A healthy lone member that answers with this file.
pub(crate) fn etcd(fake: &Fake, file: &[u8], revision: u64) {
    let header = |revision| {
        bytes_field(1, &[number_field(1, 77), number_field(2, 5), number_field(3, revision)].concat())
    };
    let status =
        [header(revision), bytes_field(2, b"3.5.99"), number_field(4, 5), number_field(7, 1000)].concat();
    let url = format!("http://127.0.0.1:{}", fake.port);
    let member =
        bytes_field(2, &[number_field(1, 5), bytes_field(2, b"m0"), bytes_field(4, url.as_bytes())].concat());
    fake.on("/etcdserverpb.Maintenance/Status", one(status))
        .on("/etcdserverpb.Cluster/MemberList", one([header(revision), member].concat()))
        .on("/etcdserverpb.Maintenance/Alarm", one(header(revision)))
        .on("/etcdserverpb.KV/Range", one(header(revision)))
        .on(
            "/etcdserverpb.Maintenance/HashKV",
            Answer::Error(11, "etcdserver: mvcc: required revision has been compacted".into()),
        )
        .on("/etcdserverpb.Maintenance/Snapshot", Answer::Stream(etcd_stream(file)));
}

/// What `HashKV` answers.
pub(crate) fn hash(hash: u64, compacted: i64) -> Answer {
    one([bytes_field(1, &number_field(2, 5)), number_field(2, hash), number_field(3, compacted as u64)]
        .concat())
}
