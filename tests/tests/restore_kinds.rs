//! `restore list|verify|drill|unlock` on replicas of files, and URLs of the wrong kind: what an operator sees.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]

use std::fs;
use std::path::Path;

use e2e::{Outcome, Place, Streamer, Volume, run};
use serde_json::Value;

const NONE: &[&str] = &[];

fn restore(place: &Place, verb: &str, prefix: &str, more: &[&str]) -> Outcome {
    let mut command = place.command("restore");
    command.args([verb, &place.url(prefix)]).args(more);
    run(command)
}

fn json(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|e| panic!("{e}: {}", outcome.stdout))
}

fn snapshot(place: &Place, tree: &Path, more: &[&str]) -> Outcome {
    let mut command = place.command("config-syncer");
    command.arg("snapshot").arg(tree).arg(place.url("files")).args(more);
    run(command)
}

/// Three snapshots: numbers 2, 4 and 6, each behind its claim.
fn three(place: &Place) -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    for i in 1..=3 {
        fs::write(tree.path().join(format!("f{i}")), format!("content {i}")).unwrap();
        snapshot(place, tree.path(), NONE).expect(0);
    }
    tree
}

fn object_of_newest(place: &Place) -> std::path::PathBuf {
    let text = fs::read(place.root("files/m").join(format!("{:020}", 6))).unwrap();
    let head: Value = serde_json::from_slice(text.split(|b| *b == b'\n').next().unwrap()).unwrap();
    let key = head["objects"].as_array().unwrap().last().unwrap()["key"].as_str().unwrap().to_owned();
    place.root("files").join(key)
}

#[test]
fn list_shows_every_snapshot_as_a_table_and_as_json() {
    let place = Place::s3();
    let _tree = three(&place);
    let rows = json(&restore(&place, "list", "files", &["-o", "json"]));
    let numbers: Vec<u64> =
        rows.as_array().unwrap().iter().map(|r| r["snapshot"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [2, 4, 6]);
    assert_eq!(
        (&rows[2]["entries"], &rows[2]["sealed"], &rows[2]["proven"]),
        (&3.into(), &false.into(), &false.into())
    );
    let table = restore(&place, "list", "files", NONE);
    table.expect(0);
    assert_eq!(table.stdout.lines().count(), 4, "{}", table.stdout);
    assert!(table.stdout.starts_with("SNAPSHOT"), "{}", table.stdout);
}

#[test]
fn verify_names_the_damage_and_what_latest_valid_gives_back() {
    let place = Place::s3();
    let tree = three(&place);
    let found = json(&restore(&place, "verify", "files", &["-o", "json", "--all", "--full", "--record"]));
    assert_eq!((&found["ok"], &found["provable"], &found["snapshots"]), (&true.into(), &6.into(), &3.into()));
    let rows = json(&restore(&place, "list", "files", &["-o", "json"]));
    assert!(rows.as_array().unwrap().iter().all(|r| r["proven"] == true), "{rows}");

    let object = object_of_newest(&place);
    let name = object.file_name().unwrap().to_str().unwrap().to_owned();
    let whole = fs::read(&object).unwrap();
    let out = tempfile::tempdir().unwrap();
    for (damage, bytes) in [
        (
            "flipped",
            Some(
                [&whole[..whole.len() / 2], &[whole[whole.len() / 2] ^ 1], &whole[whole.len() / 2 + 1..]]
                    .concat(),
            ),
        ),
        ("truncated", Some(whole[..whole.len() - 1].to_vec())),
        ("swapped", Some(b"another object".to_vec())),
        ("missing", None),
    ] {
        match bytes {
            Some(bytes) => fs::write(&object, bytes).unwrap(),
            None => fs::remove_file(&object).unwrap(),
        }
        restore(&place, "verify", "files", NONE).expect(4).says(&[
            &name,
            "newest whole snapshot is 4",
            "--latest-valid",
        ]);
        let target = out.path().join(damage);
        let target = target.to_str().unwrap();
        restore(&place, "files", "files", &["-o", target]).expect(4).says(&[&name]);
        // What could be proven may lie there; the directory says that it is not whole, and no writer takes it.
        let mut writer = place.command("config-syncer");
        writer.args(["snapshot", target, &place.url("elsewhere")]);
        run(writer).expect(3).says(&["not finished"]);
        restore(&place, "files", "files", &["-o", target, "--latest-valid"]).expect(0);
        assert_eq!(fs::read(Path::new(target).join("f2")).unwrap(), b"content 2", "{damage}");
        assert!(!Path::new(target).join("f3").exists(), "{damage}");
    }
    fs::write(&object, whole).unwrap();
    // The newest commit itself.
    fs::write(place.root("files/m").join(format!("{:020}", 6)), b"{}\n").unwrap();
    restore(&place, "verify", "files", NONE).expect(4).says(&["newest whole snapshot is 4"]);
    drop(tree);
}

#[test]
fn a_drill_restores_two_snapshots_asks_and_leaves_its_result() {
    let place = Place::s3();
    let tree = three(&place);
    let metrics = tree.path().join("drill.prom");
    let scratch = tempfile::tempdir().unwrap();
    let places = ["--scratch", scratch.path().to_str().unwrap(), "--metrics", metrics.to_str().unwrap()];
    let ask =
        |command: &str| restore(&place, "drill", "files", &[&places[..], &["--command", command]].concat());
    let done = ask("test -s \"$HIGHWATER_DRILL_DIR/f3\"");
    done.expect(0);
    assert_eq!(done.stdout.lines().count(), 3, "{}", done.stdout);
    let result = |key: &str| -> Value {
        serde_json::from_slice(&fs::read(place.root("files/highwater").join(key)).unwrap()).unwrap()
    };
    let drill = result("drill.json");
    assert_eq!((&drill["kind"], &drill["drill"]["result"]), (&"files".into(), &"ok".into()));
    assert_eq!(result("proven.json")["by"], "drill");
    let name = tree.path().file_name().unwrap().to_str().unwrap().to_owned();
    let series = format!("highwater_drill_last_result{{app=\"\",db=\"{name}\"}} 1");
    assert!(fs::read_to_string(&metrics).unwrap().contains(&series));
    ask("false").expect(4).says(&["probe", "false"]);
    assert_eq!(result("drill.json")["drill"]["result"], "failed");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "the scratch directory is empty again");
    restore(&place, "drill", "files", &["--sql", "SELECT 1"]).expect(2).says(&["--command"]);
}

