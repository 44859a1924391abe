//! What `wal-streamer` writes, read by the shared objects that Litestream released: one of the versions that know LZ4 frames
//! only, one of those that read and write LZ4 blocks. And the other way round: `restore` of what they write.
//!
//! Their hydration runs the code of `litestream restore`. The shared objects are small enough to fetch for every run of
//! the tests; the `litestream` command itself is compared with in `interop_litestream.rs`.

use e2e::interop::{Replica, Vfs, AppDb, assert_same, stop, verified};

const PROVES: &str = "interoperability with the Litestream VFS";
const VERSIONS: [(&str, &str); 2] =
    [("old", "HIGHWATER_LITESTREAM_VFS_OLD"), ("new", "HIGHWATER_LITESTREAM_VFS_NEW")];

fn versions() -> Vec<(&'static str, Vfs)> {
    VERSIONS.into_iter().filter_map(|(age, variable)| Some((age, Vfs::from_env(variable, PROVES)?))).collect()
}

/// A history with everything in it: full image, many small files, a claim in their middle, a shrink and a growth.
fn history(db: &AppDb, replica: &Replica) {
    let streamer = replica.stream(volume, &[]);
    for _ in 0..3 {
        volume.write(20);
    }
    stop(streamer);
    let streamer = replica.stream(volume, &[]);
    volume.sql("CREATE TABLE filler(x); INSERT INTO filler SELECT randomblob(3000) FROM hundred;");
    let full = pages(volume);
    volume.write(20);
    volume.sql("DROP TABLE filler; VACUUM;");
    let shrunk = pages(volume);
    volume.write(20);
    stop(streamer);
    let streamer = replica.stream(volume, &[]);
    volume.sql("CREATE TABLE filler(x); INSERT INTO filler SELECT zeroblob(9000) FROM hundred;");
    volume.write(20);
    stop(streamer);
    assert!(shrunk < full && shrunk < pages(volume), "shrunk and grown again");
    let files = replica.files();
    let empty = files.iter().filter(|file| file.page_flags().is_none()).count();
    assert!(empty >= 2 && files.len() >= 8, "{} files, {empty} of them claims", files.len());
    assert!(files.iter().all(|file| file.level == 0 && file.page_flags().unwrap_or(0) == 0));
}

fn pages(db: &AppDb) -> u64 {
    let db = rusqlite::Connection::open(&volume.db).expect("the database opens");
    db.query_row("PRAGMA page_count", (), |row| row.get::<_, i64>(0)).expect("a number").unsigned_abs()
}

fn hydrated_is_what_the_application_had(replica: &Replica, page_size: u32) {
    let versions = versions();
    if versions.is_empty() {
        return;
    }
    let volume = AppDb::new(page_size);
    history(&volume, replica);
    let kept = volume.kept();
    let ours = volume.scratch("ours.db");
    replica.restore(&ours, &[]);
    assert_same("restore", &kept, &ours);
    assert_eq!(verified(&ours).last_seq, 121);
    for (age, vfs) in versions {
        let theirs = volume.scratch(age);
        vfs.hydrate(replica, &theirs);
        assert_same(&format!("{age} VFS, {} pages of {page_size}", replica.kind()), &kept, &theirs);
    }
}

#[test]
fn pages_of_512_from_s3() {
    hydrated_is_what_the_application_had(&Replica::s3(), 512);
}

#[test]
fn pages_of_4096_from_s3() {
    hydrated_is_what_the_application_had(&Replica::s3(), 4096);
}

#[test]
fn pages_of_65536_from_s3() {
    hydrated_is_what_the_application_had(&Replica::s3(), 65536);
}

#[test]
fn pages_of_512_from_a_directory() {
    hydrated_is_what_the_application_had(&Replica::file(), 512);
}

#[test]
fn pages_of_4096_from_a_directory() {
    hydrated_is_what_the_application_had(&Replica::file(), 4096);
}

#[test]
fn pages_of_65536_from_a_directory() {
    hydrated_is_what_the_application_had(&Replica::file(), 65536);
}

/// Each version appends a transaction to a replica of ours; we restore it, and so does the newest version.
#[test]
fn a_transaction_written_by_the_vfs_is_restored() {
    for replica in Replica::both() {
        for (age, vfs) in versions() {
            let (volume, replica) = (AppDb::new(4096), if replica.kind() == "s3" { Replica::s3() } else { Replica::file() });
            volume.write(30);
            assert_eq!(replica.stream_once(&volume, &[]).0, 0);
            vfs.write(&replica, "CREATE TABLE theirs(x); INSERT INTO theirs VALUES(zeroblob(20000));");
            let written: Vec<_> = replica.files().into_iter().filter(|file| !file.is_ours()).collect();
            let flags = if age == "old" { 0 } else { 1 };
            assert!(!written.is_empty() && written.iter().all(|file| file.page_flags() == Some(flags)), "{age}");

            let (ours, theirs) = (volume.scratch("ours.db"), volume.scratch("theirs.db"));
            replica.restore(&ours, &[]);
            assert_eq!(verified(&ours).last_seq, 31);
            let db = rusqlite::Connection::open(&ours).expect("the database opens");
            let bytes: i64 = db.query_row("SELECT sum(length(x)) FROM theirs", (), |row| row.get(0)).expect("a sum");
            assert_eq!(bytes, 20000, "{age} on {}", replica.kind());
            drop(db);
            std::fs::remove_file(&ours).expect("removed");
            replica.restore(&ours, &[]);
            vfs.hydrate(&replica, &theirs);
            assert_same(age, &ours, &theirs);
        }
    }
}
