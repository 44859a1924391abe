//! The server over real sockets, as Prometheus, the kubelet and a slow client see it.

use super::*;
use crate::BuildInfo;
use clock::ManualClock;
use serde_json::json;
use std::future::Future;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

struct Running {
    clock: Arc<ManualClock>,
    health: Arc<Health>,
    shutdown: Shutdown,
    server: Server,
}

async fn running() -> Running {
    let clock = Arc::new(ManualClock::at(0));
    let registry = Arc::new(Registry::new(&BuildInfo::of("test"), clock.clone()).unwrap());
    let health = Arc::new(Health::new(clock.clone(), Duration::from_secs(10)));
    let shutdown = Shutdown::manual();
    let status: Status = Arc::new(|| json!({"component": "test", "databases": [{"path": "app.db"}]}));
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = serve(any, registry, health.clone(), status, shutdown.clone()).await.unwrap();
    Running { clock, health, shutdown, server }
}

async fn send(addr: SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn get(addr: SocketAddr, path: &str) -> String {
    send(addr, &format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

#[test]
fn every_path_answers() {
    run(async {
        let running = running().await;
        let addr = running.server.addr();
        let metrics = get(addr, "/metrics").await;
        assert!(metrics.starts_with("HTTP/1.1 200") && metrics.contains("version=0.0.4"), "{metrics}");
        assert!(metrics.contains("highwater_build_info{") && metrics.contains("process_open_fds "));
        let status = get(addr, "/status").await;
        assert!(status.contains("application/json") && status.contains(r#""path": "app.db""#), "{status}");
        let page = get(addr, "/").await;
        assert!(
            page.contains("text/html") && page.contains("<td>app.db") && page.contains("default-src 'none'")
        );
        assert!(get(addr, "/metrics/../etc/passwd").await.starts_with("HTTP/1.1 404"));
        assert!(get(addr, "/readyz?verbose").await.starts_with("HTTP/1.1 503"));
    });
}

#[test]
fn only_reading_is_allowed() {
    run(async {
        let running = running().await;
        let addr = running.server.addr();
        let answer = send(addr, "POST /status HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 405") && answer.contains("allow: GET, HEAD"), "{answer}");
        assert!(send(addr, "POST /x HTTP/1.1\r\nhost: x\r\n\r\n").await.starts_with("HTTP/1.1 404"));
        let head = send(addr, "HEAD /status HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    });
}

#[test]
fn probes_follow_health() {
    run(async {
        let running = running().await;
        let addr = running.server.addr();
        running.health.wait_for("waiting for restored.json");
        let started = get(addr, "/startz").await;
        assert!(
            started.starts_with("HTTP/1.1 503") && started.contains("waiting for restored.json"),
            "{started}"
        );
        running.health.set_started();
        for path in ["/startz", "/livez", "/readyz"] {
            assert!(get(addr, path).await.starts_with("HTTP/1.1 200"), "{path}");
        }
        running.health.hold_ready("fenced", "another pod owns app.db");
        assert!(get(addr, "/readyz").await.contains("another pod owns app.db"));
        running.clock.advance_ms(11_000);
        assert!(get(addr, "/livez").await.starts_with("HTTP/1.1 503"));
    });
}

#[test]
fn p7_a_request_head_is_bounded() {
    run(async {
        let running = running().await;
        let mut stream = TcpStream::connect(running.server.addr()).await.unwrap();
        let _ = stream.write_all(format!("GET /{} HTTP/1.1\r\n", "a".repeat(64 * 1024)).as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await; // an answer or a reset, but an end
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    });
}

#[test]
fn p7_connections_are_bounded_and_the_queue_moves_on() {
    run(async {
        let running = running().await;
        let addr = running.server.addr();
        let mut idle = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            idle.push(TcpStream::connect(addr).await.unwrap());
        }
        let waiting = tokio::spawn(get(addr, "/metrics"));
        // Yields until the server has had every chance to answer one client too many.
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        assert!(!waiting.is_finished());
        idle.pop();
        assert!(waiting.await.unwrap().starts_with("HTTP/1.1 200"));
    });
}

#[test]
fn stops_with_its_token_and_frees_the_port() {
    run(async {
        let running = running().await;
        let addr = running.server.addr();
        running.shutdown.cancel();
        running.server.stopped().await;
        let refused = async {
            // A process that another test is starting holds a copy of the socket until it runs.
            while TcpStream::connect(addr).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), refused).await.unwrap();
    });
}

#[test]
fn a_taken_port_is_named() {
    run(async {
        let running = running().await;
        let addr = running.server.addr();
        let registry = Arc::new(Registry::new(&BuildInfo::of("test"), running.clock.clone()).unwrap());
        let error = serve(addr, registry, running.health.clone(), Arc::new(|| json!({})), Shutdown::manual())
            .await
            .unwrap_err();
        assert!(error.to_string().contains(&addr.to_string()), "{error}");
        assert_eq!(error.class(), crate::Class::Retriable);
    });
}
