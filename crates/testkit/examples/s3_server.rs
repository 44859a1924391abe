//! The test S3 server on its own, to try things by hand: `cargo run -p testkit --example s3_server -- DIR [PORT]`.
//!
//! Prints what a client needs and serves until its standard input ends.

use std::path::PathBuf;

use testkit::s3::S3Server;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().unwrap_or_else(|| "s3-data".to_owned()));
    let port = arguments.next().map_or(0, |port| port.parse().expect("PORT is a number"));
    let server = S3Server::start_in_on(dir, port);
    for (name, value) in server.env() {
        println!("export {name}={value}");
    }
    println!("# endpoint {}, replica URL '{}'", server.endpoint(), server.url("demo"));
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    println!("{:#?}", server.counts());
}
