use super::*;
use crate::restore::{Options, Want};
use crate::restore_fold as fold;
use crate::testing::{Bench, run};
use crate::{Class, Content, Kind};
use clock::ManualClock;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use store::{MemoryStore, Operation};

fn puts(requests: &[String]) -> usize {
    requests.iter().filter(|r| r.starts_with("put ")).count()
}

#[test]
fn p1_everything_that_a_tree_has_comes_back() {
    run(async {
        let b = Bench::new();
        b.put("plain.yaml", "a: 1\n");
        b.put("deep/er/est.txt", vec![7u8; 5000]);
        b.put("empty", "");
        b.put(
            "big.bin",
            (0..5_000_000u32).flat_map(|i| i.to_le_bytes()).take(5_000_000).collect::<Vec<u8>>(),
        );
        b.put(&"n".repeat(255), "a long name");
        std::fs::create_dir_all(b.root().join("nothing/in here")).unwrap();
        use std::os::unix::ffi::OsStrExt;
        std::fs::write(b.root().join(std::ffi::OsStr::from_bytes(b"caf\xe9\n.ini")), "x").unwrap();
        std::os::unix::fs::symlink("../outside/../..", b.root().join("link")).unwrap();
        std::os::unix::fs::symlink("plain.yaml", b.root().join("deep/good-link")).unwrap();
        std::fs::hard_link(b.root().join("plain.yaml"), b.root().join("deep/second-name")).unwrap();
        let fifo = b.root().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let sparse = std::fs::File::create(b.root().join("sparse")).unwrap();
        sparse.set_len(3 << 20).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", (3 << 20) - 3).unwrap();
        drop(sparse);
        let set = |path: &str, mode| {
            std::fs::set_permissions(b.root().join(path), std::fs::Permissions::from_mode(mode)).unwrap()
        };
        set("plain.yaml", 0o4751);
        set("deep", 0o2770);
        set("nothing", 0o500);
        let _ = std::os::unix::fs::chown(b.root().join("deep/er/est.txt"), Some(1234), Some(5678));
        let attribute = rustix::fs::setxattr(
            b.root().join("plain.yaml"),
            "user.note",
            b"v\0w",
            rustix::fs::XattrFlags::empty(),
        );
        let old = std::fs::File::options().write(true).open(b.root().join("deep/er/est.txt")).unwrap();
        old.set_modified(UNIX_EPOCH + Duration::from_nanos(1_600_000_000_123_456_789)).unwrap();
        let done = b.commit().await.unwrap();
        assert_eq!(done.unstable, 0);
        let target = b.dir.path().join("back");
        let restored = b.restore_to(&target).await.unwrap();
        assert_eq!(fold(&target), fold(b.root()));
        assert_eq!(restored.entries as usize, fold(b.root()).len());
        if attribute.is_ok() {
            let kept = crate::read::xattrs(&target, &crate::RelPath::new("plain.yaml").unwrap()).unwrap();
            assert_eq!((kept.len(), kept[0].value.as_slice()), (1, &b"v\0w"[..]));
        }
        assert_eq!(target.join("plain.yaml").metadata().unwrap().nlink(), 2);
        assert!(target.join("sparse").metadata().unwrap().blocks() < 100, "holes stay holes");
        assert_eq!(crate::Home::of(&target).marker().unwrap().unwrap().snapshot, done.head.unwrap().number);
    });
}

