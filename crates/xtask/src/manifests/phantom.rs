//! Nothing phantom ships: every verb and flag that a manifest or a page of the docs uses is asked of the binary itself.

use super::pod::Pod;
use super::yaml::{list, text};
use super::{Rendered, Report};
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{read_dir, read_to_string};
use std::path::{Path, PathBuf};
use std::process::Command;

const BINARIES: [&str; 4] = ["wal-streamer", "config-syncer", "restore", "etcd-shipper"];

/// A use: the words after the binary's name, and who says them.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Use {
    binary: &'static str,
    words: Vec<String>,
    origin: String,
}

pub(super) fn judge(rendered: &[Rendered], report: &mut Report) -> Result<()> {
    let mut uses = BTreeSet::new();
    for document in rendered {
        if let Some(pod) = Pod::of(&document.value) {
            for container in pod.all() {
                from_container(container, &document.origin, &mut uses);
            }
        }
    }
    let mut pages = vec![PathBuf::from("README.md")];
    pages.extend(
        read_dir("docs")?
            .filter_map(|e| Some(e.ok()?.path()))
            .filter(|p| p.extension().is_some_and(|e| e == "md")),
    );
    for page in pages {
        from_page(&read_to_string(&page)?, &page.display().to_string(), &mut uses);
    }
    let mut helps: BTreeMap<(&str, String), Option<String>> = BTreeMap::new();
    let mut checked = 0;
    let mut unbuilt: BTreeMap<&str, usize> = BTreeMap::new();
    for one in &uses {
        let path = Path::new("target/debug").join(one.binary);
        if !path.is_file() {
            *unbuilt.entry(one.binary).or_default() += 1;
            continue;
        }
        let verb = one.words.first().cloned().unwrap_or_default();
        let help = helps.entry((one.binary, verb.clone())).or_insert_with(|| help(&path, &verb));
        checked += 1;
        let wrong = match help {
            None => Some(format!("{}: {} has no verb {verb}", one.origin, one.binary)),
            Some(help) => flags(&one.words)
                .find(|flag| !has_flag(help, flag))
                .map(|flag| format!("{}: {} {verb} has no {flag}", one.origin, one.binary)),
        };
        if let Some(wrong) = wrong {
            report.fail(wrong);
        }
    }
    for (binary, count) in unbuilt {
        let what = format!("{binary} is not built, so {count} uses of it were not checked");
        if Path::new("crates").join(binary).exists() { report.skip(what) } else { report.fail(what) }
    }
    report.pass(format!("{checked} uses of our command lines asked of the binaries"));
    Ok(())
}

fn help(path: &Path, verb: &str) -> Option<String> {
    let mut command = Command::new(path);
    if !verb.starts_with('-') && !verb.is_empty() {
        command.arg(verb);
    }
    let out = command.arg("--help").env("NO_COLOR", "1").output().ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
}

fn flags(words: &[String]) -> impl Iterator<Item = &str> {
    let flags = words.iter().take_while(|w| *w != "--").filter(|w| w.starts_with('-') && w.len() > 1);
    flags.map(|word| word.split('=').next().unwrap_or(word))
}

fn has_flag(help: &str, flag: &str) -> bool {
    let known = help.split(|c: char| c.is_whitespace() || ",[]=<>|".contains(c));
    ["--help", "--version", "-h", "-V"].contains(&flag) || known.into_iter().any(|word| word == flag)
}

fn from_container(container: &serde_json::Value, origin: &str, uses: &mut BTreeSet<Use>) {
    let image = text(container, "image").rsplit('/').next().unwrap_or_default();
    let name = image.split([':', '@']).next().unwrap_or_default();
    let Some(binary) = BINARIES.into_iter().find(|b| *b == name) else { return };
    let texts = |path: &str| {
        list(container, path).iter().filter_map(|v| Some(v.as_str()?.to_owned())).collect::<Vec<_>>()
    };
    let mut say = |words: Vec<String>| uses.insert(Use { binary, words, origin: origin.to_owned() });
    say(texts("args"));
    let hook = texts("lifecycle.preStop.exec.command");
    if let Some((program, words)) = hook.split_first()
        && program.trim_start_matches('/') == binary
    {
        say(words.to_vec());
    }
}

/// Lines of code blocks that begin with one of our names; a trailing backslash continues a line.
fn from_page(page: &str, origin: &str, uses: &mut BTreeSet<Use>) {
    let mut inside = false;
    let joined = page.replace("\\\n", " ");
    for line in joined.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
            continue;
        }
        let line = line.trim_start().trim_start_matches("$ ");
        let mut words = line.split_whitespace();
        let Some(binary) = words.next().and_then(|first| BINARIES.into_iter().find(|b| *b == first)) else {
            continue;
        };
        if inside {
            let words = words
                .take_while(|w| !["|", "#", ">", "&&", ";", "||"].contains(w))
                .map(|w| w.trim_matches(['\'', '"']).to_owned());
            uses.insert(Use { binary, words: words.collect(), origin: origin.to_owned() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_in_code_blocks_only() {
        let mut uses = BTreeSet::new();
        from_page(
            "restore x\n```\nrestore list URL -o json | jq .  # all\n  $ wal-streamer sync \\\n --wait\n```\n",
            "p",
            &mut uses,
        );
        let found: Vec<(&str, String)> = uses.iter().map(|u| (u.binary, u.words.join(" "))).collect();
        assert_eq!(
            found,
            [("restore", "list URL -o json".to_owned()), ("wal-streamer", "sync --wait".to_owned())]
        );
    }

    #[test]
    fn a_flag_must_stand_in_the_help_as_a_word() {
        let help = "  -o, --output <PATH>  where\n      --timestamp <RFC3339>\n";
        assert!(has_flag(help, "--output") && has_flag(help, "-o") && has_flag(help, "--timestamp"));
        assert!(!has_flag(help, "--time") && !has_flag(help, "--out"));
        let words = ["sqlite", "URL", "--output=x", "--", "--not"].map(str::to_owned);
        assert_eq!(flags(&words).collect::<Vec<_>>(), ["--output"]);
    }
}
