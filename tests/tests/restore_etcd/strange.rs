//! What makes no sense for etcd, and URLs that are nearly right: refused with the command that is.

use std::fs;
use std::path::Path;

use e2e::{Streamer, Volume, run};

use crate::NONE;
use crate::scene::Scene;

#[test]
fn what_makes_no_sense_for_etcd_is_refused_with_the_right_command() {
    let scene = Scene::new().three();
    let before = scene.place.objects("etcd");
    for more in [NONE, &["--force"]] {
        scene.restore("unlock", more).expect(3).says(&["no writer's claim", "etcd-shipper prune"]);
    }
    scene.restore("drill", &["--sql", "SELECT 1"]).expect(2).says(&["--sql and --command", "etcd"]);
    scene.restore("drill", &["--etcd-dir", "/nowhere"]).expect(2).says(&["--etcd-dir"]);
    assert_eq!(scene.place.objects("etcd"), before);

    let out = scene.path("out");
    scene.restore("files", &["-o", &out]).expect(3).says(&["etcd snapshots", "restore etcd"]);
    scene.restore("sqlite", &["-o", &out]).expect(3).says(&["etcd snapshots", "restore etcd"]);
    // One folder too high, one too deep.
    for verb in ["list", "verify", "drill"] {
        scene.restore_at("", verb, NONE).expect(3).says(&["append /etcd"]);
        scene.restore_at("etcd/prod", verb, NONE).expect(3).says(&["--cluster prod"]);
    }
    scene.restore_at("etcd/prod", "etcd", &["-o", &out]).expect(3).says(&["--cluster prod"]);
    scene.restore_at("", "etcd", &["-o", &out]).expect(3).says(&["append /etcd"]);

    // The other kinds, asked for etcd.
    let volume = Volume::new();
    volume.write(5);
    Streamer::once(&scene.place, "app.db", &volume.db(), NONE).expect(0);
    fs::create_dir(volume.file("tree")).unwrap();
    fs::write(volume.file("tree/a"), "a").unwrap();
    let mut syncer = scene.place.command("config-syncer");
    syncer.arg("snapshot").arg(volume.file("tree")).arg(scene.place.url("files"));
    run(syncer).expect(0);
    scene
        .restore_at("app.db", "etcd", &["-o", &out])
        .expect(3)
        .says(&["replica of a database", "restore sqlite"]);
    scene.restore_at("files", "etcd", &["-o", &out]).expect(3).says(&["replica of files", "restore files"]);
    for (prefix, kind) in [("app.db", "a database"), ("files", "files")] {
        scene.restore_at(prefix, "list", &["--cluster", "prod"]).expect(2).says(&[kind]);
        scene.restore_at(prefix, "list", NONE).expect(0);
    }
    scene.restore_at("nowhere", "etcd", &["-o", &out]).expect(3).says(&["no etcd snapshot"]);
    assert!(!Path::new(&out).exists());
}
