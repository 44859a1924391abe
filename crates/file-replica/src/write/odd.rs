//! Trees that change, grow, move or are covered while somebody looks at them: the rest of the list of `docs/testing.md`.

use crate::restore_fold as fold;
use crate::state::{Print, State};
use crate::testing::{Bench, run};
use crate::{Class, Writer};
use rustix::fs::{Mode, OFlags};
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use testkit::diskfull::SmallDisk;

#[test]
fn p2_a_file_that_becomes_a_directory_while_it_is_looked_at_is_neither() {
    run(async {
        let b = Bench::new();
        b.put("a", "a file");
        b.put("z/inside", "1");
        let mut w = b.writer().await.unwrap();
        w.snapshot(|_| {}).await.unwrap();
        b.put("a", "a file, changed");
        // The names of the root are listed and looked at before a directory in it is announced.
        let (root, z) = (b.root().to_owned(), b.root().join("z"));
        let replace = move |dir: &Path| {
            if dir == z && root.join("a").is_file() {
                fs::remove_file(root.join("a")).unwrap();
                fs::create_dir(root.join("a")).unwrap();
                fs::write(root.join("a/below"), "2").unwrap();
            }
        };
        let done = w.snapshot(replace).await.unwrap();
        let head = done.head.expect("the file is gone");
        assert_eq!(head.entries, 2, "neither the file nor what took its place");
        assert_eq!(w.snapshot(|_| {}).await.unwrap().head.unwrap().entries, 4);
        let target = b.dir.path().join("back");
        b.restore_to(&target).await.unwrap();
        assert_eq!(fold(&target), fold(b.root()));
    });
}

/// Between its name and its list, and before its name is looked at.
#[test]
fn p2_a_directory_that_disappears_while_it_is_looked_at_ends_no_look() {
    run(async {
        let b = Bench::new();
        (0..30).for_each(|i| b.put(&format!("f{i}"), format!("{i}")));
        (0..3).for_each(|i| b.put(&format!("gone/f{i}"), format!("{i}")));
        b.put("also/gone/deep", "1");
        let mut w = b.writer().await.unwrap();
        w.snapshot(|_| {}).await.unwrap();
        b.put("f1", "changed");
        let root = b.root().to_owned();
        let vanish = move |dir: &Path| {
            if dir.ends_with("also") {
                fs::remove_dir_all(root.join("also/gone")).unwrap();
            } else if dir == root.join("gone") {
                fs::remove_dir_all(dir).unwrap();
            }
        };
        let done = w.snapshot(vanish).await.unwrap();
        assert!(done.head.is_some_and(|head| head.entries <= 33), "what was not seen is not in it");
        // The next look has nothing left to guess.
        let last = w.snapshot(|_| {}).await.unwrap();
        assert_eq!(last.head.map_or(31, |head| head.entries), 31);
        let target = b.dir.path().join("back");
        b.restore_to(&target).await.unwrap();
        assert_eq!(fold(&target), fold(b.root()));
    });
}

/// Small and big files are read by different code.
#[test]
fn p7_files_that_grow_for_ever_end_every_look_and_keep_their_last_good_version() {
    run(async {
        let b = Bench::new();
        b.put("steady", "s");
        b.put("small.log", vec![1; 100]);
        b.put("big.log", vec![2; 5 << 20]);
        let mut w = b.writer().await.unwrap();
        w.snapshot(|_| {}).await.unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let growing = std::thread::spawn({
            let (root, stop) = (b.root().to_owned(), stop.clone());
            move || {
                let logs = ["small.log", "big.log"]
                    .map(|name| File::options().append(true).open(root.join(name)).unwrap());
                while !stop.load(Ordering::Relaxed) {
                    logs.iter()
                        .for_each(|mut log| std::io::Write::write_all(&mut log, b"one more line\n").unwrap());
                    std::thread::sleep(Duration::from_millis(1)); // a bound of what the test writes
                }
            }
        });
        let (mut unstable, mut looks) = (0, 0);
        // More than five if the other thread rests whenever it is looked at.
        while looks < 5 || (unstable < 5 && looks < 200) {
            looks += 1;
            b.put("steady", format!("version {looks}"));
            let done = w.snapshot(|_| {}).await.unwrap();
            assert!(done.head.is_some(), "the others go on");
            unstable += done.unstable;
        }
        stop.store(true, Ordering::Relaxed);
        growing.join().unwrap();
        assert!(unstable >= 5, "{unstable}");
        assert_eq!(w.snapshot(|_| {}).await.unwrap().unstable, 0, "taken when they are quiet");
        let target = b.dir.path().join("back");
        b.restore_to(&target).await.unwrap();
        assert_eq!(fold(&target), fold(b.root()));
    });
}

