use super::*;
use crate::restore_fold as fold;
use crate::testing::{Bench, run};
use crate::{Class, Error, Steps};
use protect::handover::Outcome;
use std::path::Path;
use std::sync::Arc;
use store::Operation;

fn task(b: &Bench, target: &Path) -> Task {
    Task {
        root: target.to_owned(),
        store: b.store.clone(),
        first_look: b.store.clone(),
        identity: b.settings.identity.clone(),
        mode: protect::RestoreMode::Auto,
        at: None,
        policy: Policy::Refuse,
        protection: seal::Protection::Plain,
        identities: None,
        options: Options::default(),
        writer: "test".into(),
    }
}

async fn start(b: &Bench, task: &Task) -> crate::Result<InitOutcome> {
    init(task, &*b.clock, &*b.ids, &Arc::new(Progress::default())).await
}

async fn init_at(b: &Bench, target: &Path, policy: Policy) -> crate::Result<InitOutcome> {
    start(b, &Task { policy, ..task(b, target) }).await
}

/// The sidecar of a pod whose start ended like this.
async fn sidecar(b: &Bench, root: &Path, done: &InitOutcome) -> crate::Result<crate::Writer> {
    let settings = crate::Settings { root: root.to_owned(), ..b.settings.clone() };
    let inherited = done.claimed.then_some(crate::Inherited { epoch: done.epoch });
    let (clock, ids) = (b.clock.clone(), b.ids.clone());
    crate::Writer::begin(settings, b.store.clone(), clock, ids, inherited, None, Steps::default()).await
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
        let mut sidecar = sidecar(&b, &volume, &done).await.unwrap();
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

/// A few files in the first snapshot, many more in the second: going back looks like a great loss.
async fn two_states(b: &Bench) -> (crate::Head, Vec<String>) {
    for i in 0..6 {
        b.put(&format!("d{}/f{i}", i % 2), format!("content {i}"));
    }
    b.put("empty", "");
    std::os::unix::fs::symlink("d0/f0", b.root().join("link")).unwrap();
    let first = b.commit().await.unwrap().head.unwrap();
    let then = fold(b.root());
    b.clock.advance_ms(3_600_000);
    for i in 0..15 {
        b.put(&format!("later/f{i}"), format!("later {i}"));
    }
    b.remove("d0/f0");
    b.commit().await.unwrap();
    (first, then)
}

#[test]
fn restore_at_is_applied_once_and_becomes_the_newest_snapshot() {
    run(async {
        let b = Bench::new();
        let (first, then) = two_states(&b).await;
        let at = first.unix_ms() + 1_000;
        let task = Task { at: Some(at), ..task(&b, b.root()) };
        let done = start(&b, &task).await.unwrap();
        assert_eq!((done.outcome, done.claimed, done.snapshot), (Outcome::Forced, true, done.epoch + 1));
        assert_eq!(fold(b.root()), then);
        let aside = done.restored.as_ref().unwrap().aside.clone().unwrap();
        assert_eq!(std::fs::read(Path::new(&aside).join("later/f7")).unwrap(), b"later 7");
        b.requests();
        let mut sidecar = sidecar(&b, b.root(), &done).await.unwrap();
        assert!(
            sidecar.snapshot(|_| {}).await.unwrap().head.is_none(),
            "what was put on top is what is there"
        );
        let puts = b.requests().into_iter().filter(|r| r.starts_with("put")).count();
        assert_eq!(puts, 0, "nothing is sent twice");
        // The application works, the pod starts again with the same annotation: nothing happens.
        b.put("d1/f1", "after the restore");
        sidecar.snapshot(|_| {}).await.unwrap().head.unwrap();
        drop(sidecar);
        assert_eq!(start(&b, &task).await.unwrap().outcome, Outcome::Kept);
        assert_eq!(std::fs::read(b.root().join("d1/f1")).unwrap(), b"after the restore");
        // Never wins, another value is another order.
        let never = Task { at: Some(at + 1), mode: protect::RestoreMode::Never, ..task.clone() };
        assert_eq!(start(&b, &never).await.unwrap().outcome, Outcome::Kept);
        let early = Task { at: Some(first.unix_ms() - 1), ..task.clone() };
        let error = start(&b, &early).await.unwrap_err();
        assert_eq!(error.class(), Class::Refused, "{error}");
        assert_eq!(std::fs::read(b.root().join("d1/f1")).unwrap(), b"after the restore");
    });
}

/// Pulls the plug before every single step of a start, as it is and with `restore-at`, and starts again.
#[test]
fn p2_a_start_that_is_cut_off_before_any_step_ends_right_the_next_time() {
    for with_at in [false, true] {
        let mut ended = false;
        for k in 0..400 {
            let b = Bench::new();
            let done = run(async {
                let (first, then) = two_states(&b).await;
                let want = if with_at { then } else { fold(b.root()) };
                let volume = b.dir.path().join("volume");
                let at = with_at.then(|| first.unix_ms() + 1_000);
                let whole = Task { at, ..task(&b, &volume) };
                let options = Options { steps: Steps::stop_after(k), ..Options::default() };
                let cut = start(&b, &Task { options, ..whole.clone() }).await;
                let done = start(&b, &whole).await.unwrap_or_else(|e| panic!("step {k}: {e}"));
                assert_eq!(fold(&volume), want, "step {k}");
                let mut sidecar =
                    sidecar(&b, &volume, &done).await.unwrap_or_else(|e| panic!("step {k}: {e}"));
                let looked = sidecar.snapshot(|_| {}).await.unwrap_or_else(|e| panic!("step {k}: {e}"));
                assert_eq!((looked.uploaded, looked.deleted), (0, 0), "step {k}");
                cut.is_ok()
            });
            if done {
                assert!(k > 20, "there are more steps than {k}");
                ended = true;
                break;
            }
        }
        assert!(ended, "a start never ends");
    }
}

#[test]
fn a_healthy_tree_costs_a_few_small_requests_and_reads_no_file() {
    run(async {
        let b = Bench::new();
        tree_of(&b);
        b.commit().await.unwrap();
        // A file that may not be opened any more: a start that reads contents would notice.
        let before = std::fs::metadata(b.root().join("big")).unwrap();
        b.requests();
        let done = init_at(&b, b.root(), Policy::Refuse).await.unwrap();
        assert_eq!((done.outcome, done.claimed), (Outcome::Kept, true));
        let requests = b.requests();
        assert!(requests.len() <= 12, "{requests:?}");
        assert!(!requests.iter().any(|r| r.contains(" p/") || r.contains(" b/")), "{requests:?}");
        use std::os::unix::fs::MetadataExt;
        let after = std::fs::metadata(b.root().join("big")).unwrap();
        assert_eq!((before.ino(), before.ctime_nsec()), (after.ino(), after.ctime_nsec()));
    });
}

#[test]
fn trap_13_any_store_that_gives_no_answer_lets_a_marked_tree_start() {
    run(async {
        let b = Bench::new();
        tree_of(&b);
        b.commit().await.unwrap();
        for operation in [Operation::Get, Operation::List] {
            b.faults.deny(operation, true);
            let done = init_at(&b, b.root(), Policy::Refuse).await.unwrap();
            assert_eq!(
                (done.outcome, done.claimed, done.snapshot),
                (Outcome::Kept, false, 2),
                "{operation:?}"
            );
            b.faults.deny(operation, false);
        }
        // With a point to go back to it waits.
        b.faults.offline(true);
        let at = Task { at: Some(1), ..task(&b, b.root()) };
        assert!(is_worth_retrying(&start(&b, &at).await.unwrap_err()));
        b.faults.offline(false);
    });
}

#[test]
fn p3_an_emptied_tree_whose_replica_is_gone_does_not_start() {
    run(async {
        let b = Bench::new();
        tree_of(&b);
        b.commit().await.unwrap();
        let elsewhere = Bench::new();
        for name in ["d0", "d1", "d2", "big", "empty", "link"] {
            b.remove(name);
        }
        let error = start(&elsewhere, &task(&elsewhere, b.root())).await.unwrap_err();
        assert!(error.to_string().contains("remembers snapshot 2"), "{error}");
        assert!(elsewhere.requests().iter().all(|r| !r.starts_with("put")), "nothing was claimed");
    });
}

#[test]
fn a_marked_tree_goes_on_in_an_empty_bucket() {
    run(async {
        let b = Bench::new();
        tree_of(&b);
        b.commit().await.unwrap();
        let elsewhere = Bench::new();
        clock::IdGen::next_u64(&*elsewhere.ids); // or both replicas would get the same lineage
        let done = start(&elsewhere, &task(&elsewhere, b.root())).await.unwrap();
        assert_eq!((done.outcome, done.snapshot), (Outcome::Kept, 0));
        let mut sidecar = sidecar(&elsewhere, b.root(), &done).await.unwrap();
        assert!(sidecar.snapshot(|_| {}).await.unwrap().uploaded > 10);
        drop(sidecar);
        // Back at the old place it is a stranger, and says so.
        let error = init_at(&b, b.root(), Policy::RestoreOver).await.unwrap_err();
        assert!(error.to_string().contains("belongs to replica"), "{error}");
    });
}

#[test]
fn p3_a_kept_tree_is_put_on_top_and_what_it_lacks_is_guarded() {
    run(async {
        let b = Bench::new();
        tree_of(&b);
        b.commit().await.unwrap();
        let fresh = b.dir.path().join("fresh");
        std::fs::create_dir(&fresh).unwrap();
        std::fs::write(fresh.join("default.yaml"), "default").unwrap();
        let done = init_at(&b, &fresh, Policy::AdoptLocal).await.unwrap();
        assert_eq!((done.outcome, done.claimed), (Outcome::Kept, true));
        let mut sidecar = sidecar(&b, &fresh, &done).await.unwrap();
        let error = sidecar.snapshot(|_| {}).await.unwrap_err();
        assert!(error.to_string().contains("--allow"), "a person said keep, not delete: {error}");
    });
}

/// An application makes its database as an empty file first, so a snapshot may hold a plain file of that name.
#[test]
fn p3_a_file_of_a_snapshot_never_replaces_a_database() {
    run(async {
        let b = Bench::new();
        tree_of(&b);
        b.put("app.db", "");
        std::os::unix::fs::symlink("elsewhere", b.root().join("linked.db")).unwrap();
        b.commit().await.unwrap();
        let volume = b.dir.path().join("volume");
        std::fs::create_dir(&volume).unwrap();
        let database = [b"SQLite format 3\0".as_slice(), &[7; 4000]].concat();
        std::fs::write(volume.join("app.db"), &database).unwrap();
        std::fs::write(volume.join("linked.db"), &database).unwrap();
        let done = init_at(&b, &volume, Policy::Refuse).await.unwrap();
        assert_eq!(done.restored.unwrap().left_to_databases, 2);
        for name in ["app.db", "linked.db"] {
            assert_eq!(std::fs::read(volume.join(name)).unwrap(), database, "{name}");
        }
        // Not there yet: somebody else is bringing it.
        let other = b.dir.path().join("other");
        let filter = crate::Filter::new(&[]).unwrap().beside(vec![crate::RelPath::new("app.db").unwrap()]);
        std::fs::create_dir(&other).unwrap();
        std::fs::write(other.join("app.db.restored.restoring"), [0; 4096]).unwrap();
        let options = Options { filter, ..Options::default() };
        start(&b, &Task { options, ..task(&b, &other) }).await.unwrap();
        assert!(!other.join("app.db").exists() && other.join("d0/f0").exists());
        assert!(other.join("app.db.restored.restoring").exists(), "what another restore writes is not moved");
    });
}

#[test]
fn p3_what_a_pattern_left_out_is_moved_aside_before_it_is_replaced() {
    run(async {
        let b = Bench::new();
        b.put("x.log", "from the snapshot");
        b.commit().await.unwrap();
        let volume = b.dir.path().join("volume");
        std::fs::create_dir(&volume).unwrap();
        std::fs::write(volume.join("x.log"), "local").unwrap();
        let options =
            Options { filter: crate::Filter::new(&["*.log".to_owned()]).unwrap(), ..Options::default() };
        let done = start(&b, &Task { options, ..task(&b, &volume) }).await.unwrap();
        let aside = done.restored.unwrap().aside.unwrap();
        assert_eq!(std::fs::read(Path::new(&aside).join("x.log")).unwrap(), b"local");
        assert_eq!(std::fs::read(volume.join("x.log")).unwrap(), b"from the snapshot");
    });
}

#[test]
fn p4_a_start_that_is_tried_again_claims_once() {
    run(async {
        let b = Bench::new();
        tree_of(&b);
        b.commit().await.unwrap();
        // The state is lost, so the newest tree is read from the store, and that fails.
        std::fs::remove_file(b.root().join(".highwater/files-replica/state")).unwrap();
        b.requests();
        // As often as the client tries by itself.
        for n in 3..6 {
            b.faults.fail_nth(Some(Operation::Get), n, store::fault::When::Before, store::fault::lost());
        }
        let mut failed = 0;
        let writer = loop {
            match b.writer().await {
                Ok(writer) => break writer,
                Err(error) => {
                    assert_eq!(error.class(), Class::Retriable, "{error}");
                    failed += 1;
                }
            }
        };
        let claims = b.requests().iter().filter(|r| r.starts_with("put m/")).count();
        assert_eq!((claims, failed), (1, 1));
        assert_eq!(writer.epoch(), 3);
    });
}

/// A node was away while a pod on another volume went on; its volume comes back.
#[test]
fn p3_a_volume_that_was_away_follows_if_it_is_unchanged_and_asks_if_it_is_not() {
    for changed in [false, true] {
        run(async {
            let b = Bench::new();
            tree_of(&b);
            b.commit().await.unwrap();
            let other = b.dir.path().join("other");
            let done = init_at(&b, &other, Policy::Refuse).await.unwrap();
            std::fs::write(other.join("d0/f0"), "went on").unwrap();
            let mut elsewhere = sidecar(&b, &other, &done).await.unwrap();
            elsewhere.snapshot(|_| {}).await.unwrap().head.unwrap();
            drop(elsewhere);
            if changed {
                b.put("d1/f1", "only here");
            }
            let back = init_at(&b, b.root(), Policy::Refuse).await;
            if changed {
                let error = back.unwrap_err();
                assert!(error.to_string().contains("was changed since"), "{error}");
                assert_eq!(std::fs::read(b.root().join("d1/f1")).unwrap(), b"only here");
            } else {
                assert_eq!(back.unwrap().outcome, Outcome::Restored);
                assert_eq!(fold(b.root()), fold(&other));
            }
        });
    }
}
