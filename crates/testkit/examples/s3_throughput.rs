//! How fast the test S3 server is on this machine: `cargo run --release -p testkit --example s3_throughput`.
//!
//! Benchmarks of restore and upload run against it, so it must not be their limit.

#![allow(clippy::disallowed_methods, reason = "it measures real time")]

use std::thread;
use std::time::Instant;

use testkit::s3::{Client, S3Server};

fn rate(what: &str, bytes: usize, run: impl FnOnce()) {
    let start = Instant::now();
    run();
    println!("{what:<28} {:>7.0} MB/s", bytes as f64 / 1e6 / start.elapsed().as_secs_f64());
}

fn main() {
    let server = S3Server::start();
    let body = vec![0x5a; 64 << 20];
    let mut client = server.client();
    let total = 8 * body.len();
    rate("PUT 64 MiB, 1 connection", total, || {
        for i in 0..8 {
            client.put(&format!("big/{i}"), &body).expect("a server that answers");
        }
    });
    let get = |port: u16, each: usize| {
        let mut client = Client::new(port);
        for i in 0..each {
            let reply = client.get(&format!("big/{i}")).expect("a server that answers");
            assert_eq!(reply.body.len(), 64 << 20);
        }
    };
    rate("GET 64 MiB, 1 connection", total, || get(server.port(), 8));
    let port = server.port();
    rate("GET 64 MiB, 4 connections", total, || {
        let threads: Vec<_> = (0..4).map(|_| thread::spawn(move || get(port, 2))).collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    });
    let start = Instant::now();
    for i in 0..2000 {
        client.create(&format!("small/{i}"), b"x").expect("a server that answers");
    }
    println!("{:<28} {:>7.0} /s", "PUT of 1 byte, create-only", 2000.0 / start.elapsed().as_secs_f64());
}
