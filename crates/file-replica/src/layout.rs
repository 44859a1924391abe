//! Where things lie in a replica of a tree; `docs/formats/files.md` has the bytes.

/// Side object that says whose replica this is; created once.
pub const REPO_KEY: &str = "repo.json";
/// What was read back and checksummed last; retention never crosses it.
pub const PROVEN_KEY: &str = "highwater/proven.json";
/// Age, size and proof for the exporter.
pub const STATUS_KEY: &str = "highwater/status.json";
/// The last restore drill, for the exporter.
pub const DRILL_KEY: &str = "highwater/drill.json";

/// Numbered commits.
pub(crate) const COMMITS: &str = "m/";
/// Packs of small files.
pub(crate) const PACKS: &str = "p/";
/// Single big files.
pub(crate) const BIGS: &str = "b/";

/// Number of a commit: its order, and the fence.
pub type Seq = u64;

/// Key of commit `number`: nothing but the number, so that two writers meet at one name.
pub(crate) fn commit_key(number: Seq) -> String {
    format!("{COMMITS}{number:020}")
}

/// The number of a [`commit_key`].
pub(crate) fn parse_commit(key: &str) -> Option<Seq> {
    let digits = key.strip_prefix(COMMITS)?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}

/// Key of the `index`-th pack of one write.
pub(crate) fn pack_key(write_id: &str, index: usize, sealed: bool) -> String {
    format!("{PACKS}{write_id}-{index:03}.tar.zst{}", if sealed { ".age" } else { "" })
}

/// Key of the `index`-th big file of one write.
pub(crate) fn big_key(write_id: &str, index: usize, sealed: bool) -> String {
    format!("{BIGS}{write_id}-{index:03}.zst{}", if sealed { ".age" } else { "" })
}

/// Whether this is an object that only commits refer to.
pub(crate) fn is_data(key: &str) -> bool {
    key.starts_with(PACKS) || key.starts_with(BIGS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_keys_is_the_order_of_numbers() {
        assert_eq!(commit_key(42), "m/00000000000000000042");
        assert!(commit_key(9) < commit_key(10) && commit_key(u64::MAX) > commit_key(u64::MAX - 1));
        assert_eq!(parse_commit(&commit_key(7)), Some(7));
        for foreign in
            ["m/7", "m/0000000000000000000x", "p/00000000000000000042", "m/00000000000000000042.json"]
        {
            assert_eq!(parse_commit(foreign), None, "{foreign}");
        }
    }
}
