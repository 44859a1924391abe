//! P8: the tools everybody has open our objects. Each test says why it was skipped where a tool is missing.

use super::*;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Whether all tools are there; says so if not.
pub(super) fn have(tools: &[&str]) -> bool {
    let missing: Vec<&&str> = tools
        .iter()
        .filter(|tool| {
            let version = if **tool == "ssh-keygen" { "-?" } else { "--version" };
            Command::new(tool).arg(version).stdout(Stdio::null()).stderr(Stdio::null()).status().is_err()
        })
        .collect();
    if !missing.is_empty() {
        eprintln!("skipped: {missing:?} not installed");
    }
    missing.is_empty()
}

pub(super) fn shell(dir: &Path, script: &str) -> Vec<u8> {
    let output = Command::new("sh").arg("-ec").arg(script).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn p8_age_and_zstd_open_a_sealed_object() {
    if !have(&["age", "zstd"]) {
        return;
    }
    let key = key();
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("id.txt"), &key.secret).unwrap();
    for parts in [vec![], vec![sample(10)], vec![sample(200_000), Vec::new(), sample(65_536)]] {
        fs::write(dir.path().join("object.age"), seal_parts(&key, &parts, 40_000)).unwrap();
        assert_eq!(shell(dir.path(), "age -d -i id.txt object.age | zstd -d -q"), parts.concat());
    }
    let empty = Sealer::new(Vec::new(), &key.recipients, Options::default()).unwrap().finish().unwrap();
    fs::write(dir.path().join("object.age"), empty).unwrap();
    assert_eq!(shell(dir.path(), "age -d -i id.txt object.age | zstd -d -q"), b"");
}

#[test]
fn p8_zstd_ignores_metadata_and_finds_nothing_wrong() {
    if !have(&["zstd"]) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let parts = [sample(100_000), sample(5)];
    fs::write(dir.path().join("object.zst"), plain_parts(&parts, 30_000)).unwrap();
    shell(dir.path(), "zstd -t -q object.zst");
    assert_eq!(shell(dir.path(), "zstd -d -q -c object.zst"), parts.concat());
}

#[test]
fn p8_objects_for_ssh_keys_open_with_age() {
    if !have(&["age", "zstd", "ssh-keygen"]) {
        return;
    }
    for (kind, bits) in [("ed25519", ""), ("rsa", "-b 2048")] {
        let dir = TempDir::new().unwrap();
        shell(dir.path(), &format!("ssh-keygen -q -t {kind} {bits} -N '' -C somebody -f id"));
        let public = fs::read_to_string(dir.path().join("id.pub")).unwrap();
        let recipients = Recipients::parse(&public, "id.pub").unwrap();
        let identities = Identities::from_file(&dir.path().join("id")).unwrap();
        let writer = Sealer::new(Vec::new(), &recipients, options(1_000)).unwrap();
        let object = write_parts(writer, &[sample(5_000)]);
        assert_eq!(
            Opener::new(object.as_slice(), &identities).and_then(read_stream).unwrap().0,
            sample(5_000)
        );
        fs::write(dir.path().join("object.age"), object).unwrap();
        assert_eq!(shell(dir.path(), "age -d -i id object.age | zstd -d -q"), sample(5_000));
    }
}

#[test]
fn an_ssh_key_behind_a_passphrase_is_refused() {
    if !have(&["ssh-keygen"]) {
        return;
    }
    let dir = TempDir::new().unwrap();
    shell(dir.path(), "ssh-keygen -q -t ed25519 -N secret -f id");
    let error = Identities::from_file(&dir.path().join("id")).unwrap_err().to_string();
    assert!(error.contains("behind a passphrase"), "{error}");
}
