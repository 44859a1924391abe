use super::*;
use std::io::{Error, ErrorKind};

/// A server with TLS 1.3 that refuses our certificate may close before we have read why.
#[test]
fn a_connection_that_ends_without_a_word_gets_the_hint_at_the_certificate() {
    const ECONNRESET: i32 = 104;
    for error in [
        Error::other("connection closed"),
        Error::from(ErrorKind::BrokenPipe),
        Error::from(ErrorKind::ConnectionReset),
        Error::from_raw_os_error(ECONNRESET),
    ] {
        let text = sentence(&error);
        assert!(text.starts_with(&error.to_string()) && text.contains(HUNG_UP), "{text}");
    }
}
