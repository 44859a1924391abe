//! A gate before a real etcd: everything passes, but one call is held until the test has done something to the cluster.
//!
//! A call is held before it reaches the server, or once the server has begun to answer: a snapshot whose first message is there has its read
//! transaction, and what is written or compacted afterwards is not in it. No time is involved: the test acts, then lets go.

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// When a call is held.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// Before the server has heard of it.
    Asked,
    /// When the server has begun to answer.
    Answered,
}

/// What is done while the call is held.
type Act = Arc<dyn Fn() + Send + Sync>;

struct Held {
    path: &'static str,
    when: When,
    act: Act,
}

/// A gate; closed for good when dropped.
pub(crate) struct Gate {
    pub(crate) endpoint: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Gate {
    /// Before the server at this address without TLS; each time this call comes it is held until `act` has returned.
    pub(crate) fn before(
        server: &str,
        path: &'static str,
        when: When,
        act: impl Fn() + Send + Sync + 'static,
    ) -> Gate {
        let server = server.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let held = Arc::new(Held { path, when, act: Arc::new(act) });
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let serve = async {
                    while let Ok((socket, _)) = listener.accept().await {
                        tokio::spawn(pass(socket, server.clone(), held.clone()));
                    }
                };
                tokio::select! { () = serve => {}, _ = stopped => {} }
            });
        });
        Gate { endpoint, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One connection, and one behind it.
async fn pass(socket: TcpStream, server: String, held: Arc<Held>) {
    let Ok(behind) = TcpStream::connect(&server).await else { return };
    let made = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(behind)).await;
    let Ok((sender, connection)) = made else { return };
    tokio::spawn(connection);
    let service = service_fn(move |request| forward(request, sender.clone(), held.clone()));
    let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
}

async fn forward(
    request: Request<Incoming>,
    mut sender: SendRequest<Incoming>,
    held: Arc<Held>,
) -> hyper::Result<Response<http_body_util::combinators::BoxBody<hyper::body::Bytes, hyper::Error>>> {
    let is_held = request.uri().path() == held.path;
    if is_held && held.when == When::Asked {
        hold(&held).await;
    }
    let response = sender.send_request(request).await?;
    if is_held && held.when == When::Answered {
        hold(&held).await;
    }
    Ok(response.map(BodyExt::boxed))
}

async fn hold(held: &Held) {
    let act = held.act.clone();
    tokio::task::spawn_blocking(move || act()).await.unwrap();
}