#[test]
fn budget_two_puts_per_change_and_none_without() {
    run(async {
        let b = Bench::new();
        for i in 0..300 {
            b.put(&format!("d{}/f{i}", i % 20), format!("content {i}"));
        }
        let mut w = b.writer().await.unwrap();
        b.requests();
        w.snapshot(|_| {}).await.unwrap();
        assert_eq!(puts(&b.requests()), 2, "first upload: one pack, one commit");
        w.snapshot(|_| {}).await.unwrap();
        assert_eq!(b.requests(), Vec::<String>::new(), "nothing changed");
        b.put("d1/f1", "changed");
        w.snapshot(|_| {}).await.unwrap();
        assert_eq!((b.requests().len(), w.snapshot_number()), (2, 3));
        for i in 0..100 {
            b.put(&format!("d{}/f{i}", i % 20), format!("changed {i}"));
        }
        w.snapshot(|_| {}).await.unwrap();
        assert_eq!(b.requests().len(), 2, "a hundred files");
        std::fs::rename(b.root().join("d3"), b.root().join("renamed")).unwrap();
        let done = w.snapshot(|_| {}).await.unwrap();
        assert_eq!((b.requests().len(), done.uploaded), (1, 0), "a renamed directory is its manifest");
        let target = b.dir.path().join("back");
        b.requests();
        b.restore_to(&target).await.unwrap();
        assert_eq!(fold(&target), fold(b.root()));
        let requests = b.requests();
        assert!(requests.len() <= 7, "{requests:?}");
    });
}

#[test]
fn peer_1_a_file_that_was_just_edited_is_never_missing() {
    // The peer's age filter dropped files younger than 30 s from the backup. Here a hot file is in every snapshot.
    run(async {
        let b = Bench::new();
        b.put("hot.yaml", "0");
        b.put("cold.yaml", "cold");
        let mut w = b.writer().await.unwrap();
        for i in 0..20 {
            b.put("hot.yaml", format!("{i}"));
            w.snapshot(|_| {}).await.unwrap();
            let (_, manifest) = crate::read_manifest(&b.store, w.snapshot_number(), None).await.unwrap();
            let hot = manifest.get(&crate::RelPath::new("hot.yaml").unwrap()).expect("it is there");
            assert_eq!(hot.content().unwrap().sha256, Digest::of(format!("{i}").as_bytes()), "edit {i}");
        }
    });
}

#[test]
fn peer_2_an_emptied_tree_is_refused_and_nothing_is_sent() {
    run(async {
        let b = Bench::new();
        for i in 0..50 {
            b.put(&format!("f{i}"), format!("{i}"));
        }
        let mut w = b.writer().await.unwrap();
        w.snapshot(|_| {}).await.unwrap();
        b.requests();
        for i in 0..50 {
            b.remove(&format!("f{i}"));
        }
        let error = w.snapshot(|_| {}).await.unwrap_err();
        assert_eq!(error.class(), Class::Refused);
        assert!(error.to_string().contains("no file is left"), "{error}");
        assert_eq!(b.requests(), Vec::<String>::new());
        // Also after a restart, and also when the whole volume was replaced by an empty one.
        drop(w);
        assert_eq!(b.commit().await.unwrap_err().class(), Class::Refused);
        std::fs::remove_dir_all(b.root().join(".highwater")).unwrap();
        let error = b.commit().await.unwrap_err();
        assert!(error.to_string().contains("has no marker"), "{error}");
        b.restore_to(&b.dir.path().join("back")).await.unwrap();
    });
}

#[test]
fn p3_a_volume_that_loses_its_marker_under_the_writer_is_refused() {
    run(async {
        let b = Bench::new();
        b.put("a", "1");
        let mut w = b.writer().await.unwrap();
        w.snapshot(|_| {}).await.unwrap();
        std::fs::remove_file(b.root().join(".highwater/files-replica/marker.json")).unwrap();
        b.put("b", "2");
        b.requests();
        let error = w.snapshot(|_| {}).await.unwrap_err();
        assert!(error.to_string().contains("lost its marker"), "{error}");
        assert!(b.requests().is_empty());
    });
}

#[test]
fn p3_an_override_allows_one_plan_once() {
    run(async {
        let b = Bench::new();
        for i in 0..50 {
            b.put(&format!("f{i}"), format!("{i}"));
        }
        let mut w = b.writer().await.unwrap();
        w.snapshot(|_| {}).await.unwrap();
        (0..25).for_each(|i| b.remove(&format!("f{i}")));
        let refusal = w.snapshot(|_| {}).await.unwrap_err().to_string();
        let plan = refusal.rsplit(' ').next().unwrap().to_owned();
        w.home().allow(&plan).unwrap();
        b.remove("f30");
        assert!(w.snapshot(|_| {}).await.is_err(), "one file more is another plan");
        b.put("f30", "30");
        w.snapshot(|_| {}).await.unwrap();
        (25..45).for_each(|i| b.remove(&format!("f{i}")));
        assert!(w.snapshot(|_| {}).await.is_err(), "used up");
    });
}

