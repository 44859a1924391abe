//! The nearest valid name to a mistyped one.

/// The candidate with the smallest edit distance, if it is near enough to be meant (a third of the name's length).
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).max(1);
    let best = candidates.into_iter().map(|candidate| (distance(name, candidate), candidate)).min()?;
    (best.0 <= limit).then_some(best.1)
}

/// Optimal string alignment distance: insertions, deletions, substitutions, swaps of neighbours; case does not count.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_lowercase().chars().collect();
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let above = &rows[i - 1];
            let mut best =
                (above[j - 1] + usize::from(a[i - 1] != b[j - 1])).min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let names = ["app", "cluster", "replica", "databases", "files"];
        for (typed, meant) in [
            ("databse", Some("databases")),
            ("relpica", Some("replica")),
            ("Cluster", Some("cluster")),
            ("file", Some("files")),
            ("colour", None),
            ("x", None),
        ] {
            assert_eq!(nearest(typed, names), meant, "{typed}");
        }
    }
}
