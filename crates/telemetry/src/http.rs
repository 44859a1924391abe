//! The small HTTP server of a sidecar: `/metrics`, `/startz`, `/livez`, `/readyz`, `/status` and one page.
//!
//! It listens on all interfaces only because Prometheus and the kubelet come from outside, so: nothing here changes state,
//! only GET and HEAD are answered, and everything is bounded (P7): 64 connections, 16 KiB of request head, 5 s to send it,
//! 10 s per connection in all, one request per connection. Further clients wait in the kernel's queue.
//! It runs on the current-thread runtime of the sidecar; bodies are made in memory and small.

use crate::page;
use crate::{Error, Health, Registry, Shutdown};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Makes the document of `/status`; called per request, so it must be quick and must not block.
pub type Status = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;

const MAX_CONNECTIONS: usize = 64;
const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after `accept` failed: out of descriptors does not get better by trying at full speed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A running server; it stops with its [`Shutdown`] token.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    /// The address it is bound to; the real port when 0 was asked for.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Waits until it no longer accepts.
    pub async fn stopped(self) {
        let _ = self.task.await; // a panic was reported by its own hook
    }
}

struct Site {
    registry: Arc<Registry>,
    health: Arc<Health>,
    status: Status,
}

/// Binds `addr` and serves in the background until `shutdown` is cancelled.
pub async fn serve(
    addr: SocketAddr,
    registry: Arc<Registry>,
    health: Arc<Health>,
    status: Status,
    shutdown: Shutdown,
) -> Result<Server, Error> {
    let bind_error = |source| Error::Bind { addr, source };
    let listener = TcpListener::bind(addr).await.map_err(bind_error)?;
    let bound = listener.local_addr().map_err(bind_error)?;
    let site = Arc::new(Site { registry, health, status });
    let task = tokio::spawn(accept(listener, site, shutdown));
    Ok(Server { addr: bound, task })
}

async fn accept(listener: TcpListener, site: Arc<Site>, shutdown: Shutdown) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut failing = false;
    loop {
        // The slot is taken before `accept`, so that what we cannot serve stays in the kernel's queue.
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            next = next => next,
        };
        match accepted {
            Ok((stream, _)) => {
                failing = false;
                let site = Arc::clone(&site);
                tokio::spawn(async move {
                    // Slow clients and broken connections are theirs to report.
                    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection(stream, site)).await;
                    drop(slot);
                });
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "cannot accept connections");
                }
                failing = true;
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, site: Arc<Site>) -> hyper::Result<()> {
    let answer_one = service_fn(move |request: Request<Incoming>| {
        let response = answer(request.method(), request.uri().path(), &site);
        async move { Ok::<_, Infallible>(response) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer_one)
        .await
}

fn answer(method: &Method, path: &str, site: &Site) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    let known = matches!(path, "/" | "/metrics" | "/status" | "/startz" | "/livez" | "/readyz");
    if !known {
        return respond(StatusCode::NOT_FOUND, TEXT, "not found\n".into());
    }
    if method != Method::GET && method != Method::HEAD {
        let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".into());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/metrics" => {
            respond(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", site.registry.gather_text())
        }
        "/status" => respond(StatusCode::OK, "application/json", format!("{:#}\n", (site.status)())),
        "/startz" => probe(site.health.started()),
        "/livez" => probe(site.health.live()),
        "/readyz" => probe(site.health.ready()),
        _ => {
            let html = page::html(&(site.status)(), &site.health);
            let mut response = respond(StatusCode::OK, "text/html; charset=utf-8", html);
            let policy = HeaderValue::from_static(
                "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
            );
            response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
            response
        }
    }
}

fn probe(state: Result<(), String>) -> Response<Full<Bytes>> {
    match state {
        Ok(()) => respond(StatusCode::OK, "text/plain; charset=utf-8", "ok\n".into()),
        Err(reason) => {
            respond(StatusCode::SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", format!("{reason}\n"))
        }
    }
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