#[test]
fn p3_a_filter_edit_is_no_deletion_but_has_a_budget() {
    run(async {
        let b = Bench::new();
        for i in 0..40 {
            b.put(&format!("f{i}.yaml"), format!("{i}"));
        }
        b.put("x.log", "log");
        b.commit().await.unwrap();
        let with = |patterns: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
            Settings { filter: Filter::new(&patterns).unwrap(), ..b.settings.clone() }
        };
        let mut w = b.writer_with(with(&["*.log"]), Steps::default()).await.unwrap();
        let done = w.snapshot(|_| {}).await.unwrap();
        assert_eq!((done.deleted, done.head.unwrap().entries), (1, 40));
        drop(w);
        let mut w = b.writer_with(with(&["*.log", "f1*"]), Steps::default()).await.unwrap();
        assert!(w.snapshot(|_| {}).await.is_ok(), "11 of 40 is within the budget");
        drop(w);
        let mut w = b.writer_with(with(&["*.log", "f1*", "f2*", "f3*"]), Steps::default()).await.unwrap();
        let error = w.snapshot(|_| {}).await.unwrap_err();
        assert!(error.to_string().contains("edited exclude patterns"), "{error}");
    });
}

#[test]
fn p3_a_path_that_must_exist() {
    run(async {
        let b = Bench::new();
        b.put("config.yaml", "1");
        b.put("other", "2");
        let settings = Settings { must_exist: vec!["config.yaml".into()], ..b.settings.clone() };
        let mut w = b.writer_with(settings, Steps::default()).await.unwrap();
        w.snapshot(|_| {}).await.unwrap();
        b.remove("config.yaml");
        assert!(w.snapshot(|_| {}).await.unwrap_err().to_string().contains("config.yaml must exist"));
    });
}

#[test]
fn p4_the_second_writer_fences_the_first() {
    run(async {
        let b = Bench::new();
        b.put("a", "1");
        let mut first = b.writer().await.unwrap();
        first.snapshot(|_| {}).await.unwrap();
        // The same tree elsewhere: a copied volume, marker and all.
        let other = b.dir.path().join("copy");
        testkit::dirs::copy_dir(b.root(), &other).unwrap();
        let settings = Settings { root: other.clone(), ..b.settings.clone() };
        let mut second = b.writer_with(settings, Steps::default()).await.unwrap();
        std::fs::write(other.join("a"), "second").unwrap();
        second.snapshot(|_| {}).await.unwrap();
        b.put("a", "first again");
        let error = first.snapshot(|_| {}).await.unwrap_err();
        assert_eq!(error.class(), Class::Fenced, "{error}");
        b.requests();
        assert_eq!(first.snapshot(|_| {}).await.unwrap_err().class(), Class::Fenced);
        assert!(b.requests().is_empty(), "a loser stays quiet");
        std::fs::write(other.join("a"), "second again").unwrap();
        second.snapshot(|_| {}).await.unwrap();
        let target = b.dir.path().join("back");
        b.restore_to(&target).await.unwrap();
        assert_eq!(std::fs::read(target.join("a")).unwrap(), b"second again");
    });
}

