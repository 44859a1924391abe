//! How fast pages are encoded, decoded, merged and proven on this machine:
//! `cargo run --release -p ltx --example speed`.
//!
//! The pages resemble SQLite's: half text-like records, some noise, some free space.

use std::hint::black_box;
use std::io::sink;
use std::time::Duration;

use ltx::{Decoder, Encoder, Header, IndexReader, IndexTail, PageEncoding, PageSize, Txid};

const BYTES: usize = 256 << 20;

fn page(size: PageSize, number: u32) -> Vec<u8> {
    let mut page = vec![0; size.bytes()];
    let mut seed = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut at = 100;
    while at + 64 < size.bytes() * 7 / 8 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let record = format!("customer-{:08x} street {} ", seed as u32, seed % 97);
        page[at..at + record.len()].copy_from_slice(record.as_bytes());
        page[at + record.len()..at + record.len() + 8].copy_from_slice(&seed.to_le_bytes());
        at += record.len() + 8;
    }
    page
}

#[allow(clippy::disallowed_methods, reason = "a measurement")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = std::time::Instant::now();
    let value = work();
    (value, start.elapsed())
}

fn report(what: &str, time: Duration) {
    println!("  {what:<28} {:>7.0} MB/s of pages", BYTES as f64 / 1e6 / time.as_secs_f64());
}

fn main() -> ltx::Result<()> {
    let raw = vec![0x5a; BYTES];
    let (_, time) = timed(|| black_box(ltx::checksum::Crc64::of(&raw)));
    println!("checksum");
    report("CRC-64 of one slice", time);
    for size in [512, 4096, 65536] {
        let size = PageSize::new(size)?;
        for encoding in [PageEncoding::Frame, PageEncoding::Block] {
            measure(size, encoding)?;
        }
    }
    Ok(())
}

fn measure(size: PageSize, encoding: PageEncoding) -> ltx::Result<()> {
    let commit = (BYTES / size.bytes()) as u32;
    let header = Header {
        page_size: size,
        commit,
        min_txid: Txid::FIRST,
        max_txid: Txid::FIRST,
        timestamp_ms: 0,
        wal_offset: 0,
        wal_size: 0,
        wal_salt1: 0,
        wal_salt2: 0,
        node_id: 0,
        reserved: [0; 20],
    };
    let pages: Vec<Vec<u8>> = (0..1024).map(|n| page(size, n)).collect();
    let (file, encode) = timed(|| -> ltx::Result<Vec<u8>> {
        let mut encoder = Encoder::new(Vec::with_capacity(BYTES), header, encoding)?;
        for pgno in 1..=commit {
            encoder.page(pgno, &pages[pgno as usize % pages.len()])?;
        }
        Ok(encoder.finish()?.0)
    });
    let file = file?;
    println!("{encoding:?}, pages of {} bytes, packed to {} %", size.get(), file.len() * 100 / BYTES);
    report("encode", encode);

    let (lz4, time) = timed(|| lz4_only(&file, &header));
    lz4?;
    report("decode pages, prove nothing", time);
    let (decoded, time) = timed(|| Decoder::new(file.as_slice())?.finish());
    decoded?;
    report("decode and prove", time);
    let (proven, time) = timed(|| in_pieces(&file, &header));
    proven?;
    report("decode in pieces and prove", time);
    let (merged, time) = timed(|| ltx::merge(vec![file.as_slice()], sink(), encoding));
    merged?;
    report("merge", time);
    Ok(())
}

fn index(file: &[u8]) -> ltx::Result<(&[u8], u64, [u8; 16])> {
    match ltx::parse_index_tail(file, file.len() as u64)? {
        IndexTail::Complete { index, offset, trailer } => Ok((index, offset, trailer.to_bytes())),
        IndexTail::NeedFrom(offset) => Err(ltx::Error::Truncated { offset }),
    }
}

fn lz4_only(file: &[u8], header: &Header) -> ltx::Result<()> {
    let (index, offset, _) = index(file)?;
    let mut page = vec![0; header.page_size.bytes()];
    for entry in IndexReader::new(index, header, offset) {
        black_box(ltx::decode_page(&file[entry?.offset as usize..], header.page_size, &mut page)?);
    }
    Ok(())
}

fn in_pieces(file: &[u8], header: &Header) -> ltx::Result<()> {
    let (index, offset, trailer) = index(file)?;
    let mut cuts = vec![100];
    for entry in IndexReader::new(index, header, offset) {
        let entry = entry?;
        if entry.offset - cuts.last().copied().unwrap_or(0) > 1 << 20 {
            cuts.push(entry.offset);
        }
    }
    cuts.push(offset - 6);
    let mut pieces = Vec::new();
    for cut in cuts.windows(2) {
        let run = &file[cut[0] as usize..cut[1] as usize];
        pieces.push(ltx::decode_run(run, header.page_size, cut[0], &mut |_, page| {
            black_box(page);
            Ok(())
        })?);
    }
    ltx::verify_pieces(&header.to_bytes(), pieces.into_iter(), index, &trailer)?;
    Ok(())
}
