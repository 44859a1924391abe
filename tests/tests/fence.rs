//! One writer per replica, whatever happens to volumes, processes and replies (P3, P4).

#![allow(clippy::disallowed_methods, reason = "a test measures real time")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use e2e::{PATIENCE, Place, Streamer, Volume};
use testkit::app::{self, AppArgs};
use testkit::procs::wait_until;

const NONE: &[&str] = &[];
const FAST: &[&str] = &["--sync-interval", "50ms"];

/// Everything that was there before is there unchanged; new objects may have come.
#[track_caller]
fn nothing_overwritten(before: &BTreeMap<PathBuf, Vec<u8>>, after: &BTreeMap<PathBuf, Vec<u8>>) {
    for (path, bytes) in before {
        assert!(after.get(path) == Some(bytes), "{} was changed or removed", path.display());
    }
}

/// The very same objects; a difference is named, not printed whole.
#[track_caller]
fn same_objects(place: &Place, prefix: &str, before: &BTreeMap<PathBuf, Vec<u8>>) {
    let after = place.objects(prefix);
    nothing_overwritten(before, &after);
    let new: Vec<_> = after.keys().filter(|path| !before.contains_key(*path)).collect();
    assert!(new.is_empty(), "new: {new:?}");
}

#[track_caller]
fn restored_seq(place: &Place, volume: &Volume, more: &[&str]) -> u64 {
    let out = volume.file("restored.db");
    let arguments: Vec<&str> = ["--force"].iter().chain(more).copied().collect();
    place.restore("p", &out, &arguments).expect(0);
    app::verify(&out).expect("a prefix of the plan").last_seq
}

#[test]
fn p4_a_second_streamer_on_one_database_ends_with_5() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(30);
    let mut first = Streamer::start(&place, "p", &volume.db(), FAST);
    let durable = first.wait_beyond(0);
    let before = place.objects("p");
    let second = Streamer::once(&place, "p", &volume.db(), NONE);
    second.expect(5).says(&["app.db", "another process", "one streamer per database"]);
    // Also to another prefix: the lock is about the database.
    Streamer::once(&place, "elsewhere", &volume.db(), NONE).expect(5);
    same_objects(&place, "p", &before);
    assert!(place.objects("elsewhere").is_empty());
    volume.write(5);
    first.wait_beyond(durable);
    first.drain();
    assert_eq!(restored_seq(&place, &volume, NONE), 35);
}

/// A storage snapshot comes to life beside the original: the later one wins, the first one collides at its next write,
/// and what the winner writes is the history.
#[test]
fn p4_of_two_copies_of_a_volume_exactly_one_wins() {
    for place in [Place::s3(), Place::directory()] {
        let first = Volume::new();
        first.write(40);
        Streamer::once(&place, "p", &first.db(), NONE).expect(0);
        let second = first.copy();
        let mut loser = Streamer::start(&place, "p", &first.db(), FAST).following();
        let behind = Streamer::once(&place, "p", &second.db(), NONE);
        // The copy is one claim behind: refused at the start, and nothing was written.
        behind.expect(3).says(&["ahead of this volume", "--adopt"]);

        // Taken over on purpose: the original learns it at its next write.
        let mut winner = Streamer::start(&place, "p", &second.db(), &["--sync-interval", "50ms", "--adopt"]);
        let durable = winner.wait_beyond(0);
        let before = place.objects("p");
        app::run(&AppArgs { seed: 5, ..first.args(7) }).expect("the application works");
        assert_eq!(loser.proc.expect_exit(PATIENCE), 5, "{}", loser.proc.log_tail());
        assert!(loser.proc.log().contains("fenced"), "{}", loser.proc.log_tail());
        same_objects(&place, "p", &before);
        second.write(3);
        winner.wait_beyond(durable);
        winner.drain();
        nothing_overwritten(&before, &place.objects("p"));
        assert_eq!(restored_seq(&place, &second, NONE), 43);
        second.expect_same(&second.file("restored.db"));
        // The loser does not come back by being started again.
        Streamer::once(&place, "p", &first.db(), NONE).expect(3);
    }
}