#[test]
fn p4_an_inherited_claim_is_never_renewed() {
    run(async {
        let b = Bench::new();
        b.put("a", "1");
        let claim = crate::claim(&b.store, &b.settings.identity, &*b.clock, &*b.ids).await.unwrap();
        let begin = |epoch| {
            let (clock, ids) = (b.clock.clone(), b.ids.clone());
            let inherited = Some(Inherited { epoch });
            Writer::begin(b.settings.clone(), b.store.clone(), clock, ids, inherited, None, Steps::default())
        };
        let mut w = begin(claim.number).await.unwrap();
        b.requests();
        w.snapshot(|_| {}).await.unwrap();
        drop(w);
        let mut w = begin(claim.number).await.unwrap();
        b.put("a", "2");
        w.snapshot(|_| {}).await.unwrap();
        drop(w);
        let numbers = crate::Catalogue::load(&b.store).await.unwrap().numbers;
        assert_eq!(numbers, vec![1, 2, 3], "one claim, two snapshots");
        crate::unlock(&b.store, &*b.clock, &*b.ids).await.unwrap();
        assert_eq!(begin(claim.number).await.err().unwrap().class(), Class::Fenced);
    });
}

#[test]
fn p4_another_identity_cannot_steal_a_replica() {
    run(async {
        let b = Bench::new();
        b.put("a", "1");
        b.commit().await.unwrap();
        let mut settings = b.settings.clone();
        settings.identity.app = "other".into();
        let error = b.writer_with(settings, Steps::default()).await.err().unwrap();
        assert_eq!(error.class(), Class::Refused, "{error}");
    });
}

#[test]
fn p1_a_lost_reply_of_a_commit_is_not_a_second_writer() {
    run(async {
        let b = Bench::new();
        b.put("a", "1");
        let mut w = b.writer().await.unwrap();
        w.snapshot(|_| {}).await.unwrap();
        b.put("a", "2");
        b.faults.lose_reply_next(Operation::Put, 2);
        w.snapshot(|_| {}).await.unwrap();
        // All replies lost, for longer than a call retries: settled by the next call.
        b.put("a", "3");
        let pack = 1;
        b.faults.fail_nth(Some(Operation::Put), pack + 1, store::fault::When::After, store::fault::lost());
        b.faults.fail_nth(Some(Operation::Put), pack + 1, store::fault::When::After, store::fault::lost());
        let _ = w.snapshot(|_| {}).await;
        b.put("a", "4");
        w.snapshot(|_| {}).await.unwrap();
        let target = b.dir.path().join("back");
        b.restore_to(&target).await.unwrap();
        assert_eq!(std::fs::read(target.join("a")).unwrap(), b"4");
    });
}

#[test]
fn a_store_that_ignores_create_only_still_notices_a_second_writer() {
    run(async {
        let clock = Arc::new(ManualClock::at(1_790_000_000_000));
        let b = Bench::over(MemoryStore::new(clock.clone()).without_create_only(), clock);
        b.put("a", "1");
        let mut w = b.writer().await.unwrap();
        w.snapshot(|_| {}).await.unwrap();
        assert!(b.store.is_fenced_weakly());
        crate::unlock(&b.store, &*b.clock, &*b.ids).await.unwrap();
        b.put("a", "2");
        assert_eq!(w.snapshot(|_| {}).await.unwrap_err().class(), Class::Fenced);
    });
}

#[test]
fn a_clock_that_jumps_a_day_changes_nothing() {
    run(async {
        let b = Bench::new();
        b.put("a", "1");
        let mut w = b.writer().await.unwrap();
        let first = w.snapshot(|_| {}).await.unwrap().head.unwrap();
        for (jump, body) in [(-86_400_000i64, "2"), (2 * 86_400_000, "3"), (-86_400_000, "4")] {
            use clock::Clock;
            b.clock.jump_to(b.clock.unix_ms() + jump);
            b.put("a", body);
            let head = w.snapshot(|_| {}).await.unwrap().head.unwrap();
            assert!(head.unix_ms() >= first.unix_ms(), "times never go back");
        }
        let heads = crate::Catalogue::load(&b.store).await.unwrap().heads(&b.store, |_| None).await.unwrap();
        assert!(heads.windows(2).all(|w| w[0].unix_ms() <= w[1].unix_ms()));
    });
}

