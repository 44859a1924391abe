use super::*;
use crate::testing::{Bench, run};
use crate::{Catalogue, read_manifest};
use clock::{SystemClock, SystemIds};
use tokio::sync::mpsc;

/// What the loop told, as words.
type Told = mpsc::UnboundedReceiver<String>;

fn options() -> WatchOptions {
    WatchOptions {
        quiet: Duration::from_millis(60),
        most: Duration::from_millis(600),
        verify_every: Duration::ZERO,
        keep: Keep::all_for(Duration::from_secs(1)),
        prune_every: Duration::ZERO,
    }
}

/// Runs the loop beside `drive`, which gets what it tells; then stops it.
async fn beside<T>(b: &Bench, drive: impl AsyncFnOnce(&mut Told) -> T) -> (T, Result<Finish>) {
    beside_with(b, options(), drive).await
}

async fn beside_with<T>(
    b: &Bench,
    options: WatchOptions,
    drive: impl AsyncFnOnce(&mut Told) -> T,
) -> (T, Result<Finish>) {
    let writer = b.writer().await.unwrap();
    let (tell, mut told) = mpsc::unbounded_channel();
    let sink = Arc::new(move |event: Event<'_>| {
        let word = match event {
            Event::Looked(done, _) => match &done.head {
                Some(head) => format!("committed {}", head.entries),
                None => "unchanged".into(),
            },
            Event::Failed(error) => format!("failed {error}"),
            Event::Overflow => "overflow".into(),
            _ => return,
        };
        let _ = tell.send(word);
    });
    let (stop, stopped) = watch::channel(false);
    let running = watch_loop(writer, options, stopped, sink);
    let driving = async {
        let got = drive(&mut told).await;
        stop.send_replace(true);
        got
    };
    let (finish, got) = tokio::join!(running, driving);
    (got, finish)
}

async fn watch_loop(
    writer: Writer,
    options: WatchOptions,
    stopped: watch::Receiver<bool>,
    sink: Arc<Sink>,
) -> Result<Finish> {
    super::watch(writer, options, Arc::new(SystemClock), Arc::new(SystemIds::default()), stopped, sink).await
}

/// Waits for a word; panics when it does not come.
async fn hear(told: &mut Told, word: &str) {
    let mut heard = Vec::new();
    let waiting = async {
        while let Some(next) = told.recv().await {
            if next.starts_with(word) {
                return;
            }
            heard.push(next);
        }
    };
    if tokio::time::timeout(Duration::from_secs(30), waiting).await.is_err() {
        panic!("waited for {word:?} and heard {heard:?}");
    }
}