/// Two copies start at the same moment and both write: each TXID has one owner, and one process ends with 5 or 3.
#[test]
fn p4_two_copies_racing_from_the_start_have_one_history() {
    let place = Place::s3();
    let one = Volume::new();
    one.write(20);
    Streamer::once(&place, "p", &one.db(), NONE).expect(0);
    let two = one.copy();
    let mut racers = [&one, &two].map(|volume| Streamer::start(&place, "p", &volume.db(), FAST));
    testkit::procs::wait_until(PATIENCE, "one of them to lose", || {
        one.write(1);
        two.write(1);
        racers.iter_mut().any(|racer| !racer.proc.is_running())
    });
    let lost = usize::from(racers[0].proc.is_running());
    let exit = racers[lost].proc.expect_exit(PATIENCE);
    assert!(exit == 5 || exit == 3, "{exit}:\n{}", racers[lost].proc.log_tail());
    let (winner, volume) = (&mut racers[1 - lost], [&one, &two][1 - lost]);
    assert!(winner.proc.is_running());
    winner.drain();
    restored_seq(&place, volume, NONE);
    volume.expect_same(&volume.file("restored.db"));
}

/// A streamer that was stopped for a while is a zombie when a successor has taken over: its next write is refused.
#[test]
fn p4_a_paused_streamer_cannot_write_after_its_successor() {
    let (place, first) = (Place::s3(), Volume::new());
    first.write(30);
    let mut zombie = Streamer::start(&place, "p", &first.db(), FAST);
    zombie.wait_beyond(0);
    zombie.pause();
    // The successor's volume: as it was at this moment, with the record of the same claim.
    let second = first.copy();
    let mut successor = Streamer::start(&place, "p", &second.db(), FAST).following();
    second.write(4);
    successor.drain();
    let before = place.objects("p");
    app::run(&first.args(9)).expect("the application works");
    zombie.resume();
    assert_eq!(zombie.proc.expect_exit(PATIENCE), 5, "{}", zombie.proc.log_tail());
    same_objects(&place, "p", &before);
    assert_eq!(restored_seq(&place, &second, NONE), 34);
}

/// The store performs a PUT and the answer is lost: the repetition meets its own object and goes on.
#[test]
fn p4_a_lost_reply_is_not_a_fence() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(20);
    let mut streamer = Streamer::start(&place, "p", &volume.db(), FAST);
    let mut durable = streamer.wait_beyond(0);
    for _ in 0..3 {
        place.server().faults().lose_reply_matching("PUT", "0000/", 1);
        volume.write(2);
        // What was still under way from before does not count.
        wait_until(PATIENCE, "a lost reply", || place.server().faults().pending() == 0);
        durable = streamer.wait_beyond(durable);
    }
    streamer.drain();
    // The same for a claim at the start.
    place.server().faults().lose_reply_matching("PUT", "0000/", 1);
    Streamer::once(&place, "p", &volume.db(), NONE).expect(0);
    assert_eq!(place.server().faults().pending(), 0);
    assert_eq!(restored_seq(&place, &volume, NONE), 26);
}

#[test]
fn p4_another_identity_is_refused() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(20);
    Streamer::once(&place, "p", &volume.db(), &["--app", "vaultwarden"]).expect(0);
    let before = place.objects("p");
    let other = Streamer::once(&place, "p", &volume.db(), &["--app", "gitea"]);
    other.expect(3).says(&["vaultwarden", "gitea", "choose another prefix"]);
    same_objects(&place, "p", &before);
    Streamer::once(&place, "p", &volume.db(), &["--app", "vaultwarden"]).expect(0);
}

#[test]
fn p3_a_volume_rolled_back_to_an_older_copy_is_refused() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(20);
    Streamer::once(&place, "p", &volume.db(), NONE).expect(0);
    let older = volume.copy();
    volume.write(10);
    Streamer::once(&place, "p", &volume.db(), NONE).expect(0);
    let before = place.objects("p");
    let rolled_back = Streamer::once(&place, "p", &older.db(), NONE);
    rolled_back.expect(3).says(&["rolled back", "restore the replica first"]);
    same_objects(&place, "p", &before);
    assert_eq!(restored_seq(&place, &volume, NONE), 30);
}

