//! What the documents claim of the tests is so.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All functions of the Rust sources below a directory.
fn functions(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && entry.file_name() != "target" {
            functions(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let names = text.split("fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next());
            found.extend(names.map(str::to_owned));
        }
    }
}

/// A test that was renamed or removed takes its claim with it.
#[test]
fn every_test_that_the_comparison_names_exists() {
    let mut found = BTreeSet::new();
    for dir in ["crates", "tests"] {
        functions(&root().join(dir), &mut found);
    }
    let text =
        fs::read_to_string(root().join("docs/compare-litestream.md")).expect("the comparison is there");
    let mut rows = 0;
    for line in text.lines().filter(|line| line.starts_with("| ")) {
        rows += usize::from(line.split('|').nth(1).is_some_and(|cell| cell.trim().parse::<u32>().is_ok()));
        // Names of tests are several words; paths, flags and metrics are not.
        let quoted = line.split('`').skip(1).step_by(2);
        let names =
            quoted.filter(|word| word.matches('_').count() >= 2 && !word.contains(['/', ' ', '.', '-']));
        for name in names.filter(|name| !name.starts_with("highwater_")) {
            assert!(found.contains(name), "docs/compare-litestream.md names {name}, which is no test");
        }
    }
    assert_eq!(rows, 29, "every row of the list is there");
}
