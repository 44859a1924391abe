//! One GET, as the kubelet and Prometheus send it.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::Streamer;

/// The status code and the body.
pub fn get(addr: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(addr).unwrap_or_else(|error| panic!("{addr}: {error}"));
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {addr}\r\n\r\n").expect("the server reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the server answers");
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (code, body.to_owned())
}

/// The value of one series, if it is exported.
pub fn series(metrics: &str, series: &str) -> Option<f64> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    line.parse().ok()
}

impl Streamer {
    /// Where it serves HTTP; start it with `--listen 127.0.0.1:0`.
    #[track_caller]
    pub fn addr(&mut self) -> String {
        self.wait_for("serving");
        let line = self.events("serving").pop().expect("it was waited for");
        line["addr"].as_str().expect("an address is text").to_owned()
    }
}
