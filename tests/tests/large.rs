//! A database beyond 1 GiB, where SQLite leaves one page unused (the lock page). Only with `HIGHWATER_FULL=1`.

#![allow(clippy::disallowed_methods, reason = "a test measures real time")]

use std::fs::File;
use std::io::Read;
use std::path::Path;

use e2e::{Place, Streamer, Volume, fold, full};
use rusqlite::Connection;

/// The first byte that differs.
fn difference(a: &Path, b: &Path) -> Option<u64> {
    let open = |path| File::open(path).expect("the file opens");
    let (mut a, mut b, mut at) = (open(a), open(b), 0);
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let fill = |file: &mut File, buffer: &mut [u8]| {
            let mut filled = 0;
            while filled < buffer.len() {
                match file.read(&mut buffer[filled..]).expect("the file can be read") {
                    0 => break,
                    n => filled += n,
                }
            }
            filled
        };
        let (n, m) = (fill(&mut a, &mut left), fill(&mut b, &mut right));
        let common = n.min(m);
        if let Some(i) = (0..common).find(|i| left[*i] != right[*i]) {
            return Some(at + i as u64);
        }
        if n != m {
            return Some(at + common as u64);
        }
        if n == 0 {
            return None;
        }
        at += n as u64;
    }
}

/// The database grows across the lock page once while it is followed, and once before the first image.
#[test]
fn p1_a_database_across_the_lock_page_comes_back() {
    if !full() {
        return println!("skipped: it writes several GiB; set HIGHWATER_FULL=1");
    }
    let place = Place::directory();
    for followed in [true, false] {
        let (volume, prefix) = (Volume::new(), format!("followed-{followed}"));
        let db = Connection::open(volume.db()).expect("a database");
        db.execute_batch("PRAGMA page_size = 65536; PRAGMA journal_mode = wal; CREATE TABLE t(x)")
            .expect("a table");
        let grow = || {
            for _ in 0..18 {
                db.execute_batch(
                    "INSERT INTO t VALUES(zeroblob(63000000)); INSERT INTO t VALUES(randomblob(100000))",
                )
                .expect("there is room for 1.2 GB");
            }
        };
        if !followed {
            grow();
        }
        let mut streamer = Streamer::start(&place, &prefix, &volume.db(), &["--drain", "50s"]);
        streamer.wait_beyond(0);
        if followed {
            grow();
        }
        db.execute_batch("INSERT INTO t VALUES('the end')").expect("a row");
        drop(db);
        streamer.drain();
        let restored = volume.file("restored.db");
        place.restore::<&str>(&prefix, &restored, &[]).expect(0);
        fold(&volume.db());
        assert!(restored.metadata().expect("it is there").len() > (1 << 30) + 65536);
        assert_eq!(difference(&volume.db(), &restored), None, "followed: {followed}");
    }
}
