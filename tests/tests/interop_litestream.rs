//! The `litestream` command itself beside our programs, on one replica: theirs reads ours, ours reads theirs, and each takes
//! over from the other and back, without a gap, also while the application writes on.
//!
//! Two versions (one writes LZ4 frames, one LZ4 blocks) on both kinds of store that we have in common. They are large
//! programs to build, so this is part of `cargo xtask test --full`.

use e2e::interop::{
    AppDb, HISTORY, Litestream, PATIENCE, Replica, assert_same, end, history, stop, verified,
};
use e2e::kill_between_commits;
use testkit::app;

/// A version, and the flags of the pages that it is known to write.
struct Version(Litestream, u16);

fn old() -> Option<Version> {
    let proves = "interoperability with an old litestream";
    Some(Version(Litestream::from_env("HIGHWATER_LITESTREAM_OLD", proves)?, 0))
}

fn new() -> Option<Version> {
    let proves = "interoperability with the newest litestream";
    Some(Version(Litestream::from_env("HIGHWATER_LITESTREAM_NEW", proves)?, 1))
}

/// Each case with each version on each kind of store.
macro_rules! matrix {
    ($($case:ident),* $(,)?) => { $(mod $case {
        #[test]
        fn old_s3() { super::old().into_iter().for_each(|v| super::$case(&v, super::Replica::s3)); }
        #[test]
        fn old_file() { super::old().into_iter().for_each(|v| super::$case(&v, super::Replica::file)); }
        #[test]
        fn new_s3() { super::new().into_iter().for_each(|v| super::$case(&v, super::Replica::s3)); }
        #[test]
        fn new_file() { super::new().into_iter().for_each(|v| super::$case(&v, super::Replica::file)); }
    })* };
}

matrix!(
    theirs_restores_ours,
    ours_restores_theirs,
    hand_over_and_back,
    hand_over_while_the_application_writes,
);

/// Every page size, the whole history, a TXID in its middle and a moment near its end.
fn theirs_restores_ours(Version(litestream, _): &Version, place: fn() -> Replica) {
    for page_size in [512, 4096, 65536] {
        let (data, replica) = (AppDb::new(page_size), place());
        history(&data, &replica);
        let (ours, theirs) = (data.scratch("ours.db"), data.scratch("theirs.db"));
        litestream.restore(&replica, &theirs, &[]);
        assert_same("all of it", &data.kept(), &theirs);

        let points = replica.points();
        let middle = &points[points.len() / 2];
        let (ours_then, theirs_then) = (data.scratch("ours-then.db"), data.scratch("theirs-then.db"));
        replica.restore(&ours_then, &["--txid", middle]);
        litestream.restore(&replica, &theirs_then, &["-txid", middle]);
        assert_same("a TXID", &ours_then, &theirs_then);
        assert!(verified(&ours_then).last_seq < HISTORY);

        // Theirs takes what is strictly older, ours what is not newer.
        let newest = replica.files().iter().map(|file| file.timestamp_ms()).max().expect("files");
        let moment = clock::format_unix_ms(newest + 1);
        data.write(10);
        assert_eq!(replica.stream_once(&data, &[]).0, 0);
        let theirs_at = data.scratch("theirs-at.db");
        replica.restore(&ours, &["--timestamp", &moment]);
        litestream.restore(&replica, &theirs_at, &["-timestamp", &moment]);
        assert_same("a moment, restored by us", &theirs, &ours);
        assert_same("a moment, restored by them", &theirs, &theirs_at);
    }
}

