//! What common applications write beside their configuration and make again by themselves: excludes by name, `@arr` instead of six lines.
//!
//! A preset holds only what its application rebuilds or what is of no use elsewhere: caches, logs, process ids, thumbnails, bundled backups of
//! databases that are streamed anyway. Never recordings, uploads or anything a person made. A line for a file that begins with `@` is
//! written `\@name`, as in gitignore for `#`. Patterns of a user behind the preset win, as in gitignore: `["@arr", "!/logs/"]`.

use crate::{Error, Result};

/// Names and gitignore lines.
const PRESETS: [(&str, &[&str]); 7] = [
    (
        "common",
        &[
            "*.log",
            "*.log.[0-9]*",
            "*.pid",
            "*.sock",
            "*.tmp",
            "*.swp",
            "*~",
            "/tmp/",
            ".Trash-*/",
            "Thumbs.db",
            ".DS_Store",
        ],
    ),
    ("arr", &["/logs/", "/logs.db*", "/asp/", "/MediaCover/", "/Backups/", "/Sentry/", "*.pid"]),
    (
        "home-assistant",
        &[
            "/home-assistant.log*",
            "/tts/",
            "/deps/",
            "/.cache/",
            "__pycache__/",
            "/backups/",
            "/.HA_VERSION.tmp",
        ],
    ),
    (
        "jellyfin",
        &["/cache/", "/transcodes/", "/log/", "/data/transcodes/", "/data/subtitles/", "/data/attachments/"],
    ),
    ("plex", &["Cache/", "Logs/", "Crash Reports/", "Codecs/", "Updates/", "plexmediaserver.pid"]),
    ("node", &["node_modules/", ".npm/", ".cache/", "*.log", ".n8n-update-check"]),
    ("python", &["__pycache__/", "*.py[co]", ".venv/", ".pytest_cache/"]),
];

/// Every preset and its lines.
pub fn presets() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    PRESETS.into_iter()
}

/// The patterns with every preset spelled out.
pub(crate) fn expand(patterns: &[String]) -> Result<Vec<String>> {
    let mut lines = Vec::with_capacity(patterns.len());
    for pattern in patterns {
        match pattern.strip_prefix('@') {
            None => lines.push(
                pattern.strip_prefix("\\@").map_or_else(|| pattern.clone(), |rest| format!("[@]{rest}")),
            ),
            Some(name) => {
                let preset = PRESETS.iter().find(|(known, _)| *known == name);
                let (_, of_preset) = preset.ok_or_else(|| unknown(name))?;
                lines.extend(of_preset.iter().map(|line| (*line).to_owned()));
            }
        }
    }
    Ok(lines)
}

fn unknown(name: &str) -> Error {
    let known: Vec<String> = PRESETS.iter().map(|(name, _)| format!("@{name}")).collect();
    Error::Usage(format!(
        "exclude \"@{name}\": there is no such preset (one of {}; a file of that name is written \\@{name})",
        known.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Filter, RelPath};

    fn filter(patterns: &[&str]) -> Result<Filter> {
        Filter::new(&patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_preset_is_its_lines_and_the_user_has_the_last_word() {
        let out =
            |filter: &Filter, path: &str, is_dir| filter.leaves_out(&RelPath::new(path).unwrap(), is_dir);
        let arr = filter(&["@arr", "!/logs/"]).unwrap();
        assert!(out(&arr, "MediaCover", true) && !out(&arr, "logs", true) && !out(&arr, "config.xml", false));
        let literal = filter(&["\\@arr"]).unwrap();
        assert!(out(&literal, "@arr", false) && !out(&literal, "MediaCover", true));
        let lines: Vec<&str> = PRESETS.iter().find(|(name, _)| *name == "arr").unwrap().1.to_vec();
        assert_eq!(
            filter(&["@arr"]).unwrap().digest(),
            filter(&lines).unwrap().digest(),
            "an edit of a preset is seen"
        );
    }

    #[test]
    fn every_preset_compiles_and_an_unknown_one_names_them_all() {
        for (name, lines) in presets() {
            assert!(!lines.is_empty() && filter(&[&format!("@{name}")]).is_ok(), "{name}");
        }
        let error = filter(&["@ar"]).unwrap_err().to_string();
        assert!(error.contains("@home-assistant") && error.contains("@arr"), "{error}");
    }

    /// P3: a preset that left out what a person made would be found out at the restore.
    #[test]
    fn p3_no_preset_leaves_out_what_a_person_made() {
        let kept = [
            "configuration.yaml",
            "automations.yaml",
            ".storage/core.config",
            "www/picture.png",
            "config.xml",
            "recordings/a.mp4",
            "media/photo.jpg",
            "uploads/1.pdf",
            "settings.js",
            "flows.json",
            "notes/log.md",
            "custom_components/x/y.py",
            "Preferences.xml",
            "Metadata/a.bundle",
            "plugins/configurations/x.xml",
            "requirements.txt",
        ];
        for (name, _) in presets() {
            let filter = filter(&[&format!("@{name}")]).unwrap();
            for path in kept {
                assert!(
                    !filter.leaves_out_below(&RelPath::new(path).unwrap(), false),
                    "@{name} leaves out {path}"
                );
            }
        }
    }
}
