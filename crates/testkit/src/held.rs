//! A line to a server whose answers stop in the middle: nobody has to be quick to meet a stream while it runs.

use std::io::{self, Read};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

/// A line for one connection: so many bytes of the answers pass, the rest waits until this is dropped.
#[derive(Debug)]
pub struct Held {
    /// Where the client finds it.
    pub addr: SocketAddr,
    _rest: Sender<()>,
}

impl Held {
    /// A line to the server at `host:port`.
    pub fn to(server: &str, bytes: u64) -> Held {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port to listen on");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let (rest, dropped) = mpsc::channel();
        let server = server.to_owned();
        thread::spawn(move || pass(&listener, &server, bytes, &dropped));
        Held { addr, _rest: rest }
    }
}

fn pass(listener: &TcpListener, server: &str, bytes: u64, dropped: &Receiver<()>) -> io::Result<()> {
    let (client, _) = listener.accept()?;
    let server = TcpStream::connect(server)?;
    let (mut asks, mut asked) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || io::copy(&mut asks, &mut asked));
    io::copy(&mut (&server).take(bytes), &mut &client)?;
    let _ = dropped.recv();
    // A server that was killed may end it with an error.
    let _ = io::copy(&mut &server, &mut &client);
    client.shutdown(Shutdown::Both)
}
