//! 50,000 files in one tree: the bounds of requests hold, nothing is lost, an idle look sends nothing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]

use std::fs;
use std::path::Path;

use e2e::{Outcome, Place, run};

const FILES: usize = 50_000;

fn snapshot(place: &Place, tree: &Path) -> Outcome {
    let mut command = place.command("config-syncer");
    command.arg("snapshot").arg(tree).arg(place.url("files"));
    run(command)
}

#[test]
fn p7_fifty_thousand_files_are_kept_and_restored_within_the_bounds_of_requests() {
    let (place, dir) = (Place::s3(), tempfile::tempdir().unwrap());
    let tree = dir.path().join("tree");
    for i in 0..FILES {
        if i % 100 == 0 {
            fs::create_dir_all(tree.join(format!("d{}", i / 100))).unwrap();
        }
        fs::write(tree.join(format!("d{}/f{i}", i / 100)), format!("file {i} ").repeat(1 + i % 40)).unwrap();
    }
    snapshot(&place, &tree).expect(0);
    let server = place.server();
    server.reset();
    snapshot(&place, &tree).expect(0);
    let idle = server.log();
    assert!(
        idle.iter().filter(|r| r.method == "PUT").count() <= 2,
        "a claim, and the question before it: {idle:?}"
    );
    fs::write(tree.join("d499/f49999"), "changed").unwrap();
    server.reset();
    snapshot(&place, &tree).expect(0);
    let puts = server.log().iter().filter(|r| r.method == "PUT").count();
    assert!(puts <= 4, "{puts} PUTs for one change: claim, question, pack, commit");

    server.reset();
    let back = dir.path().join("back");
    let mut restore = place.command("restore");
    restore.args(["files", &place.url("files"), "-o"]).arg(&back);
    run(restore).expect(0);
    let requests = server.counts().total();
    assert!(requests <= 20, "{requests} requests for {FILES} small files");
    for i in (0..FILES).step_by(97).chain([FILES - 1]) {
        let name = format!("d{}/f{i}", i / 100);
        assert_eq!(fs::read(back.join(&name)).unwrap(), fs::read(tree.join(&name)).unwrap(), "{name}");
    }
    let count =
        |dir: &Path| fs::read_dir(dir).unwrap().flatten().filter(|e| e.file_name() != ".highwater").count();
    assert_eq!(count(&back), FILES / 100);
    assert_eq!((0..FILES / 100).map(|d| count(&back.join(format!("d{d}")))).sum::<usize>(), FILES);
}
