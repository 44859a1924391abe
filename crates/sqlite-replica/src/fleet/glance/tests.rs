use super::*;
use rusqlite::Connection;
use sqlite_tail::{Options, Sink, Tail};
use std::sync::Arc;

struct Nowhere;

impl Sink for Nowhere {
    fn page(&mut self, _: u32, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
    fn commit(&mut self, _: u32) -> io::Result<()> {
        Ok(())
    }
}

/// Far enough in the future for no change to be young.
const LATER: i64 = 9_999_999_999_999;

fn application(path: &Path) -> Connection {
    let db = Connection::open(path).unwrap();
    db.execute_batch("PRAGMA journal_mode=wal; CREATE TABLE IF NOT EXISTS t(x)").unwrap();
    db
}

/// Attaches, copies everything, lets go; with a checkpoint or without. What comes after it has another time if the
/// files were written `long_ago`.
fn leave(path: &Path, checkpoint: bool, long_ago: bool) -> Rest {
    let mut tail = Tail::attach(path, Options::default(), Arc::new(clock::SystemClock)).unwrap();
    let view = tail.view().unwrap().accept();
    assert_eq!(tail.position(), Some(view));
    if checkpoint {
        tail.checkpoint_now(&mut Nowhere).unwrap();
    }
    let position = tail.position().unwrap();
    drop(tail);
    if long_ago {
        let then = nix::sys::time::TimeVal::new(1, 0);
        for file in [path.to_owned(), path.with_extension("db-wal")] {
            nix::sys::stat::utimes(&file, &then, &then).unwrap();
        }
    }
    Rest::new(path, position)
}

/// Every way in which a commit can reach a database that nobody watches is a change, also within the same tick of the
/// clock; and where nothing was committed there is none.
#[test]
fn p1_no_commit_escapes_a_glance() {
    type Act = fn(&Connection);
    let acts: [(&str, bool, Act); 6] = [
        ("nothing", false, |_| {}),
        ("a reader", false, |db| db.query_row("SELECT count(*) FROM t", [], |_| Ok(())).unwrap()),
        ("a commit", true, |db| db.execute_batch("INSERT INTO t VALUES(1)").unwrap()),
        ("a rolled back transaction", false, |db| {
            db.execute_batch("BEGIN; INSERT INTO t VALUES(1); ROLLBACK").unwrap();
        }),
        ("commits and a truncated wal", true, |db| {
            db.execute_batch("INSERT INTO t VALUES(1)").unwrap();
            db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        }),
        ("a checkpoint and a commit in a new generation", true, |db| {
            db.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
            db.execute_batch("INSERT INTO t VALUES(1)").unwrap();
        }),
    ];
    for checkpoint in [false, true] {
        for settled in [false, true] {
            for (what, changes, act) in acts {
                let dir = tempfile::tempdir().unwrap();
                let path = dir.path().join("a.db");
                let db = application(&path);
                db.execute_batch("INSERT INTO t VALUES(1),(2),(3)").unwrap();
                let mut rest = leave(&path, checkpoint, settled);
                if settled {
                    assert_eq!(rest.glance(LATER), Glance::Unchanged, "{what}");
                    assert!(rest.settled);
                }
                act(&db);
                let expected = if changes { Glance::Changed } else { Glance::Unchanged };
                assert_eq!(rest.glance(0), expected, "{what}, checkpointed {checkpoint}, settled {settled}");
            }
        }
    }
}

#[test]
fn p3_another_file_and_no_file_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    drop(application(&path));
    let mut rest = leave(&path, true, false);
    fs::copy(&path, dir.path().join("b.db")).unwrap();
    fs::rename(dir.path().join("b.db"), &path).unwrap();
    assert_eq!(rest.glance(0), Glance::Changed);
    fs::remove_file(&path).unwrap();
    assert_eq!(rest.glance(0), Glance::Gone);
    fs::write(&path, "").unwrap();
    assert_eq!(rest.glance(0), Glance::Gone);
}
