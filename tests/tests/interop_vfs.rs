//! What `wal-streamer` writes, read by the shared objects that Litestream released: one of the versions that know LZ4 frames
//! only, one of those that read and write LZ4 blocks. And the other way round: `restore` of what they write.
//!
//! Their hydration runs the code of `litestream restore`. The shared objects are small enough to fetch for every run of
//! the tests; the `litestream` command itself is compared with in `interop_litestream.rs`.

use e2e::interop::{AppDb, HISTORY, Replica, Vfs, assert_same, history, verified};

const PROVES: &str = "interoperability with the Litestream VFS";
const VERSIONS: [(&str, &str); 2] =
    [("old", "HIGHWATER_LITESTREAM_VFS_OLD"), ("new", "HIGHWATER_LITESTREAM_VFS_NEW")];

fn versions() -> Vec<(&'static str, Vfs)> {
    VERSIONS.into_iter().filter_map(|(age, variable)| Some((age, Vfs::from_env(variable, PROVES)?))).collect()
}

fn hydrated_is_what_the_application_had(replica: &Replica, page_size: u32) {
    let versions = versions();
    if versions.is_empty() {
        return;
    }
    let data = AppDb::new(page_size);
    history(&data, replica);
    let kept = data.kept();
    let ours = data.scratch("ours.db");
    replica.restore(&ours, &[]);
    assert_same("restore", &kept, &ours);
    assert_eq!(verified(&ours).last_seq, HISTORY);
    for (age, vfs) in versions {
        let theirs = data.scratch(age);
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

/// Each version appends a transaction to a replica of ours; we restore it, and so does that version.
#[test]
fn a_transaction_written_by_the_vfs_is_restored() {
    for (age, vfs) in versions() {
        for replica in Replica::both() {
            let data = AppDb::new(4096);
            data.write(30);
            assert_eq!(replica.stream_once(&data, &[]).0, 0);
            vfs.write(&replica, "CREATE TABLE theirs(x); INSERT INTO theirs VALUES(zeroblob(20000));");
            let written: Vec<_> = replica.files().into_iter().filter(|file| !file.is_ours()).collect();
            let flags = if age == "old" { 0 } else { 1 };
            assert!(
                !written.is_empty() && written.iter().all(|file| file.page_flags() == Some(flags)),
                "{age}"
            );

            let (ours, theirs) = (data.scratch("ours.db"), data.scratch("theirs.db"));
            replica.restore(&ours, &[]);
            assert_eq!(verified(&ours).last_seq, 31);
            let db = rusqlite::Connection::open(&ours).expect("the database opens");
            let bytes: i64 =
                db.query_row("SELECT sum(length(x)) FROM theirs", (), |row| row.get(0)).expect("a sum");
            assert_eq!(bytes, 20000, "{age} on {}", replica.kind());
            drop(db);
            vfs.hydrate(&replica, &theirs);
            assert_same(age, &ours, &theirs);
        }
    }
}
