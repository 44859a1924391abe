use super::*;
use crate::restore_fold as fold;
use crate::testing::{Bench, run};
use crate::{Class, Error, Identity, Steps};
use protect::handover::Outcome;
use std::path::Path;
use std::sync::Arc;
use store::Operation;

async fn init_at(b: &Bench, target: &Path, policy: Policy) -> crate::Result<InitOutcome> {
    let identity: &Identity = &b.settings.identity;
    let progress = Arc::new(Progress::default());
    init(&b.store, target, identity, None, policy, None, Options::default(), &*b.clock, &*b.ids, progress)
        .await
}

fn tree_of(b: &Bench) {
    for i in 0..20 {
        b.put(&format!("d{}/f{i}", i % 3), format!("content {i}"));
    }
    b.put("big", vec![3u8; 5 << 20]);
    b.put("empty", "");
    std::fs::hard_link(b.root().join("d0/f0"), b.root().join("d1/second")).unwrap();
    std::os::unix::fs::symlink("d0/f0", b.root().join("link")).unwrap();
}

/// Pulls the plug before every single step of a restore and runs it again.
#[test]
fn p2_a_crash_before_any_step_of_a_restore_is_resumed() {
    let b = Bench::new();
    run(async {
        tree_of(&b);
        b.commit().await.unwrap();
    });
    let want = fold(b.root());
    for k in 0..400 {
        let target = b.dir.path().join(format!("back-{k}"));
        let finished = run(async {
            let options = Options { steps: Steps::stop_after(k), ..Options::default() };
            let first = b.restore_want(&target, Want::Newest, None, options).await;
            if first.is_err() {
                let home = crate::Home::of(&target);
                // Until it is done, no writer takes the tree for the application's.
                let settings = crate::Settings { root: target.clone(), ..b.settings.clone() };
                let writer = b.writer_with(settings, Steps::default()).await;
                assert!(writer.is_err(), "step {k}: a writer begins in a half restored tree");
                drop(writer);
                assert!(home.marker().unwrap().is_none() || is_unfinished(&home).unwrap(), "step {k}");
                b.restore_to(&target).await.unwrap();
            }
            assert_eq!(fold(&target), want, "step {k}");
            first.is_ok()
        });
        std::fs::remove_dir_all(&target).unwrap();
        if finished {
            assert!(k > 30, "there are more steps than {k}");
            return;
        }
    }
    panic!("a restore never ends");
}

#[test]
fn p3_a_tree_that_is_not_empty_is_refused_and_forced_only_by_moving_aside() {
    run(async {
        let b = Bench::new();
        tree_of(&b);
        b.commit().await.unwrap();
        let target = b.dir.path().join("back");
        std::fs::create_dir_all(target.join("d0/extra dir")).unwrap();
        std::fs::write(target.join("d0/f0"), "newer than the backup").unwrap();
        std::fs::write(target.join("d0/extra dir/x"), "extra").unwrap();
        std::fs::write(target.join("db.sqlite3"), b"SQLite format 3\0rest of a database").unwrap();
        let error = b.restore_to(&target).await.unwrap_err();
        assert_eq!(error.class(), Class::Refused);
        assert_eq!(std::fs::read(target.join("d0/f0")).unwrap(), b"newer than the backup");
        let options = Options { force: true, ..Options::default() };
        let done = b.restore_want(&target, Want::Newest, None, options).await.unwrap();
        assert_eq!(fold(&target), fold(b.root()), "exact");
        assert!(target.join("db.sqlite3").exists(), "databases are not ours to move");
        let aside = done.aside.unwrap();
        assert_eq!(done.moved_aside, 2);
        assert_eq!(std::fs::read(Path::new(&aside).join("d0/f0")).unwrap(), b"newer than the backup");
        assert_eq!(std::fs::read(Path::new(&aside).join("d0/extra dir/x")).unwrap(), b"extra");
    });
}

#[test]
fn hostile_links_in_the_target_are_not_followed() {
    run(async {
        let b = Bench::new();
        tree_of(&b);
        b.commit().await.unwrap();
        let outside = b.dir.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        let target = b.dir.path().join("back");
        std::fs::create_dir(&target).unwrap();
        std::os::unix::fs::symlink(&outside, target.join("d0")).unwrap();
        let options = Options { force: true, ..Options::default() };
        b.restore_want(&target, Want::Newest, None, options).await.unwrap();
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "nothing was written through the link");
        assert_eq!(fold(&target), fold(b.root()));
    });
}