#[test]
fn p1_a_change_is_committed_after_it_went_quiet_and_idle_costs_nothing() {
    run(async {
        let b = Bench::new();
        b.put("a", "1");
        let ((), finish) = beside(&b, async |told| {
            hear(told, "committed 1").await;
            b.requests();
            b.put("b", "2");
            hear(told, "committed 2").await;
            assert_eq!(b.requests().len(), 2, "one pack, one commit");
            std::fs::set_permissions(b.root().join("a"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
                .unwrap();
            hear(told, "committed 2").await;
            assert_eq!(b.requests().len(), 1, "only metadata: only a commit");
        })
        .await;
        assert_eq!(finish.unwrap(), Finish::Complete);
        assert!(b.requests().is_empty(), "stopping without a change sends nothing");
    });
}

/// A database at work is left out; it must not keep the files beside it from going quiet either.
#[test]
fn p1_a_change_beside_a_busy_database_does_not_wait_for_it() {
    run(async {
        let b = Bench::new();
        b.put("settings", "1");
        let mut file = b"SQLite format 3\0".to_vec();
        file.resize(4096, 1);
        std::fs::write(b.root().join("app.db"), &file).unwrap();
        let (quiet, most) = (Duration::from_millis(700), Duration::from_secs(3_600));
        let options = WatchOptions { quiet, most, ..options() };
        let ((), finish) = beside_with(&b, options, async |told| {
            hear(told, "committed 1").await;
            let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
            let (root, stop) = (b.root().to_owned(), over.clone());
            let work = std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    for name in ["app.db-journal", "app.db-wal"] {
                        std::fs::write(root.join(name), &file).unwrap();
                    }
                    let database = std::fs::OpenOptions::new().write(true).open(root.join("app.db"));
                    std::io::Write::write_all(&mut database.unwrap(), &file).unwrap();
                    std::fs::remove_file(root.join("app.db-journal")).unwrap();
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            b.put("settings", "2");
            // Some thousand events later the watches are made anew, and there is a lull.
            let soon = tokio::time::timeout(Duration::from_secs(12), hear(told, "committed 1"));
            soon.await.expect("it waits for the database");
            // What takes a database's place is no work of a database.
            over.store(true, Ordering::Relaxed);
            work.join().unwrap();
            b.put("new", "a text now");
            std::fs::rename(b.root().join("new"), b.root().join("app.db")).unwrap();
            hear(told, "committed 2").await;
        })
        .await;
        assert_eq!(finish.unwrap(), Finish::Complete);
    });
}

#[test]
fn a_stop_commits_what_was_written_a_moment_ago() {
    run(async {
        let b = Bench::new();
        b.put("a", "1");
        let ((), finish) = beside(&b, async |told| {
            hear(told, "committed 1").await;
            b.put("last-words", "written just before the end");
        })
        .await;
        assert_eq!(finish.unwrap(), Finish::Complete);
        let newest =
            Catalogue::load(&b.store).await.unwrap().newest_snapshot(&b.store).await.unwrap().unwrap();
        assert_eq!(newest.entries, 2);
    });
}

#[test]
fn directories_born_with_content_are_not_missed() {
    run(async {
        let b = Bench::new();
        b.put("a", "1");
        beside(&b, async |told| {
            hear(told, "committed 1").await;
            // notify misses a third of these; the scan does not.
            for round in 0..20 {
                for name in ["x", "y", "z"] {
                    b.put(&format!("r{round}/deep/er/{name}"), name);
                }
            }
            hear(told, &format!("committed {}", 1 + 20 * 6)).await;
            // A write in a directory that was born a moment ago is noticed: it is watched by now.
            b.put("r7/deep/er/x", "changed");
            hear(told, "committed").await;
            std::fs::rename(b.root().join("r3"), b.root().join("moved")).unwrap();
            hear(told, "committed").await;
            b.put("moved/deep/er/x", "after the move");
            hear(told, "committed").await;
            std::fs::remove_dir_all(b.root().join("r5")).unwrap();
            hear(told, "committed").await;
            b.put("r5/deep/er/x", "born again");
            hear(told, "committed").await;
            b.put("r5/deep/er/x", "and changed");
            hear(told, "committed").await;
        })
        .await
        .1
        .unwrap();
        let newest =
            Catalogue::load(&b.store).await.unwrap().newest_snapshot(&b.store).await.unwrap().unwrap();
        let (_, m) = read_manifest(&b.store, newest.number, None).await.unwrap();
        let body = |path: &str| m.get(&crate::RelPath::new(path).unwrap()).unwrap().content().unwrap().sha256;
        assert_eq!(body("moved/deep/er/x"), crate::Digest::of(b"after the move"));
        assert_eq!(body("r5/deep/er/x"), crate::Digest::of(b"and changed"));
    });
}

#[test]
fn p3_an_emptied_tree_is_told_and_an_override_is_taken_over_at_once() {
    run(async {
        let b = Bench::new();
        (0..30).for_each(|i| b.put(&format!("f{i}"), format!("{i}")));
        let (plan, _) = beside(&b, async |told| {
            hear(told, "committed 30").await;
            (0..20).for_each(|i| b.remove(&format!("f{i}")));
            let mut plan = String::new();
            while plan.is_empty() {
                let word = told.recv().await.unwrap();
                if word.starts_with("failed") {
                    plan = word.rsplit(' ').next().unwrap().to_owned();
                }
            }
            // The tree may have been caught half-way: the plan that counts is the last one that is told.
            for _ in 0..3 {
                let word = told.recv().await.unwrap();
                plan = word.rsplit(' ').next().unwrap().to_owned();
            }
            crate::Home::of(b.root()).allow(&plan).unwrap();
            hear(told, "committed 10").await;
            plan
        })
        .await;
        assert_eq!(plan.len(), 16);
    });
}

#[test]
fn p4_a_fence_ends_the_loop() {
    run(async {
        let b = Bench::new();
        b.put("a", "1");
        let (_, finish) = beside(&b, async |told| {
            hear(told, "committed 1").await;
            crate::unlock(&b.store, &*b.clock, &*b.ids).await.unwrap();
            b.put("a", "2");
            hear(told, "failed fenced").await;
        })
        .await;
        assert!(finish.unwrap_err().is_fenced());
    });
}

#[test]
fn an_outage_of_the_store_is_waited_out() {
    run(async {
        let b = Bench::new();
        b.put("a", "1");
        beside(&b, async |told| {
            hear(told, "committed 1").await;
            b.faults.offline(true);
            b.put("b", "2");
            hear(told, "failed").await;
            b.faults.offline(false);
            hear(told, "committed 2").await;
        })
        .await
        .1
        .unwrap();
    });
}

/// A directory that comes with its content, goes on under another name, and leaves: each time the watches are where it is.
#[test]
fn directories_that_are_moved_in_renamed_and_moved_out_are_followed() {
    run(async {
        let b = Bench::new();
        (0..9).for_each(|i| b.put(&format!("f{i}"), "1"));
        let outside = b.dir.path().join("outside");
        std::fs::create_dir_all(outside.join("deep")).unwrap();
        std::fs::write(outside.join("deep/file"), "1").unwrap();
        beside(&b, async |told| {
            hear(told, "committed 9").await;
            std::fs::rename(&outside, b.root().join("in")).unwrap();
            hear(told, "committed 12").await;
            b.put("in/deep/later", "2");
            hear(told, "committed 13").await;
            std::fs::rename(b.root().join("in"), b.root().join("renamed")).unwrap();
            hear(told, "committed 13").await;
            b.put("renamed/deep/again", "3");
            hear(told, "committed 14").await;
            std::fs::rename(b.root().join("renamed"), &outside).unwrap();
            hear(told, "committed 9").await;
            b.requests();
            std::fs::write(outside.join("deep/not-ours"), "4").unwrap();
            b.put("last", "5");
            hear(told, "committed 10").await;
            assert_eq!(b.requests().len(), 2);
        })
        .await
        .1
        .unwrap();
    });
}

/// The last event of such a file names its inode, not its path.
#[test]
fn a_file_that_gets_its_name_when_it_is_finished_is_seen() {
    use rustix::fs::{AtFlags, CWD, Mode, OFlags};
    run(async {
        let b = Bench::new();
        b.put("a", "1");
        beside(&b, async |told| {
            hear(told, "committed 1").await;
            let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
            let file = match rustix::fs::open(b.root(), flags, Mode::from_raw_mode(0o644)) {
                Ok(file) => file,
                Err(error) => return println!("skipped: no O_TMPFILE here: {error}"),
            };
            rustix::io::write(&file, b"finished").unwrap();
            let from = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
            rustix::fs::linkat(CWD, from, CWD, b.root().join("named"), AtFlags::SYMLINK_FOLLOW).unwrap();
            hear(told, "committed 2").await;
        })
        .await
        .1
        .unwrap();
    });
}
