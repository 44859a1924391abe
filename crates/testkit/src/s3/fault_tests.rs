//! Every fault, seen through a raw client.

use std::time::{Duration, Instant};

use super::{Action, Operation, Rule, S3Server};

#[test]
fn failures_come_with_status_code_and_xml_and_are_used_up() {
    let server = S3Server::start();
    let mut client = server.client();
    for (status, code) in [(503, "SlowDown"), (409, "ConditionalRequestConflict"), (500, "InternalError")] {
        server.faults().fail_next(1, status);
        let reply = client.put("k", &[0; 200_000]).unwrap();
        assert_eq!(reply.status, status);
        assert!(reply.text().contains(&format!("<Code>{code}</Code>")), "{}", reply.text());
        assert!(server.keys("").is_empty());
    }
    assert_eq!(server.faults().pending(), 0);
    assert_eq!(client.put("k", b"").unwrap().status, 200);
    assert_eq!(server.counts().faulted, 3);
}

#[test]
fn failures_can_be_aimed() {
    let server = S3Server::start();
    let mut client = server.client();
    server.faults().fail_next_matching("PUT", "ltx/0", 2, 503);
    assert_eq!(client.put("other", b"").unwrap().status, 200);
    assert_eq!(client.get("ltx/0/a").unwrap().status, 404);
    assert_eq!(client.put("ltx/0/a", b"").unwrap().status, 503);
    assert_eq!(client.put("ltx/0/b", b"").unwrap().status, 503);
    assert_eq!(client.put("ltx/0/a", b"").unwrap().status, 200);
    let third = Rule { operation: Some(Operation::List), skip: 2, ..Rule::any(1, fail(500)) };
    server.faults().add(third);
    let statuses: Vec<_> =
        (0..4).map(|_| client.send("GET", "", "list-type=2", &[], b"").unwrap().status).collect();
    assert_eq!(statuses, [200, 200, 500, 200]);
    server.faults().fail_next(1, 503);
    let head = client.send("HEAD", "other", "", &[], b"").unwrap();
    assert_eq!((head.status, head.body.len()), (503, 0));
}

fn fail(status: u16) -> Action {
    Action::Fail { status, code: "Planned".to_owned() }
}

#[test]
fn a_lost_reply_is_a_performed_request() {
    let server = S3Server::start();
    let mut client = server.client();
    server.faults().lose_reply_next(1);
    assert!(client.create("k", b"mine").is_err());
    assert_eq!(std::fs::read(server.object("k")).unwrap(), b"mine");
    assert_eq!(client.create("k", b"mine").unwrap().status, 412);
    server.faults().drop_before_next(1);
    assert!(client.put("l", b"").is_err());
    assert!(!server.object("l").exists());
    server.faults().lose_reply_matching("GET", "k", 1);
    assert_eq!(client.put("k", b"").unwrap().status, 200);
    assert!(client.get("k").is_err());
}

#[test]
fn short_and_lying_bodies() {
    let server = S3Server::start();
    let mut client = server.client();
    let body: Vec<u8> = (0..1_000_000u32).map(|i| i as u8).collect();
    client.put("k", &body).unwrap();
    for after in [0, 10, 300_000] {
        server.faults().truncate_next_get(after);
        let error = client.get("k").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    }
    assert_eq!(client.get("k").unwrap().body, body);
    server.faults().bit_flip("k");
    let mut flipped = body.clone();
    flipped[500_000] ^= 1;
    assert!(client.get("k").unwrap().body == flipped);
    let range = client.send("GET", "k", "", &[("range", "bytes=499999-500001")], b"").unwrap();
    assert_eq!(range.body, flipped[499_999..500_002]);
    let before = client.send("GET", "k", "", &[("range", "bytes=0-9")], b"").unwrap();
    assert_eq!(before.body, body[..10]);
    server.faults().clear();
    server.faults().bit_flip_at("k", 3);
    assert_eq!(client.get("k").unwrap().body[3], body[3] ^ 1);
    server.faults().clear();
    assert!(client.get("k").unwrap().body == body);
}

