//! A description with patterns and directories: one process, a replica for each database.

#![allow(clippy::disallowed_methods, reason = "a test measures real time")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]

use std::fs;
use std::path::Path;

use e2e::{PATIENCE, Place, Volume, run};
use testkit::app::{self, AppArgs};
use testkit::procs::{Proc, wait_until};

fn description(place: &Place, volume: &Volume, databases: &str) -> String {
    let path = volume.file("protect.yaml");
    let text = format!(
        "app: fleet\nreplica: '{}'\nroot: {}\ndatabases: {databases}\n",
        place.url("p"),
        volume.path().join("data").display()
    );
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn write(volume: &Volume, name: &str, transactions: u64) {
    let path = volume.path().join("data").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    app::run(&AppArgs { transactions, ..AppArgs::new(path) }).expect("the application works");
}

fn comes_back(place: &Place, volume: &Volume, name: &str) -> u64 {
    let restored = volume.file("restored.db");
    place.restore(&format!("p/sqlite/{name}"), &restored, &["--force"]).expect(0);
    app::verify(&restored).expect("a prefix of the plan").last_seq
}

fn start(place: &Place, config: &str, more: &[&str]) -> Proc {
    let mut command = place.command("wal-streamer");
    command.args(["replicate", "--sync-interval", "50ms", "--config", config]).args(more);
    Proc::start(command)
}

#[test]
fn p1_every_database_of_a_pattern_and_of_a_directory_comes_back() {
    for place in [Place::s3(), Place::directory()] {
        let volume = Volume::new();
        for (name, transactions) in
            [("a.db", 10), ("b.db", 20), ("tenants/x/one.sqlite", 30), ("other.bin", 5)]
        {
            write(&volume, name, transactions);
        }
        fs::write(volume.path().join("data/notes.db"), "a shopping list").unwrap();
        let config = description(&place, &volume, "[{path: '*.db'}, {path: tenants}]");
        let mut streamer = start(&place, &config, &[]);
        wait_until(PATIENCE, "all databases", || streamer.log().matches("\"claimed\"").count() == 3);
        // One that comes later is found.
        write(&volume, "tenants/y/two.sqlite", 40);
        wait_until(PATIENCE, "the new database", || streamer.log().matches("\"claimed\"").count() == 4);
        write(&volume, "a.db", 7);
        streamer.terminate();
        assert_eq!(streamer.expect_exit(PATIENCE), 0, "{}", streamer.log_tail());
        assert_eq!(comes_back(&place, &volume, "a.db"), 17);
        assert_eq!(comes_back(&place, &volume, "b.db"), 20);
        assert_eq!(comes_back(&place, &volume, "tenants/x/one.sqlite"), 30);
        assert_eq!(comes_back(&place, &volume, "tenants/y/two.sqlite"), 40);
        assert!(!place.root("p/sqlite/other.bin").exists() && !place.root("p/sqlite/notes.db").exists());
    }
}

#[test]
fn once_takes_in_everything_a_pattern_finds_and_ends() {
    let (place, volume) = (Place::s3(), Volume::new());
    write(&volume, "a.db", 3);
    write(&volume, "b.db", 4);
    let config = description(&place, &volume, "[{path: '**/*.db'}]");
    let mut command = place.command("wal-streamer");
    command.args(["replicate", "--once", "--config", &config]);
    run(command).expect(0);
    assert_eq!(comes_back(&place, &volume, "b.db"), 4);
    assert!(Path::new(&volume.path().join("data/.highwater/a.db/state")).exists());
}

/// Two entries that mean one database: refused with both places before anything begins.
#[test]
fn p4_overlapping_entries_are_refused_with_their_places() {
    let (place, volume) = (Place::s3(), Volume::new());
    write(&volume, "t/a.db", 3);
    let config = description(&place, &volume, "[{path: t}, {path: 't/*.db'}]");
    let mut command = place.command("wal-streamer");
    command.args(["replicate", "--once", "--config", &config]);
    run(command).expect(2).says(&["databases: t/*.db", "a.db is followed already", "databases: t)"]);
    assert!(place.objects("p").is_empty());
}
