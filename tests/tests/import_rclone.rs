//! An rclone mirror becomes the first snapshot: written by the real rclone of the distribution, read by `config-syncer import`. And back: a
//! mirror that `config-syncer export` wrote is pulled by rclone.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use e2e::rclone::Rclone;
use e2e::tree::{assert_same, mirrored, plant};
use e2e::{Outcome, Place, Volume, run};

fn import(place: &Place, from: &[&str], dir: &Path, to: &str) -> Outcome {
    let mut command = place.command("config-syncer");
    command.arg("import").args(["--cluster", "home", "--app", "web", "--tree", "."]);
    for prefix in from {
        command.args(["--from", &place.url(prefix)]);
    }
    command.arg(dir).arg(place.url(to));
    run(command)
}

#[test]
fn p3_an_rclone_mirror_becomes_the_first_snapshot_and_is_never_written() {
    let (place, volume) = (Place::s3(), Volume::new());
    let tree = volume.file("tree");
    // rclone itself cannot copy local names that are not UTF-8, or hold characters that it quotes with.
    let strange = std::ffi::OsStr::new("caf\u{e9} x.txt");
    fs::create_dir_all(tree.join("deep/er")).unwrap();
    fs::write(tree.join("config.yaml"), "x: 1\n").unwrap();
    fs::write(tree.join("deep/er/run.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(tree.join("deep/er/run.sh"), fs::Permissions::from_mode(0o750)).unwrap();
    let mode = rustix::fs::XattrFlags::empty();
    let has_attributes =
        rustix::fs::setxattr(tree.join("deep/er/run.sh"), "user.note", b"kept", mode).is_ok();
    fs::write(tree.join(strange), "strange").unwrap();
    fs::write(tree.join("empty"), "").unwrap();
    fs::write(tree.join("big.bin"), (0..6_000_000u32).map(|i| (i % 251) as u8).collect::<Vec<_>>()).unwrap();
    std::os::unix::fs::symlink("config.yaml", tree.join("current")).unwrap();
    // What the old loop should not have mirrored.
    fs::write(tree.join("app.sqlite3"), [b"SQLite format 3\0".as_slice(), &[1; 4080]].concat()).unwrap();
    fs::write(tree.join("app.sqlite3-wal"), "torn").unwrap();
    if !Rclone::of(place.server()).sync(&tree, Rclone::remote("old/config"), &["--links", "--metadata"]) {
        return;
    }
    let before = place.objects("old");
    assert!(before.len() >= 8, "{:?}", before.keys());
    let back = volume.file("back");
    let done = import(&place, &["old/filesystem", "old/config"], &back, "web/files");
    done.expect(0);
    assert!(done.stdout.contains("2 SQLite files were left out"), "{}", done.stdout);
    assert_eq!(place.objects("old"), before, "the mirror is only read");
    for name in ["config.yaml", "deep/er/run.sh", "empty", "big.bin"]
        .map(Path::new)
        .into_iter()
        .chain([Path::new(strange)])
    {
        let (was, is) = (fs::metadata(tree.join(name)).unwrap(), fs::metadata(back.join(name)).unwrap());
        assert_eq!(
            fs::read(tree.join(name)).unwrap(),
            fs::read(back.join(name)).unwrap(),
            "{}",
            name.display()
        );
        assert_eq!(
            (was.mtime(), was.mtime_nsec(), was.mode()),
            (is.mtime(), is.mtime_nsec(), is.mode()),
            "{}",
            name.display()
        );
    }
    if has_attributes {
        let mut value = [0; 16];
        let length = rustix::fs::getxattr(back.join("deep/er/run.sh"), "user.note", &mut value).unwrap();
        assert_eq!(&value[..length], b"kept");
    }
    assert_eq!(fs::read_link(back.join("current")).unwrap(), Path::new("config.yaml"));
    assert!(!back.join("app.sqlite3").exists() && !back.join("app.sqlite3-wal").exists());

    // The snapshot is proven, says where it came from, and a pod goes on from it.
    let rows: serde_json::Value = {
        let mut list = place.command("restore");
        list.args(["list", &place.url("web/files"), "-o", "json"]);
        serde_json::from_str(&run(list).stdout).unwrap()
    };
    assert_eq!((&rows[0]["snapshot"], &rows[0]["proven"]), (&2.into(), &true.into()));
    let pod = e2e::Pod::new(&place, "files: [{path: ., exclude: []}]");
    pod.init(&[]).expect(0);
    assert_eq!(pod.tree()["outcome"], "restored");
    assert_eq!(pod.get("config.yaml").as_deref(), Some("x: 1\n"));
    // Only the first snapshot can be an import.
    import(&place, &["old/config"], &volume.file("again"), "web/files")
        .expect(3)
        .says(&["holds snapshot 2 already"]);
}

#[test]
fn an_import_refuses_what_would_harm_the_mirror_or_lose_a_file() {
    let (place, volume) = (Place::s3(), Volume::new());
    let tree = volume.file("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("a"), "1").unwrap();
    if !Rclone::of(place.server()).sync(&tree, Rclone::remote("old"), &[]) {
        return;
    }
    let before = place.objects("old");
    import(&place, &["old"], &volume.file("x"), "old/files").expect(3).says(&["inside each other"]);
    import(&place, &["nowhere"], &volume.file("x"), "files").expect(3).says(&["no mirror holds anything"]);
    import(&place, &["old"], &tree, "files").expect(3).says(&["is not empty"]);
    assert!(
        place.objects("files").keys().all(|key| !key.to_string_lossy().contains("/m/")),
        "nothing was committed"
    );
    let mut client = place.server().client();
    client.put("old/a%EF%BC%8Fb", b"a name that no Linux file has").unwrap();
    import(&place, &["old"], &volume.file("x"), "files").expect(4).says(&["is no path"]);
    assert!(place.objects("old").len() == before.len() + 1);
}

#[test]
fn p2_an_exported_mirror_is_pulled_by_rclone_as_the_same_tree() {
    let (place, volume) = (Place::s3(), Volume::new());
    let tree = volume.file("tree");
    fs::create_dir(&tree).unwrap();
    plant(&tree);
    let mut snapshot = place.command("config-syncer");
    snapshot.arg("snapshot").arg(&tree).arg(place.url("files"));
    run(snapshot).expect(0);
    let mut export = place.command("config-syncer");
    export.args(["export", &place.url("files"), "--to", "mirror", "-o", &place.url("mirror")]);
    run(export).expect(0);
    let back = volume.file("back");
    if Rclone::of(place.server()).pull("mirror", &back) {
        assert_same(&mirrored(&back), &mirrored(&tree));
    }
}