/// A replica that Litestream made alone, with compaction, snapshots and retention at work.
fn ours_restores_theirs(version @ Version(litestream, flags): &Version, place: fn() -> Replica) {
    let (data, replica) = (AppDb::new(4096), place());
    let mut daemon = litestream.replicate(&data, &replica);
    let mut application = data.writing(1200, 150.0);
    daemon.wait_until(PATIENCE, "levels 0, 1, 2 and two snapshots", || {
        let levels = replica.levels();
        levels[0] > 0 && levels[1] > 0 && levels[2] > 0 && levels[9] > 1
    });
    assert_eq!(application.expect_exit(PATIENCE), 0, "{}", application.log_tail());
    end(daemon);

    let files = replica.files();
    assert!(
        files.iter().filter_map(|file| file.page_flags()).all(|seen| seen == *flags),
        "{}",
        litestream.version
    );
    assert!(files.iter().all(|file| !file.is_ours()) && files.iter().any(|file| file.page_flags().is_some()));
    println!("files per level: {:?}", replica.levels());
    let last = both_agree_on_every_point(version, &data, &replica);
    if *flags == 1 {
        both_restore_what_is_there(litestream, &data, &replica);
        assert_eq!(last, 1201);
    }
}

/// The application rests while the replica changes hands: theirs, ours, theirs, ours.
fn hand_over_and_back(version @ Version(litestream, _): &Version, place: fn() -> Replica) {
    let (data, replica) = (AppDb::new(4096), place());
    let mut daemon = litestream.replicate(&data, &replica);
    data.write(100);
    daemon.wait_until(PATIENCE, "a compaction", || replica.levels()[1] > 0);
    end(daemon);
    let theirs = data.scratch("their-last.db");
    both_restore_what_is_there(litestream, &data, &replica);
    std::fs::copy(data.kept(), &theirs).expect("a copy");
    let (their_last, their_files) = (replica.newest(), replica.files());

    let (exit, log) = replica.stream_once(&data, &[]);
    assert_eq!(exit, 3, "a stranger's replica is not continued unasked:\n{log}");
    assert_eq!(replica.files(), their_files, "and nothing was written");

    let streamer = replica.stream(&data, &["--adopt"]);
    data.write(100);
    stop(streamer);
    assert!(replica.newest() > their_last);
    both_restore_what_is_there(litestream, &data, &replica);
    let then = data.scratch("then.db");
    replica.restore(&then, &["--txid", &format!("{their_last:016x}")]);
    assert_same("P3: what was there before is still there", &theirs, &then);

    // A start without news leaves a claim as the newest file. Litestream must find no position of its own in it.
    assert_eq!(replica.stream_once(&data, &[]).0, 0);
    let our_last = replica.newest();
    assert_eq!(replica.files().iter().rfind(|file| file.level == 0).expect("a file").page_flags(), None);
    let mut daemon = litestream.replicate(&data, &replica);
    data.write(100);
    daemon.wait_until(PATIENCE, "its own files after ours", || replica.newest_of(false) > our_last);
    end(daemon);
    both_restore_what_is_there(litestream, &data, &replica);

    let streamer = replica.stream(&data, &[]);
    data.write(100);
    let log = stop(streamer);
    assert!(log.contains("sending a full image"), "{log}");
    assert_eq!(replica.newest(), replica.newest_of(true));
    both_restore_what_is_there(litestream, &data, &replica);
    assert_eq!(both_agree_on_every_point(version, &data, &replica), 401);
}

/// As above, while the application keeps its connections and its WAL: nothing committed in between is lost.
fn hand_over_while_the_application_writes(
    version @ Version(litestream, flags): &Version,
    place: fn() -> Replica,
) {
    let (data, replica) = (AppDb::new(4096), place());
    let mut application = data.writing(0, 150.0);
    let mut options: &[&str] = &["--adopt"];
    for _ in 0..2 {
        let (before, snapshots) = (replica.newest(), replica.levels()[9]);
        let mut daemon = litestream.replicate(&data, &replica);
        daemon.wait_until(PATIENCE, "several files and a snapshot of its own", || {
            replica.levels()[9] > snapshots && replica.newest_of(false) > before + 5
        });
        end(daemon);
        let before = replica.newest();
        let mut streamer = replica.stream(&data, options);
        streamer.wait_until(PATIENCE, "several files of ours", || replica.newest_of(true) > before + 10);
        stop(streamer);
        // Having adopted it once, this volume knows the replica.
        options = &[];
    }
    let before = replica.newest();
    let mut daemon = litestream.replicate(&data, &replica);
    daemon.wait_until(PATIENCE, "files of its own again", || replica.newest_of(false) > before + 5);
    kill_between_commits(&mut application, &data.path);
    end(daemon);
    both_agree_on_every_point(version, &data, &replica);
    if *flags == 1 {
        both_restore_what_is_there(litestream, &data, &replica);
    }
    stop(replica.stream(&data, options));
    both_restore_what_is_there(litestream, &data, &replica);
}

