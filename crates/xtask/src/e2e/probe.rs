//! What a kubelet, a Prometheus and a browser do with a port of a pod: a request, its status, its body.
//!
//! HTTP/1.0 on purpose: the answer ends with the connection, and nothing is chunked.

use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

/// A request without a body.
pub(super) fn get(address: Ipv4Addr, port: u16, path: &str) -> Result<(u16, String)> {
    let (status, body) = request(address, port, "GET", path, &[], b"")?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// Any request: status and body of the answer.
pub(super) fn request(
    address: Ipv4Addr,
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((address, port)), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head =
        format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all((head + "\r\n").as_bytes())?;
    stream.write_all(body)?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply)?;
    let end =
        reply.windows(4).position(|w| w == b"\r\n\r\n").context("an answer without an end of its head")?;
    let status = String::from_utf8_lossy(&reply[..end]);
    let status = status.split_whitespace().nth(1).context("an answer without a status")?.parse()?;
    Ok((status, reply.split_off(end + 4)))
}

/// The value of the first series of a metric whose labels hold `label`.
pub(super) fn metric(text: &str, name: &str, label: &str) -> Option<f64> {
    let mut lines =
        text.lines().filter(|line| line.strip_prefix(name).is_some_and(|r| r.starts_with(['{', ' '])));
    lines.find(|line| line.contains(label))?.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_metric_is_found_by_its_whole_name_and_a_label() {
        let text = "# HELP a_b x\na_b_total{db=\"x\"} 4\na_b{db=\"x\"} 1\na_b{db=\"y\"} 2.5\n";
        assert_eq!(super::metric(text, "a_b", "db=\"y\""), Some(2.5));
        assert_eq!(super::metric(text, "a_b", "db=\"z\""), None);
    }
}
