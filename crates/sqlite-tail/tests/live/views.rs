//! The whole database as of one moment.

use crate::app::App;
use crate::image::Image;
use crate::{Place, attach};
use sqlite_tail::{Tail, View};
use std::collections::BTreeMap;

fn founded(place: &Place) -> App {
    let mut app = App::open(&place.db());
    app.sql("PRAGMA journal_mode=WAL");
    app.sql("PRAGMA wal_autocheckpoint=0");
    app.sql("CREATE TABLE t(id INTEGER PRIMARY KEY, x)");
    app.sql("INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<300) SELECT i, randomblob(1000) FROM n");
    app
}

fn pages(view: &mut View<'_>) -> BTreeMap<u32, Vec<u8>> {
    let mut pages = BTreeMap::new();
    view.for_each_page(|pgno, page| {
        assert!(pages.insert(pgno, page.to_owned()).is_none());
        Ok(())
    })
    .unwrap();
    assert_eq!(pages.len(), view.commit() as usize);
    pages
}

/// The application writes, checkpoints, vacuums and truncates: the view stays as it was.
fn stands_still(tail: &mut Tail, app: &mut App) {
    let mut view = tail.view().unwrap();
    let before = pages(&mut view);
    for sql in [
        "UPDATE t SET x = randomblob(1500)",
        "PRAGMA wal_checkpoint(PASSIVE)",
        "DELETE FROM t WHERE id > 100",
        "VACUUM",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "UPDATE t SET x = randomblob(900)",
        "PRAGMA wal_checkpoint(FULL)",
    ] {
        app.sql(sql);
        assert!(pages(&mut view) == before, "after {sql}");
    }
    let mut page = vec![0; view.page_size() as usize];
    for (pgno, content) in before.iter().rev() {
        view.read_page(*pgno, &mut page).unwrap();
        assert!(&page == content, "page {pgno}");
    }
}

#[test]
fn p2_a_view_over_wal_and_file_stands_still() {
    let place = Place::new();
    let mut app = founded(&place);
    let mut tail = attach(&place.db());
    stands_still(&mut tail, &mut app);
    app.exit();
}

#[test]
fn p2_a_view_of_the_file_alone_stands_still() {
    let place = Place::new();
    let mut app = founded(&place);
    app.sql("PRAGMA wal_checkpoint(PASSIVE)");
    let mut tail = attach(&place.db());
    stands_still(&mut tail, &mut app);
    drop(tail);
    // … and of a file whose WAL was deleted by a clean exit: the index knows no size then.
    app.sql("PRAGMA wal_checkpoint(TRUNCATE)");
    app.exit();
    for suffix in ["-wal", "-shm"] {
        std::fs::remove_file(place.path(&format!("app.db{suffix}"))).ok();
    }
    let mut tail = attach(&place.db());
    let mut app = App::open(&place.db());
    stands_still(&mut tail, &mut app);
    app.exit();
}

/// A snapshot beside a running copy: the position stays, and copying goes on without a gap.
#[test]
fn a_view_leaves_the_position_alone() {
    let place = Place::new();
    let mut app = founded(&place);
    let mut tail = attach(&place.db());
    let mut image = Image::of(&mut tail);
    app.sql("UPDATE t SET x = 1");
    let at = tail.position();
    let viewed = {
        let mut view = tail.view().unwrap();
        app.sql("UPDATE t SET x = 2");
        pages(&mut view)
    };
    assert_eq!(tail.position(), at);
    assert_eq!(tail.copy_some(&mut image, 1).unwrap().commits, 1);
    assert!(image.pages == viewed, "the view was the state after the first update");
    assert_eq!(tail.copy(&mut image).unwrap().commits, 1);
    image.equals_file_after(tail, &place.db());
    app.exit();
}

/// `start_at` takes the end of the last view, until the WAL may have been restarted.
#[test]
fn copying_starts_at_the_end_of_a_view() {
    let place = Place::new();
    let mut app = founded(&place);
    let mut tail = attach(&place.db());
    let mut image = Image::default();
    let (end, db_pages) = {
        let mut view = tail.view().unwrap();
        app.sql("UPDATE t SET x = 2");
        image.pages = pages(&mut view);
        (view.position(), view.commit())
    };
    image.db_pages = db_pages;
    tail.start_at(end).unwrap();
    tail.maintain(&mut image).unwrap();
    tail.start_at(end).unwrap();
    tail.checkpoint_now(&mut image).unwrap();
    tail.start_at(end).expect_err("the pin is released");
    let end = tail.view().unwrap().position();
    tail.start_at(end).unwrap();
    image.equals_file_after(tail, &place.db());
    app.exit();
}

#[test]
fn the_lock_page_is_where_sqlite_has_it() {
    let place = Place::new();
    let app = founded(&place);
    let mut tail = attach(&place.db());
    assert_eq!(tail.view().unwrap().lock_page(), 0x4000_0000 / 4096 + 1);
    app.exit();
}