/// Litestream keeps the root of a bucket under keys that begin with `/` or `./`, depending on how the URL ends; our keys
/// have neither. So both see an empty replica there, and say so: shared replicas need a prefix.
#[test]
fn the_root_of_a_bucket_is_not_shared() {
    for Version(litestream, _) in old().into_iter().chain(new()) {
        let server = testkit::s3::S3Server::start();
        let data = AppDb::new(4096);
        let mut root = Replica::at(&server.endpoint(), testkit::s3::BUCKET, "", server.env());
        assert_eq!(root.stream_once(&data, &[]).0, 0);
        assert!(server.keys("").iter().any(|key| key.starts_with("0000/")), "{:?}", server.keys(""));
        for theirs in [root.litestream.clone(), root.litestream.replace("/?", "?")] {
            root.litestream = theirs;
            let there = data.scratch("there.db");
            let refused = litestream.try_restore(&root, &there, &[]);
            assert!(refused.is_err() && !there.exists(), "{}", root.litestream);
        }
    }
}

/// The newest state, from both programs: what the application has.
#[track_caller]
fn both_restore_what_is_there(litestream: &Litestream, data: &AppDb, replica: &Replica) {
    let (kept, ours, theirs) = (data.kept(), data.scratch("ours.db"), data.scratch("theirs.db"));
    replica.restore(&ours, &["--force"]);
    assert_same("restored by us", &kept, &ours);
    litestream.restore(replica, &theirs, &[]);
    assert_same("restored by litestream", &kept, &theirs);
    verified(&ours);
}

/// After Litestream wrote beside a busy application: both restore the same bytes at every point, and with a version that is
/// known not to lose pages these are prefixes of what was committed. Gives the last transaction.
///
/// Versions before 0.5.15 lose pages when a checkpoint falls between their copy and their lock; their own restore gives
/// back the same wrong pages as ours, or fails where ours does. That is counted and shown, not judged.
#[track_caller]
fn both_agree_on_every_point(Version(litestream, flags): &Version, data: &AppDb, replica: &Replica) -> u64 {
    let (ours, theirs) = (data.scratch("our-point.db"), data.scratch("their-point.db"));
    let (mut last, mut wrong, mut unable) = (0, Vec::new(), Vec::new());
    let points = replica.points();
    assert!(points.len() > 1, "{points:?}");
    for txid in &points {
        let restored = replica.try_restore(&ours, &["--txid", txid]);
        match litestream.try_restore(replica, &theirs, &["-txid", txid]) {
            Ok(()) => {
                assert_eq!(restored, Ok(()), "{txid}: restored by litestream, not by us");
                assert_same(txid, &theirs, &ours);
            }
            // We begin at any full image; it needs a chain from TXID 1, which its own retention has cut.
            Err(why) => unable.push(format!("{txid}: {why}")),
        }
        let proof = restored.and_then(|()| app::verify(&ours));
        match proof {
            Ok(report) => {
                assert!(report.last_seq >= last, "{txid}: transaction {} after {last}", report.last_seq);
                last = report.last_seq;
            }
            Err(why) => wrong.push(format!("{txid}: {why}")),
        }
    }
    if !unable.is_empty() {
        println!("{} of {} points this litestream cannot restore, {}", unable.len(), points.len(), unable[0]);
    }
    if !wrong.is_empty() {
        let files: Vec<_> = replica.files().iter().map(ToString::to_string).collect();
        assert_eq!(*flags, 0, "points that are no prefix: {wrong:#?} {files:#?}");
        println!(
            "{} of {} points of this litestream are no prefix, whoever restores them",
            wrong.len(),
            points.len()
        );
    }
    last
}
