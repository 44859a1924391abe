//! The clear part of a sealed file: `-> highwater-ltx 1 <page size> <pages> <TXIDs> <time> <epoch> <lineage> <write id>`.

use crate::error::{Error, Result};
use ltx::{Extension, FileName, Header, PageSize};
use seal::ClearPart;

/// Type of the stanza.
const KIND: &str = "highwater-ltx";
const VERSION: &str = "1";

/// What of a header may be seen by everyone: all but the rolling checksum.
pub(crate) fn clear_part(header: &Header) -> ClearPart {
    let stamp = Extension::from_reserved(&header.reserved);
    let Extension { epoch, lineage, write_id } =
        stamp.unwrap_or(Extension { epoch: 0, lineage: 0, write_id: [0; 6] });
    let name = FileName { min: header.min_txid, max: header.max_txid }.to_string();
    let words = vec![
        VERSION.to_owned(),
        header.page_size.get().to_string(),
        header.commit.to_string(),
        name.trim_end_matches(".ltx").to_owned(),
        clock::format_unix_ms(header.timestamp_ms),
        epoch.to_string(),
        format!("{lineage:016x}"),
        hex::encode(write_id),
    ];
    ClearPart::new(KIND, words).expect("numbers and names are short and printable")
}

/// The header that the clear part of an object tells, with a rolling checksum of 0 ("not known").
pub(crate) fn header_of(head: &[u8], key: &str) -> Result<Header> {
    let damaged = |what: String| Error::Object {
        key: key.to_owned(),
        what,
        hint: "it was not sealed by this program; `restore verify` says what is provable".into(),
    };
    let part = ClearPart::read(head, KIND).map_err(|e| damaged(e.to_string()))?;
    let part = part.ok_or_else(|| damaged("its age header says nothing of a file".into()))?;
    let words: Vec<&str> = part.arguments().iter().map(String::as_str).collect();
    match words.as_slice() {
        [VERSION, rest @ ..] => parse(rest).ok_or_else(|| damaged("its clear part cannot be read".into())),
        [version, ..] => Err(Error::Refused {
            what: format!("{key} has a clear part of version {version}, this program knows {VERSION}"),
            hint: "use the newer version that wrote it".into(),
        }),
        [] => Err(damaged("its clear part is empty".into())),
    }
}

fn parse(words: &[&str]) -> Option<Header> {
    let [page_size, commit, name, time, epoch, lineage, write_id] = words else { return None };
    let FileName { min, max } = FileName::parse(&format!("{name}.ltx"))?;
    let mut id = [0; 6];
    hex::decode_to_slice(write_id, &mut id).ok()?;
    let lineage = u64::from_str_radix(lineage, 16).ok()?;
    let stamp = Extension { epoch: epoch.parse().ok()?, lineage, write_id: id };
    let header = Header {
        page_size: PageSize::new(page_size.parse().ok()?).ok()?,
        commit: commit.parse().ok()?,
        min_txid: min,
        max_txid: max,
        timestamp_ms: clock::parse_unix_ms(time)?,
        wal_offset: 0,
        wal_size: 0,
        wal_salt1: 0,
        wal_salt2: 0,
        node_id: 0,
        reserved: if lineage == 0 { [0; 20] } else { stamp.to_reserved() },
    };
    header.validate().ok()?;
    Some(header)
}
