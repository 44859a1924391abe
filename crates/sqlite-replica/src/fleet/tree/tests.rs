use super::*;
use rusqlite::Connection;

fn database(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let db = Connection::open(path).unwrap();
    db.execute_batch("PRAGMA journal_mode=wal; CREATE TABLE t(x); INSERT INTO t VALUES(1)").unwrap();
}

fn searcher(root: &Path, pattern: Option<&str>) -> Searcher {
    let pattern = pattern.map(|p| crate::fleet::config::pattern(p).unwrap());
    Searcher::new(Tree { base: root.to_owned(), root: root.to_owned(), pattern })
}

fn names(searcher: &mut Searcher, now_ms: i64) -> Vec<String> {
    let found = searcher.search(now_ms);
    assert!(found.troubles.is_empty(), "{:?}", found.troubles);
    found.databases.into_iter().map(|(name, _)| name).collect()
}

/// Far enough in the future for no change to be young.
const LATER: i64 = 9_999_999_999_999;

/// As if it had not changed since: on many kernels what happens within some milliseconds has one time.
fn age(directory: &Path, second: i64) {
    let then = nix::sys::time::TimeVal::new(second, 0);
    nix::sys::stat::utimes(directory, &then, &then).unwrap();
}

#[test]
fn databases_are_known_by_their_header_and_never_by_their_name() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let keep = Connection::open(root.join("open.sqlite3")).unwrap();
    keep.execute_batch("PRAGMA journal_mode=wal; CREATE TABLE t(x); INSERT INTO t VALUES(1)").unwrap();
    database(&root.join("no-extension"));
    database(&root.join("deep/er/x.db"));
    database(&root.join(".highwater/state.db"));
    database(&root.join("main.db"));
    fs::copy(root.join("main.db"), root.join("copy.db-wal")).unwrap();
    fs::copy(root.join("main.db"), root.join("copy-journal")).unwrap();
    fs::write(root.join("fake.db"), "a shopping list").unwrap();
    fs::write(root.join("padded.db"), vec![7; 4096]).unwrap();
    std::os::unix::fs::symlink("main.db", root.join("link.db")).unwrap();
    std::os::unix::fs::symlink("deep", root.join("linked")).unwrap();
    let all = ["deep/er/x.db", "main.db", "no-extension", "open.sqlite3"];
    assert_eq!(names(&mut searcher(root, None), LATER), all);
    assert_eq!(names(&mut searcher(root, Some("*.db")), LATER), ["main.db"]);
    assert_eq!(
        names(&mut searcher(root, Some("**/*.{db,sqlite3}")), LATER),
        ["deep/er/x.db", "main.db", "open.sqlite3"]
    );
    assert_eq!(names(&mut searcher(root, Some("deep/*/x.db")), LATER), ["deep/er/x.db"]);
}

#[test]
fn new_databases_are_found_also_where_the_directory_does_not_change() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fs::create_dir(root.join("app")).unwrap();
    fs::write(root.join("app/late.db"), "").unwrap();
    age(root, 1);
    let mut searcher = searcher(root, None);
    assert!(names(&mut searcher, LATER).is_empty());
    // The empty file becomes a database: its directory need not change for that.
    database(&root.join("app/late.db"));
    age(&root.join("app"), 1);
    assert_eq!(names(&mut searcher, LATER), ["app/late.db"]);
    database(&root.join("app/new.db"));
    database(&root.join("other/third.db"));
    assert_ne!(fs::metadata(root.join("app")).unwrap().mtime(), 1);
    age(&root.join("app"), 2);
    assert_eq!(names(&mut searcher, LATER), ["app/late.db", "app/new.db", "other/third.db"]);
    fs::remove_file(root.join("app/new.db")).unwrap();
    assert_eq!(names(&mut searcher, LATER), ["app/late.db", "other/third.db"]);
}

#[test]
fn p6_a_directory_that_cannot_be_read_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    database(&root.join("a.db"));
    // Deeper than any path may be: `stat` fails with another error than "not found".
    let mut searcher = searcher(root, None);
    searcher.tree.base = root.join("x".repeat(300));
    let found = searcher.search(LATER);
    assert_eq!((found.databases.len(), found.troubles.len()), (0, 1));
}
