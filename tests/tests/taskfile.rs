//! The Taskfile of docs/gitops.md, word for word, run by the real `task` against a real store: people copy it.
//!
//! There is no cluster: `kubectl` is a script that notes how it was called and, for `exec … -- /wal-streamer`, runs our program as the container
//! would. Part of `cargo xtask test --full`, which builds `task`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::interop::program;
use e2e::pod::stop;
use e2e::{Outcome, PATIENCE, Place, Pod, run};
use testkit::procs::{bin, wait_until};

struct Desk<'a> {
    place: &'a Place,
    task: PathBuf,
    dir: tempfile::TempDir,
}

impl Desk<'_> {
    fn script(&self, name: &str, text: &str) {
        let path = self.dir.path().join("bin").join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn task(&self, arguments: &[&str]) -> Outcome {
        let mut command = Command::new(&self.task);
        command.args(arguments).current_dir(self.dir.path()).envs(self.place.server().env());
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.dir.path().join("bin").display()));
        run(command)
    }

    fn asked_of_kubectl(&self) -> String {
        fs::read_to_string(self.dir.path().join("kubectl.log")).unwrap_or_default()
    }
}

#[test]
fn every_verb_of_the_page_works_as_it_is_written() {
    let Some(task) = program("HIGHWATER_TASK", "that the Taskfile of docs/gitops.md works") else { return };
    let place = Place::s3();
    let pod = Pod::new(&place, "databases: [{path: app.db}]");
    pod.init(&[]).expect(0);
    pod.volume.write(50);
    let mut streamer = pod.streamer();
    wait_until(PATIENCE, "it is followed", || !place.files("web/sqlite/app.db").is_empty());

    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/gitops.md");
    let page = fs::read_to_string(page).unwrap();
    let block = page.split("```yaml\n").find(|block| block.starts_with("# .taskfiles/")).unwrap();
    let desk = Desk { place: &place, task, dir: tempfile::tempdir().unwrap() };
    fs::write(desk.dir.path().join("Taskfile.yaml"), block.split("\n```").next().unwrap()).unwrap();
    fs::create_dir(desk.dir.path().join("bin")).unwrap();
    let (log, socket) = (desk.dir.path().join("kubectl.log"), pod.run_dir().join("wal-streamer.sock"));
    desk.script(
        "kubectl",
        &format!(
            "#!/bin/sh\nprintf '%s\\n' \"$*\" >> {}\ncase \"$*\" in\n*/wal-streamer*) while [ \"$1\" != -- ]; do shift; done; shift 2\n\
             exec {} \"$@\" --socket {};;\nesac\n",
            log.display(),
            bin("wal-streamer").display(),
            socket.display()
        ),
    );
    desk.script("restore", &format!("#!/bin/sh\nexec {} \"$@\"\n", bin("restore").display()));

    let pod_of = ["NS=apps", "APP=web"];
    let url = format!("URL={}", place.url("web/sqlite/app.db"));
    let status = desk.task(&[&["status"], &pod_of[..]].concat());
    status.expect(0);
    assert!(status.stdout.contains("app.db"), "{}", status.stdout);
    desk.task(&[&["sync"], &pod_of[..]].concat()).expect(0);
    assert!(
        desk.asked_of_kubectl()
            .contains("-n apps exec deploy/web -c wal-streamer -- /wal-streamer sync --wait")
    );
    stop(&mut streamer);

    for (verb, says) in
        [("list", "txid"), ("dr:verify-backups", "provable"), ("dr:test-restore", "drill ok"), ("unlock", "")]
    {
        let done = desk.task(&["--yes", verb, &url]);
        done.expect(0);
        assert!(done.stdout.to_lowercase().contains(says), "{verb}: {}", done.stdout);
    }
    let lost = desk.task(&["--yes", "restore", "NS=apps", "APP=web", "PVC=web"]);
    lost.expect(0);
    let asked = desk.asked_of_kubectl();
    let steps = ["scale deployment/web --replicas=0", "wait --for=delete pod", "delete pvc/web"];
    let at: Vec<_> = steps.iter().map(|step| asked.find(step)).collect();
    assert!(at.iter().all(Option::is_some) && at.is_sorted(), "{asked}");
    // A replica that is not there ends the task with an error.
    let other = format!("URL={}", place.url("web/sqlite/other.db"));
    let missing = desk.task(&["dr:verify-backups", &other]);
    assert_ne!(missing.exit, 0, "{}", missing.stdout);
}
