//! A slow line to a server: what a client sends passes at so many bytes a second, or stands still.
//!
//! Unlike a throttled server, which has what it reads slowly, the line takes nothing that it does not pass on, and its receive buffer is
//! tiny: the rest stays in the *client's* socket, unacknowledged, as on a long uplink. Answers pass at once.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;

use crate::s3::S3Server;

/// What the line's end of a connection holds at most, roughly: the kernel doubles it and acknowledges some KiB at a time.
const BUFFER: u32 = 4096;
/// Most bytes that pass at once.
const PIECE: u64 = 1024;

/// A running line; see the module. It ends when dropped.
#[derive(Debug)]
pub struct Line {
    ports: (u16, u16),
    rate: Arc<AtomicU64>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Line {
    /// A line to a server on this machine that passes `rate` bytes a second; with 0 it stands still.
    pub fn to(server: &S3Server, rate: u64) -> Line {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listener = {
            let _inside = runtime.enter();
            let socket = TcpSocket::new_v4().expect("a socket");
            socket.set_recv_buffer_size(BUFFER).expect("a socket has a buffer");
            socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a port to listen on");
            socket.listen(64).expect("a bound socket can listen")
        };
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let rate = Arc::new(AtomicU64::new(rate));
        let (stop, mut stopped) = watch::channel(false);
        let (there, shared) = (server.port(), rate.clone());
        let serve = async move {
            loop {
                if let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(pass(client, there, shared.clone()));
                }
            }
        };
        let run = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve => {}
                    _ = stopped.changed() => {}
                }
            });
        };
        let thread = thread::Builder::new().name("line".into()).spawn(run).expect("a thread");
        Line { ports: (server.port(), port), rate, stop, thread: Some(thread) }
    }

    /// From now on so many bytes a second pass.
    pub fn set_rate(&self, rate: u64) {
        self.rate.store(rate, Relaxed);
    }

    /// The URL of something on the server, by way of the line.
    pub fn url(&self, url: &str) -> String {
        url.replace(&format!(":{}", self.ports.0), &format!(":{}", self.ports.1))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One connection, until either side closes it.
async fn pass(client: TcpStream, port: u16, rate: Arc<AtomicU64>) -> io::Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let back = tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    let mut buffer = vec![0; PIECE as usize];
    loop {
        let per_second = rate.load(Relaxed);
        if per_second == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        }
        let most = (per_second / 8).clamp(1, PIECE) as usize;
        let n = from_client.read(&mut buffer[..most]).await?;
        if n == 0 {
            break;
        }
        to_server.write_all(&buffer[..n]).await?;
        tokio::time::sleep(Duration::from_secs_f64(n as f64 / per_second as f64)).await;
    }
    to_server.shutdown().await?;
    let _ = back.await;
    Ok(())
}
