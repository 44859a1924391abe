//! A raw S3 client of one connection: blocking, signed (SigV4, unsigned payload), no retries, nothing hidden.
//!
//! For tests of the server itself, for playing the second writer, and as the yardstick of benchmarks.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::{ACCESS_KEY, BUCKET, REGION, SECRET_KEY};

/// Longest wait for bytes.
const TIMEOUT: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Lower-case names.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header, empty when absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Client {
    port: u16,
    access: String,
    secret: String,
    clock_ms: i64,
    connection: Option<BufReader<TcpStream>>,
}

impl Client {
    /// A client for a server of this process or another on this port.
    pub fn new(port: u16) -> Client {
        Client {
            port,
            access: ACCESS_KEY.to_owned(),
            secret: SECRET_KEY.to_owned(),
            clock_ms: 0,
            connection: None,
        }
    }

    /// Other credentials.
    #[must_use]
    pub fn with_credentials(mut self, access: &str, secret: &str) -> Client {
        (self.access, self.secret) = (access.to_owned(), secret.to_owned());
        self
    }

    /// A clock that is this many milliseconds ahead.
    #[must_use]
    pub fn with_clock_ahead(mut self, ms: i64) -> Client {
        self.clock_ms = ms;
        self
    }

    /// PUT of an object.
    pub fn put(&mut self, key: &str, body: &[u8]) -> io::Result<Reply> {
        self.send("PUT", key, "", &[], body)
    }

    /// PUT with If-None-Match.
    pub fn create(&mut self, key: &str, body: &[u8]) -> io::Result<Reply> {
        self.send("PUT", key, "", &[("if-none-match", "*")], body)
    }

    /// GET of an object.
    pub fn get(&mut self, key: &str) -> io::Result<Reply> {
        self.send("GET", key, "", &[], b"")
    }

    /// One request; `key` empty for the bucket, `query` in canonical form (sorted, encoded, `name=value`).
    pub fn send(
        &mut self,
        method: &str,
        key: &str,
        query: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Reply> {
        let path = match key {
            "" => format!("/{BUCKET}"),
            key => format!("/{BUCKET}/{key}"),
        };
        let head = self.sign(method, &path, query, headers, body.len());
        let answer = self.exchange(&head, method, body);
        if answer.is_err() {
            self.connection = None;
        }
        answer
    }

    fn exchange(&mut self, head: &str, method: &str, body: &[u8]) -> io::Result<Reply> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            empty => {
                let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(TIMEOUT))?;
                empty.insert(BufReader::with_capacity(256 << 10, stream))
            }
        };
        connection.get_mut().write_all(head.as_bytes())?;
        connection.get_mut().write_all(body)?;
        let reply = read_reply(connection, method == "HEAD")?;
        if reply.header("connection").eq_ignore_ascii_case("close") {
            self.connection = None;
        }
        Ok(reply)
    }

    fn sign(&self, method: &str, path: &str, query: &str, extra: &[(&str, &str)], length: usize) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
        let stamp = clock::format_unix_ms((now + self.clock_ms) / 1000 * 1000);
        let stamp = format!("{}T{}Z", stamp[..10].replace('-', ""), stamp[11..19].replace(':', ""));
        let mut headers = BTreeMap::from([
            ("host".to_owned(), format!("127.0.0.1:{}", self.port)),
            ("x-amz-content-sha256".to_owned(), "UNSIGNED-PAYLOAD".to_owned()),
            ("x-amz-date".to_owned(), stamp.clone()),
        ]);
        headers.extend(extra.iter().map(|(name, value)| (name.to_string(), value.to_string())));
        let names = headers.keys().map(String::as_str).collect::<Vec<_>>().join(";");
        let lines = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect::<String>();
        let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{names}\nUNSIGNED-PAYLOAD");
        let scope = format!("{}/{REGION}/s3/aws4_request", &stamp[..8]);
        let digest = hex::encode(Sha256::digest(canonical));
        let text = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}");
        let key = ["s3", "aws4_request"].iter().fold(
            hmac(&hmac(format!("AWS4{}", self.secret).as_bytes(), &stamp[..8]), REGION),
            |key, part| hmac(&key, part),
        );
        let signature = hex::encode(hmac(&key, &text));
        let headers = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<String>();
        let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        format!(
            "{method} {target} HTTP/1.1\r\n{headers}content-length: {length}\r\nauthorization: AWS4-HMAC-SHA256 \
             Credential={}/{scope}, SignedHeaders={names}, Signature={signature}\r\n\r\n",
            self.access
        )
    }
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn line(connection: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    match connection.read_line(&mut line)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(line.trim_end().to_owned()),
    }
}

fn read_reply(connection: &mut BufReader<TcpStream>, head: bool) -> io::Result<Reply> {
    let broken = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let first = line(connection)?;
    let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status: u16 = status.ok_or_else(|| broken(&first))?;
    let mut headers = BTreeMap::new();
    loop {
        let text = line(connection)?;
        match text.split_once(':') {
            None if text.is_empty() => break,
            None => return Err(broken(&text)),
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.trim().to_owned()),
        };
    }
    let mut body = Vec::new();
    let length = headers.get("content-length").and_then(|length| length.parse::<usize>().ok());
    if head || status == 204 || status == 304 {
    } else if let Some(length) = length {
        body.resize(length, 0);
        connection.read_exact(&mut body)?;
    } else if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        loop {
            let size = line(connection)?;
            let size = usize::from_str_radix(&size, 16).map_err(|_| broken(&size))?;
            let start = body.len();
            body.resize(start + size, 0);
            connection.read_exact(&mut body[start..])?;
            line(connection)?;
            if size == 0 {
                break;
            }
        }
    } else {
        connection.read_to_end(&mut body)?;
    }
    Ok(Reply { status, headers, body })
}