/// The volume is lost, the database restored: it proves by its rolling checksum that it is the newest state.
#[test]
fn p3_a_restored_database_continues_its_replica_without_adopt() {
    for place in [Place::s3(), Place::directory()] {
        let lost = Volume::new();
        lost.write(50);
        Streamer::once(&place, "p", &lost.db(), NONE).expect(0);
        lost.write(10);
        Streamer::once(&place, "p", &lost.db(), NONE).expect(0);
        let volume = Volume::new();
        place.restore::<&str>("p", &volume.db(), &[]).expect(0);
        let files = place.files("p").len();
        let mut streamer = Streamer::start(&place, "p", &volume.db(), FAST).following();
        volume.write(5);
        streamer.wait_beyond(0);
        streamer.drain();
        assert!(!streamer.proc.log().contains("sending a full image"), "{}", streamer.proc.log());
        assert!(place.files("p").len() >= files + 2, "a claim and a sync");
        assert_eq!(restored_seq(&place, &volume, NONE), 65);
        volume.expect_same(&volume.file("restored.db"));
    }
}

/// An older state was restored by intention, as the note beside it says: it goes on behind the newer one, which stays restorable. Without
/// the note nobody knows that, and it is refused.
#[test]
fn p3_an_older_restored_state_goes_on_behind_the_newer_one() {
    let (place, lost, volume) = (Place::s3(), Volume::new(), Volume::new());
    lost.write(50);
    Streamer::once(&place, "p", &lost.db(), NONE).expect(0);
    let older = place.txids("p").pop().expect("a point");
    lost.write(10);
    Streamer::once(&place, "p", &lost.db(), NONE).expect(0);
    let newer = place.txids("p").pop().expect("a point");
    place.restore("p", &volume.db(), &["--txid", &older]).expect(0);
    let before = place.objects("p");
    let note = volume.path().join(".highwater");
    let aside = volume.path().join("aside");
    fs::rename(&note, &aside).unwrap();
    Streamer::once(&place, "p", &volume.db(), NONE).expect(3).says(&["cannot prove", "--adopt"]);
    same_objects(&place, "p", &before);

    let _ = fs::remove_dir_all(&note);
    fs::rename(&aside, &note).unwrap();
    Streamer::once(&place, "p", &volume.db(), NONE).expect(0);
    nothing_overwritten(&before, &place.objects("p"));
    assert_eq!(restored_seq(&place, &lost, NONE), 50);
    assert_eq!(restored_seq(&place, &lost, &["--txid", &newer]), 60);
}

/// A fresh database meets a used prefix: refused. With `--adopt` it continues it, and everything before stays.
#[test]
fn p3_a_stranger_is_refused_and_adopted_only_on_demand() {
    for place in [Place::s3(), Place::directory()] {
        let (owner, stranger) = (Volume::new(), Volume::new());
        for _ in 0..3 {
            owner.write(15);
            Streamer::once(&place, "p", &owner.db(), NONE).expect(0);
        }
        let points = place.txids("p");
        let history: Vec<u64> =
            points.iter().map(|txid| restored_seq(&place, &owner, &["--txid", txid])).collect();
        assert_eq!(history.last(), Some(&45));
        app::run(&AppArgs { seed: 9, ..stranger.args(6) }).expect("the application works");
        let before = place.objects("p");
        Streamer::once(&place, "p", &stranger.db(), NONE).expect(3).says(&["cannot prove", "--adopt"]);
        same_objects(&place, "p", &before);

        Streamer::once(&place, "p", &stranger.db(), &["--adopt"]).expect(0);
        nothing_overwritten(&before, &place.objects("p"));
        assert_eq!(restored_seq(&place, &stranger, NONE), 6);
        stranger.expect_same(&stranger.file("restored.db"));
        let again: Vec<u64> =
            points.iter().map(|txid| restored_seq(&place, &owner, &["--txid", txid])).collect();
        assert_eq!(again, history);
        owner.expect_same(&owner.file("restored.db"));
        // The former owner has lost it.
        Streamer::once(&place, "p", &owner.db(), NONE).expect(3);
    }
}
