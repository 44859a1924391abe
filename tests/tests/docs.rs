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

/// A row of the users' requirements names the file that satisfies it; one that was moved or removed makes the row a lie.
#[test]
fn every_file_that_a_requirement_names_exists() {
    let text = fs::read_to_string(root().join("docs/seeds.md")).expect("the requirements are there");
    let rules = fs::read_to_string(root().join("kustomize-components/monitoring/rules.yaml"))
        .expect("the rules are there");
    let policies = fs::read_to_string(root().join("kustomize-components/kyverno/policies.yaml"))
        .expect("the policies are there");
    let places =
        ["", "kustomize-components", "docs", "helm/app", "helm/highwater-lib"].map(|p| root().join(p));
    let (mut rows, mut named) = (0, 0);
    for line in text.lines().filter(|line| line.starts_with("| 00")) {
        rows += 1;
        let cells: Vec<&str> = line.split('|').collect();
        for word in format!("{} {}", cells[3], cells[4]).split([' ', ',', ';', '(', ')', ':', '`']) {
            let word = word.trim_end_matches(['.', '/', '*']).trim_end_matches('/');
            let is_path = word.contains('/')
                || [".md", ".sh", ".yaml", ".json", ".rs"].iter().any(|e| word.ends_with(e));
            if is_path
                && !word.contains(['$', '=', '[', '<'])
                && word != "CLUSTER_NAME/APP"
                && !word.starts_with('/')
            {
                named += 1;
                let there = places.iter().any(|place| place.join(word).exists())
                    || root().join("kustomize-components/monitoring").join(word).exists()
                    || root().join("examples/rendered").join(word).exists();
                assert!(there, "{}names {word}, which is not there", cells[1]);
            }
            if word.starts_with("Highwater") && word.len() > 9 || word.starts_with("Etcd") {
                named += 1;
                assert!(rules.contains(&format!("alert: {word}")), "{}names the alert {word}", cells[1]);
            }
            if word.starts_with("highwater-") && word != "highwater-lib" {
                named += 1;
                let there = policies.contains(word) || root().join("helm").join(word).exists();
                assert!(there, "{}names {word}", cells[1]);
            }
        }
    }
    assert_eq!(rows, 149, "every row of the list is there");
    assert!(named > 120, "only {named} files, alerts and policies are named");
}