#[test]
fn refusals_by_kind() {
    let server = S3Server::start();
    let mut client = server.client();
    client.put("k", b"v").unwrap();
    let mut statuses = |server: &S3Server| {
        let get = client.get("k").unwrap().status;
        let put = client.put("l", b"").unwrap().status;
        let list = client.send("GET", "", "list-type=2", &[], b"").unwrap().status;
        let delete = client.send("DELETE", "l", "", &[], b"").unwrap().status;
        server.faults().clear();
        [get, put, list, delete]
    };
    server.faults().deny_all(true);
    assert_eq!(statuses(&server), [403, 403, 403, 403]);
    server.faults().deny_reads(true);
    assert_eq!(statuses(&server), [403, 200, 200, 204]);
    server.faults().deny_writes(true).deny_deletes(true);
    assert_eq!(statuses(&server), [200, 403, 200, 403]);
    server.faults().deny_lists(true);
    assert_eq!(statuses(&server), [200, 200, 403, 204]);
    server.faults().expire_credentials(true);
    assert_eq!(statuses(&server), [400, 400, 400, 400]);
    assert_eq!(statuses(&server), [200, 200, 200, 204]);
}

#[test]
fn clocks() {
    let server = S3Server::start();
    let hour = Duration::from_secs(3600);
    server.faults().skew_date(hour);
    let mut client = server.client();
    let date = httpdate::parse_http_date(client.put("k", b"").unwrap().header("date")).unwrap();
    let ahead = date.duration_since(std::time::SystemTime::now()).unwrap();
    assert!(ahead > hour - Duration::from_secs(60) && ahead <= hour, "{ahead:?}");
    server.faults().require_clock(true);
    let reply = client.put("k", b"").unwrap();
    assert!(reply.status == 403 && reply.text().contains("RequestTimeTooSkewed"));
    assert_eq!(server.client().with_clock_ahead(3_600_000).put("k", b"").unwrap().status, 200);
    server.faults().skew_date_behind(hour).require_clock(false);
    let date = httpdate::parse_http_date(client.put("k", b"").unwrap().header("date")).unwrap();
    assert!(date < std::time::SystemTime::now());
}

#[test]
fn outages() {
    let server = S3Server::start();
    let mut open = server.client();
    open.put("k", b"v").unwrap();
    server.faults().unavailable(true);
    assert!(open.get("k").is_err());
    assert!(server.client().get("k").is_err());
    server.faults().unavailable(false);
    assert_eq!(open.get("k").unwrap().body, b"v");
}

#[test]
fn slow_lines() {
    let server = S3Server::start();
    let (mut writer, mut reader) = (server.client(), server.client());
    let mut put = || {
        let start = Instant::now();
        writer.put("k", &[0; 200_000]).unwrap();
        start.elapsed()
    };
    let mut get = || {
        let start = Instant::now();
        assert_eq!(reader.get("k").unwrap().body.len(), 200_000);
        start.elapsed()
    };
    // A busy machine may hold up some, a slow line holds up all.
    let quick = |slow: Duration, other: &mut dyn FnMut() -> Duration| (0..20).any(|_| other() < slow / 2);
    server.faults().throttle_in(1_000_000);
    let slow = put();
    assert!(slow > Duration::from_millis(180) && quick(slow, &mut get), "{slow:?}");
    server.faults().throttle_in(0).throttle_out(1_000_000);
    let slow = get();
    assert!(slow > Duration::from_millis(180) && quick(slow, &mut put), "{slow:?}");
    server.faults().throttle_out(0).latency(Duration::from_millis(50));
    assert!(put() >= Duration::from_millis(50) && get() >= Duration::from_millis(50));
}

#[test]
fn errors_inside_200_and_no_answer_at_all() {
    let server = S3Server::start();
    let mut client = server.client();
    server.faults().fail_complete_inside_200(1);
    let reply = client.send("POST", "k", "uploadId=none", &[], b"").unwrap();
    assert!(reply.status == 200 && reply.text().contains("<Error><Code>InternalError</Code>"));
    server.faults().hang_next(1);
    let mut socket = std::net::TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    use std::io::{Read, Write};
    socket.write_all(b"GET /bucket-hw/k HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
    let error = socket.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
}