#[test]
fn racy_two_writes_of_one_size_in_one_tick_are_both_seen() {
    run(async {
        let b = Bench::new();
        b.put("a", "one");
        let mut w = b.writer().await.unwrap();
        w.snapshot(|_| {}).await.unwrap();
        // The same size, the same inode, and mtime set back to what it was: only ctime or the racy rule can tell.
        for body in ["two", "thr", "fou"] {
            let before = std::fs::metadata(b.root().join("a")).unwrap().modified().unwrap();
            std::fs::write(b.root().join("a"), body).unwrap();
            std::fs::File::options()
                .write(true)
                .open(b.root().join("a"))
                .unwrap()
                .set_modified(before)
                .unwrap();
            let done = w.snapshot(|_| {}).await.unwrap();
            assert_eq!(done.uploaded, 1, "{body}");
        }
    });
}

#[test]
fn a_replaced_file_with_preserved_time_and_size_is_seen() {
    run(async {
        let b = Bench::new();
        b.put("a", "one");
        b.clock.advance_ms(60_000);
        let mut w = b.writer().await.unwrap();
        w.snapshot(|_| {}).await.unwrap();
        w.snapshot(|_| {}).await.unwrap();
        let when = std::fs::metadata(b.root().join("a")).unwrap().modified().unwrap();
        b.put("new", "two");
        std::fs::File::options().write(true).open(b.root().join("new")).unwrap().set_modified(when).unwrap();
        std::fs::rename(b.root().join("new"), b.root().join("a")).unwrap();
        assert_eq!(w.snapshot(|_| {}).await.unwrap().uploaded, 1);
    });
}

#[test]
fn sqlite_is_known_by_its_header_and_left_out() {
    run(async {
        let b = Bench::new();
        let header: Vec<u8> = b"SQLite format 3\0".iter().copied().chain([0; 100]).collect();
        for name in ["db.sqlite3", "home-assistant_v2.db", "no-extension"] {
            b.put(name, &header);
        }
        for name in ["db.sqlite3-wal", "db.sqlite3-shm", "db.sqlite3-journal", "no-extension-wal"] {
            b.put(name, "side file");
        }
        b.put("orphan-wal", [0x37, 0x7f, 0x06, 0x82, 0, 0]);
        b.put("x.db.bak", "not a database");
        b.put("notes-wal", "not a wal");
        let done = b.commit().await.unwrap();
        assert_eq!((done.left_out.sqlite, done.tracked), (8, 2));
    });
}

#[test]
fn config_maps_caches_and_lost_found_are_left_out() {
    run(async {
        let b = Bench::new();
        b.put("kept", "1");
        b.put("lost+found/x", "1");
        b.put("cm/..2026_01/key", "v");
        std::os::unix::fs::symlink("..2026_01", b.root().join("cm/..data")).unwrap();
        std::os::unix::fs::symlink("..data/key", b.root().join("cm/key")).unwrap();
        b.put("cache/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n");
        b.put("cache/blob", "big");
        b.put("not-a-cache/CACHEDIR.TAG", "hello");
        b.put("sub/.highwater/x", "ours");
        let done = b.commit().await.unwrap();
        let (_, m) = crate::read_manifest(&b.store, done.head.unwrap().number, None).await.unwrap();
        let paths: Vec<String> = m.entries.iter().map(|e| e.path.text()).collect();
        assert_eq!(paths, ["cache", "cm", "kept", "not-a-cache", "not-a-cache/CACHEDIR.TAG", "sub"]);
    });
}

