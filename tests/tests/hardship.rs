//! What a long life brings: outages, pinned WALs, VACUUM, a stopped process, clocks that jump (P1, P2, P5, P7).

#![allow(clippy::disallowed_methods, reason = "a test measures real time")]

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use e2e::{PATIENCE, Place, Streamer, Volume, fold, kill_between_commits};
use rusqlite::Connection;
use testkit::app::{self, AppArgs};
use testkit::procs::{Proc, wait_until};

const FAST: &[&str] = &["--sync-interval", "50ms"];

#[track_caller]
fn comes_back(place: &Place, volume: &Volume) {
    let restored = volume.file("restored.db");
    place.restore("p", &restored, &["--force", "--integrity", "full"]).expect(0);
    fold(&volume.db());
    let compared = app::compare_dbs(&volume.db(), &restored).expect("both can be read");
    assert!(compared.same_bytes() && compared.same_rows(), "{compared}");
}

/// Bytes below a directory.
fn size(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .map(|path| if path.is_dir() { size(&path) } else { length(&path) })
        .sum()
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.len())
}

fn database(volume: &Volume, rows: u32) -> Connection {
    let db = Connection::open(volume.db()).expect("the database opens");
    db.busy_timeout(Duration::from_secs(20)).expect("a timeout can be set");
    db.pragma_update(None, "journal_mode", "WAL").expect("WAL can be set");
    db.execute_batch("CREATE TABLE cells(id INTEGER PRIMARY KEY, x BLOB)").expect("a table");
    for id in 0..rows {
        db.execute("INSERT INTO cells VALUES(?1, randomblob(3000))", [id]).expect("a row");
    }
    db
}

/// What a WAL has at its head, new ones each time it begins again.
fn salts(wal: &Path) -> [u8; 8] {
    let mut salts = [0; 8];
    fs::File::open(wal).and_then(|wal| wal.read_exact_at(&mut salts, 16)).expect("a WAL has a head");
    salts
}

/// Each commit gives the streamer an occasion.
#[track_caller]
fn begins_again(db: &Connection, wal: &Path) {
    let before = salts(wal);
    wait_until(PATIENCE, "the WAL to begin again", || {
        db.execute("UPDATE cells SET x = randomblob(100) WHERE id = 1", ()).expect("an update");
        salts(wal) != before
    });
}

/// While the store is gone the application rewrites its whole database many times over. What waits is bounded by the
/// database, not by the time; requests back off; afterwards all of it goes at once.
#[test]
fn p7_a_long_outage_costs_what_the_database_is_large() {
    let (place, volume) = (Place::s3(), Volume::new());
    let db = database(&volume, 300);
    let mut streamer = Streamer::start(&place, "p", &volume.db(), FAST).following();
    let durable = streamer.wait_beyond(0);
    place.server().faults().unavailable(true);
    let pages: u32 = db.query_row("PRAGMA page_count", (), |row| row.get(0)).expect("a count");
    let (before, largest) = (place.server().counts().total(), u64::from(pages) * 4096);
    let wal = volume.file("app.db-wal");
    let (mut peak, mut generation) = (0, salts(&wal));
    for round in 0..40 {
        for id in 0..300 {
            db.execute("UPDATE cells SET x = randomblob(3000) WHERE id = ?1", [id]).expect("an update");
        }
        if round % 3 == 2 {
            peak = peak.max(size(volume.path()));
            // A streamer that got no turn beside this loop is given one.
            if salts(&wal) == generation {
                begins_again(&db, &wal);
            }
            generation = salts(&wal);
        }
    }
    let written = 40 * 300 * 4096;
    assert!(written > 30 * largest, "the application wrote {written} bytes into {largest}");
    assert!(peak < 12 * largest, "{peak} bytes on the volume for a database of {largest}");
    let asked = place.server().counts().total() - before;
    assert!(asked < 60, "{asked} requests during the outage");
    assert_eq!(streamer.durable(), durable);
    let files = place.files("p").len();
    place.server().faults().unavailable(false);
    streamer.wait_beyond(durable);
    drop(db);
    streamer.drain();
    let files = place.files("p").len() - files;
    assert!(files <= 4, "{files} files for 12,000 transactions");
    comes_back(&place, &volume);
}

/// A reader that does not end pins the WAL: it grows, and streaming goes on; when the reader is gone the WAL begins again.
#[test]
fn p5_a_reader_that_pins_the_wal_stops_nothing() {
    let (place, volume) = (Place::s3(), Volume::new());
    let db = database(&volume, 50);
    let mut streamer = Streamer::start(&place, "p", &volume.db(), FAST).following();
    let mut durable = streamer.wait_beyond(0);
    let reader = Connection::open(volume.db()).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    let seen: i64 = reader.query_row("SELECT count(*) FROM cells", (), |row| row.get(0)).unwrap();
    let wal = volume.file("app.db-wal");
    for _ in 0..6 {
        for id in 0..300 {
            db.execute("INSERT OR REPLACE INTO cells VALUES(?1, randomblob(3000))", [id]).expect("an update");
        }
        durable = streamer.wait_beyond(durable);
    }
    let pinned = length(&wal);
    assert!(pinned > 6 * 300 * 4096, "the WAL was not pinned: {pinned}");
    assert_eq!(reader.query_row("SELECT count(*) FROM cells", (), |row| row.get::<_, i64>(0)).unwrap(), seen);
    reader.execute_batch("COMMIT").unwrap();
    drop(reader);
    begins_again(&db, &wal);
    drop(db);
    streamer.drain();
    comes_back(&place, &volume);
}

