//! Keys of Litestream 0.3: `generations/<16 hex>/snapshots/<8 hex>.snapshot.lz4` and `…/wal/<8 hex>_<8 to 16 hex>.wal.lz4`.

/// What a key names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Snapshot { index: u32 },
    Segment { index: u32, offset: u64 },
}

/// The generation and the part; `None` for anything else, temporary files included.
pub(super) fn parse(key: &str) -> Option<(&str, Part)> {
    let mut parts = key.strip_prefix("generations/")?.split('/');
    let (generation, kind, name) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || generation.len() != 16 || !is_hex(generation) {
        return None;
    }
    let part = match kind {
        "snapshots" => Part::Snapshot { index: number(name.strip_suffix(".snapshot.lz4")?, 8, 8)? as u32 },
        "wal" => {
            let (index, offset) = name.strip_suffix(".wal.lz4")?.split_once('_')?;
            Part::Segment { index: number(index, 8, 8)? as u32, offset: number(offset, 8, 16)? }
        }
        _ => return None,
    };
    Some((generation, part))
}

fn number(text: &str, least: usize, most: usize) -> Option<u64> {
    ((least..=most).contains(&text.len()) && is_hex(text)).then(|| u64::from_str_radix(text, 16).ok())?
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_litestream_03_wrote_is_taken() {
        let g = "generations/0123456789abcdef";
        assert_eq!(
            parse(&format!("{g}/snapshots/0000000a.snapshot.lz4")),
            Some(("0123456789abcdef", Part::Snapshot { index: 10 }))
        );
        assert_eq!(
            parse(&format!("{g}/wal/00000001_100000020.wal.lz4")),
            Some(("0123456789abcdef", Part::Segment { index: 1, offset: 0x1_0000_0020 }))
        );
        for foreign in [
            "generations/xyz/snapshots/0000000a.snapshot.lz4",
            &format!("{g}/snapshots/0000000a.snapshot.lz4.tmp"),
            &format!("{g}/snapshots/a.snapshot.lz4"),
            &format!("{g}/wal/00000001.wal.lz4"),
            &format!("{g}/wal/00000001_0000000G.wal.lz4"),
            &format!("{g}/other/00000001_00000000.wal.lz4"),
            "0000/0000000000000001-0000000000000001.ltx",
        ] {
            assert_eq!(parse(foreign), None, "{foreign}");
        }
    }
}