#[test]
fn trap_12_a_sealed_replica_needs_no_identity_to_write_and_one_to_restore() {
    run(async {
        let key = age::x25519::Identity::generate();
        let recipients = seal::Recipients::from_list(&[key.to_public().to_string()], "test").unwrap();
        let secret = age::secrecy::ExposeSecret::expose_secret(&key.to_string()).to_owned();
        let identities = || Some(Arc::new(seal::Identities::parse(&secret, "test").unwrap()));
        let b = Bench::new();
        let sealed = Settings { protection: Protection::Sealed(recipients), ..b.settings.clone() };
        for i in 0..30 {
            b.put(&format!("secret-name-{i}"), format!("secret content {i}"));
        }
        b.put("secret-big", vec![9u8; 5 << 20]);
        let mut w = b.writer_with(sealed.clone(), Steps::default()).await.unwrap();
        w.snapshot(|_| {}).await.unwrap();
        b.put("secret-name-1", "other");
        w.snapshot(|_| {}).await.unwrap();
        drop(w);
        for object in b.store.list_all("").await.unwrap() {
            let bytes = b.store.get_bytes(&object.key, None).await.unwrap();
            assert!(!bytes.windows(6).any(|w| w == b"secret"), "{} tells", object.key);
        }
        let back = b.dir.path().join("back");
        let error = b.restore_to(&back).await.unwrap_err();
        assert_eq!(error.class(), Class::Refused, "{error}");
        b.restore_want(&back, Want::Newest, identities(), Options::default()).await.unwrap();
        assert_eq!(fold(&back), fold(b.root()));
        // A lost state costs one full upload, and the guard still knows the numbers.
        std::fs::remove_file(b.root().join(".highwater/files-replica/state")).unwrap();
        let mut w = b.writer_with(sealed.clone(), Steps::default()).await.unwrap();
        let done = w.snapshot(|_| {}).await.unwrap();
        assert_eq!(done.uploaded, 31);
        drop(w);
        std::fs::remove_file(b.root().join(".highwater/files-replica/state")).unwrap();
        (0..20).for_each(|i| b.remove(&format!("secret-name-{i}")));
        let mut w = b.writer_with(sealed, Steps::default()).await.unwrap();
        assert_eq!(w.snapshot(|_| {}).await.unwrap_err().class(), Class::Refused);
    });
}

#[test]
fn a_lost_state_of_a_plain_replica_sends_no_content_again() {
    run(async {
        let b = Bench::new();
        for i in 0..30 {
            b.put(&format!("f{i}"), format!("content {i}"));
        }
        b.commit().await.unwrap();
        std::fs::remove_file(b.root().join(".highwater/files-replica/state")).unwrap();
        let done = b.commit().await.unwrap();
        assert_eq!((done.uploaded, done.head), (0, None));
    });
}

/// Pulls the plug before every single step of a run of commits, starts again, and asks for a snapshot that restores.
#[test]
fn p1_p2_a_crash_before_any_step_of_a_snapshot_loses_nothing() {
    for k in 0..200 {
        let finished = run(async {
            let b = Bench::new();
            for i in 0..20 {
                b.put(&format!("d/f{i}"), format!("{i}"));
            }
            b.commit().await.unwrap();
            let before = fold(b.root());
            let steps = Steps::stop_after(k);
            let mut finished = false;
            if let Ok(mut w) = b.writer_with(b.settings.clone(), steps.clone()).await {
                b.put("d/f3", "changed");
                b.put("new", vec![1u8; 5 << 20]);
                finished = w.snapshot(|_| {}).await.is_ok();
            }
            // What is in the store now is the old tree or the new one.
            let (one, two) = (b.dir.path().join("one"), b.dir.path().join("two"));
            b.restore_to(&one).await.unwrap();
            let got = fold(&one);
            assert!(got == before || got == fold(b.root()), "step {k}");
            // And the writer goes on.
            b.put("d/f4", "after the crash");
            let done = b.commit().await.unwrap();
            assert!(done.head.is_some(), "step {k}");
            b.restore_to(&two).await.unwrap();
            assert_eq!(fold(&two), fold(b.root()), "step {k}");
            finished
        });
        if finished {
            assert!(k > 5, "there are more steps than {k}");
            return;
        }
    }
    panic!("a snapshot never ends");
}

#[test]
fn every_request_may_fail_once() {
    for k in 1..12 {
        run(async {
            let b = Bench::new();
            b.put("a", "1");
            b.commit().await.unwrap();
            b.faults.fail_nth(
                None,
                k,
                store::fault::When::Before,
                store::Error::Denied {
                    what: "request".into(),
                    reason: store::DeniedReason::Access,
                    detail: "injected".into(),
                },
            );
            b.put("a", "2");
            let _ = b.commit().await;
            b.faults.clear();
            b.commit().await.unwrap();
            let target = b.dir.path().join("back");
            b.restore_to(&target).await.unwrap();
            assert_eq!(std::fs::read(target.join("a")).unwrap(), b"2", "request {k}");
        });
    }
}