#[test]
fn parts_of_a_tree_and_older_states() {
    run(async {
        let b = Bench::new();
        tree_of(&b);
        let first = b.commit().await.unwrap().head.unwrap();
        b.clock.advance_ms(3_600_000);
        b.put("d0/f0", "later");
        b.commit().await.unwrap();
        let part = |only: &str, want: Want, name: &str| {
            let (only, target) = (vec![only.to_owned()], b.dir.path().join(name));
            let b = &b;
            async move {
                let plan = RestorePlan::new(&b.store, want, &only, None).await?;
                let progress = Arc::new(Progress::default());
                restore(&b.store, &plan, &target, None, &Options::default(), &*b.clock, progress).await?;
                Ok::<_, Error>((target, plan))
            }
        };
        let (target, _) = part("d0/f0", Want::Newest, "one").await.unwrap();
        assert_eq!(fold(&target).len(), 2, "the file and its directory");
        assert_eq!(std::fs::read(target.join("d0/f0")).unwrap(), b"later");
        let (target, _) = part("d1/", Want::Number(first.number), "dir").await.unwrap();
        assert!(target.join("d1/f1").exists() && !target.join("d2").exists());
        assert!(
            part("/d9", Want::Newest, "none").await.unwrap_err().to_string().contains("nothing in snapshot")
        );
        let (target, plan) = part("d0/*", Want::At(first.unix_ms() + 1_000), "then").await.unwrap();
        assert_eq!(
            (plan.head.number, std::fs::read(target.join("d0/f0")).unwrap()),
            (first.number, b"content 0".to_vec())
        );
        let early = part("d0/*", Want::At(first.unix_ms() - 1), "early").await.unwrap_err();
        assert!(early.to_string().contains("the oldest one is of"), "{early}");
        assert!(crate::Home::of(&target).marker().unwrap().is_none(), "a part of a tree gets no marker");
    });
}

#[test]
fn p2_damage_is_found_and_latest_valid_goes_back() {
    run(async {
        let b = Bench::new();
        b.put("a", "one");
        let first = b.commit().await.unwrap().head.unwrap();
        b.put("a", "two");
        let second = b.commit().await.unwrap().head.unwrap();
        let pack = second.objects.iter().find(|o| !first.objects.contains(o)).unwrap();
        b.store.delete_all(std::slice::from_ref(&pack.key)).await.unwrap();
        let target = b.dir.path().join("back");
        let error = b.restore_to(&target).await.unwrap_err();
        assert_eq!(error.class(), Class::Damaged, "{error}");
        let error = crate::verify(&b.store, None, None).await.unwrap_err();
        assert_eq!(error.class(), Class::Damaged);
        let other = b.dir.path().join("valid");
        let done = b.restore_want(&other, Want::LatestValid, None, Options::default()).await.unwrap();
        assert_eq!(done.snapshot, first.number);
        assert_eq!(std::fs::read(other.join("a")).unwrap(), b"one");
    });
}

#[test]
fn p6_an_empty_tree_never_starts_without_the_store() {
    run(async {
        let b = Bench::new();
        let target = b.dir.path().join("volume");
        b.faults.offline(true);
        let error = init_at(&b, &target, Policy::Refuse).await.unwrap_err();
        assert_eq!(error.class(), Class::Retriable, "{error}");
        b.faults.offline(false);
        b.faults.deny(Operation::Get, true);
        assert!(init_at(&b, &target, Policy::Refuse).await.is_err(), "forbidden is not nothing there");
        b.faults.deny(Operation::Get, false);
        let done = init_at(&b, &target, Policy::Refuse).await.unwrap();
        assert_eq!((done.outcome, done.claimed, done.snapshot), (Outcome::Fresh, true, 0));
    });
}

#[test]
fn trap_13_a_healthy_tree_starts_without_the_store_and_unclaimed() {
    run(async {
        let b = Bench::new();
        tree_of(&b);
        b.commit().await.unwrap();
        b.faults.offline(true);
        let done = init_at(&b, b.root(), Policy::Refuse).await.unwrap();
        assert_eq!((done.outcome, done.claimed, done.epoch), (Outcome::Kept, false, 0));
    });
}

