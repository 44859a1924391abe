//! Trees on file systems of which this kernel does not see every write: NFS, SMB, and what runs in user space.
//!
//! `bindfs` stands for all of them: what is written to the directory behind it, as another machine would write to the server, gives no event here,
//! and `statfs` says that the file system is not local. Where it cannot be mounted the tests say so.

use super::idle::{defaults, turning};
use super::*;
use crate::testing::{Bench, run};
use crate::{Catalogue, Class, Settings};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The longest time to the next look at a tree that others may write to.
const REMOTE: Duration = Duration::from_secs(RESCAN_REMOTE.as_secs() * 5 / 4 + 1);

/// A directory behind a mount.
struct Mount {
    dir: tempfile::TempDir,
    server: Mutex<Child>,
}

impl Mount {
    /// An empty tree, or why there is none.
    fn new() -> std::result::Result<Mount, String> {
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let (behind, tree) = (dir.path().join("behind"), dir.path().join("tree"));
        std::fs::create_dir(&behind).and_then(|()| std::fs::create_dir(&tree)).map_err(|e| e.to_string())?;
        // What is known of a file is asked for again each time, as with NFS's `noac`; else a test would have to wait.
        let mut bindfs = Command::new("bindfs");
        bindfs.args(["-f", "-o", "attr_timeout=0,entry_timeout=0,negative_timeout=0"]).arg(behind).arg(tree);
        let server = bindfs.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let server = Mutex::new(server.map_err(|error| format!("no bindfs: {error}"))?);
        let mount = Mount { dir, server };
        while begin_is_local(&mount.tree()) {
            if let Some(status) = lock(&mount.server).try_wait().map_err(|e| e.to_string())? {
                return Err(format!("bindfs cannot mount: {status}"));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(mount)
    }

    /// The server is gone; the mount is still there.
    fn kill_server(&self) {
        let mut server = lock(&self.server);
        server.kill().and_then(|()| server.wait()).unwrap();
    }

    /// As the server has it.
    fn behind(&self) -> PathBuf {
        self.dir.path().join("behind")
    }

    /// As this machine sees it.
    fn tree(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    fn bench(&self) -> Bench {
        let b = Bench::new();
        Bench { settings: Settings { root: self.tree(), ..b.settings.clone() }, ..b }
    }

    fn unmount(&self) -> bool {
        let tried = Command::new("umount").arg("-l").arg(self.tree()).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.unmount();
        let mut server = lock(&self.server);
        let _ = server.kill();
        let _ = server.wait();
    }
}

#[test]
fn p1_what_another_machine_writes_is_found_without_an_event() {
    let mount = match Mount::new() {
        Ok(mount) => mount,
        Err(reason) => return println!("skipped: {reason}"),
    };
    assert!(!begin_is_local(&mount.tree()), "a file system in user space may have other writers");
    let b = mount.bench();
    std::fs::write(mount.behind().join("a"), "1").unwrap();
    let (behind, at) = (mount.behind(), Arc::new(Mutex::new(Vec::new())));
    let (looked, clock) = (at.clone(), b.clock.clone());
    let finish = run(turning(&b, defaults(), move |looks| {
        lock(&looked).push(clock.monotonic_ns());
        match looks {
            0 => Some(REMOTE),
            1 => {
                std::fs::create_dir_all(behind.join("new/deep")).unwrap();
                std::fs::write(behind.join("new/deep/b"), "2").unwrap();
                std::fs::write(behind.join("a"), "another length").unwrap();
                Some(REMOTE)
            }
            2 => None,
            _ => None,
        }
    }));
    assert_eq!(finish.unwrap(), Finish::Complete);
    let newest = run(async {
        Catalogue::load(&b.store).await.unwrap().newest_snapshot(&b.store).await.unwrap().unwrap()
    });
    assert_eq!(newest.entries, 4, "found by the look that came {REMOTE:?} later at the latest");
}

#[test]
fn p1_a_tree_on_a_remote_file_system_comes_back_there() {
    let mount = match Mount::new() {
        Ok(mount) => mount,
        Err(reason) => return println!("skipped: {reason}"),
    };
    let b = mount.bench();
    (0..30).for_each(|i| b.put(&format!("d{}/f{i}", i % 4), vec![i as u8; 10 + i]));
    b.put("big", vec![7; 5 << 20]);
    std::os::unix::fs::symlink("big", b.root().join("link")).unwrap();
    std::fs::hard_link(b.root().join("d1/f1"), b.root().join("d1/again")).unwrap();
    run(async {
        b.commit().await.unwrap();
        let back = mount.tree().join("back");
        let restored = b.restore_to(&back).await.unwrap();
        assert_eq!((restored.foreign_owner, restored.lost_attributes), (0, 0));
        for name in ["d0/f0", "d3/f27", "d1/again", "big", "link"] {
            assert_eq!(std::fs::read(back.join(name)).unwrap(), std::fs::read(b.root().join(name)).unwrap());
        }
        // And again: everything is there already.
        assert_eq!(crate::Home::of(&back).marker().unwrap().unwrap().snapshot, restored.snapshot);
    });
}

#[test]
fn p3_a_server_that_goes_away_is_an_error_and_an_unmounted_tree_is_refused() {
    let mount = match Mount::new() {
        Ok(mount) => mount,
        Err(reason) => return println!("skipped: {reason}"),
    };
    let b = mount.bench();
    (0..20).for_each(|i| b.put(&format!("f{i}"), format!("{i}")));
    run(async {
        let mut writer = b.writer().await.unwrap();
        writer.snapshot(|_| {}).await.unwrap();
        b.requests();
        mount.kill_server();
        let error = writer.snapshot(|_| {}).await.unwrap_err();
        assert_eq!(error.class(), Class::Retriable, "{error}");
        assert_eq!(b.requests(), Vec::<String>::new(), "cannot know is not nothing there");
        // What is left under the mount point is an empty directory.
        assert!(mount.unmount());
        let error = writer.snapshot(|_| {}).await.unwrap_err();
        assert_eq!(error.class(), Class::Refused, "{error}");
        drop(writer);
        let error = b.commit().await.unwrap_err();
        assert_eq!(error.class(), Class::Refused, "{error}");
        let wrote: Vec<String> = b.requests().into_iter().filter(|asked| asked.starts_with("put")).collect();
        assert_eq!(wrote, Vec::<String>::new(), "nothing of the empty directory");
    });
}