#[test]
fn p7_many_commits_stay_within_the_bound_of_packs() {
    run(async {
        let b = Bench::new();
        for i in 0..60 {
            b.put(&format!("f{i}"), format!("content {i}"));
        }
        let mut w = b.writer().await.unwrap();
        for i in 0..80 {
            b.put(&format!("f{}", i % 60), format!("changed {i}"));
            w.snapshot(|_| {}).await.unwrap();
            let (_, m) = crate::read_manifest(&b.store, w.snapshot_number(), None).await.unwrap();
            assert!(m.objects.len() <= 16, "{} packs after {i}", m.objects.len());
        }
        let target = b.dir.path().join("back");
        b.requests();
        b.restore_to(&target).await.unwrap();
        assert!(b.requests().len() <= 20);
        assert_eq!(fold(&target), fold(b.root()));
    });
}

#[test]
fn an_unstable_file_keeps_its_last_good_version() {
    run(async {
        let b = Bench::new();
        b.put("steady", "s");
        b.put("hot", vec![0u8; 3 << 20]);
        let mut w = b.writer().await.unwrap();
        w.snapshot(|_| {}).await.unwrap();
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let writing = std::thread::spawn({
            let (path, stop) = (b.root().join("hot"), stop.clone());
            move || {
                let file = std::fs::File::options().write(true).open(path).unwrap();
                let mut byte = 1u8;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    byte = byte.wrapping_add(1).max(1);
                    for block in 0..48 {
                        std::os::unix::fs::FileExt::write_all_at(&file, &[byte; 65536], block * 65536)
                            .unwrap();
                    }
                }
            }
        });
        let (mut unstable, mut looks) = (0, 0);
        // More than ten if the other thread rests whenever it is looked at.
        while looks < 10 || (unstable == 0 && looks < 500) {
            looks += 1;
            unstable += w.snapshot(|_| {}).await.unwrap().unstable;
            let (_, m) = crate::read_manifest(&b.store, w.snapshot_number(), None).await.unwrap();
            let hot = m.get(&crate::RelPath::new("hot").unwrap()).unwrap();
            assert!(matches!(&hot.kind, Kind::File(Content { size, .. }) if *size == 3 << 20), "{hot:?}");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        writing.join().unwrap();
        assert!(unstable > 0, "a file that is rewritten all the time was never seen to be unstable");
        let done = w.snapshot(|_| {}).await.unwrap();
        assert_eq!(done.unstable, 0, "and is taken when it is quiet");
        let target = b.dir.path().join("back");
        b.restore_to(&target).await.unwrap();
        assert_eq!(fold(&target), fold(b.root()));
    });
}

/// A person reads the refusal, thinks, and types; the application goes on meanwhile.
#[test]
fn p3_an_override_holds_while_the_application_adds_files() {
    run(async {
        let b = Bench::new();
        for i in 0..30 {
            b.put(&format!("f{i}"), "x");
        }
        b.commit().await.unwrap();
        let mut writer = b.writer().await.unwrap();
        for i in 0..25 {
            b.remove(&format!("f{i}"));
        }
        let refused = writer.snapshot(|_| {}).await.unwrap_err().to_string();
        let plan = refused.rsplit(' ').next().unwrap().to_owned();
        b.put("new", "1");
        writer.home().allow(&plan).unwrap();
        assert_eq!(writer.snapshot(|_| {}).await.unwrap().deleted, 25);
        // Another loss is another plan.
        for i in 25..30 {
            b.remove(&format!("f{i}"));
        }
        b.remove("new");
        writer.home().allow(&plan).unwrap();
        assert!(writer.snapshot(|_| {}).await.is_err());
    });
}