#[test]
fn trap_4_init_claims_and_restores_exactly_up_to_the_claim() {
    run(async {
        let b = Bench::new();
        tree_of(&b);
        let mut old_pod = b.writer().await.unwrap();
        old_pod.snapshot(|_| {}).await.unwrap();
        let volume = b.dir.path().join("volume");
        let done = init_at(&b, &volume, Policy::Refuse).await.unwrap();
        assert_eq!((done.outcome, done.claimed), (Outcome::Restored, true));
        assert_eq!(fold(&volume), fold(b.root()));
        b.put("late", "from the old pod");
        assert!(old_pod.snapshot(|_| {}).await.unwrap_err().is_fenced());
        // The sidecar inherits, and needs to read nothing again.
        let settings = crate::Settings { root: volume.clone(), ..b.settings.clone() };
        let inherited = Some(crate::Inherited { epoch: done.epoch });
        let (clock, ids) = (b.clock.clone(), b.ids.clone());
        let mut sidecar =
            crate::Writer::begin(settings, b.store.clone(), clock, ids, inherited, None, Steps::default())
                .await
                .unwrap();
        assert!(
            sidecar.snapshot(|_| {}).await.unwrap().head.is_none(),
            "what was restored is what is stored"
        );
        std::fs::write(volume.join("new"), "1").unwrap();
        assert!(sidecar.snapshot(|_| {}).await.unwrap().head.is_some());
    });
}

#[test]
fn peer_3_neither_newer_defaults_nor_an_older_backup_win_by_their_time() {
    run(async {
        let b = Bench::new();
        b.put("config.yaml", "the real one");
        b.commit().await.unwrap();
        // A fresh volume on which the application has just written its defaults: newer than the backup, and refused.
        let fresh = b.dir.path().join("fresh");
        std::fs::create_dir(&fresh).unwrap();
        std::fs::write(fresh.join("config.yaml"), "defaults").unwrap();
        let error = init_at(&b, &fresh, Policy::Refuse).await.unwrap_err();
        assert_eq!(error.class(), Class::Refused, "{error}");
        let done = init_at(&b, &fresh, Policy::RestoreOver).await.unwrap();
        assert_eq!(done.outcome, Outcome::Restored);
        assert_eq!(std::fs::read(fresh.join("config.yaml")).unwrap(), b"the real one");
        // A good volume, and a backup that is behind because its uploader was dead: the volume is kept.
        b.put("config.yaml", "newer than the backup");
        let done = init_at(&b, b.root(), Policy::Refuse).await;
        // (`fresh` has not committed since its restore, so the newest snapshot is still the one this tree descends from.)
        assert_eq!(done.unwrap().outcome, Outcome::Kept);
        assert_eq!(std::fs::read(b.root().join("config.yaml")).unwrap(), b"newer than the backup");
    });
}

#[test]
fn a_refused_start_does_not_fence_the_writer_that_works() {
    run(async {
        let b = Bench::new();
        b.put("a", "1");
        let mut w = b.writer().await.unwrap();
        w.snapshot(|_| {}).await.unwrap();
        let other = b.dir.path().join("other");
        std::fs::create_dir(&other).unwrap();
        std::fs::write(other.join("a"), "foreign").unwrap();
        assert!(init_at(&b, &other, Policy::Refuse).await.is_err());
        b.put("a", "2");
        w.snapshot(|_| {}).await.unwrap();
    });
}

#[test]
fn an_exported_tar_holds_the_whole_tree() {
    run(async {
        let b = Bench::new();
        tree_of(&b);
        std::fs::create_dir_all(b.root().join("empty dir")).unwrap();
        b.commit().await.unwrap();
        let plan = RestorePlan::new(&b.store, Want::Newest, &[], None).await.unwrap();
        let bytes = crate::export_tar(&b.store, plan, None, Vec::new()).await.unwrap();
        let out = b.dir.path().join("out");
        let mut archive = tar::Archive::new(bytes.as_slice());
        archive.set_preserve_permissions(true);
        archive.unpack(&out).unwrap();
        let plain = |root: &Path| -> Vec<String> {
            // The crate sets neither owners nor nanoseconds.
            fold(root)
                .iter()
                .map(|l| l.split(' ').take(3).chain(l.split(' ').skip(6)).collect::<Vec<_>>().join(" "))
                .collect()
        };
        assert_eq!(plain(&out), plain(b.root()));
    });
}