/// An application has its database to itself while it creates it and while it closes it last, for as long as a disk stalls under that: said
/// with the way out if it stays so, nothing claimed meanwhile, and nobody has to start the streamer again.
#[test]
fn p4_a_database_that_somebody_has_to_himself_is_followed_once_he_lets_go() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(20);
    let holder = Connection::open(volume.db()).unwrap();
    for sql in ["PRAGMA locking_mode=EXCLUSIVE", "SELECT count(*) FROM sqlite_schema"] {
        holder.query_row(sql, (), |_| Ok(())).unwrap();
    }
    let mut streamer = Streamer::start(&place, "p", &volume.db(), FAST);
    streamer.wait_for("failed, it will be started again");
    let told = streamer.events("failed, it will be started again");
    let said = told[0]["error"].as_str().unwrap();
    assert!(said.contains("holds it exclusively; do not use locking_mode=EXCLUSIVE"), "{said}");
    assert!(place.objects("p").is_empty(), "nothing is claimed");
    drop(holder);
    streamer.wait_beyond(0);
    streamer.drain();
    comes_back(&place, &volume);
}

/// VACUUM rewrites everything while six writers are busy and the streamer is sending.
#[test]
fn p2_vacuum_among_busy_writers_comes_back() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(10);
    let mut streamer = Streamer::start(&place, "p", &volume.db(), FAST).following();
    let args = AppArgs { writers: 6, readers: 2, rate: 300.0, ..volume.args(0) };
    let mut application = Proc::bin("hw-app", args.to_args());
    let keeper = Connection::open(volume.db()).unwrap();
    keeper.busy_timeout(PATIENCE).unwrap();
    let mut durable = streamer.wait_beyond(0);
    for _ in 0..4 {
        keeper.execute_batch("CREATE TABLE ballast(x); INSERT INTO ballast VALUES(randomblob(2000000)); DROP TABLE ballast; VACUUM").expect("VACUUM gets its turn");
        durable = streamer.wait_beyond(durable);
        assert!(application.is_running(), "{}", application.log_tail());
    }
    drop(keeper);
    kill_between_commits(&mut application, &volume.db());
    streamer.drain();
    comes_back(&place, &volume);
    assert_eq!(app::verify(&volume.file("restored.db")).expect("a prefix").last_seq, volume.last_seq());
}

/// SIGSTOP takes minutes out of the process's life while the application writes on, past several restarts of the WAL.
#[test]
fn p1_a_stopped_process_goes_on_where_it_was() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(10);
    let mut streamer = Streamer::start(&place, "p", &volume.db(), FAST).following();
    for _ in 0..3 {
        let durable = streamer.wait_beyond(0);
        streamer.pause();
        volume.write(400);
        streamer.resume();
        streamer.wait_beyond(durable);
    }
    streamer.drain();
    assert_eq!(streamer.events("sending a full image").len(), 1, "only the first one");
    comes_back(&place, &volume);
}

/// The wall clock leaps three days ahead and two back while commits flow: header times only grow, every point can be
/// restored, and a restore by time finds what was committed before it.
#[test]
fn p2_a_clock_that_jumps_makes_no_holes() {
    let library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
    if !Path::new(library).exists() {
        return println!("SKIP clock jumps: libfaketime is not installed (apt-get install libfaketime)");
    }
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(5);
    let offset = volume.file("offset");
    fs::write(&offset, "+0\n").unwrap();
    let mut command = place.command("wal-streamer");
    command
        .args(["--log-format", "json", "replicate", "--sync-interval", "20ms"])
        .arg(volume.db())
        .arg(place.url("p"));
    command.env("HIGHWATER_LOG", "info,wal_streamer=debug").env("LD_PRELOAD", library);
    command
        .env("FAKETIME_TIMESTAMP_FILE", &offset)
        .env("FAKETIME_NO_CACHE", "1")
        .env("DONT_FAKE_MONOTONIC", "1");
    let mut streamer = Streamer { proc: Proc::start(command) };
    let mut durable = streamer.wait_beyond(0);
    for jump in ["+3d", "+1d", "-1d", "+0"] {
        fs::write(&offset, format!("{jump}\n")).unwrap();
        for _ in 0..3 {
            volume.write(3);
            durable = streamer.wait_beyond(durable);
        }
    }
    streamer.drain();
    comes_back(&place, &volume);
    let points = place.points("p");
    let restored = volume.file("point.db");
    let mut last = 0;
    for point in &points {
        let txid = point["txid"].as_str().unwrap();
        place.restore("p", &restored, &["--force", "--txid", txid]).expect(0);
        let seq = app::verify(&restored).expect("a prefix").last_seq;
        assert!(seq >= last, "{txid}: {seq} after {last}");
        last = seq;
    }
    assert_eq!(last, volume.last_seq());
    let files = place.files("p");
    let times: Vec<i64> = files.iter().map(|file| header_ms(file)).collect();
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "header times: {times:?}");
    assert!(times.last().unwrap() - times.first().unwrap() > 2 * 86_400_000, "the jump was seen: {times:?}");
}

/// The timestamp of an LTX header: eight bytes at offset 32, big endian (`docs/formats/ltx.md`).
fn header_ms(file: &Path) -> i64 {
    let bytes = fs::read(file).expect("it is there");
    i64::from_be_bytes(bytes[32..40].try_into().expect("eight bytes"))
}
