//! P5: what a watch costs the application, it costs only one that pauses.

use crate::app::App;
use crate::image::Image;
use crate::{Place, attach, until};
use sqlite_tail::{Tail, Wake};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// Whether any inotify instance of this process watches the file.
fn is_watched(path: &Path) -> bool {
    let ino = format!(" ino:{:x} ", fs::metadata(path).unwrap().ino());
    let infos = fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    // A descriptor that another test has closed meanwhile is none of ours.
    infos
        .filter_map(|info| fs::read_to_string(info.path()).ok())
        .any(|text| text.lines().any(|line| line.starts_with("inotify ") && line.contains(&ino)))
}

fn follow(tail: &mut Tail, image: &mut Image) {
    tail.copy(image).unwrap();
    tail.maintain(image).unwrap();
}

/// Beside a writer that does not pause the tail looks by itself; once it has paused the next commit ends a wait again.
#[test]
fn p5_a_writer_that_does_not_pause_is_not_watched() {
    let place = Place::new();
    let (mut app, wal) = (App::open(&place.db()), place.path("app.db-wal"));
    app.sql("PRAGMA journal_mode=WAL");
    app.sql("CREATE TABLE junk(id INTEGER PRIMARY KEY, body BLOB)");
    app.sql("INSERT INTO junk WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i<2000) SELECT i, 0 FROM n");
    let mut tail = attach(&place.db());
    let mut image = Image::of(&mut tail);
    assert!(is_watched(&wal) && is_watched(&place.db()));
    let mut left_alone = false;
    for _ in 0..10 {
        app.begin("storm 1000 NORMAL");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| app.answer().unwrap());
            while !waiting.is_finished() {
                tail.wait(Duration::from_millis(20));
                follow(&mut tail, &mut image);
                left_alone |= !is_watched(&wal) && !is_watched(&place.db());
            }
        });
        // Only a machine that stalls all the time makes pauses.
        if left_alone {
            break;
        }
    }
    assert!(left_alone);
    until("the writer has paused", || {
        tail.wait(Duration::from_millis(20));
        follow(&mut tail, &mut image);
        is_watched(&wal) && is_watched(&place.db())
    });
    tail.checkpoint_now(&mut image).unwrap();
    let began = image.commits;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            app.sql("INSERT INTO junk VALUES(NULL, 1)")
        });
        until("the commit", || {
            assert_eq!(tail.wait(Duration::from_secs(60)), Wake::Event, "an event ends it, not the time");
            follow(&mut tail, &mut image);
            image.commits > began
        });
    });
    image.equals_file_after(tail, &place.db());
    app.exit();
}
