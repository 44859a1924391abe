//! What upkeep makes of a replica (levels, snapshots, pinned claims below what retention deleted, an image in the middle), read
//! by both generations of Litestream: the shared objects always, the commands in the full tier.
//!
//! The writer runs in this process with the clock in the hand of the test: hours of levels and retention in seconds.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]

#[allow(dead_code, reason = "shared with the tests of the writer")]
#[path = "../../crates/sqlite-replica/tests/upkeep/scene.rs"]
mod scene;

use e2e::interop::{Replica, Vfs, assert_same};
use scene::{Scene, scene};
use sqlite_replica::{Level, Policy, Report};
use std::fs;
use std::path::{Path, PathBuf};

/// Gives a replica back as a file.
type Restore = Box<dyn Fn(&Replica, &Path) + Send>;

fn shared_objects() -> Vec<(&'static str, Restore)> {
    let proves = "levels and retention read by the Litestream VFS";
    let versions = [("0.5.15", "HIGHWATER_LITESTREAM_VFS_OLD"), ("0.5.17", "HIGHWATER_LITESTREAM_VFS_NEW")];
    let mut found: Vec<(&'static str, Restore)> = Vec::new();
    for (version, variable) in versions {
        if let Some(vfs) = Vfs::from_env(variable, proves) {
            found.push((version, Box::new(move |replica, to| vfs.hydrate(replica, to))));
        }
    }
    found
}

#[cfg(feature = "full")]
fn commands() -> Vec<(&'static str, Restore)> {
    use e2e::interop::Litestream;
    let proves = "levels and retention read by the litestream command";
    let versions = [("old", "HIGHWATER_LITESTREAM_OLD"), ("new", "HIGHWATER_LITESTREAM_NEW")];
    let mut found: Vec<(&'static str, Restore)> = Vec::new();
    for (version, variable) in versions {
        if let Some(litestream) = Litestream::from_env(variable, proves) {
            found.push((version, Box::new(move |replica, to| litestream.restore(replica, to, &[]))));
        }
    }
    found
}

/// The replica as a directory in Litestream's layout.
fn as_directory(scene: &Scene) -> Replica {
    let replica = Replica::file();
    let root = PathBuf::from(replica.litestream.strip_prefix("file://").unwrap());
    for entry in scene.catalogue().entries {
        let bytes = scene.wait(scene.store.get_bytes(&entry.key, None)).unwrap();
        let dir = root.join("ltx").join(entry.level.0.to_string());
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(entry.name.to_string()), bytes).unwrap();
    }
    replica
}

/// Everybody gives back what the application has.
fn all_agree(scene: &Scene, readers: &[(&'static str, Restore)], when: &str) {
    scene.newest_is_what_the_application_has();
    let (ours, _) = scene.restored(None);
    let replica = as_directory(scene);
    for (version, restore) in readers {
        let theirs = scene.dir().join(format!("theirs-{version}.db"));
        let _ = fs::remove_file(&theirs);
        restore(&replica, &theirs);
        assert_same(&format!("{when}, {version}, files per level {:?}", scene.levels()), &ours, &theirs);
    }
}

fn a_long_life(readers: Vec<(&'static str, Restore)>) {
    if readers.is_empty() {
        return;
    }
    scene(Policy { verify: None, ..Policy::default() }, move |mut scene| {
        all_agree(&scene, &readers, "the first image");
        for _ in 0..20 {
            scene.commit();
            scene.pass_time(10);
        }
        all_agree(&scene, &readers, "level 1");
        for _ in 0..400 {
            scene.commit();
            scene.pass_time(10);
        }
        assert!(scene.levels()[3] > 0 && scene.told(|r| matches!(r, Report::Pruned { .. })));
        all_agree(&scene, &readers, "all levels, retention at work");

        // Claims of further starts, pinned below what is deleted later.
        for _ in 0..3 {
            scene = scene.restart();
            for _ in 0..60 {
                scene.commit();
                scene.pass_time(10);
            }
        }
        all_agree(&scene, &readers, "claims below a gap of level 0");

        let images = scene.images().len();
        scene.writer.want_image();
        scene.commit();
        scene.pass_time(1);
        scene.until(|s| s.images().len() > images);
        for _ in 0..60 {
            scene.commit();
            scene.pass_time(10);
        }
        all_agree(&scene, &readers, "a second snapshot");

        // The volume is lost and the database adopted: an image in the middle of level 0.
        scene = scene.restart_with(|dir, config| {
            fs::remove_dir_all(dir.join(".highwater")).unwrap();
            config.adopt = true;
        });
        all_agree(&scene, &readers, "an image at level 0");
        for _ in 0..120 {
            scene.commit();
            scene.pass_time(10);
        }
        let bridged = scene.catalogue().images.iter().all(|image| scene.images().iter().any(|s| s >= image));
        assert!(bridged, "a snapshot reaches beyond the image: {:?}", scene.levels());
        all_agree(&scene, &readers, "levels behind the image");
        scene.settle();
        all_agree(&scene, &readers, "at rest");
        assert!(scene.catalogue().entries.iter().any(|e| e.level == Level(2)));
    });
}

#[test]
fn p8_both_generations_of_the_shared_object_read_what_upkeep_leaves() {
    a_long_life(shared_objects());
}

#[cfg(feature = "full")]
#[test]
fn p8_both_generations_of_the_command_read_what_upkeep_leaves() {
    a_long_life(commands());
}
