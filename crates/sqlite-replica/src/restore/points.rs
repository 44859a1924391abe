//! The states a replica can give back, and the one that was newest at a given time.

use crate::catalogue::{Catalogue, Entry};
use crate::error::{Error, Result};
use crate::restore::head::read_header;
use clock::{UnixMs, format_unix_ms};
use ltx::Txid;
use store::Store;

/// One restorable state: the end of a file that a gapless chain reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// Its TXID.
    pub txid: Txid,
    /// A file that ends there.
    pub file: Entry,
}

/// All restorable points, oldest first (P2: only ends of files, and only those a chain from a full image reaches).
pub fn points(catalogue: &Catalogue) -> Vec<Point> {
    let mut by_end: Vec<&Entry> = catalogue.entries.iter().collect();
    // Of files with one end, the one that begins earliest first: if any of them connects, that one does.
    by_end.sort_by_key(|e| (e.name.max, e.name.min));
    let mut points: Vec<Point> = Vec::new();
    for entry in by_end {
        let reached = points.last().map_or(0, |p| p.txid.get());
        let connects = entry.name.min.get() <= reached + 1 || catalogue.is_base(entry);
        if entry.name.max.get() > reached && connects {
            points.push(Point { txid: entry.name.max, file: entry.clone() });
        }
    }
    points
}

/// The newest point committed at or before `at`. Commit times stand in the headers and rise with the TXID, so a
/// binary search needs about log2(points) ranged GETs; the listing's own times are those of the upload and not used.
pub async fn point_at(store: &Store, catalogue: &Catalogue, at: UnixMs) -> Result<(Point, UnixMs)> {
    let points = points(catalogue);
    let (mut low, mut high, mut oldest, mut found) = (0, points.len(), None, at);
    while low < high {
        let middle = low + (high - low) / 2;
        let time = read_header(store, &points[middle].file).await?.timestamp_ms;
        if middle == 0 {
            oldest = Some(time);
        }
        if time <= at { (low, found) = (middle + 1, time) } else { high = middle }
    }
    match low.checked_sub(1).and_then(|i| points.into_iter().nth(i)) {
        Some(point) => Ok((point, found)),
        None => Err(Error::Nothing {
            what: format!("nothing was committed at or before {}", format_unix_ms(at)),
            hint: match oldest {
                Some(time) => format!("the oldest point is of {}", format_unix_ms(time)),
                None => "the replica holds no restorable point".into(),
            },
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Level;
    use ltx::FileName;

    #[test]
    fn p2_only_ends_that_a_chain_reaches_are_points() {
        let files = [(9, 1, 3), (0, 2, 2), (0, 3, 3), (0, 4, 4), (0, 6, 6), (1, 4, 5), (0, 9, 9)];
        let entries = files
            .iter()
            .map(|&(level, min, max)| {
                let name = FileName { min: Txid::new(min).unwrap(), max: Txid::new(max).unwrap() };
                Entry { level: Level(level), name, key: name.to_string(), size: 1, modified_ms: 0 }
            })
            .collect();
        let catalogue = Catalogue { entries, ..Catalogue::default() };
        let got: Vec<u64> = points(&catalogue).iter().map(|p| p.txid.get()).collect();
        assert_eq!(got, [3, 4, 5, 6], "2 has no image before it, 9 lies beyond a gap");
    }
}
