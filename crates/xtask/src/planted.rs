//! `cargo xtask planted`: bugs put into a scratch copy of the sources on purpose, one at a time; the simulator must catch each, or a named test.
//!
//! The product carries no trace of them, and neither does what is built of it: the copy has a target directory of its own. Cargo knows the crates of two
//! copies by the same names and would take what was built of the one with a bug for the other, whose sources are older. A bug whose place in the sources has changed is an error here: it has to be planted anew,
//! not to be forgotten. Which seed catches which is in `docs/testing.md`.

mod bugs;

use anyhow::{Context, Result, bail, ensure};
use bugs::{BUGS, Bug};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Plants all bugs, or the one of this name.
pub(crate) fn run(only: Option<&str>, seeds: u64, steps: u64) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let around = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let copy = around.join("planted");
    let target = copy.join("target");
    let chosen: Vec<&Bug> = BUGS.iter().filter(|bug| only.is_none_or(|name| name == bug.name)).collect();
    ensure!(!chosen.is_empty(), "no bug has this name; there are: {}", names());
    copy_sources(&root, &copy)?;
    let mut missed = Vec::new();
    for bug in chosen {
        let originals = plant(&copy, bug)?;
        let caught = match bug.test {
            Some(test) => fails(&copy, &target, test)?,
            None => simulate(&copy, &target, seeds, steps)?,
        };
        take_back(originals)?;
        match caught {
            Some(failure) => println!("{:<24} caught: {failure}", bug.name),
            None => {
                let by =
                    bug.test.map_or(format!("{seeds} seeds of {steps} steps"), |(_, name)| name.to_owned());
                println!("{:<24} NOT CAUGHT by {by}: {}", bug.name, bug.what);
                missed.push(bug.name);
            }
        }
    }
    ensure!(missed.is_empty(), "not caught: {}", missed.join(", "));
    Ok(())
}

fn names() -> String {
    BUGS.iter().map(|bug| bug.name).collect::<Vec<_>>().join(", ")
}

/// Puts the bug in; gives the files as they were.
fn plant(copy: &Path, bug: &Bug) -> Result<Vec<(PathBuf, String)>> {
    let mut originals = Vec::new();
    for (file, find, replace) in bug.edits {
        let path = copy.join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("read {file}"))?;
        let times = text.matches(find).count();
        ensure!(times == 1, "{}: {find:?} is {times} times in {file}; plant it anew", bug.name);
        fs::write(&path, text.replace(find, replace))?;
        originals.push((path, text));
    }
    Ok(originals)
}

/// The sources without the bug: of a file that was changed twice, what was there before the first change.
fn take_back(originals: Vec<(PathBuf, String)>) -> Result<()> {
    for (path, original) in originals.into_iter().rev() {
        fs::write(path, original)?;
    }
    Ok(())
}

/// The test that failed, if it did.
fn fails(copy: &Path, target: &Path, (file, name): (&str, &str)) -> Result<Option<String>> {
    let test = |more: &[&str]| {
        Command::new("cargo")
            .args(["test", "--quiet", "--workspace", "--test", file])
            .args(more)
            .current_dir(copy)
            .env("CARGO_TARGET_DIR", target)
            .output()
    };
    let built = test(&["--no-run"])?;
    ensure!(
        built.status.success(),
        "the sources with the bug do not build:\n{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let out = test(&["--", "--exact", name])?;
    let text = String::from_utf8_lossy(&out.stdout);
    ensure!(text.contains("running 1 test"), "there is no test {name} in {file}");
    Ok((!out.status.success()).then(|| format!("test {name}")))
}

/// The line of the failure, if any seed failed.
fn simulate(copy: &Path, target: &Path, seeds: u64, steps: u64) -> Result<Option<String>> {
    // The same flags as for the tests, so that dependencies are compiled once; the program comes with the tests of its package.
    let built = Command::new("cargo")
        .args(["test", "--quiet", "--workspace", "--test", "seeds", "--no-run"])
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", target)
        .output()?;
    ensure!(
        built.status.success(),
        "the sources with the bug do not build:\n{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let out = Command::new(target.join("debug/sim"))
        .args(["--seeds", &format!("1..{seeds}"), "--steps", &steps.to_string()])
        .output()?;
    if out.status.success() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&out.stdout);
    if let Some(line) = text.lines().find_map(|line| line.strip_prefix("FAILED ")) {
        return Ok(Some(line.to_owned()));
    }
    // An assertion of the product or of the simulator.
    let errors = String::from_utf8_lossy(&out.stderr);
    let Some(line) = errors.lines().skip_while(|line| !line.contains("panicked")).nth(1) else {
        bail!("the simulator ended without a word:\n{errors}");
    };
    Ok(Some(format!("assertion: {line}")))
}

fn copy_sources(root: &Path, copy: &Path) -> Result<()> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output()?;
    ensure!(listed.status.success(), "git does not list the sources");
    for name in listed.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = std::str::from_utf8(name)?;
        let (from, to) = (root.join(name), copy.join(name));
        let Ok(bytes) = fs::read(&from) else { continue };
        // What has not changed keeps its time, so that it is not built again.
        if fs::read(&to).is_ok_and(|there| there == bytes) {
            continue;
        }
        fs::create_dir_all(to.parent().context("a file lies in a directory")?)?;
        fs::write(&to, bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// A bug that stays behind would be what the next one is caught by.
    #[test]
    fn every_bug_has_its_place_and_leaves_nothing_behind() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let copy = tempfile::tempdir().unwrap();
        let files = BUGS.iter().flat_map(|bug| bug.edits).map(|(file, ..)| *file);
        let sources: BTreeMap<&str, String> =
            files.map(|file| (file, fs::read_to_string(root.join(file)).unwrap())).collect();
        for (file, text) in &sources {
            fs::create_dir_all(copy.path().join(file).parent().unwrap()).unwrap();
            fs::write(copy.path().join(file), text).unwrap();
        }
        for bug in BUGS {
            take_back(plant(copy.path(), bug).unwrap()).unwrap();
            for (file, text) in &sources {
                assert_eq!(
                    fs::read_to_string(copy.path().join(file)).unwrap(),
                    *text,
                    "{}: {file}",
                    bug.name
                );
            }
        }
    }
}
