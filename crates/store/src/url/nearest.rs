//! "Unknown key, did you mean …?"

/// The message for an unknown name: with the nearest known one, or with all of them.
pub(super) fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let near = known.iter().map(|k| (distance(name, k), *k)).min().filter(|(d, k)| *d <= k.len().div_ceil(2));
    match near {
        Some((_, key)) => format!("{what} {name:?} is unknown; did you mean {key}?"),
        None if known.is_empty() => format!("{what} {name:?} is unknown; none is valid here"),
        None => format!("{what} {name:?} is unknown; valid are {}", known.join(", ")),
    }
}

/// Levenshtein distance over bytes, ignoring case and the kind of separator.
fn distance(a: &str, b: &str) -> usize {
    let plain = |s: &str| {
        s.bytes().filter(|c| !b"-_".contains(c)).map(|c| c.to_ascii_lowercase()).collect::<Vec<_>>()
    };
    let (a, b) = (plain(a), plain(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = (diagonal + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = row[j + 1];
            row[j + 1] = cost;
        }
    }
    row[b.len()]
}