#[test]
fn p4_unlock_takes_the_claim_and_the_writer_is_fenced() {
    let place = Place::s3();
    let tree = three(&place);
    let mut command = place.command("config-syncer");
    command.arg("watch").arg(tree.path()).arg(place.url("files"));
    command.args(["--debounce", "50ms", "--listen", "127.0.0.1:0"]);
    let mut writer = testkit::procs::Proc::start(command);
    writer.wait_for_log(e2e::PATIENCE, "\"claimed\"");
    let objects = place.objects("files");
    restore(&place, "unlock", "files", NONE).expect(3).says(&["--force"]);
    assert_eq!(place.objects("files"), objects, "nothing was claimed");
    let taken = json(&restore(&place, "unlock", "files", &["--force", "-o", "json"]));
    assert_eq!(taken["snapshot"], 6);
    fs::write(tree.path().join("late"), "1").unwrap();
    assert_eq!(writer.expect_exit(e2e::PATIENCE), 5, "{}", writer.log_tail());
    snapshot(&place, tree.path(), NONE).expect(0);
}

#[test]
fn a_sealed_replica_is_listed_and_proven_without_its_key_and_restored_with_it() {
    let place = Place::s3();
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key.txt");
    let (secret, public) = known_key();
    fs::write(&key, secret).unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("a"), "secret").unwrap();
    snapshot(&place, &tree, &["--recipient", public]).expect(0);
    let rows = json(&restore(&place, "list", "files", &["-o", "json"]));
    assert_eq!(rows[0]["sealed"], true);
    let without = json(&restore(&place, "verify", "files", &["-o", "json"]));
    assert_eq!((&without["ok"], &without["files"]), (&true.into(), &0.into()));
    restore(&place, "drill", "files", NONE).expect(3).says(&["--identity"]);
    let key = key.to_str().unwrap();
    let with = json(&restore(&place, "verify", "files", &["-o", "json", "--identity", key]));
    assert_eq!((&with["ok"], &with["files"]), (&true.into(), &1.into()));
    restore(&place, "drill", "files", &["--identity", key]).expect(0);
}

/// A key pair that everybody knows.
fn known_key() -> (&'static str, &'static str) {
    (
        "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX",
        "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj",
    )
}

#[test]
fn a_url_of_another_kind_is_answered_with_the_right_command() {
    let place = Place::s3();
    let tree = three(&place);
    let volume = Volume::new();
    volume.write(5);
    Streamer::once(&place, "web/sqlite/app.db", &volume.db(), NONE).expect(0);
    let out = tree.path().join("out");
    let out = out.to_str().unwrap();
    // A database given to `files`, and the place above it.
    restore(&place, "files", "web/sqlite/app.db", &["-o", out])
        .expect(3)
        .says(&["replica of a database", "restore sqlite"]);
    restore(&place, "files", "web/sqlite/app.db", &["-o", out, "--if-replica-exists"]).expect(3);
    restore(&place, "files", "", &["-o", out]).expect(3).says(&["one below it", "append /files"]);
    // Files given to `sqlite`.
    restore(&place, "sqlite", "files", &["-o", out]).expect(3).says(&["replica of files", "restore files"]);
    // The verbs for all kinds know both.
    for prefix in ["files", "web/sqlite/app.db"] {
        for verb in ["list", "verify", "drill"] {
            restore(&place, verb, prefix, NONE).expect(0);
        }
    }
    // Nothing at all is told from a wrong kind.
    for verb in ["list", "verify", "drill"] {
        restore(&place, verb, "nowhere", NONE).expect(3);
    }
    restore(&place, "files", "nowhere", &["-o", out]).expect(3);
    restore(&place, "files", "nowhere", &["-o", out, "--if-replica-exists"]).expect(0);
    assert!(!Path::new(out).exists());
}
