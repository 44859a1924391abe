//! The network of one pod: a namespace of its own with one link to the host, and the only way from there to the store.
//!
//! Two pods at once need it, because both listen on the same ports, and because the way to the store of one of them can be cut while the other
//! one goes on: a node that nobody hears from. What goes up that way is counted, so that "it writes nothing more" is a number.
//! Needs root and `ip` (package iproute2).

use anyhow::{Context, Result, ensure};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

/// Pause between two looks at a way that is cut.
const STEP: Duration = Duration::from_millis(20);

/// See the module. Gone, with everything that runs over it, when dropped.
pub(super) struct Network {
    name: String,
    number: u8,
    way: Arc<Way>,
    port: u16,
}

#[derive(Default)]
struct Way {
    cut: AtomicBool,
    closed: AtomicBool,
    sent: AtomicU64,
}

impl Network {
    /// The network of pod `number`, whose way leads to `store`, a port on loopback.
    pub(super) fn new(number: u8, store: u16) -> Result<Self> {
        let name = format!("hwe2e-{}-{number}", std::process::id());
        let way = Arc::new(Way::default());
        let mut network = Self { name, number, way, port: 0 };
        let (space, link) = (network.name.clone(), network.link());
        let (host, pod) = (network.host(), network.pod());
        ip(&["netns", "add", &space])?;
        ip(&["link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &space])?;
        ip(&["addr", "add", &format!("{host}/30"), "dev", &link])?;
        ip(&["link", "set", &link, "up"])?;
        ip(&["-n", &space, "addr", "add", &format!("{pod}/30"), "dev", "eth0"])?;
        ip(&["-n", &space, "link", "set", "eth0", "up"])?;
        ip(&["-n", &space, "link", "set", "lo", "up"])?;
        let listener = TcpListener::bind((host, 0)).context("the host's end of the link")?;
        network.port = listener.local_addr()?.port();
        let way = network.way.clone();
        thread::spawn(move || carry(&listener, store, &way));
        Ok(network)
    }

    fn link(&self) -> String {
        format!("hw{}p{}", std::process::id() % 1_000_000, self.number)
    }

    fn host(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, self.number, 1)
    }

    /// The pod's address.
    pub(super) fn pod(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, self.number, 2)
    }

    /// The store as this pod sees it.
    pub(super) fn endpoint(&self) -> String {
        format!("http://{}:{}", self.host(), self.port)
    }

    /// As `podman run --network` wants it.
    pub(super) fn argument(&self) -> String {
        format!("ns:/run/netns/{}", self.name)
    }

    /// From now on nothing passes, in neither direction, until [`Self::mend`]; nobody is told.
    pub(super) fn cut(&self) {
        self.way.cut.store(true, Ordering::SeqCst);
    }

    /// The way is there again.
    pub(super) fn mend(&self) {
        self.way.cut.store(false, Ordering::SeqCst);
    }

    /// Bytes that went to the store so far.
    pub(super) fn sent(&self) -> u64 {
        self.way.sent.load(Ordering::SeqCst)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.way.closed.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect((self.host(), self.port));
        // The link goes with its namespace; what is gone already is as good.
        let _ = ip(&["link", "del", &self.link()]);
        let _ = ip(&["netns", "del", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let out = Command::new("ip").args(arguments).output().context("ip")?;
    let error = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "ip {}: {}", arguments.join(" "), error.trim());
    Ok(())
}

/// Whether namespaces can be made here; else why not.
pub(super) fn possible() -> Result<()> {
    Network::new(250, 9).map(drop)
}

fn carry(listener: &TcpListener, store: u16, way: &Arc<Way>) {
    for client in listener.incoming().flatten() {
        if way.closed.load(Ordering::SeqCst) {
            return;
        }
        let way = way.clone();
        thread::spawn(move || {
            let Ok(from) = client.try_clone() else { return };
            let up = read(from, way.clone(), true);
            way.wait();
            // A store that is down refuses, and so do we.
            let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, store)) else { return };
            let (Ok(from), Ok(to)) = (server.try_clone(), server.try_clone()) else { return };
            let down = read(from, way.clone(), false);
            let passing = way.clone();
            let upward = thread::spawn(move || hand_on(&up, to, &passing));
            hand_on(&down, client, &way);
            // One side ended: the other one hears of it.
            let _ = server.shutdown(Shutdown::Both);
            drop(upward.join());
        });
    }
}

/// Reads at once, also while the way is cut: what was sent before is counted before, and may arrive long after it.
fn read(mut from: TcpStream, way: Arc<Way>, counted: bool) -> mpsc::Receiver<Vec<u8>> {
    let (queue, queued) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count) = from.read(&mut buffer) {
            if counted {
                way.sent.fetch_add(count as u64, Ordering::SeqCst);
            }
            if count == 0 || queue.send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    queued
}

/// Hands on what was read, when the way is open, and in the end that nothing more comes.
fn hand_on(queued: &mpsc::Receiver<Vec<u8>>, mut to: TcpStream, way: &Way) {
    for bytes in queued {
        way.wait();
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    way.wait();
    let _ = to.shutdown(Shutdown::Both);
}

impl Way {
    fn wait(&self) {
        while self.cut.load(Ordering::SeqCst) && !self.closed.load(Ordering::SeqCst) {
            thread::sleep(STEP);
        }
    }
}
