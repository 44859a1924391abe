//! The distribution's Prometheus over the pages of a test's own programs: its queries are those that users' panels and alerts send.
//!
//! It listens on loopback, keeps what it scraped in a scratch directory, and is gone after the test. Labels that a cluster would put on a target
//! (namespace, pod, container, application) are given by the test. What it does not do: find targets, evaluate rules.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use testkit::procs::{Proc, free_port};

use crate::PATIENCE;

/// What is scraped: address, and the labels that its series get.
#[derive(Debug)]
pub struct Target<'a> {
    /// Host and port.
    pub addr: String,
    /// Labels by name.
    pub labels: &'a [(&'a str, &'a str)],
}

/// A running Prometheus that scrapes every second.
#[derive(Debug)]
pub struct Prometheus {
    process: Proc,
    addr: String,
    config: std::path::PathBuf,
    _scratch: TempDir,
}

impl Prometheus {
    /// Starts with no targets; `None`, and why, where it is not installed.
    pub fn start(proves: &str) -> Option<Prometheus> {
        if Command::new("prometheus").arg("--version").output().is_err() {
            println!("SKIP {proves}: prometheus is not installed (package prometheus)");
            return None;
        }
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let config = scratch.path().join("prometheus.yml");
        fs::write(&config, "{}").expect("the scratch can be written");
        let addr = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", scratch.path().join("data").display()));
        command.arg(format!("--web.listen-address={addr}")).arg("--web.enable-lifecycle");
        let mut process = Proc::start(command);
        process.wait_for_log(PATIENCE, "Server is ready to receive web requests");
        Some(Prometheus { process, addr, config, _scratch: scratch })
    }

    /// Where it answers.
    pub fn addr(&self) -> &str {
        &self.addr
    }

    /// Scrapes these from now on, and nothing else.
    #[track_caller]
    pub fn scrape(&mut self, targets: &[Target<'_>]) {
        let mut text = String::from("global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n");
        for (index, target) in targets.iter().enumerate() {
            let labels: Vec<String> =
                target.labels.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
            let (addr, labels) = (&target.addr, labels.join(", "));
            writeln!(
                text,
                "  - {{job_name: job-{index}, honor_labels: true, static_configs: [{{targets: [{addr:?}], labels: {{{labels}}}}}]}}"
            )
            .expect("text can be appended");
        }
        fs::write(&self.config, text).expect("the configuration can be written");
        let answer = self.ask("POST", "/-/reload");
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer}\n{}", self.process.log_tail());
    }

    /// As HTTP/1.0, so that the answer comes in one piece.
    fn ask(&self, method: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.addr).expect("prometheus listens");
        write!(stream, "{method} {path} HTTP/1.0\r\nhost: {}\r\n\r\n", self.addr).expect("prometheus reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("prometheus answers");
        answer
    }

    /// The series of an expression at this moment, those without a number left out; panics with its complaint where it is none.
    #[track_caller]
    pub fn query(&self, expression: &str) -> Vec<Value> {
        let answer = self.ask("GET", &format!("/api/v1/query?query={}", escaped(expression)));
        let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let answer: Value = serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {body}"));
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        let series = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        let number = |s: &Value| s["value"][1].as_str().is_some_and(|text| text != "NaN");
        series.into_iter().filter(number).collect()
    }
}

fn escaped(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

/// A page that says the same to everybody who asks: stands in for an exporter that is not ours.
pub fn page(text: String) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let addr = listener.local_addr().expect("a bound socket has an address").to_string();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let mut request = [0; 4096];
            // Whoever hangs up gets nothing; the next one is served.
            let _ = socket.read(&mut request);
            let _ = write!(
                socket,
                "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{text}",
                text.len()
            );
        }
    });
    addr
}