/// Directories inside each other, each with this name; the last one.
fn deep(root: &Path, levels: usize, name: &str) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    deep_below(rustix::fs::open(root, flags, Mode::empty()).unwrap(), levels, name)
}

fn deep_below(mut dir: OwnedFd, levels: usize, name: &str) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    for _ in 0..levels {
        rustix::fs::mkdirat(&dir, name, Mode::from_raw_mode(0o755)).unwrap();
        dir = rustix::fs::openat(&dir, name, flags, Mode::empty()).unwrap();
    }
    dir
}

#[test]
fn p1_a_path_that_no_call_can_name_is_counted_and_one_that_no_manifest_can_hold_is_refused() {
    run(async {
        let b = Bench::new();
        let name = "n".repeat(255);
        b.put("plain", "1");
        // Fifteen names of 255 bytes: together with the root's own path, more than one call may name.
        let last = deep(b.root(), 15, &name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        rustix::fs::openat(&last, "f".repeat(250), flags, Mode::from_raw_mode(0o644)).unwrap();
        let mut w = b.writer().await.unwrap();
        let done = w.snapshot(|_| {}).await.unwrap();
        assert_eq!((done.unreadable, done.head.unwrap().entries), (1, 16), "the rest is stored");
        let target = b.dir.path().join("back");
        assert_eq!(b.restore_to(&target).await.unwrap().entries, 16);
        deep_below(last, 2, &name);
        let error = w.snapshot(|_| {}).await.unwrap_err();
        assert_eq!(error.class(), Class::Refused, "{error}");
        assert!(error.to_string().contains("too long to be restored"), "{error}");
    });
}

#[test]
fn p7_a_long_history_is_remembered_up_to_a_bound_and_the_newest_always() {
    let head = |number: u64| {
        let mut head = crate::Head::claim(number, "aa", "w".into(), number - 1, clock::format_unix_ms(0));
        let object = |i| crate::Object {
            key: format!("p/{number}-{i}"),
            size: 1,
            sha256: crate::Digest([0; 32]),
            raw: 1,
        };
        head.objects = (0..7).map(object).collect();
        (number, head)
    };
    let mut heads = (1..=5_000).map(head).collect();
    super::forget_oldest(&mut heads);
    assert_eq!((heads.len(), heads.first_key_value().unwrap().0), (2_000, &3_001));
    let mut one = std::collections::BTreeMap::from([head(1)]);
    one.get_mut(&1).unwrap().objects = vec![one[&1].objects[0].clone(); 30_000];
    super::forget_oldest(&mut one);
    assert_eq!(one.len(), 1);
}

#[test]
fn a_write_through_a_name_outside_of_the_tree_is_found_by_the_next_look() {
    run(async {
        let b = Bench::new();
        let outside = b.dir.path().join("outside");
        fs::write(&outside, "one").unwrap();
        fs::hard_link(&outside, b.root().join("inside")).unwrap();
        let mut w = b.writer().await.unwrap();
        w.snapshot(|_| {}).await.unwrap();
        fs::write(&outside, "two").unwrap();
        assert_eq!(w.snapshot(|_| {}).await.unwrap().uploaded, 1);
    });
}

/// As if the file had always looked as it does now.
fn forge(w: &mut Writer, path: &str) {
    let stat = fs::metadata(w.root().join(path)).unwrap();
    let time = |sec, nsec: i64| crate::Time { sec, nsec: nsec as u32 };
    let state: &mut State = Arc::make_mut(w.state.as_mut().unwrap());
    let at = state.manifest.entries.iter().position(|e| e.path.as_bytes() == path.as_bytes()).unwrap();
    state.manifest.entries[at].mtime = time(stat.mtime(), stat.mtime_nsec());
    state.prints[at] =
        Print { ino: stat.ino(), ctime: time(stat.ctime(), stat.ctime_nsec()), suspect: false };
}

/// A second store into a page that is dirty already changes neither time nor size.
#[test]
fn p1_a_write_that_leaves_no_trace_is_found_when_every_content_is_compared() {
    run(async {
        let b = Bench::new();
        b.put("mapped", "one");
        let mut w = b.writer().await.unwrap();
        w.snapshot(|_| {}).await.unwrap();
        File::options().write(true).open(b.root().join("mapped")).unwrap().write_all_at(b"two", 0).unwrap();
        forge(&mut w, "mapped");
        let look = w.snapshot(|_| {}).await.unwrap();
        assert_eq!(look.uploaded, 0, "nothing to be seen");
        w.distrust();
        assert_eq!(w.snapshot(|_| {}).await.unwrap().uploaded, 1);
    });
}

#[test]
fn p3_a_root_that_was_removed_and_made_again_is_refused() {
    run(async {
        let b = Bench::new();
        b.put("a", "1");
        let mut w = b.writer().await.unwrap();
        w.snapshot(|_| {}).await.unwrap();
        fs::remove_dir_all(b.root()).unwrap();
        b.requests();
        assert!(w.snapshot(|_| {}).await.is_err(), "there is none");
        b.put("b", "2");
        let error = w.snapshot(|_| {}).await.unwrap_err();
        assert_eq!(error.class(), Class::Refused, "{error}");
        assert!(b.requests().is_empty());
    });
}

#[test]
fn p3_another_file_system_over_the_root_is_refused_until_it_is_gone() {
    run(async {
        let b = Bench::new();
        b.put("a", "1");
        let mut w = b.writer().await.unwrap();
        w.snapshot(|_| {}).await.unwrap();
        b.requests();
        {
            let _disk = match SmallDisk::mount_over(b.root(), 1 << 20) {
                Ok(disk) => disk,
                Err(reason) => return println!("skipped: {reason}"),
            };
            b.put("b", "2");
            let error = w.snapshot(|_| {}).await.unwrap_err();
            assert!(error.to_string().contains("another file system"), "{error}");
        }
        assert!(w.snapshot(|_| {}).await.unwrap().head.is_none());
        assert!(b.requests().is_empty());
    });
}

#[test]
fn p3_what_a_mount_below_the_tree_hides_is_not_deleted() {
    run(async {
        let b = Bench::new();
        (0..40).for_each(|i| b.put(&format!("d/f{i}"), "1"));
        b.put("media/one", "below the budget of the guards");
        fs::create_dir(b.root().join("empty")).unwrap();
        let mut w = b.writer().await.unwrap();
        let first = w.snapshot(|_| {}).await.unwrap().head.unwrap();
        {
            let disks = ["media", "empty"].map(|dir| SmallDisk::mount_over(&b.root().join(dir), 1 << 20));
            if let Some(Err(reason)) = disks.iter().find(|disk| disk.is_err()) {
                return println!("skipped: {reason}");
            }
            b.put("media/theirs", "2");
            b.requests();
            let error = w.snapshot(|_| {}).await.unwrap_err();
            assert_eq!(error.class(), Class::Refused, "{error}");
            assert!(error.to_string().contains("mounted over 1 entries, media/one"), "{error}");
            assert!(b.requests().is_empty(), "nothing was sent");
        }
        let after = w.snapshot(|_| {}).await.unwrap();
        assert!(after.head.is_none(), "as it was: {first:?}");
    });
}
